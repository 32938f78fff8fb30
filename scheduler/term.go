package scheduler

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// term is one term of leading: the loop that feeds the core, and the
// goroutines that do what it asks for. Only the loop touches the core.
type term struct {
	opt    *Options
	log    zerolog.Logger
	leader Leadership
	engine *Engine
	caller *caller
	notify func(jobs.Notice)

	events  chan Event
	inspect chan func(*Core)
	fences  chan chan error
	batches chan Batch
	results chan error
	reads   chan struct{} // slots
	done    chan struct{} // closed when the loop has ended

	mu      sync.Mutex
	answers map[int64]func(Answer)
	nextID  int64
	ending  chan error
	workers sync.WaitGroup
	wakeAt  time.Time
	clock   timekeeper
	began   time.Time

	measuring  bool // a write that measures the clock is under way
	measured   bool // it is done, and the core is to be told
	subscribed bool // the term was, at some time
}

// Bounds of a term's queues.
const (
	eventQueue  = 1024
	maxBacklog  = 20_000 // pieces waiting for the store before events wait
	readSlots   = 8
	commitPause = 50 * time.Millisecond
	// historyTimeout bounds one write of some runs to history.
	historyTimeout = 30 * time.Second
)

func newTerm(opt *Options, leader Leadership, notify func(jobs.Notice)) *term {
	t := &term{
		opt: opt, began: time.Now(), log: opt.Log.With().Int64("term", leader.Term()).Logger(), leader: leader, notify: notify,
		engine: NewEngine(opt.Core, opt.Kinds), events: make(chan Event, eventQueue), inspect: make(chan func(*Core)),
		fences: make(chan chan error), batches: make(chan Batch, 1), results: make(chan error, 1),
		reads: make(chan struct{}, readSlots), done: make(chan struct{}), answers: map[int64]func(Answer){}, ending: make(chan error, 4),
	}
	t.caller = newCaller(t.log, t.post)
	return t
}

// load makes the core of the copy of the store, once that is the store.
func (t *term) load(ctx context.Context, copied *replica) error {
	began := time.Now()
	before := copied.size()
	if err := t.leader.CatchUp(ctx); err != nil {
		return fmt.Errorf("load the store: %w", err)
	}
	caughtUp := time.Since(began)
	records := copied.size()
	if err := t.engine.load(copied); err != nil {
		return err
	}
	t.log.Info().Int("records", records).Int("copied_before", before).Dur("catch_up", caughtUp).Dur("took", time.Since(began)).
		Msg("leading: the store is loaded")
	return nil
}

// run leads until ctx ends, the term is lost, or nothing more can be done.
// Everything it started has ended when it returns.
func (t *term) run(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer t.workers.Wait()
	defer cancel()
	defer close(t.done)
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	t.step(ctx, Elected{Term: t.leader.Term(), Secret: secret, Ahead: t.ahead()})
	t.step(ctx, Peers{URLs: t.opt.Elector.Schedulers()})
	t.workers.Go(func() { t.commit(ctx) })
	t.workers.Go(func() { t.caller.run(ctx) })
	t.workers.Go(func() { t.watchPeers(ctx) })
	sub := &subscriber{
		mesos: t.opt.Mesos, log: t.log, post: t.post, caller: t.caller,
		fence: t.fence, framework: t.framework, patience: patience,
		others: func() bool { return len(t.opt.Elector.Schedulers()) > 1 },
	}
	t.workers.Go(func() {
		if err := sub.run(ctx); err != nil {
			t.ending <- err
		}
	})
	return t.loop(ctx)
}

// loop is the only user of the core.
func (t *term) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		events := t.events
		if t.engine.Backlog() > maxBacklog {
			events = nil // the store is behind: let it catch up
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.leader.Lost():
			return ErrFenced
		case err := <-t.ending:
			return err
		case err := <-t.results:
			if err != nil {
				return err
			}
			t.do(ctx, t.engine.Committed())
			t.tellClock(ctx)
		case ev := <-events:
			t.step(ctx, ev)
		case look := <-t.inspect:
			look(t.engine.Core())
		case reply := <-t.fences:
			t.raiseFence(ctx, reply)
		case <-timer.C:
			t.step(ctx, Tick{})
		}
		timer.Reset(t.untilWake())
	}
}

// idleTick is how often the time is told when nothing is due: a leap of the clock is noticed then.
const idleTick = 10 * time.Second

// untilWake is how long nothing is due.
func (t *term) untilWake() time.Duration {
	if t.wakeAt.IsZero() {
		return idleTick
	}
	now, _ := t.now()
	return min(max(t.wakeAt.Sub(now), 0), idleTick)
}

// now reads the clock as it shows the time: what else a time.Time holds goes on as if the clock were
// never set, and would hide that it was.
func (t *term) now() (now time.Time, leapt bool) {
	return t.clock.read(t.opt.Now().Round(0), time.Since(t.began))
}

func (t *term) step(ctx context.Context, ev Event) {
	if _, ok := ev.(Subscribed); ok {
		t.subscribed = true
	}
	now, leapt := t.now()
	if leapt && !t.measuring {
		t.measure(ctx)
	}
	if _, skewed := ev.(ClockSkewed); skewed && leapt {
		return // what was measured before the leap says nothing of the clock after it
	}
	var out Output
	out, t.wakeAt = t.engine.Step(now, ev)
	t.do(ctx, out)
}

// measure has a write, under our term, measure the clock.
func (t *term) measure(ctx context.Context) {
	t.measuring = true
	t.log.Warn().Msg("the clock leapt; measuring it against the store's")
	id := t.expect(func(Answer) { t.measured = true })
	t.do(ctx, t.engine.Fence(id))
}

// tellClock tells the core what was measured.
func (t *term) tellClock(ctx context.Context) {
	if t.measured {
		t.measuring, t.measured = false, false
		t.clock.measured(t.opt.Now().Round(0), time.Since(t.began))
		t.step(ctx, ClockSkewed{By: t.ahead()})
	}
}

// ahead is by how much our clock was ahead of the store's when it was last measured.
func (t *term) ahead() time.Duration {
	if store, ok := t.leader.(clocked); ok {
		return store.ClockSkew()
	}
	return 0
}

// do performs what the engine asks for, in its order.
func (t *term) do(ctx context.Context, out Output) {
	t.caller.push(out.Stream, out.Free)
	for _, fx := range out.Durable {
		t.caller.push(fx.Stream, fx.Calls)
		for _, r := range fx.Reads {
			t.workers.Go(func() { t.read(ctx, r) })
		}
		if len(fx.History) > 0 {
			t.workers.Go(func() { t.writeHistory(ctx, fx.History) })
		}
		for _, a := range fx.Answers {
			t.answer(a)
		}
		for _, n := range fx.Notices {
			t.notify(n)
		}
	}
	if out.Commit != nil {
		t.batches <- *out.Commit // never blocks: one is under way at a time
	}
}

// commit writes batches. One whose outcome is unknown is written again, as
// the same batch, while the term lasts.
func (t *term) commit(ctx context.Context) {
	for {
		var b Batch
		select {
		case <-ctx.Done():
			return
		case b = <-t.batches:
		}
		err := t.leader.Commit(ctx, b)
		for errors.Is(err, ErrUncertain) && ctx.Err() == nil {
			t.log.Warn().Err(err).Int64("sequence", b.Sequence).Msg("a write's outcome is unknown; asking the store again")
			select {
			case <-ctx.Done():
			case <-t.leader.Lost():
				err = ErrFenced
				continue
			case <-time.After(commitPause):
			}
			err = t.leader.Commit(ctx, b)
		}
		select {
		case <-ctx.Done():
		case t.results <- err:
		}
	}
}

// fence returns nil once a write under our term has succeeded.
func (t *term) fence(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case t.fences <- reply:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *term) raiseFence(ctx context.Context, reply chan error) {
	id := t.expect(func(Answer) { reply <- nil })
	t.do(ctx, t.engine.Fence(id))
}

func (t *term) framework(ctx context.Context) string {
	var id string
	_ = t.look(ctx, func(c *Core) { id = c.meta.Framework }) // at the end of ctx: none
	return id
}

// read fetches a file for the core.
func (t *term) read(ctx context.Context, r Read) {
	select {
	case t.reads <- struct{}{}:
		defer func() { <-t.reads }()
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	data, err := readAll(ctx, t.opt.Files, r.Where, jobs.TaskDir(r.Task)+"/"+r.File, r.Limit)
	t.post(Fetched{Task: r.Task, File: r.File, Data: data, Err: err})
}

// readAll reads a whole file, up to a limit.
func readAll(ctx context.Context, files Files, where Sandbox, path string, limit int) ([]byte, error) {
	var all []byte
	for {
		data, size, err := files.Read(ctx, where, path, int64(len(all)), 256<<10)
		if err != nil {
			return nil, err
		}
		if size > int64(limit) {
			return nil, fmt.Errorf("%s has %d bytes; at most %d are read", path, size, limit)
		}
		all = append(all, data...)
		if int64(len(all)) >= size || len(data) == 0 {
			return all, nil
		}
	}
}

// clocked is a leadership that knows how far our clock is from its store's.
type clocked interface{ ClockSkew() time.Duration }

// watchPeers tells the core which schedulers are up, and how our clock stands.
func (t *term) watchPeers(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := t.opt.Elector.Schedulers()
	var skew time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if store, ok := t.leader.(clocked); ok {
			if by := store.ClockSkew(); (by - skew).Abs() > 100*time.Millisecond {
				skew = by
				t.post(ClockSkewed{By: by})
			}
			if skew.Abs() > skewAlarm {
				_ = t.fence(ctx) // a write measures the clocks again
			}
		}
		if now := t.opt.Elector.Schedulers(); !slices.Equal(now, last) {
			last = now
			t.post(Peers{URLs: now})
		}
	}
}

// post gives the loop an event; it waits while the loop is behind.
func (t *term) post(ev Event) {
	select {
	case t.events <- ev:
	case <-t.done:
	}
}

// look runs a function on the core, between steps.
func (t *term) look(ctx context.Context, f func(*Core)) error {
	ran := make(chan struct{})
	select {
	case t.inspect <- func(c *Core) { f(c); close(ran) }:
	case <-t.done:
		return errNotLeading
	case <-ctx.Done():
		return ctx.Err()
	}
	<-ran
	return nil
}

// ask makes a request and waits until what it did is durable.
func (t *term) ask(ctx context.Context, do any) (any, error) {
	reply := make(chan Answer, 1)
	id := t.expect(func(a Answer) { reply <- a })
	select {
	case t.events <- Request{ID: id, Do: do}:
	case <-t.done:
		return nil, errNotLeading
	case <-ctx.Done():
		t.answer(Answer{ID: id}) // it was not asked: nobody else will
		return nil, ctx.Err()
	}
	select {
	case a := <-reply:
		return a.Value, a.Err
	case <-t.done:
		return nil, &jobs.Error{Code: jobs.Unavailable, Message: "the leader stepped down before the request was durable", Hint: "ask again: it may or may not have been done"}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// expect registers who waits for an answer.
func (t *term) expect(take func(Answer)) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nextID++
	id := t.nextID
	t.answers[id] = take
	return id
}

func (t *term) answer(a Answer) {
	t.mu.Lock()
	take := t.answers[a.ID]
	delete(t.answers, a.ID)
	t.mu.Unlock()
	if take != nil {
		take(a)
	}
}
