package scheduler

import (
	"time"

	"tidemill/jobs"
)

// Call is something to tell Mesos.
type Call interface{ call() }

// Accept launches tasks on one agent with its offers; none: it declines them.
type Accept struct {
	Offers   []string
	Launches []Launch
	Refuse   time.Duration // how long the rest is not to be offered again
}

// Decline gives offers back.
type Decline struct {
	Offers []string
	Refuse time.Duration
}

// Revive clears every filter and asks for offers; Suppress asks for none.
type (
	Revive   struct{}
	Suppress struct{}
)

// Kill ends a task.
type Kill struct {
	Task  jobs.TaskID
	Agent string
	Grace time.Duration
}

// Shutdown ends an executor.
type Shutdown struct{ Agent, Executor string }

// Acknowledge ends the repetition of an update.
type Acknowledge struct {
	Task  jobs.TaskID
	Agent string
	UUID  []byte
}

// Reconcile asks for the state of tasks; of all of them where Tasks is empty.
type Reconcile struct{ Tasks []TaskRef }

// TaskRef is a task and where it was.
type TaskRef struct {
	Task  jobs.TaskID
	Agent string
}

// AcceptInverse says that an agent is left, DeclineInverse that it is not yet;
// Refuse is how long Mesos is not to ask again.
type (
	AcceptInverse struct {
		IDs    []string
		Refuse time.Duration
	}
	DeclineInverse struct {
		IDs    []string
		Refuse time.Duration
	}
)

// Teardown ends the framework for good, and all its tasks.
type Teardown struct{}

// Launch is one task of an Accept.
type Launch struct {
	Task      jobs.TaskID
	Name      string
	Agent     string
	Executor  ExecutorSpec // of ours; left out where Native is set
	Native    *NativeTask
	Discovery *Discovery     // of a service
	Resources jobs.Resources // of the task, without the executor's
	Ports     []uint64
	Data      []byte // an Assignment
	Labels    map[string]string
	KillGrace time.Duration
}

// NativeTask is what Mesos's built-in executors are told.
type NativeTask struct {
	User      string
	Downloads []jobs.Download
	Command   jobs.Command
	Container jobs.Container
	PortNames []string // of the first of the task's ports
	Health    *jobs.Health
	MaxRun    time.Duration
}

// Discovery is how others find a service's instance.
type Discovery struct {
	Name, Version string
	Ports         []Port
}

// Port is one of a task's ports, and its name if it has one.
type Port struct {
	Number uint64
	Name   string
}

// ExecutorSpec becomes an ExecutorInfo, always the same one: Mesos refuses
// another info under the id of a living executor.
type ExecutorSpec struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Command   string            `json:"command"` // argv0, run as ./tidemill or by its path
	Arguments []string          `json:"arguments"`
	Artifact  string            `json:"artifact,omitempty"` // URI fetched as ./tidemill; empty: Command is a path on the agents
	Env       map[string]string `json:"env,omitempty"`
	User      string            `json:"user,omitempty"`
	Downloads []jobs.Download   `json:"downloads,omitempty"` // beside the artifact
	Role      string            `json:"role,omitempty"`      // that its resources are allocated to
	// Reserved says which of its resources come out of a reservation, and
	// which one, as jobs.Reservation has it; the others are unreserved.
	Reserved  map[string]string `json:"reserved,omitempty"`
	Resources jobs.Resources    `json:"resources"`
	Grace     time.Duration     `json:"grace,omitempty"` // between SHUTDOWN and the kill
}

func (Accept) call()         {}
func (Decline) call()        {}
func (Revive) call()         {}
func (Suppress) call()       {}
func (Kill) call()           {}
func (Shutdown) call()       {}
func (Acknowledge) call()    {}
func (Reconcile) call()      {}
func (AcceptInverse) call()  {}
func (DeclineInverse) call() {}
func (Teardown) call()       {}
