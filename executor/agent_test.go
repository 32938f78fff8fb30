package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// fakeAgent behaves as a Mesos agent does to its executor: it takes updates
// once each, by their uuid, and acknowledges them unless told not to.
type fakeAgent struct {
	mu      sync.Mutex
	sandbox string
	stream  *fakeStream
	away    bool // refuses subscriptions
	hung    bool // does not answer them
	silent  bool // answers, and says no SUBSCRIBED
	mute    bool // acknowledges nothing
	told    [][]Task
	sent    map[jobs.TaskID]bool // launched
	dropped map[jobs.TaskID]bool // launched, and not known to the executor when it came again
	seen    map[string]bool      // uuids
	updates map[jobs.TaskID][]Update
	ends    int     // terminal updates
	broken  []error // rules the executor broke
	news    chan struct{}
}

func newFakeAgent(sandbox string) *fakeAgent {
	return &fakeAgent{sandbox: sandbox, seen: map[string]bool{}, sent: map[jobs.TaskID]bool{}, dropped: map[jobs.TaskID]bool{}, updates: map[jobs.TaskID][]Update{}, news: make(chan struct{}, 1)}
}

func (a *fakeAgent) Subscribe(ctx context.Context, tasks []Task, updates []Update) (Stream, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.away:
		return nil, errors.New("connection refused")
	case a.hung:
		a.mu.Unlock()
		<-ctx.Done()
		a.mu.Lock()
		return nil, context.Cause(ctx)
	}
	a.told = append(a.told, tasks)
	a.drop(tasks, updates)
	s := &fakeStream{agent: a, events: make(chan Event, 1<<14)}
	a.stream = s
	if a.silent {
		return s, nil
	}
	s.events <- Subscribed{AgentID: "S0", Host: "agent-a", Killing: true}
	slices.SortStableFunc(updates, func(x, y Update) int { return x.Timestamp.Compare(y.Timestamp) })
	for _, u := range updates {
		a.take(s, u)
	}
	a.poke()
	return s, nil
}

// drop gives up the launches that were lost with the former stream.
func (a *fakeAgent) drop(tasks []Task, updates []Update) {
	for id := range a.sent {
		told := len(a.updates[id]) > 0 ||
			slices.ContainsFunc(tasks, func(t Task) bool { return t.ID == id }) ||
			slices.ContainsFunc(updates, func(u Update) bool { return u.Task == id })
		if !told {
			a.dropped[id] = true
		}
	}
}

func (a *fakeAgent) take(s *fakeStream, u Update) {
	if !a.seen[string(u.UUID)] {
		a.seen[string(u.UUID)] = true
		a.check(u)
		a.updates[u.Task] = append(a.updates[u.Task], u)
	}
	if !a.mute && !s.closed {
		s.events <- Acknowledged{Task: u.Task, UUID: u.UUID}
	}
	a.poke()
}

// check looks for broken rules the moment an update arrives.
func (a *fakeAgent) check(u Update) {
	breach := func(format string, args ...any) {
		a.broken = append(a.broken, fmt.Errorf("task %s: "+format, append([]any{u.Task}, args...)...))
	}
	for _, former := range a.updates[u.Task] {
		if former.State != jobs.TaskRunning && (former.State != jobs.TaskKilling || !final(u)) {
			breach("%s after %s", u.State, former.State)
		}
	}
	if len(u.UUID) != 16 {
		breach("a uuid of %d bytes", len(u.UUID))
	}
	if !final(u) {
		return
	}
	a.ends++
	file, err := os.ReadFile(filepath.Join(a.sandbox, jobs.TaskDir(u.Task), jobs.OutcomeFile))
	if err != nil {
		breach("reported before its outcome was stored: %v", err)
	} else if string(file) != string(u.Data) {
		breach("reported %s but stored %s", u.Data, file)
	}
}

func (a *fakeAgent) poke() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// say sends an event down the stream, if there is one.
func (a *fakeAgent) say(e Event) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stream == nil || a.stream.closed {
		return false
	}
	a.stream.events <- e
	return true
}

func (a *fakeAgent) launch(as jobs.Assignment) bool {
	data, err := json.Marshal(as)
	if err != nil {
		panic(err)
	}
	if !a.say(Launch{Task: Task{ID: as.Task}, Name: string(as.Task), Data: data}) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent[as.Task] = true
	return true
}

// cut ends the stream from the agent's side.
func (a *fakeAgent) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stream != nil {
		a.stream.end()
	}
}

func (a *fakeAgent) set(away, mute bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away, a.mute = away, mute
}

// await waits until the agent's state satisfies a condition.
func (a *fakeAgent) await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		a.mu.Lock()
		ok := condition()
		a.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-a.news:
		case <-limit:
			t.Fatalf("waited in vain for %s; updates: %v", what, a.updates)
		}
	}
}

func final(u Update) bool { return u.State != jobs.TaskRunning && u.State != jobs.TaskKilling }

func (a *fakeAgent) terminal(id jobs.TaskID) (Update, bool) {
	for _, u := range a.updates[id] {
		if final(u) {
			return u, true
		}
	}
	return Update{}, false
}

// awaitEnd waits for a task's terminal update and gives its outcome.
func (a *fakeAgent) awaitEnd(t *testing.T, id jobs.TaskID) (Update, jobs.Outcome) {
	t.Helper()
	var u Update
	a.await(t, "the end of "+string(id), func() (ok bool) { u, ok = a.terminal(id); return ok })
	var o jobs.Outcome
	if err := json.Unmarshal(u.Data, &o); err != nil {
		t.Fatalf("outcome of %s: %v", id, err)
	}
	return u, o
}

type fakeStream struct {
	agent    *fakeAgent
	events   chan Event
	closed   bool
	messages [][]byte
}

func (s *fakeStream) Events() <-chan Event { return s.events }
func (s *fakeStream) Err() error           { return errors.New("the agent hung up") }

func (s *fakeStream) Update(_ context.Context, u Update) error {
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	if s.closed {
		return errors.New("broken pipe")
	}
	s.agent.take(s, u)
	return nil
}

func (s *fakeStream) Message(_ context.Context, data []byte) error {
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	s.messages = append(s.messages, data)
	s.agent.poke()
	return nil
}

func (s *fakeStream) Close() {
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	s.end()
}

func (s *fakeStream) end() {
	if !s.closed {
		s.closed = true
		close(s.events)
	}
}

// actor is a kind whose work is what the test says.
type actor struct {
	mu    sync.Mutex
	acts  map[jobs.TaskID]act
	began map[jobs.TaskID]time.Time
}

type act func(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error)

func newActor() *actor {
	return &actor{acts: map[jobs.TaskID]act{}, began: map[jobs.TaskID]time.Time{}}
}

func (k *actor) Name() string                               { return "act" }
func (k *actor) Summary() string                            { return "acts as a test says" }
func (k *actor) Check(json.RawMessage) (jobs.Traits, error) { return jobs.Traits{}, nil }
func (k *actor) on(id jobs.TaskID, f act)                   { k.mu.Lock(); defer k.mu.Unlock(); k.acts[id] = f }
func (k *actor) beganAt(id jobs.TaskID) (t time.Time, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok = k.began[id]
	return t, ok
}

func (k *actor) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	k.mu.Lock()
	k.began[a.Task] = time.Now()
	f := k.acts[a.Task]
	k.mu.Unlock()
	if f == nil {
		return jobs.Result{}, nil
	}
	return f(ctx, a, rt)
}

// rig is an executor under test with its agent.
type rig struct {
	agent  *fakeAgent
	actor  *actor
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	sandbox := t.TempDir()
	r := &rig{agent: newFakeAgent(sandbox), actor: newActor(), ended: make(chan error, 1)}
	registry, err := jobs.NewRegistry(r.actor, planner{})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Agent: r.agent, Registry: registry, Log: zerolog.Nop(), Sandbox: sandbox, Shared: true, RecoveryTimeout: 15 * time.Minute}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- New(o).Run(ctx) }()
	r.agent.await(t, "a subscription", func() bool { return r.agent.stream != nil })
	return r
}

// stop ends the executor and reports the rules it broke.
func (r *rig) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	r.verdict(t)
}

func (r *rig) verdict(t *testing.T) {
	t.Helper()
	for _, err := range r.agent.broken {
		t.Error(err)
	}
}

// planner is a kind that plans what its spec holds.
type planner struct{}

func (planner) Name() string                               { return "plan" }
func (planner) Summary() string                            { return "plans its spec" }
func (planner) Check(json.RawMessage) (jobs.Traits, error) { return jobs.Traits{Planned: true}, nil }
func (planner) Work(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
	return jobs.Result{}, errors.New("not asked to work")
}

func (planner) Plan(_ context.Context, a jobs.Assignment, _ jobs.Runtime) (p jobs.Plan, err error) {
	return p, json.Unmarshal(a.Spec, &p)
}

func assignment(id string) jobs.Assignment {
	return jobs.Assignment{Task: jobs.TaskID(id), Kind: "act", Stage: 1, KillGrace: jobs.Duration(2 * time.Second)}
}

// pass lets time go by; in a synctest bubble that takes none.
func pass(d time.Duration) { <-time.After(d) }
