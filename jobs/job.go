package jobs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"tidemill/jobs/schedule"
)

// Job is a declaration: what to run, when, and under which policies. It holds
// no counters; those belong to the scheduler's records.
type Job struct {
	Name        Name              `json:"name"`
	Kind        string            `json:"kind"`
	Description string            `json:"description,omitempty"`
	Owner       string            `json:"owner,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`

	Schedule *Schedule `json:"schedule,omitempty"`
	After    []Name    `json:"after,omitempty"` // parents
	// LatestWithin, where parents follow different schedules, has the job run
	// after each success of one of them, with the latest success of every
	// other, if that is not older.
	LatestWithin Duration `json:"latest_within,omitempty"`
	// Trigger says which ends of the parents start the job; SoftError that its
	// own failure does not keep its children from starting.
	Trigger   TriggerRule `json:"trigger,omitempty"`
	SoftError bool        `json:"soft_error,omitempty"`

	Overlap       Overlap         `json:"overlap,omitempty"`
	Retry         Retry           `json:"retry,omitzero"`
	StartDeadline Duration        `json:"start_deadline,omitempty"` // latest start after the nominal instant; none if 0
	MaxRunTime    Duration        `json:"max_run_time,omitempty"`   // of a run's work; none if 0
	KillGrace     Duration        `json:"kill_grace,omitempty"`     // between SIGTERM and SIGKILL
	OnUnknown     OnUnknown       `json:"on_unknown,omitempty"`
	UnknownWait   *Duration       `json:"unknown_wait,omitempty"`
	Concurrency   int             `json:"concurrency,omitempty"` // most of its tasks at work at once; no limit if 0
	Priority      int             `json:"priority,omitempty"`    // of its tasks among those that wait: higher ones first
	Pool          PoolUse         `json:"pool,omitzero"`
	Isolation     Isolation       `json:"isolation,omitempty"`
	Resources     Resources       `json:"resources,omitzero"`
	Placement     Placement       `json:"placement,omitzero"`
	Service       *Service        `json:"service,omitempty"` // how a service's instances are kept
	Paused        bool            `json:"paused,omitempty"`
	Spec          json.RawMessage `json:"spec,omitempty"`

	// Version counts the edits; Incarnation the creations, deletions included.
	// Both are the scheduler's to set.
	Version     int64     `json:"version,omitempty"`
	Incarnation int64     `json:"incarnation,omitempty"`
	Created     time.Time `json:"created,omitzero"`
	Updated     time.Time `json:"updated,omitzero"`
}

// Schedule is when a job is due, and what becomes of instants that were missed.
type Schedule struct {
	schedule.Spec
	CatchUp CatchUp `json:"catch_up,omitzero"`
}

// CatchUp says which missed instants are run: those within Window, all of
// them or the latest only.
type CatchUp struct {
	Window *Duration   `json:"window,omitempty"` // default 24 h
	Mode   CatchUpMode `json:"mode,omitempty"`   // default latest
}

// CatchUpMode is all or latest.
type CatchUpMode string

// Overlap says what happens when a run is due while another of the job lives.
type Overlap string

// OnUnknown says what becomes of an attempt whose outcome nobody can know.
type OnUnknown string

// TriggerRule says which ends of a job's parents start it.
type TriggerRule string

// DeleteMode says what becomes of the children of a job that is deleted.
type DeleteMode string

// Isolation says whether an attempt shares the agent's warm executor.
type Isolation string

// The policies.
const (
	CatchUpLatest CatchUpMode = "latest"
	CatchUpAll    CatchUpMode = "all"

	OverlapSkip      Overlap = "skip"
	OverlapBufferOne Overlap = "buffer_one"
	OverlapBufferAll Overlap = "buffer_all"
	OverlapCancel    Overlap = "cancel_other"
	OverlapAllow     Overlap = "allow"

	UnknownRetry OnUnknown = "retry"
	UnknownFail  OnUnknown = "fail"
	UnknownWait  OnUnknown = "wait"

	// AllSuccess waits for the success of all parents, AllDone for their end,
	// AnySuccess for the end of all and the success of one.
	AllSuccess TriggerRule = "all_success"
	AllDone    TriggerRule = "all_done"
	AnySuccess TriggerRule = "any_success"

	// DeleteRefuse leaves a job with children alone, DeleteCascade deletes
	// them too, DeleteReparent gives them its parents, or its schedule.
	DeleteRefuse   DeleteMode = "refuse"
	DeleteCascade  DeleteMode = "cascade"
	DeleteReparent DeleteMode = "reparent"

	IsolationOwn    Isolation = "own"
	IsolationShared Isolation = "shared"
)

// Retry says how often and how soon a failed split is tried again.
type Retry struct {
	Attempts int      `json:"attempts,omitempty"` // starts of work, the first included
	Backoff  Duration `json:"backoff,omitempty"`  // before the second start, doubled from there
	Max      Duration `json:"max,omitempty"`      // the cap
}

// Placement says where a job's tasks should and may run.
type Placement struct {
	Near        string       `json:"near,omitempty"` // "cassandra", or none
	Wait        *Duration    `json:"wait,omitempty"` // for a local offer, in all; default 3 s
	Constraints []Constraint `json:"constraints,omitempty"`
}

// The defaults of a job.
const (
	DefaultAttempts   = 3
	DefaultBackoff    = Duration(10 * time.Second)
	DefaultMaxBackoff = Duration(5 * time.Minute)
	DefaultKillGrace  = Duration(5 * time.Second)
	DefaultWait       = Duration(3 * time.Second)
	DefaultWindow     = Duration(24 * time.Hour)
	// DefaultUnknownWait is Mesos's default agent recovery timeout (15 min)
	// and a grace: an agent that returns earlier answers the question.
	DefaultUnknownWait = Duration(15*time.Minute + 30*time.Second)
)

// WithDefaults fills in what the user left out, by the kind's traits.
func (j Job) WithDefaults(t Traits) Job {
	j.Overlap = cmp.Or(j.Overlap, OverlapSkip)
	if len(j.After) > 0 {
		j.Trigger = cmp.Or(j.Trigger, AllSuccess)
	}
	j.Retry.Attempts = cmp.Or(j.Retry.Attempts, DefaultAttempts)
	j.Retry.Backoff = cmp.Or(j.Retry.Backoff, DefaultBackoff)
	j.Retry.Max = cmp.Or(j.Retry.Max, max(DefaultMaxBackoff, j.Retry.Backoff))
	j.KillGrace = cmp.Or(j.KillGrace, DefaultKillGrace)
	j.OnUnknown = cmp.Or(j.OnUnknown, UnknownRetry)
	if j.Pool.Name != "" {
		j.Pool.Slots = cmp.Or(j.Pool.Slots, 1)
	}
	j.Isolation = cmp.Or(j.Isolation, t.Isolation, IsolationShared)
	j.Resources.CPUs = cmp.Or(j.Resources.CPUs, 0.1)
	j.Resources.Mem = cmp.Or(j.Resources.Mem, 64)
	j.Placement.Near = cmp.Or(j.Placement.Near, t.Near)
	j.Resources.Ports = max(j.Resources.Ports, t.Ports)
	if t.Service {
		j.Service = j.Service.withDefaults(t)
		j.Resources.Ports = max(j.Resources.Ports, len(j.Service.Ports))
	}
	if j.Placement.Wait == nil {
		j.Placement.Wait = new(DefaultWait)
	}
	if j.UnknownWait == nil {
		j.UnknownWait = new(DefaultUnknownWait)
	}
	if j.Schedule != nil {
		s := *j.Schedule
		s.CatchUp.Mode = cmp.Or(s.CatchUp.Mode, CatchUpLatest)
		if s.CatchUp.Window == nil {
			s.CatchUp.Window = new(DefaultWindow)
		}
		j.Schedule = &s
	}
	return j
}

// BackoffBefore is the wait before start number n (2 and later) of a split: doubled
// each time, capped, and spread over ±10 % by a hash of the key, so that
// what failed together does not return together.
func (r Retry) BackoffBefore(n int, key string) time.Duration {
	d := r.Backoff.D()
	for i := 2; i < n && d < r.Max.D(); i++ {
		d *= 2
	}
	d = min(d, r.Max.D())
	h := hash32(fmt.Sprintf("%s#%d", key, n))
	return d - d/10 + time.Duration(float64(d/5)*float64(h)/float64(1<<32))
}

// hash32 is FNV-1a.
func hash32(s string) uint32 {
	h := uint32(2166136261)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
