// Package faults proves the scheduler's promise on real processes: it runs jobs on a cluster of
// network namespaces, breaks that in every way it can, and checks what ran. It is Jepsen's test of
// Chronos, and counts more than that did.
//
//	seed ─► targets, faults ─► a pass on real processes ─► history ─► Check ─► verdict
//
// The history holds what was meant to run, what was broken and when, what the tasks themselves
// wrote to disk, and what the scheduler recorded. Check is pure: a history read from disk years
// later gives the same verdict.
package faults

import (
	"time"

	"tidemill/jobs"
)

// Role is what a host of the cluster is for.
type Role string

// The roles.
const (
	ZooKeeper Role = "zookeeper"
	Master    Role = "master"
	Scheduler Role = "scheduler"
	Agent     Role = "agent"
)

// Host is a machine of the cluster: a network namespace with one server.
type Host struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
}

// Pass says how a pass was set up.
type Pass struct {
	Seed   uint64         `json:"seed"`
	Policy jobs.OnUnknown `json:"on_unknown"`
	Hosts  []Host         `json:"hosts"`
	Times  Times          `json:"times"`
	// Slack is what a window is longer than its job's epsilon.
	Slack time.Duration `json:"slack"`
}

// Times are what the cluster needs to find itself again; their sum is the time for which it must
// be whole for a target to be owed.
type Times struct {
	Session time.Duration `json:"session"`  // until ZooKeeper gives a silent leader up
	Ping    time.Duration `json:"ping"`     // until the master gives a silent agent up
	Launch  time.Duration `json:"launch"`   // until a launch without a word is given up
	StartBy time.Duration `json:"start_by"` // until an executor refuses to start it
}

// Recovery is the sum.
func (t Times) Recovery() time.Duration { return t.Session + t.Ping + t.Launch + t.StartBy }

// Target is an instant at which a job is to run.
type Target struct {
	Job      jobs.Name     `json:"job"`
	At       time.Time     `json:"at"`
	Epsilon  time.Duration `json:"epsilon"`
	Duration time.Duration `json:"duration"`
	// Parent is the job whose success makes this one due, where there is one: then At is nobody's
	// promise, and the parent's end takes its place.
	Parent jobs.Name `json:"parent,omitempty"`
}

// Kind is what was done to the cluster.
type Kind string

// The kinds of fault events. What breaks something is logged before it is done, what mends it after
// that: the log never shows the cluster in a better state than it was in.
const (
	Up     Kind = "up"     // the host's server runs and is ready
	Kill   Kind = "kill"   // SIGKILL
	Stop   Kind = "stop"   // SIGSTOP
	Resume Kind = "resume" // SIGCONT
	Cut    Kind = "cut"    // packets between hosts are dropped
	Heal   Kind = "heal"   // all cuts are undone
	Clock  Kind = "clock"  // the host's clock is Offset ahead
	Strike Kind = "strike" // SIGKILL to the work on an agent: executors, and with them tasks
)

// Event is a line of the fault log.
type Event struct {
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	Host string    `json:"host,omitempty"`
	// Cuts are the ways that a cut closes.
	Cuts []Way `json:"cuts,omitempty"`
	// Offset is by how much the clock is ahead; 0: it is right again.
	Offset time.Duration `json:"offset,omitempty"`
	// Leads says that the host's scheduler led when it was struck.
	Leads bool   `json:"leads,omitempty"`
	Note  string `json:"note,omitempty"`
}

// Way is the direction of packets from a host to another.
type Way struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Attempt is what a task wrote to disk of itself.
type Attempt struct {
	Task    jobs.TaskID
	Run     jobs.RunID
	Job     jobs.Name
	Nominal time.Time
	Host    string
	Start   time.Time
	// Seen is when it last showed that it was at work.
	Seen time.Time
	// End is when it was done; zero: it was cut short, or is at work.
	End time.Time
}

// Complete says whether the work was done to its end.
func (a *Attempt) Complete() bool { return !a.End.IsZero() }

// Last is when the attempt was last at work.
func (a *Attempt) Last() time.Time {
	if a.Complete() {
		return a.End
	}
	return a.Seen
}

// Record is what the scheduler holds of a job at the end.
type Record struct {
	Job jobs.JobView `json:"job"`
	// Runs are all that were ever seen, each as it was last seen.
	Runs []jobs.RunView `json:"runs"`
}

// History is all that is known of a pass.
type History struct {
	Pass     Pass
	Targets  []Target
	Events   []Event
	Attempts []Attempt
	// Records are by job; a job that the scheduler does not know is missing.
	Records map[jobs.Name]*Record
	// Read is when the attempts and the records were read.
	Read time.Time
}
