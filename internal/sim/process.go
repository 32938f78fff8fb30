package sim

import (
	"slices"
	"time"

	"tidemill/scheduler"
)

// process is one scheduler: it campaigns, leads, stalls, dies and comes back.
type process struct {
	w       *world
	id      int
	up      bool
	life    int           // closures of an earlier life do nothing
	offset  time.Duration // of its clock
	stalled bool
	inbox   []func()
	session *session
	leader  *leader

	storeCutUntil, mesosCutUntil time.Duration
	silent                       time.Duration // since when the store hears nothing of it; 0: it does
}

// never is later than any history.
const never = time.Duration(1<<63 - 1)

func (p *process) clock() time.Time { return epoch.Add(p.w.now + p.offset) }

// receive has something happen to the process: not if it died, and not while
// it is stalled, but in order when it wakes.
func (p *process) receive(d time.Duration, do func()) {
	life := p.life
	p.w.after(d, func() {
		switch {
		case !p.up || p.life != life:
		case p.stalled:
			p.inbox = append(p.inbox, do)
		default:
			do()
		}
	})
}

func (p *process) storeCut() bool { return p.w.now < p.storeCutUntil }

// silentSince is since when the store does not hear of a session.
func (p *process) silentSince(e *session) time.Duration {
	if e != p.session {
		return 0 // of an earlier life
	}
	if p.silent == 0 {
		return never
	}
	return p.silent
}

// quieten is told whenever the store may have stopped hearing of the process.
func (p *process) quieten() {
	if p.session != nil && p.silent == 0 {
		p.silent = p.w.now
		p.w.store.watch(p.session)
	}
}

// speak is told when the store may hear it again.
func (p *process) speak() {
	if p.up && !p.stalled && !p.storeCut() {
		p.silent = 0
	}
}

func (p *process) start() {
	p.up, p.silent = true, 0
	p.life++
	p.join()
}

func (p *process) join() {
	e := &session{p: p}
	p.session = e
	p.receive(p.w.store.delay(), func() {
		if p.session == e && !e.expired {
			p.w.store.join(e)
		}
	})
	if p.storeCut() || p.stalled {
		p.quieten()
	}
}

func (p *process) crash() {
	p.w.logf("scheduler %d crashes", p.id)
	p.quieten()
	p.up, p.stalled, p.inbox = false, false, nil
	p.dropLeader()
	p.session = nil
}

func (p *process) stall(d time.Duration) {
	if !p.up || p.stalled {
		return
	}
	p.w.logf("scheduler %d stalls for %s", p.id, d)
	p.stalled = true
	p.quieten()
	life := p.life
	p.w.after(d, func() {
		if p.life != life || !p.up {
			return
		}
		p.w.logf("scheduler %d wakes", p.id)
		p.stalled = false
		if p.leader != nil {
			p.leader.hindered = p.w.now
		}
		p.speak()
		inbox := p.inbox
		p.inbox = nil
		for _, do := range inbox {
			do()
		}
	})
}

func (p *process) cutStore(d time.Duration) {
	p.w.logf("scheduler %d is cut from the store for %s", p.id, d)
	p.storeCutUntil = max(p.storeCutUntil, p.w.now+d)
	if p.up {
		p.quieten()
	}
	p.w.after(d, p.speak)
}

func (p *process) cutMesos(d time.Duration) {
	p.w.logf("scheduler %d is cut from Mesos for %s", p.id, d)
	p.mesosCutUntil = max(p.mesosCutUntil, p.w.now+d)
	if l := p.leader; l != nil && l.open != nil {
		open := l.open
		p.receive(heartbeats, func() {
			if p.w.now < p.mesosCutUntil && p.leader == l && l.open == open {
				l.streamEnded(open, errHeartbeats)
			}
		})
	}
}

// sessionExpired hears of it at last.
func (p *process) sessionExpired(e *session) {
	if p.session != e {
		return
	}
	if p.storeCut() {
		p.receive(p.storeCutUntil-p.w.now+p.w.hop(), func() { p.sessionExpired(e) })
		return
	}
	p.silent = 0
	p.dropLeader()
	p.join()
}

// elected raises the term, loads, and begins to lead, in this order.
func (p *process) elected(e *session) {
	s := p.w.store
	if p.session != e || p.leader != nil || e.expired {
		return
	}
	if p.storeCut() {
		p.receive(requestTimeout, func() { p.elected(e) })
		return
	}
	if p.w.bug == LoadedTooEarly {
		records := s.load()
		p.receive(p.w.between(50*time.Millisecond, 10*time.Second), func() { p.raise(e, records) })
		return
	}
	p.receive(s.delay(), func() { p.raise(e, nil) })
}

func (p *process) raise(e *session, loaded []scheduler.Record) {
	s := p.w.store
	if p.session != e {
		return
	}
	term, err := s.raise(e)
	if err != nil {
		return
	}
	p.w.model.failovers++
	p.receive(s.delay()+p.w.between(0, 100*time.Millisecond), func() {
		if p.session != e {
			return
		}
		if loaded == nil {
			loaded = s.load()
		}
		p.lead(term, loaded)
	})
}

func (p *process) lead(term int64, records []scheduler.Record) {
	l := newLeader(p, term)
	if slices.ContainsFunc(records, func(r scheduler.Record) bool { return string(r.Value) == "?" }) {
		l.blind = jobOf(p.w.unreadable)
	}
	if err := l.engine.Load(records); err != nil {
		p.w.model.violate("scheduler %d cannot load: %v", p.id, err)
		return
	}
	p.leader = l
	l.begin()
}

// dropLeader ends a term without a word.
func (p *process) dropLeader() {
	if l := p.leader; l != nil {
		l.over = true
		if l.open != nil {
			l.open.hangUp()
		}
		p.leader = nil
	}
}

// stepDown gives the term up and campaigns again.
func (p *process) stepDown(l *leader, why error) {
	if p.leader != l {
		return
	}
	p.w.logf("scheduler %d steps down: %v", p.id, why)
	p.dropLeader()
	e := p.session
	p.session = nil
	if e != nil && !e.expired {
		e.expired = true
		p.w.after(p.w.hop(), func() { p.w.store.leave(e) })
	}
	p.join()
}
