package scheduler

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"tidemill/jobs"
)

// Config is what the core's decisions depend on besides its records.
type Config struct {
	// Shared and Own are the executors that tasks run in; their ids are made
	// from their content.
	Shared, Own ExecutorSpec
	// StartBy is how long after its launch an executor may still start a
	// task; Skew what clocks may differ by.
	StartBy, Skew time.Duration
	// LaunchTimeout is how long a task may stay without a word before it is killed.
	LaunchTimeout time.Duration
	// MasterSettle is for how long a new master's "unknown task" is not
	// believed: the agents' re-registration timeout.
	MasterSettle time.Duration
	// KillAgain is how often a kill is sent until a final state comes.
	KillAgain time.Duration
	// ReconcileEvery is the pause between full reconciliations.
	ReconcileEvery time.Duration
	// LaunchFailures is how many launches of a split may fail before its run does.
	LaunchFailures int
	// History is how many final runs of a job stay in the store, and
	// HistoryBacklog how many others may wait in it to be written to history;
	// 0 where there is none: they are forgotten.
	History, HistoryBacklog int
	// IdleDecline is how long offers are refused while nothing waits.
	IdleDecline time.Duration
	// ExecutorIdle is how long a shared executor stays warm without work.
	ExecutorIdle time.Duration
}

// DefaultConfig is for a cluster of Mesos's own defaults.
func DefaultConfig() Config {
	return Config{
		StartBy: time.Minute, Skew: 2 * time.Second, LaunchTimeout: 3 * time.Minute,
		MasterSettle: 10 * time.Minute, KillAgain: 10 * time.Second, ReconcileEvery: 15 * time.Minute,
		LaunchFailures: 20, History: 20, IdleDecline: 10 * time.Minute, ExecutorIdle: 10 * time.Minute,
	}
}

// Effects is what a Step asks for, to be done in this order: Persist becomes
// durable, under the leader's term; then Calls go to Mesos, Reads to agents,
// Answers to those who asked and Notices to those who watch, and the runs in
// History are written there; and Step is called again at Wake at the latest. If persisting fails nothing else
// happens. Free calls rest on no write and may leave at once.
type Effects struct {
	Persist []Group
	Calls   []Call
	Free    []Call
	Reads   []Read
	Answers []Answer
	Notices []jobs.Notice
	History []jobs.RunView // final runs; a Recorded event follows
	Wake    time.Time
	// Stream is the subscription under which the calls were decided.
	Stream int64
}

// Read asks for a file of an attempt's sandbox; a Fetched event answers it.
type Read struct {
	Task  jobs.TaskID
	Where Sandbox
	File  string // jobs.OutcomeFile or jobs.PlanFile
	Limit int
}

// Answer answers a Request, once what it did is durable.
type Answer struct {
	ID    int64
	Value any
	Err   error
}

// Core is the scheduler's state and its decisions. Step is its only way to
// change: it owns no goroutine, no clock and no I/O. What Step does with the
// same events at the same times is always the same.
type Core struct {
	cfg   Config
	kinds *jobs.Registry
	now   time.Time // never goes back

	jobs    map[jobs.Name]*job
	byName  []*job // see orderedJobs
	graph   *jobs.Graph
	runs    map[jobs.RunID]*run
	tasks   map[jobs.TaskID]*task
	targets map[string]int64
	pools   map[jobs.Name]*pool
	meta    metaRecord
	holding gate // shut while launches are held

	stream      int64 // of the present subscription; 0: none
	master      string
	masterSince time.Time
	suppressed  bool
	lastRevive  time.Time
	lastOffer   time.Time
	subscribed  time.Time // when the present stream began
	wantRevive  bool
	ahead       time.Duration // our clock, of the store's
	stray       time.Duration // ahead, where it is beyond belief: left out of now
	lag         time.Duration // our clock, behind now
	offers      []jobs.Offer  // of this step, not answered yet
	ready       readyQueue    // wait for an offer, first come first
	agents      map[string]*agent
	shared      map[string]ExecutorSpec // shared executors by id, those without reservations by role too
	schedulers  []string

	timers                           timerHeap
	askAlarm, idleAlarm, reviveAlarm alarm
	timerSeq                         int64
	dirty                            []record
	dirtySet                         map[string]bool
	discarded                        Group
	leaving                          leaving
	stale                            []*run                  // found in the store, of a job that was deleted
	strays                           []*task                 // loaded, of runs that have ended and keep them in their own records
	orphans                          map[jobs.RunID][]string // loaded: keys of what is left of the plans of runs that are not there
	notices                          int64
	launches                         int64
	problems                         map[string]string

	fx Effects
}

// New makes a core without records; Load gives it those of the store.
func New(cfg Config, kinds *jobs.Registry) *Core {
	cfg.Shared.ID, cfg.Own.ID = "", ""
	return &Core{
		cfg: cfg, kinds: kinds,
		jobs: map[jobs.Name]*job{}, graph: jobs.NewGraph(), runs: map[jobs.RunID]*run{},
		tasks: map[jobs.TaskID]*task{}, targets: map[string]int64{}, pools: map[jobs.Name]*pool{},
		agents: map[string]*agent{}, shared: map[string]ExecutorSpec{},
		dirtySet: map[string]bool{}, leaving: leaving{runs: map[jobs.RunID]*run{}}, problems: map[string]string{}, ready: newReadyQueue(),
	}
}

// Step takes what happened, and says what is to be done.
func (c *Core) Step(now time.Time, ev Event) Effects {
	c.fx = Effects{}
	strayed := c.strayed()
	switch e := ev.(type) { // they say what now means
	case ClockSkewed:
		c.weighClock(e.By)
	case Elected:
		c.weighClock(e.Ahead)
	}
	now = now.Add(-c.stray)
	if now.After(c.now) {
		c.now = now
	}
	c.lag = c.now.Sub(now)
	c.handle(ev)
	if strayed && !c.strayed() {
		c.resumeSchedules()
	}
	c.seal()
	c.fireTimers()
	c.match()
	c.reviveOrSuppress()
	c.seal()
	c.record()
	if len(c.timers) > 0 {
		c.fx.Wake = c.timers[0].at.Add(c.stray)
	}
	c.fx.Stream = c.stream
	return c.fx
}

func (c *Core) handle(ev Event) {
	switch e := ev.(type) {
	case Tick:
	case Elected:
		c.onElected(e)
	case Peers:
		c.schedulers = e.URLs
	case ClockSkewed:
	case Subscribed:
		c.onSubscribed(e)
	case Disconnected:
		c.stream, c.offers = 0, nil
	case Offered:
		c.onOffered(e)
	case Rescinded: // answered in the step that brought it, or gone with it
	case InverseOffered:
		c.onInverseOffered(e)
	case InverseRescinded:
		c.onInverseRescinded(e)
	case Updated:
		c.onUpdate(e.Update)
	case Messaged:
		c.onMessage(e)
	case ExecutorLost:
		c.onExecutorLost(e)
	case AgentLost:
		delete(c.agents, e.Agent)
	case CallAnswered:
		c.onCallAnswered(e)
	case Fetched:
		c.onFetched(e)
	case Recorded:
		c.onRecorded(e)
	case Request:
		c.onRequest(e)
	}
}

// touch marks a record as changed; the next seal encodes it.
func (c *Core) touch(r record) {
	if t, ok := r.(*task); ok {
		c.account(t)
	}
	key := r.key()
	if !c.dirtySet[key] {
		c.dirtySet[key] = true
		c.dirty = append(c.dirty, r)
	}
}

// discard deletes a record that nothing refers to once the present group is
// durable: a crash between the two leaves a stray record, never a missing one.
func (c *Core) discard(key string) {
	c.discarded = append(c.discarded, Change{Key: key})
}

// seal closes a group: what was touched since the last one becomes durable
// together. A group too large for one batch is written in the order of its
// ranks: every prefix of it is a state from which the rest follows again.
func (c *Core) seal() {
	if len(c.dirty) > 0 {
		slices.SortStableFunc(c.dirty, func(a, b record) int { return cmp.Compare(rank(a), rank(b)) })
		g := make(Group, 0, len(c.dirty))
		for _, r := range c.dirty {
			g = append(g, Change{Key: r.key(), Value: r.encode(c.now)})
		}
		c.dirty = c.dirty[:0]
		clear(c.dirtySet)
		c.fx.Persist = append(c.fx.Persist, g)
	}
	if len(c.discarded) > 0 {
		c.fx.Persist = append(c.fx.Persist, c.discarded)
		c.discarded = nil
	}
}

// rank orders the records of a group: a run comes to be, or to its
// cancelling, before what consumed its cause, and to its end last of all. A
// crash in between has the end, and all that follows from it, found again.
func rank(r record) int {
	switch r := r.(type) {
	case *run:
		if r.rec.State.Final() {
			return 3
		}
		return 0
	case *task:
		return 1
	}
	return 2
}

func (c *Core) notify(n jobs.Notice) {
	c.notices++
	n.Sequence, n.At = c.notices, c.now
	c.fx.Notices = append(c.fx.Notices, n)
}

func (c *Core) call(call Call) { c.fx.Calls = append(c.fx.Calls, call) }

// alarm is a timer of which there is one at most: set again, it goes off at
// the sooner of both times.
type alarm struct{ at time.Time }

// set arranges for do to be called at t, unless it will be sooner anyway.
func (a *alarm) set(c *Core, t time.Time, do func()) {
	if !a.at.IsZero() && !t.Before(a.at) {
		return
	}
	a.at = t
	c.at(t, func() {
		if a.at.Equal(t) {
			a.at = time.Time{}
			do()
		}
	})
}

// at arranges for do to be called in the first step at or after t. do checks
// for itself whether there is still something to do.
func (c *Core) at(t time.Time, do func()) {
	c.timerSeq++
	heap.Push(&c.timers, timer{at: t, seq: c.timerSeq, do: do})
}

// maxFired bounds the timers of one step, so that thousands of jobs due at
// one instant do not keep everything else waiting: Wake asks for the rest.
const maxFired = 500

func (c *Core) fireTimers() {
	for n := 0; n < maxFired && len(c.timers) > 0 && !c.timers[0].at.After(c.now); n++ {
		t := heap.Pop(&c.timers).(timer)
		t.do()
		c.seal()
	}
}

type timer struct {
	at  time.Time
	seq int64
	do  func()
}

// timerHeap orders timers by time, then by when they were made.
type timerHeap []timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)   { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = timer{}
	*h = (*h)[:len(*h)-1]
	return last
}
