package executor

import (
	"context"
	"time"

	"tidemill/jobs"
)

// Agent is the way to the Mesos agent that started this executor.
type Agent interface {
	// Subscribe opens the stream and tells the agent what it has not
	// acknowledged: launched tasks, and updates. One try: the caller backs off.
	Subscribe(ctx context.Context, unackedTasks []Task, unackedUpdates []Update) (Stream, error)
}

// Stream is one subscription: its events, and the calls made beside it.
type Stream interface {
	// Events delivers what the agent says, in order, first a Subscribed. It is
	// closed when the stream ends, also by Close; Err then says why.
	Events() <-chan Event
	Err() error
	// Update sends a status update and waits until the agent took the call
	// (which is not yet its acknowledgement).
	Update(ctx context.Context, u Update) error
	// Message sends bytes to the scheduler, at most once.
	Message(ctx context.Context, data []byte) error
	// Close ends the stream and waits for what serves it. It is idempotent.
	Close()
}

// Task is a launched task, as it must be told again on re-subscription.
type Task struct {
	ID  jobs.TaskID
	Raw []byte // the TaskInfo as the adapter received it; opaque to the executor
}

// Update is a status update of a task.
type Update struct {
	Task      jobs.TaskID
	State     string // jobs.TaskRunning, jobs.TaskKilling, jobs.TaskFinished, jobs.TaskFailed or jobs.TaskKilled
	Reason    string // a Mesos reason ("REASON_…"), or none
	Message   string
	UUID      []byte // 16 bytes, the same in every repetition
	Data      []byte // of a terminal update: the jobs.Outcome as JSON
	Timestamp time.Time
	Healthy   *bool // what a health check says; nil: nothing
}

// Event is something the agent said.
type Event interface{ event() }

// Subscribed opens the stream.
type Subscribed struct {
	AgentID     string
	Host        string // the agent's hostname
	ExecutorID  string
	FrameworkID string
	Killing     bool // the framework has the capability TASK_KILLING_STATE: it is told when a kill begins
}

// Launch brings one task.
type Launch struct {
	Task Task
	Name string
	Data []byte // a jobs.Assignment as JSON
}

// Kill ends a task: politely, and after the grace for good. No grace (0):
// the assignment's own holds.
type Kill struct {
	Task  jobs.TaskID
	Grace time.Duration
}

// Acknowledged ends the repetition of an update.
type Acknowledged struct {
	Task jobs.TaskID
	UUID []byte
}

// Message brings bytes from the scheduler.
type Message struct{ Data []byte }

// Shutdown ends the executor and all its tasks.
type Shutdown struct{}

// Error is the agent's last word on a stream that it refuses.
type Error struct{ Message string }

func (Subscribed) event()   {}
func (Launch) event()       {}
func (Kill) event()         {}
func (Acknowledged) event() {}
func (Message) event()      {}
func (Shutdown) event()     {}
func (Error) event()        {}
