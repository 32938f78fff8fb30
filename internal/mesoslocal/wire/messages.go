package wire

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// LinkPath is where agents open their link to the master, by an HTTP Upgrade.
const (
	LinkPath     = "/tidemill/v1/agent-link"
	LinkProtocol = "tidemill-agent-link"
)

// Messages as they travel on the link.
type (
	AgentInfo     = Proto[mesos.AgentInfo, *mesos.AgentInfo]
	FrameworkInfo = Proto[mesos.FrameworkInfo, *mesos.FrameworkInfo]
	ExecutorInfo  = Proto[mesos.ExecutorInfo, *mesos.ExecutorInfo]
	TaskInfo      = Proto[mesos.TaskInfo, *mesos.TaskInfo]
	TaskStatus    = Proto[mesos.TaskStatus, *mesos.TaskStatus]
	KillPolicy    = Proto[mesos.KillPolicy, *mesos.KillPolicy]
	Resource      = Proto[mesos.Resource, *mesos.Resource]
)

// ToAgent is one message of the master: exactly one field is set.
type ToAgent struct {
	Registered        *Registered
	Ping              *Ping
	Launch            *Launch
	Kill              *Kill
	Acknowledge       *Acknowledge
	ToExecutor        *ExecutorMessage
	ShutdownExecutor  *ExecutorRef
	ShutdownFramework *FrameworkRef
	UpdateFramework   *FrameworkInfo
	Operation         *Operation
	OperationKnown    *OperationDone
	Drain             *Drain
	Shutdown          *Shutdown
}

// ToMaster is one message of an agent: exactly one field is set.
type ToMaster struct {
	Recovering   *Recovering
	Register     *Register
	Pong         *Ping
	Update       *Update
	Exited       *Exited
	FromExecutor *ExecutorMessage
	Operation    *OperationDone
	Unregister   *Shutdown
}

// Registered answers Register.
type Registered struct {
	AgentID string
}

// Ping tests the link; Connected is the master's view.
type Ping struct {
	Connected bool
}

// Launch hands tasks to an agent: one, or a group.
type Launch struct {
	Framework FrameworkInfo
	Tasks     []TaskInfo
	Executor  *ExecutorInfo // of a group
}

// Kill asks for the end of a task.
type Kill struct {
	FrameworkID string
	TaskID      string
	Policy      *KillPolicy
}

// Acknowledge tells the agent that the scheduler has an update.
type Acknowledge struct {
	FrameworkID string
	TaskID      string
	UUID        []byte
}

// ExecutorMessage travels between a scheduler and an executor.
type ExecutorMessage struct {
	FrameworkID string
	ExecutorID  string
	Data        []byte
}

// ExecutorRef names an executor.
type ExecutorRef struct {
	FrameworkID string
	ExecutorID  string
}

// FrameworkRef names a framework.
type FrameworkRef struct {
	FrameworkID string
}

// Shutdown ends an agent, or announces its end.
type Shutdown struct {
	Reason string
}

// Recovering is sent instead of Register by an agent that has just started and does not
// know its executors' fate yet: it asks the master for patience.
type Recovering struct {
	AgentID string
}

// Register is an agent's first message on a link. Of an agent that was registered
// before, it carries all that lives on it.
type Register struct {
	Info       AgentInfo
	Endpoint   string // host:port of the agent's HTTP server
	Frameworks []FrameworkInfo
	Executors  []ExecutorInfo
	Tasks      []Task
}

// Task is a task that lives on an agent.
type Task struct {
	FrameworkID string
	ExecutorID  string // empty: the built-in command executor
	Info        TaskInfo
	State       int32
	Status      *TaskStatus // the newest one
	UpdateState int32       // of the update that waits for its acknowledgement
	UpdateUUID  []byte
}

// Update is a status update on its way to the scheduler.
type Update struct {
	FrameworkID string
	Status      TaskStatus
	Latest      int32 // the task's newest state, which may be ahead of the update's
}

// Exited tells that an executor ended; Status is its raw wait status.
type Exited struct {
	FrameworkID string
	ExecutorID  string
	Status      int
}

// Operation changes an agent's resources.
type Operation struct {
	FrameworkID string
	ID          string // the framework's; empty: it wants no word of its end
	From, To    []Resource
}

// OperationDone tells of the end of an operation with an id, until it is known.
type OperationDone struct {
	FrameworkID string
	ID          string
	UUID        []byte
}

// Drain has an agent kill all its tasks.
type Drain struct {
	MaxGrace *time.Duration // bounds the tasks' own grace periods
	MarkGone bool
	Over     bool // the agent is in use again
}

// Resources wraps resources for the link.
func Resources(list []mesos.Resource) []Resource {
	wrapped := make([]Resource, len(list))
	for i := range list {
		wrapped[i].Value = list[i]
	}
	return wrapped
}

// Unwrap returns the resources of a message.
func Unwrap(wrapped []Resource) []mesos.Resource {
	list := make([]mesos.Resource, len(wrapped))
	for i := range wrapped {
		list[i] = wrapped[i].Value
	}
	return list
}
