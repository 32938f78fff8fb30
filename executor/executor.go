package executor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// Options are what an executor is given. What has a default may be left out.
type Options struct {
	Agent    Agent
	Registry *jobs.Registry
	Log      zerolog.Logger
	// Sandbox is the executor's directory, where the agent serves its files.
	Sandbox string
	// Shared executors stay warm until they are told to end; others serve one
	// task and end once its outcome is acknowledged.
	Shared bool
	// RecoveryTimeout is how long tasks outlive the connection to the agent;
	// 0 (no checkpointing): not at all.
	RecoveryTimeout time.Duration
	BackoffMax      time.Duration // between subscriptions; default 2 s
	ShutdownGrace   time.Duration // between SHUTDOWN and the kill by the agent; default 5 s
	Bounds          jobs.Sandbox  // default: DefaultSandbox
	Now             func() time.Time
}

const (
	// subscribeWithin is how long the first connection may take, where tasks do not outlive it for
	// longer.
	subscribeWithin = 30 * time.Second
	// killMargin is how long work may take beyond a kill's grace until it is given up.
	killMargin = time.Second
	// updateRepeat is when an update is sent again that is not acknowledged.
	updateRepeat = 30 * time.Second
)

func (o Options) withDefaults() Options {
	o.BackoffMax = cmp.Or(o.BackoffMax, 2*time.Second)
	o.ShutdownGrace = cmp.Or(o.ShutdownGrace, 5*time.Second)
	o.Bounds = cmp.Or(o.Bounds, jobs.DefaultSandbox())
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Executor serves one agent. Make it with New, and run it once.
type Executor struct {
	options  Options
	log      zerolog.Logger
	machine  *machine
	storage  *storage
	progress *progress
	inner    *queue[any]   // what happened inside: ended, stored
	outcomes *queue[store] // what storage is to make durable
	link     *link
	http     http.Client // to the schedulers
	cancels  map[jobs.TaskID]context.CancelCauseFunc
	works    sync.WaitGroup      // may hang, where work was given up
	retired  *queue[jobs.TaskID] // ended and acknowledged
	leaving  *leave
}

// New makes an executor; it opens nothing yet.
func New(o Options) *Executor {
	o = o.withDefaults()
	return &Executor{
		options: o, log: o.Log, progress: newProgress(),
		inner: newQueue[any](), outcomes: newQueue[store](), retired: newQueue[jobs.TaskID](),
		cancels: map[jobs.TaskID]context.CancelCauseFunc{},
		link:    newLink(o),
	}
}

// Run serves until the executor is done (its task is, the agent shut it down,
// or ctx ended, all nil) or the agent is lost for good (an error). All work has
// ended and its outcomes are stored when it returns.
func (x *Executor) Run(ctx context.Context) error {
	var err error
	if x.storage, err = newStorage(x.options.Sandbox); err != nil {
		return err
	}
	x.machine = newMachine(!x.options.Shared, limits{
		recovery: x.options.RecoveryTimeout,
		first:    max(subscribeWithin, x.options.RecoveryTimeout),
		margin:   killMargin,
		shutdown: x.options.ShutdownGrace,
		repeat:   updateRepeat,
	}, newUUID, x.options.Now())

	// Work is ended by its own cancellation, with a cause and a grace, never by
	// ctx: what serves it must outlast it.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var servants sync.WaitGroup
	servants.Go(func() { x.storage.serve(serving, x.outcomes, func(s stored) { x.inner.put(s) }) })
	servants.Go(func() { x.progress.serve(serving, x.link.message) })
	servants.Go(func() { x.tidy(serving) })
	x.loop(ctx, serving)
	x.link.close()
	stop()
	servants.Wait()
	x.awaitWorks()
	return x.leaving.err
}

// loop takes one event after another to the machine, and does what it says.
func (x *Executor) loop(ctx, serving context.Context) {
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	interrupt := ctx.Done()
	for x.leaving == nil {
		x.link.connect(serving, x.machine)
		x.setAlarm(alarm)
		select {
		case r := <-x.link.subscribed:
			if err := x.link.open(serving, r); err != nil {
				x.log.Warn().Err(err).Msg("the agent cannot be subscribed to; trying again")
			}
		case <-x.link.retry:
			x.link.retry = nil
		case e, open := <-x.link.events:
			x.receive(serving, e, open)
		case err := <-x.link.failed():
			x.lose(serving, fmt.Errorf("send an update: %w", err))
		case <-x.link.silent:
			x.lose(serving, fmt.Errorf("the agent did not say SUBSCRIBED within %s", answerWithin))
		case <-x.inner.ready:
			for _, e := range x.inner.take(storeBatch) {
				x.step(serving, e)
			}
		case <-alarm.C:
			x.step(serving, tick{})
		case <-interrupt:
			interrupt = nil
			x.step(serving, interrupted{context.Cause(ctx).Error()})
		}
	}
}

func (x *Executor) setAlarm(alarm *time.Timer) {
	if x.machine.next.IsZero() {
		alarm.Stop()
		return
	}
	alarm.Reset(max(0, x.machine.next.Sub(x.options.Now())))
}

// receive takes an event of the stream, or its end.
func (x *Executor) receive(serving context.Context, e Event, open bool) {
	if !open {
		x.lose(serving, x.link.err())
		return
	}
	switch e := e.(type) {
	case Error:
		x.lose(serving, fmt.Errorf("the agent refused the stream: %s", e.Message))
		return
	case Subscribed:
		x.link.settle()
		x.log.Info().Str("agent", e.AgentID).Str("host", e.Host).Msg("subscribed")
	case Message:
		x.log.Debug().Int("bytes", len(e.Data)).Msg("a message from the scheduler means nothing to this executor")
	}
	x.step(serving, e)
}

func (x *Executor) lose(serving context.Context, why error) {
	x.log.Warn().Err(why).Msg("the connection to the agent ended")
	x.link.lose()
	x.step(serving, disconnected{})
}

func (x *Executor) step(serving context.Context, event any) {
	for _, e := range x.machine.step(x.options.Now(), event) {
		x.perform(serving, e)
	}
}

func (x *Executor) perform(serving context.Context, e effect) {
	switch e := e.(type) {
	case begin:
		ctx, cancel := context.WithCancelCause(serving)
		x.cancels[e.assignment.Task] = cancel
		x.log.Debug().Str("task", string(e.assignment.Task)).Str("kind", e.assignment.Kind).Msg("task begins")
		x.works.Go(func() { x.inner.put(ended{e.assignment.Task, x.work(ctx, e.assignment)}) })
	case halt:
		x.log.Info().Str("task", string(e.task)).Str("reason", e.stop.Reason).Dur("grace", e.stop.Grace).Msg("task is asked to end")
		x.cancels[e.task](e.stop)
	case store:
		x.outcomes.put(e)
	case tell:
		x.link.send(e.update)
		if e.update.State != jobs.TaskRunning {
			x.log.Debug().Str("task", string(e.update.Task)).Str("state", e.update.State).Str("message", e.update.Message).Msg("task ended")
		}
	case forget:
		x.retire(e.task)
	case leave:
		x.leaving = &e
	}
}

// retire lets go of an ended attempt; tidy sees to its directory.
func (x *Executor) retire(id jobs.TaskID) {
	if cancel := x.cancels[id]; cancel != nil {
		cancel(nil)
		delete(x.cancels, id)
	}
	x.retired.put(id)
}

// tidy keeps the sandbox within its bounds until ctx ends.
func (x *Executor) tidy(ctx context.Context) {
	kept := retention{tasks: x.options.Bounds.KeepTasks, bytes: x.options.Bounds.KeepBytes}
	for {
		select {
		case <-x.retired.ready:
		case <-ctx.Done():
			return
		}
		for _, id := range x.retired.take(storeBatch) {
			if err := x.storage.clean(kept.add(x.options.Now(), id, x.storage.sizeOf(id))); err != nil {
				x.log.Warn().Err(err).Msg("an old attempt's directory stays")
			}
		}
	}
}

// awaitWorks waits for what the works still do, but not for one that was given up.
func (x *Executor) awaitWorks() {
	for _, cancel := range x.cancels {
		cancel(errors.New("the executor ends"))
	}
	done := make(chan struct{})
	go func() {
		x.works.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(killMargin):
		x.log.Warn().Msg("work that was given up still hangs; it ends with this process")
	}
}

// newUUID is a random (version 4) UUID, as Mesos wants them: 16 bytes.
func newUUID() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return b
}
