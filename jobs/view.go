package jobs

import "time"

// JobView is a job with what the scheduler knows of it now.
type JobView struct {
	Job
	State     string     `json:"state"` // idle, queued, running, paused, held
	Live      int        `json:"live"`  // runs under way
	Next      *time.Time `json:"next,omitempty"`
	Start     *time.Time `json:"start,omitempty"`   // of a repeat that names none
	Handled   *time.Time `json:"handled,omitempty"` // the schedule's high-water mark
	LastRun   *RunView   `json:"last_run,omitempty"`
	Successes int64      `json:"successes"`
	Failures  int64      `json:"failures"`
	// FailuresSince counts those since the last success.
	FailuresSince int64 `json:"failures_since_success"`

	LastSuccess *time.Time `json:"last_success,omitempty"`
	LastFailure *time.Time `json:"last_failure,omitempty"`
	Children    []Name     `json:"children,omitempty"`
	Held        string     `json:"held,omitempty"`      // why nothing of it runs: an unreadable record, a hold
	Endpoints   []Endpoint `json:"endpoints,omitempty"` // of a service's running instances
	Instances   *Instances `json:"instances,omitempty"` // of a service
	// Skipped are the latest ranges of instants for which there is no run; lists leave them out.
	Skipped []SkippedRange `json:"skipped,omitempty"`
}

// SkippedRange is a range of instants that were not run, and why. A run that
// was skipped by itself is a run in the state skipped.
type SkippedRange struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"` // inclusive
	Reason string    `json:"reason"`
	At     time.Time `json:"at"` // when it was decided
}

// Instances counts a service's instances.
type Instances struct {
	Wanted   int `json:"wanted"`
	Running  int `json:"running"`
	Healthy  int `json:"healthy"`  // running, and their checks succeed
	Outdated int `json:"outdated"` // running, and to be replaced after an edit
}

// AppliedJob is a job as it was taken, and what that made of it.
type AppliedJob struct {
	Job
	Applied Applied `json:"applied"`
}

// Applied is what applying a job did.
type Applied string

// What it can do.
const (
	JobCreated   Applied = "created"
	JobReplaced  Applied = "replaced"
	JobUnchanged Applied = "unchanged" // it was so before, and keeps its version
)

// Endpoint is where a running instance of a service listens.
type Endpoint struct {
	Task  TaskID   `json:"task"`
	Host  string   `json:"host"`
	Ports []uint64 `json:"ports"`
	URL   string   `json:"url,omitempty"`
	// Names are the ports that have one; Health is empty without checks.
	Names  map[string]uint64 `json:"names,omitempty"`
	Health HealthState       `json:"health,omitempty"`
}

// RunView is a run with its splits. Lists leave Tasks and Children out, and give
// the first of Waiting, for the first hundred runs.
type RunView struct {
	Run
	Unknown int            `json:"unknown,omitempty"` // attempts nobody knows the outcome of
	Splits  SplitCounts    `json:"splits"`
	Tasks   []TaskView     `json:"tasks,omitempty"`
	Waiting []WaitingSplit `json:"waiting,omitempty"`
	// Children are what its end made of the jobs after it.
	Children []ChildRun `json:"children,omitempty"`
}

// ChildRun is the run of a job that a parent's run led to, or, without an id,
// what the job still waits for.
type ChildRun struct {
	Job    Name     `json:"job"`
	Run    RunID    `json:"run,omitempty"`
	State  RunState `json:"state,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

// SplitCounts says how far a run's current stage is.
type SplitCounts struct {
	Total   int `json:"total"`
	Done    int `json:"done"`
	Live    int `json:"live"`
	Waiting int `json:"waiting"`
	Failed  int `json:"failed"`
	Local   int `json:"local"`  // attempts of the run placed beside a replica
	Placed  int `json:"placed"` // attempts of the run that had a preference
}

// TaskView is an attempt with its progress and why it is where it is.
type TaskView struct {
	Task
	Placement string    `json:"placement"` // for people: "offer O12 of agent-a, level replica, waited 0.4s"
	Progress  *Progress `json:"progress,omitempty"`
}

// WaitingSplit is a split that is not running, and why.
type WaitingSplit struct {
	Stage     int       `json:"stage"`
	Split     int       `json:"split"`
	Since     time.Time `json:"since,omitzero"` // not while it backs off
	Preferred []string  `json:"preferred,omitempty"`
	Reasons   []Refusal `json:"reasons"`
}

// Refusal is one reason why a task was not placed; Count is over how many offers.
type Refusal struct {
	Code    string    `json:"code"` // no_offers, resources, constraint, locality, backoff, never_fits, avoided, agent_avoided, maintenance, overlap, held, hold, pool, concurrency, no_master, unknown
	Message string    `json:"message"`
	Count   int       `json:"count,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}

// RunRequest asks for a run of a job now.
type RunRequest struct {
	Job       Name      `json:"job"`
	RequestID string    `json:"request_id,omitempty"` // remembered 24 h: asking again gives the same run
	Arguments []string  `json:"arguments,omitempty"`
	Nominal   time.Time `json:"nominal,omitzero"`
	Interval  Interval  `json:"interval,omitzero"`
	Children  bool      `json:"children,omitempty"`  // its success fires children
	Succeeded bool      `json:"succeeded,omitempty"` // only recorded, as a success by hand; no work is done
}

// JobQuery selects jobs.
type JobQuery struct {
	Search string // in name, owner, description and spec, any case
	Kind   string
	Limit  int
	Offset int
}

// RunQuery selects runs, newest first.
type RunQuery struct {
	Job    Name
	State  RunState
	Live   bool      // only runs that are not final
	Stored bool      // only runs that the scheduler's store holds, none from history
	Before RunCursor // only runs after it in the list; zero: from its beginning
	Limit  int
	Offset int
}

// RunPage is a page of runs, newest first.
type RunPage struct {
	Runs  []RunView `json:"runs"`
	Total int       `json:"total"` // in the scheduler's store; history does not count its own
	// Next is where the next page begins; zero where this is the last.
	Next RunCursor `json:"next,omitzero"`
	// Incomplete says why runs are missing that history may have.
	Incomplete string `json:"incomplete,omitempty"`
}

// Status is the state of the scheduler itself.
type Status struct {
	Leading       bool      `json:"leading"`
	Leader        string    `json:"leader,omitempty"` // base URL
	Term          int64     `json:"term,omitempty"`
	Framework     string    `json:"framework,omitempty"`
	Master        string    `json:"master,omitempty"`
	Subscribed    bool      `json:"subscribed"`
	Stream        int64     `json:"stream,omitempty"` // the subscription's number in this term
	LastOffer     time.Time `json:"last_offer,omitzero"`
	Jobs          int       `json:"jobs"`
	LiveRuns      int       `json:"live_runs"`
	LiveTasks     int       `json:"live_tasks"`
	WaitingTasks  int       `json:"waiting_tasks"`
	UnknownTasks  int       `json:"unknown_tasks"`
	Agents        int       `json:"agents"`                   // that have offered something
	AvoidedAgents int       `json:"avoided_agents,omitempty"` // for what is begun there fails
	Launches      int64     `json:"launches"`                 // since this leader began
	HeldJobs      int       `json:"held_jobs,omitempty"`      // of records that cannot be read
	Records       int       `json:"records,omitempty"`        // in the store
	StoreBytes    int       `json:"store_bytes,omitempty"`    // their keys and values
	Hold          *Hold     `json:"hold,omitempty"`           // nothing is launched
	// HistoryBacklog counts finished runs that wait to be written to history,
	// HistoryDropped those given up unwritten since this leader began.
	HistoryBacklog int      `json:"history_backlog,omitempty"`
	HistoryDropped int64    `json:"history_dropped,omitempty"`
	Problems       []string `json:"problems,omitempty"` // what an operator should look at
	Schedulers     []string `json:"schedulers,omitempty"`
}

// AgentView is an agent as its offers, and what ran there, show it.
type AgentView struct {
	ID         string            `json:"id"`
	Host       string            `json:"host"`
	Address    string            `json:"address,omitempty"`
	Region     string            `json:"region,omitempty"`
	Zone       string            `json:"zone,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Largest    Resources         `json:"largest"` // the most of each that one offer held
	LastOffer  time.Time         `json:"last_offer,omitzero"`
	Tasks      int               `json:"tasks"`               // live attempts
	Executors  []string          `json:"executors,omitempty"` // ours that its last offer named
	Strikes    float64           `json:"strikes,omitempty"`   // failures that speak against it, fading
	Avoided    *Refusal          `json:"avoided,omitempty"`   // why nothing is placed there now
	Away       string            `json:"away,omitempty"`      // when an operator plans to have it unavailable
}

// Hold keeps everything from being launched, for maintenance. What is due
// becomes a run all the same, and waits; what is at work goes on.
type Hold struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// LogChunk is part of an attempt's log file.
type LogChunk struct {
	Data   []byte `json:"data"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"` // of the file now
	End    bool   `json:"end"`  // the attempt is final and this is all of it
}

// File is one in an attempt's sandbox.
type File struct {
	Path      string    `json:"path"` // within the sandbox
	Size      int64     `json:"size"`
	Modified  time.Time `json:"modified,omitzero"`
	Directory bool      `json:"directory,omitempty"`
}

// FileChunk is part of a file in an attempt's sandbox.
type FileChunk struct {
	Data   []byte `json:"data"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"` // of the file now
}

// Notice is one line of the event stream: something changed.
type Notice struct {
	Sequence int64     `json:"sequence"`
	At       time.Time `json:"at"`
	Type     string    `json:"type"` // job, run, task, progress, pool, hold
	Job      Name      `json:"job,omitempty"`
	Run      RunID     `json:"run,omitempty"`
	Task     TaskID    `json:"task,omitempty"`
	State    string    `json:"state,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

// BackfillRequest asks for the runs of a job's instants in [From, To).
type BackfillRequest struct {
	Job    Name      `json:"job"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	AtOnce int       `json:"at_once,omitempty"` // runs at a time; 1
	Force  bool      `json:"force,omitempty"`   // run again what succeeded
}

// Resolution is what a person says of an attempt whose outcome is unknown.
type Resolution string

// The resolutions.
const (
	ResolveSuccess Resolution = "success"
	ResolveFailure Resolution = "failure"
	ResolveRetry   Resolution = "retry"
)
