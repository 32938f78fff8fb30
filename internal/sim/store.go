package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// Times of the store, as of a ZooKeeper ensemble with short sessions.
const (
	sessionTimeout = 4 * time.Second
	requestTimeout = 1 * time.Second
	commitPause    = 50 * time.Millisecond
)

// store is the simulated ZooKeeper: records under a term, and who is next to
// lead. A batch is applied whole, once, and under the present term only.
type store struct {
	w          *world
	records    map[string][]byte
	term       int64
	sequence   int64 // of the last batch applied in this term
	raised     time.Duration
	candidates []*session
}

// session is a process's life in the eyes of the store.
type session struct {
	p       *process
	expired bool
	called  bool // it knows that it is its turn
}

// watch expires the session if its process cannot be heard for too long.
func (s *store) watch(e *session) {
	silent := s.w.now
	s.w.after(sessionTimeout, func() {
		if !e.expired && e.p.silentSince(e) <= silent {
			s.expire(e)
		}
	})
}

func (s *store) expire(e *session) {
	e.expired = true
	s.w.logf("store: session of scheduler %d expired", e.p.id)
	s.leave(e)
	p := e.p
	p.receive(s.w.between(time.Millisecond, 800*time.Millisecond), func() { p.sessionExpired(e) })
}

// leave takes a candidate out; the next one leads.
func (s *store) leave(e *session) {
	if i := slices.Index(s.candidates, e); i >= 0 {
		s.candidates = slices.Delete(s.candidates, i, i+1)
		s.callNext()
	}
}

func (s *store) join(e *session) {
	s.candidates = append(s.candidates, e)
	s.callNext()
}

// callNext tells the first candidate that it is its turn.
func (s *store) callNext() {
	if len(s.candidates) > 0 && !s.candidates[0].called {
		e := s.candidates[0]
		e.called = true
		e.p.receive(s.delay(), func() { e.p.elected(e) })
	}
}

func (s *store) delay() time.Duration {
	d := s.w.hop()
	if s.w.now < s.w.slowUntil {
		d += s.w.between(0, s.w.slowBy)
	}
	return d
}

// raise begins a term for a candidate that still stands.
func (s *store) raise(e *session) (int64, error) {
	if e.expired || len(s.candidates) == 0 || s.candidates[0] != e {
		return 0, scheduler.ErrFenced
	}
	s.term++
	s.sequence, s.raised = 0, s.w.now
	s.w.logf("store: term %d is scheduler %d's", s.term, e.p.id)
	return s.term, nil
}

// load copies the records out, in their order.
func (s *store) load() []scheduler.Record {
	out := make([]scheduler.Record, 0, len(s.records))
	for _, key := range slices.Sorted(maps.Keys(s.records)) {
		r := scheduler.Record{Key: key, Value: s.records[key]}
		if key == s.w.unreadable {
			if s.w.bug == UnreadableLeftOut {
				continue
			}
			r.Value = []byte("?")
		}
		if s.w.bug == PoolMisread && strings.HasPrefix(key, "pools/") {
			r.Value = edit([]scheduler.Change{{Key: key, Value: r.Value}}, "pools/", func(p map[string]any) { p["slots"] = 100 })[0].Value
		}
		out = append(out, r)
	}
	return out
}

// jobOf is the job, or pool, that a record belongs to.
func jobOf(key string) jobs.Name {
	family, name, _ := strings.Cut(key, "/")
	if family == "runs" || family == "tasks" || family == "plans" {
		name, _, _ = strings.Cut(name, ".")
	}
	return jobs.Name(name)
}

// apply commits a batch under a term.
func (s *store) apply(l *leader, b scheduler.Batch) error {
	term := l.term
	if term != s.term && s.w.bug != ForgottenFence {
		return scheduler.ErrFenced
	}
	switch {
	case term == s.term && b.Sequence == s.sequence && s.w.bug != UncountedBatches:
		return nil // applied before, though its answer was lost
	case term == s.term && b.Sequence <= s.sequence && s.w.bug != UncountedBatches:
		return scheduler.ErrFenced // a late copy
	case term == s.term && b.Sequence > s.sequence+1:
		return scheduler.ErrFenced // one before it is missing
	case term == s.term:
		s.sequence = b.Sequence
	}
	s.write(l, s.w.bug.corrupt(s.records, b.Changes))
	return nil
}

func (s *store) write(l *leader, changes []scheduler.Change) {
	s.w.model.commit(l, changes)
	for _, ch := range changes {
		if ch.Value == nil {
			delete(s.records, ch.Key)
		} else {
			s.records[ch.Key] = ch.Value
		}
	}
}

// commit carries a batch to the store and its answer back. What is lost on
// either way leaves the outcome open.
func (s *store) commit(l *leader, b scheduler.Batch, done func(error)) {
	w, p := s.w, l.p
	answered := false
	reply := func(err error) {
		if !answered {
			answered = true
			done(err)
		}
	}
	p.receive(requestTimeout, func() { reply(scheduler.ErrUncertain) })
	if p.storeCut() {
		return
	}
	flaky := w.now < w.flakyUntil
	if flaky && w.chance(15) {
		return
	}
	w.after(s.delay(), func() {
		err := s.apply(l, b)
		lost := p.storeCut() || flaky && w.chance(25)
		if flaky && w.chance(20) { // a copy that waits in another server
			w.after(w.between(0, 3*time.Second), func() { s.late(l, b) })
		}
		if !lost {
			p.receive(s.delay(), func() { reply(err) })
		}
	})
}

// late is a copy of a request that arrives after it was answered.
func (s *store) late(l *leader, b scheduler.Batch) {
	if s.w.bug == UncountedBatches || l.term != s.term {
		s.apply(l, b) //nolint:errcheck // nobody waits for it
	}
}
