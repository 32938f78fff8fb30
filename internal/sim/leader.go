package sim

import (
	"errors"
	"io/fs"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// Times of the way to Mesos.
const (
	heartbeats  = 5 * time.Second // without one the stream is over
	callTimeout = 5 * time.Second
	ackLines    = 4
)

var (
	errHeartbeats = errors.New("no heartbeat")
	errNoAnswer   = errors.New("no answer")
	errEnded      = errors.New("the stream ended")
)

// leader is a term: it drives the real engine, queue of calls and cycle of
// subscriptions, as scheduler's term, caller and subscriber do.
type leader struct {
	p      *process
	w      *world
	term   int64
	engine *scheduler.Engine
	queue  scheduler.CallQueue
	cycle  scheduler.Cycle
	round  time.Duration // when the present cycle began
	open   *stream       // the subscription
	over   bool

	sending bool
	acking  int
	wakes   int64
	nextID  int64
	answers map[int64]func(scheduler.Answer)

	offset    time.Duration      // of its clock, as long as it leads
	writing   wait               // for the store
	calling   wait               // for the master
	hindered  time.Duration      // when one that took long was over
	recording time.Duration      // since when runs are to be written to history; 0: none are
	blind     jobs.Name          // a record of this job could not be read
	rewritten []scheduler.Change // by a planted bug
}

func newLeader(p *process, term int64) *leader {
	return &leader{
		p: p, w: p.w, term: term, offset: p.offset, engine: scheduler.NewEngine(p.w.core, p.w.bug.kinds()), answers: map[int64]func(scheduler.Answer){},
	}
}

func (l *leader) begin() {
	elected := scheduler.Elected{Term: l.term, Secret: []byte("secret"), Ahead: l.offset}
	if l.w.bug == SkewIgnored {
		elected.Ahead = 0
	}
	l.step(elected)
	l.subscribe()
}

// receive has something happen to the leader while its term lasts.
func (l *leader) receive(d time.Duration, do func()) {
	l.p.receive(d, func() {
		if !l.over {
			do()
		}
	})
}

func (l *leader) step(ev scheduler.Event) {
	if l.over {
		return
	}
	if ev = l.w.bug.hear(l, ev); ev == nil {
		return
	}
	out, wake := l.engine.Step(l.p.clock(), ev)
	l.wakes++
	if !wake.IsZero() {
		n := l.wakes
		l.receive(wake.Sub(l.p.clock()), func() {
			if l.wakes == n {
				l.step(scheduler.Tick{})
			}
		})
	}
	l.do(out)
}

func (l *leader) do(out scheduler.Output) {
	l.queue.Push(out.Stream, out.Free)
	for _, fx := range out.Durable {
		l.queue.Push(fx.Stream, l.w.bug.calls(l.w, fx.Calls))
		for _, r := range fx.Reads {
			l.read(r)
		}
		if len(fx.History) > 0 {
			l.record(fx.History)
		}
		for _, a := range fx.Answers {
			take := l.answers[a.ID]
			delete(l.answers, a.ID)
			if take != nil {
				take(a)
			}
		}
	}
	if out.Commit != nil {
		b := *out.Commit
		b.Changes = append(b.Changes, l.rewritten...)
		l.rewritten = nil
		l.writing.begin(l.w)
		l.commit(b)
	}
	l.pump()
}

func (l *leader) commit(b scheduler.Batch) {
	if l.w.bug == EffectsFirst {
		l.receive(300*time.Millisecond, func() { l.w.store.commit(l, b, func(error) {}) })
		l.receive(0, func() { l.do(l.engine.Committed()) })
		return
	}
	l.w.store.commit(l, b, func(err error) {
		switch {
		case l.over:
		case err == nil, errors.Is(err, scheduler.ErrUncertain) && l.w.bug == UncertainIsWritten:
			l.waited(&l.writing)
			l.do(l.engine.Committed())
		case errors.Is(err, scheduler.ErrUncertain):
			l.receive(commitPause, func() { l.commit(b) })
		default:
			l.p.stepDown(l, err)
		}
	})
}

func (l *leader) expect(take func(scheduler.Answer)) int64 {
	l.nextID++
	l.answers[l.nextID] = take
	return l.nextID
}

// subscribe begins a round of the cycle: fence, SUBSCRIBE, stream.
func (l *leader) subscribe() {
	l.cycle.Begin(l.p.clock())
	l.round = l.w.now
	if l.w.bug == UnfencedSubscription {
		l.connect()
		return
	}
	l.do(l.engine.Fence(l.expect(func(scheduler.Answer) { l.connect() })))
}

func (l *leader) connect() {
	m, framework, round := l.w.master, l.engine.Framework(), l.round
	done := false
	fail := func(err error) {
		if !done {
			done = true
			l.pause(err)
		}
	}
	l.receive(callTimeout, func() { fail(errNoAnswer) })
	l.w.after(l.mesosDelay(), func() {
		s, err := m.subscribe(l, framework, round)
		if err != nil {
			l.receive(l.mesosDelay(), func() { fail(err) })
			return
		}
		s.deliver(func() {
			if done {
				s.hangUp()
				return
			}
			done = true
			s.number = l.cycle.Opened()
			l.open = s
			l.queue.Use(s.number)
			l.pump()
		})
		s.greet()
	})
}

// mesosDelay is the time of one way; what is sent during a cut waits in a
// socket until it is over.
func (l *leader) mesosDelay() time.Duration {
	return max(l.p.mesosCutUntil-l.w.now, 0) + l.w.hop()
}

func (l *leader) pause(err error) {
	wait, fatal := l.cycle.Ended(l.p.clock(), err, l.w.rng.Float64())
	if fatal {
		l.p.stepDown(l, err)
		return
	}
	l.receive(wait, l.subscribe)
}

// heard takes an event of the stream.
func (l *leader) heard(s *stream, ev scheduler.Event) {
	if l.open != s {
		return
	}
	switch e := ev.(type) {
	case scheduler.Subscribed:
		e.Stream = s.number
		l.step(e)
	case scheduler.Refused:
	case scheduler.Offered:
		l.w.model.heard(l, s, e.Offers)
		l.step(e)
	case scheduler.Rescinded:
		s.left[e.Offer] = true
		l.step(e)
	default:
		l.step(ev)
	}
}

// streamEnded ends the subscription, from whichever side.
func (l *leader) streamEnded(s *stream, err error) {
	if l.open != s || l.over {
		return
	}
	s.hangUp()
	l.open = nil
	l.queue.Use(0)
	l.step(scheduler.Disconnected{})
	if !l.over {
		l.pause(err)
	}
}

// pump sends what the queue allows.
func (l *leader) pump() {
	for !l.sending && (l.open != nil || l.w.bug != StreamsMixed) {
		next, open, ok := l.queue.Next(scheduler.Ordered)
		if !ok {
			break
		}
		if open || l.w.bug == StreamsMixed {
			l.sending = l.w.bug != CallsOutOfOrder
			l.send(next.Call, func() { l.sending = false })
		} else if tell := scheduler.Dropped(next.Call); tell != nil {
			l.step(*tell)
		}
	}
	for l.acking < ackLines {
		next, open, ok := l.queue.Next(scheduler.Acks)
		if !ok {
			break
		}
		if open {
			l.acking++
			l.send(next.Call, func() { l.acking-- })
		}
	}
}

// send makes a call on the open stream and deals with its end.
func (l *leader) send(call scheduler.Call, free func()) {
	s, m := l.open, l.w.master
	if c, ok := call.(scheduler.Kill); ok && l.w.bug == KillTakenForDone {
		l.receive(0, func() {
			l.step(scheduler.Updated{Update: jobs.Update{Task: c.Task, Agent: c.Agent, State: jobs.TaskKilled, Source: "SOURCE_EXECUTOR"}})
		})
	}
	done := false
	for _, id := range offersOf(call) {
		s.left[id] = true
	}
	_, ack := call.(scheduler.Acknowledge) // those go beside the others
	if !ack {
		l.calling.begin(l.w)
	}
	end := func(err error) {
		if done {
			return
		}
		done = true
		if !ack {
			l.waited(&l.calling)
		}
		free()
		tell, resubscribe := scheduler.Verdict(call, err)
		if resubscribe && l.w.bug == UncertainIsUnsent {
			tell = scheduler.Dropped(call)
		}
		if tell != nil {
			l.step(*tell)
		}
		if resubscribe {
			l.streamEnded(s, err)
		}
		l.pump()
	}
	l.receive(callTimeout, func() { end(errNoAnswer) })
	s.sent++
	number := s.sent
	l.w.after(s.callDelay(l.mesosDelay(), call), func() {
		err := m.call(s, number, call)
		if errors.Is(err, errNoAnswer) || l.w.now < l.w.silentUntil && l.w.chance(silence(call)) {
			return // nobody can know
		}
		l.receive(l.mesosDelay(), func() { end(err) })
	})
}

// silence is how many of a hundred answers to a call are lost while Mesos is
// silent: most of those to ACCEPTs, or a lesser call would often end the stream first.
func silence(call scheduler.Call) int {
	if _, ok := call.(scheduler.Accept); ok {
		return 60
	}
	return 10
}

// read asks an agent for a file.
func (l *leader) read(r scheduler.Read) {
	l.w.after(l.w.hop(), func() {
		data, err := l.w.readFile(r.Where.AgentID, r.Task, r.File)
		d := l.w.hop()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			d = requestTimeout
		}
		l.receive(d, func() { l.step(scheduler.Fetched{Task: r.Task, File: r.File, Data: data, Err: err}) })
	})
}

// request asks on behalf of a user.
func (l *leader) request(do any, answer func(scheduler.Answer)) {
	l.step(scheduler.Request{ID: l.expect(answer), Do: do})
}

// readFile reads from an agent's sandboxes.
func (w *world) readFile(agentID string, task jobs.TaskID, file string) ([]byte, error) {
	for _, a := range w.agents {
		if a.id != agentID {
			continue
		}
		if !a.reachable() {
			break
		}
		data, ok := a.files[string(task)+"/"+file]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return data, nil
	}
	return nil, errNoAnswer
}
