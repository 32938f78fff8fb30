package jobs

import (
	"encoding/json"
	"time"
)

// RunState is where a run stands.
//
//	pending ─► planning ─► running ─► succeeded | failed | cancelled
//	   └─► skipped | upstream_failed
type RunState string

// The states of a run; those from RunSucceeded on are final.
const (
	RunPending        RunState = "pending"  // waits for its turn (overlap policy, maintenance)
	RunPlanning       RunState = "planning" // its planning task is under way
	RunRunning        RunState = "running"
	RunSucceeded      RunState = "succeeded"
	RunFailed         RunState = "failed"
	RunSkipped        RunState = "skipped"
	RunUpstreamFailed RunState = "upstream_failed"
	RunCancelled      RunState = "cancelled"
)

// RunQueued is told of a run, and never recorded: by its record it is planning
// or running, but no task of it has started yet.
const RunQueued RunState = "queued"

// Final says whether the state never changes again (but by hand).
func (s RunState) Final() bool {
	switch s {
	case RunSucceeded, RunFailed, RunSkipped, RunUpstreamFailed, RunCancelled:
		return true
	}
	return false
}

// Trigger is what made a run.
type Trigger string

// The triggers.
const (
	BySchedule Trigger = "schedule"
	ByCatchUp  Trigger = "catch_up"
	ByParents  Trigger = "parents"
	ByHand     Trigger = "manual"
	ByBackfill Trigger = "backfill"
	ByService  Trigger = "service"
)

// Interval is the data a run covers: [Start, End).
type Interval struct {
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
}

// Run is one nominal instant of a job (or one request for it, or a service's
// life). While it lives it carries the job as it was when it was created.
type Run struct {
	ID           RunID     `json:"id"`
	Job          Name      `json:"job"`
	Key          Key       `json:"key"`
	Generation   int       `json:"generation,omitempty"`
	JobVersion   int64     `json:"job_version"`
	Trigger      Trigger   `json:"trigger"`
	Nominal      time.Time `json:"nominal"`
	Interval     Interval  `json:"interval,omitzero"`
	Arguments    []string  `json:"arguments,omitempty"`
	Parents      []RunID   `json:"parents,omitempty"` // the runs it consumed
	FireChildren bool      `json:"fire_children,omitempty"`
	// Inputs are the results of the parents' runs, by parent.
	Inputs map[Name]map[string]string `json:"inputs,omitempty"`

	State   RunState  `json:"state"`
	Reason  string    `json:"reason,omitempty"` // why it is in this state, for people
	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"` // first task running
	Ended   time.Time `json:"ended,omitzero"`
	// Marked is when the state was changed by hand after the end.
	Marked time.Time `json:"marked,omitzero"`

	// Stage is the one under way: 0 is planning, the work's start at 1.
	Stage int `json:"stage"`
	// Cancel is a persisted intent: every task is killed, then State becomes it.
	Cancel RunState `json:"cancel,omitempty"`
	// PlanChunks counts the chunks of a sealed plan; 0 where the plan is the
	// kind's static one.
	PlanChunks int `json:"plan_chunks,omitempty"`
	// Revision is a service's version that its instances must have been
	// launched with, or a later one; others are replaced.
	Revision int64 `json:"revision,omitempty"`
	// Version stamps the run's writes: microseconds, strictly increasing per
	// target, given by the leader when planning starts.
	Version int64 `json:"version,omitempty"`
	// Rerun is set where the run does the failed splits of an earlier one.
	Rerun *Rerun `json:"rerun,omitempty"`
	// Results are small key-values of its tasks, kept with the run.
	Results map[string]string `json:"results,omitempty"`

	// Pinned is the job as the run sees it; dropped when the run ends well.
	// So is its plan: another run may take them over.
	Pinned *Job `json:"pinned,omitempty"`
	// Attempts is the record of what ran, once the run is final.
	Attempts []Task `json:"attempts,omitempty"`
}

// Rerun is what a run takes over of the one whose failed splits it does
// again: its plan, its version, and the splits that succeeded.
type Rerun struct {
	Of RunID `json:"of"`
	// Origin is the run that was planned: what splits leave for later stages
	// is named after it, however often its failed splits are run again.
	Origin RunID `json:"origin"`
	Stage  int   `json:"stage"` // in which the earlier run ended
	Kept   int   `json:"kept"`  // splits of the stage that had succeeded
	// By split of the stage: the attempt that succeeded, or 0, and how many
	// there were. Former are the attempts of the stage before.
	Succeeded []int `json:"succeeded,omitempty"`
	Attempts  []int `json:"attempts,omitempty"`
	Former    []int `json:"former,omitempty"`
}

// Split is one parallel unit of a run's input.
type Split struct {
	Stage   int             `json:"stage"` // from 1
	Number  int             `json:"number"`
	Size    int64           `json:"size,omitempty"`  // bytes or rows: bigger ones start first
	Hosts   []string        `json:"hosts,omitempty"` // names or addresses of its replicas
	Racks   []string        `json:"racks,omitempty"`
	DC      string          `json:"dc,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"` // the kind's own
}

// Plan is what a planning task returns: at most MaxSplits splits, and what
// every task of the run is told.
type Plan struct {
	Splits []Split         `json:"splits"`
	Shared json.RawMessage `json:"shared,omitempty"`
}

// Bounds of a plan (rules of the store: a plan lies there in chunks).
const (
	MaxSplits    = 1000
	MaxPlanBytes = 3 << 20
	// MaxResultBytes bounds a run's result key-values, and those that it gets
	// from its parents.
	MaxResultBytes = 16 << 10
)

// AttemptState is where one Mesos launch of a split stands.
type AttemptState string

// The states of an attempt; launching and running are live, unknown is open.
const (
	AttemptLaunching  AttemptState = "launching" // persisted, ACCEPT sent or about to be
	AttemptRunning    AttemptState = "running"
	AttemptSucceeded  AttemptState = "succeeded"
	AttemptFailed     AttemptState = "failed"
	AttemptKilled     AttemptState = "killed"
	AttemptNotStarted AttemptState = "not_started" // a launch failure: the work never began
	AttemptUnknown    AttemptState = "unknown"     // nobody can know (now)
)

// Final says whether the state never changes again.
func (s AttemptState) Final() bool {
	switch s {
	case AttemptSucceeded, AttemptFailed, AttemptKilled, AttemptNotStarted:
		return true
	}
	return false
}

// Locality is how near to its data a task was placed.
type Locality string

// The levels, nearest first.
const (
	LocalReplica Locality = "replica" // a host that holds the split's data (or any Cassandra host, where the split names none)
	LocalRack    Locality = "rack"
	LocalDC      Locality = "dc"
	LocalAny     Locality = "any"
)

// Task is one attempt: one split's work, launched once.
type Task struct {
	ID      TaskID `json:"id"`
	Run     RunID  `json:"run"`
	Job     Name   `json:"job"`
	Stage   int    `json:"stage"`
	Split   int    `json:"split"`
	Attempt int    `json:"attempt"` // from 1

	State   AttemptState `json:"state"`
	Reason  string       `json:"reason,omitempty"`
	Message string       `json:"message,omitempty"`
	// Superseded attempts were given up while unknown, or planned in vain;
	// another may have been launched. They are killed if they come back.
	Superseded bool `json:"superseded,omitempty"`
	// Seen is set by the first update: without it, "unknown" may mean "never started".
	Seen bool `json:"seen,omitempty"`
	// Starts counts the split's starts of work up to and with this attempt;
	// (of a service's instance: since it last ran well), LaunchFailures the
	// launches that never started.
	Starts         int `json:"starts,omitempty"`
	LaunchFailures int `json:"launch_failures,omitempty"`

	Agent     string    `json:"agent"`
	AgentAddr string    `json:"agent_addr,omitempty"`
	Host      string    `json:"host"`
	Executor  string    `json:"executor"`
	Offer     string    `json:"offer,omitempty"`
	Locality  Locality  `json:"locality,omitempty"`
	Preferred []string  `json:"preferred,omitempty"`
	Waited    Duration  `json:"waited,omitempty"` // for its offer
	Ports     []uint64  `json:"ports,omitempty"`
	Launched  time.Time `json:"launched"`
	StartBy   time.Time `json:"start_by,omitzero"` // by the store's clock
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	ExitCode  *int      `json:"exit_code,omitempty"`
	Permanent bool      `json:"permanent,omitempty"` // failed so that no retry helps

	// Ending is set while the executor's end is known and its outcome file sought.
	Ending string `json:"ending,omitempty"`
	// EndingSince is when it became so: it is not sought for ever, whoever leads.
	EndingSince time.Time `json:"ending_since,omitzero"`
	// UnknownSince is when its state became unknown.
	UnknownSince time.Time `json:"unknown_since,omitzero"`

	// JobVersion is the job's that a service's instance was launched with, and
	// Health what its checks say.
	JobVersion int64       `json:"job_version,omitempty"`
	Health     HealthState `json:"health,omitempty"`

	// Kill is a persisted intent to kill, with its reason; sent again until a final state.
	Kill string `json:"kill,omitempty"`
	// Drained: the kill is for the agent's maintenance, and costs no attempt.
	Drained bool `json:"drained,omitempty"`
	// Resources are what the launch took from the offer, the executor's share left out.
	Resources Resources         `json:"resources,omitzero"`
	Shown     map[string]string `json:"shown,omitempty"` // by its agent, of the fields that constraints count by
	Results   map[string]string `json:"results,omitempty"`
}

// Progress is how far an attempt has come; it goes by MESSAGE and is never persisted.
type Progress struct {
	Task  TaskID  `json:"task"`
	Done  int64   `json:"done"`
	Total int64   `json:"total,omitempty"` // 0: not known
	Unit  string  `json:"unit,omitempty"`  // "rows", "events", "objects"
	Note  string  `json:"note,omitempty"`
	Rate  float64 `json:"rate,omitempty"` // units a second
}
