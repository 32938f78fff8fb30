package master

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// framework is one registered framework.
type framework struct {
	id         string
	info       mesos.FrameworkInfo
	roles      []string
	suppressed map[string]bool
	stream     *wire.Stream
	streamID   string
	connected  bool
	recovered  bool // known from its tasks only, not subscribed to this master yet

	tasks       map[string]*task
	unreachable map[string]*task // of agents that are unreachable
	completed   *history[*task]
	offers      map[string]*offer
	inverse     map[string]*inverseOffer
	operations  map[string]*operation       // with feedback, not acknowledged yet
	allocated   map[string]resources.Bundle // by role; outstanding offers included
	filters     []filter

	timer        wire.Timer // of the failover timeout
	registered   time.Time
	reregistered time.Time
	unregistered time.Time
}

// filter keeps an agent's resources from being offered to a role for a while.
type filter struct {
	role, agent string
	refused     resources.Bundle
	until       time.Time
}

func (f *framework) has(capability mesos.FrameworkInfo_Capability_Type) bool {
	for _, c := range f.info.Capabilities {
		if c.Type == capability {
			return true
		}
	}
	return false
}

func (f *framework) partitionAware() bool {
	return f.has(mesos.FrameworkInfo_Capability_PARTITION_AWARE)
}

func (f *framework) send(event *scheduler.Event) {
	if f.stream != nil {
		f.stream.Send(event)
	}
}

func (f *framework) stopTimer() {
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
}

func (f *framework) checkpoints() bool { return f.info.Checkpoint != nil && *f.info.Checkpoint }

// charge changes what a role has allocated.
func (f *framework) charge(role string, amount resources.Bundle) {
	f.allocated[role] = f.allocated[role].Plus(amount)
}

func (f *framework) credit(role string, amount resources.Bundle) {
	f.allocated[role] = f.allocated[role].Minus(amount)
}

// task is one task as the master knows it.
type task struct {
	info      *mesos.TaskInfo
	framework string
	agent     string
	executor  string // empty: the built-in command executor
	role      string
	amount    resources.Bundle
	released  bool // its resources were given back

	state       mesos.TaskState
	updateState *mesos.TaskState // of the update that was forwarded last
	updateUUID  []byte
	status      *mesos.TaskStatus // the newest one
	statuses    []mesos.TaskStatus
}

func (t *task) id() string { return t.info.TaskID.Value }

// reported is the state that reconciliation tells: what the scheduler was told last.
func (t *task) reported() mesos.TaskState {
	if t.updateState != nil {
		return *t.updateState
	}
	return t.state
}

// executor is a custom executor on an agent.
type executor struct {
	info   mesos.ExecutorInfo
	role   string
	amount resources.Bundle
}

// offer is an outstanding offer.
type offer struct {
	id        string
	framework *framework
	agent     *agent
	role      string
	amount    resources.Bundle
	timer     wire.Timer
}

// agent is one registered agent.
type agent struct {
	id        string
	info      mesos.AgentInfo
	total     resources.Bundle
	used      resources.Bundle // tasks, executors and outstanding offers
	link      *agentLink
	connected bool
	endpoint  string

	deactivated    bool // by an operator: it gets no offers
	drain          *mesos.DrainInfo
	draining       time.Time // since when
	unavailability *mesos.Unavailability
	answered       map[string]inverseAnswer // by framework, to inverse offers

	tasks     map[string]map[string]*task     // by framework, task
	executors map[string]map[string]*executor // by framework, executor
	offers    map[string]*offer

	unanswered   int // pings in a row
	shown        int // how often it told that it is recovering
	registered   time.Time
	reregistered time.Time
}

type agentLink = wire.Link[wire.ToAgent, wire.ToMaster]

func (a *agent) cut() {
	if a.link != nil {
		link := a.link
		a.link = nil
		go link.Cut() // it waits for the link's writer, and mu is held here
	}
}

// hangUp ends the link once what was sent is written.
func (a *agent) hangUp() {
	if a.link != nil {
		link := a.link
		a.link = nil
		go link.Close() // it waits for the link's writer, and mu is held here
	}
}

func (a *agent) send(message wire.ToAgent) {
	if a.link != nil && a.connected {
		a.link.Send(message)
	}
}

func (a *agent) addTask(t *task) {
	if a.tasks[t.framework] == nil {
		a.tasks[t.framework] = map[string]*task{}
	}
	a.tasks[t.framework][t.id()] = t
	if !t.released {
		a.used = a.used.Plus(t.amount)
	}
}

func (a *agent) dropTask(t *task) {
	delete(a.tasks[t.framework], t.id())
	if len(a.tasks[t.framework]) == 0 {
		delete(a.tasks, t.framework)
	}
}

func (a *agent) addExecutor(frameworkID string, e *executor) {
	if a.executors[frameworkID] == nil {
		a.executors[frameworkID] = map[string]*executor{}
	}
	a.executors[frameworkID][e.info.ExecutorID.Value] = e
	a.used = a.used.Plus(e.amount)
}

// history keeps the newest few of something, oldest first.
type history[T any] struct {
	limit int
	items []T
}

func newHistory[T any](limit int) *history[T] { return &history[T]{limit: limit} }

func (h *history[T]) add(item T) {
	h.items = append(h.items, item)
	if extra := len(h.items) - h.limit; extra > 0 {
		h.items = append(h.items[:0:0], h.items[extra:]...)
	}
}
