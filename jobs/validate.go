package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tidemill/jobs/schedule"
)

// Validate finds everything that is wrong with a job on its own; what is
// wrong among jobs (unknown parents, cycles) is the graph's to find. The
// traits are those that the kind's Check gave; specErr is what it found.
func (j Job) Validate(t Traits, specErr error) error {
	var e FieldErrors
	if err := CheckName(j.Name); err != nil {
		e.Addf("name", "%v", err)
	}
	j.validateWhen(&e, t)
	j.validatePolicies(&e, t)
	j.validatePlacement(&e)
	j.validateService(&e, t)
	e.AddAll("spec", specErr)
	return e.Err()
}

func (j Job) validateWhen(e *FieldErrors, t Traits) {
	if j.Schedule != nil && len(j.After) > 0 {
		e.Addf("after", "a job has a schedule or parents, not both")
	}
	if t.Service && (j.Schedule != nil || len(j.After) > 0) {
		e.Addf("schedule", "a service runs until it is paused; it takes neither a schedule nor parents")
	}
	for i, p := range j.After {
		if p == j.Name {
			e.Addf(fmt.Sprintf("after[%d]", i), "a job cannot come after itself")
		}
		if slices.Index(j.After, p) < i {
			e.Addf(fmt.Sprintf("after[%d]", i), "parent %q is named twice", p)
		}
	}
	switch {
	case j.LatestWithin < 0:
		e.Addf("latest_within", "%s is negative", j.LatestWithin)
	case j.LatestWithin > 0 && len(j.After) == 0:
		e.Addf("latest_within", "is about parents, and the job comes after none")
	case j.LatestWithin > 0 && j.Trigger != "" && j.Trigger != AllSuccess:
		e.Addf("trigger", "%s does not go with latest_within, which asks for successes", j.Trigger)
	}
	if j.Schedule == nil {
		return
	}
	if _, err := j.Schedule.Compile(j.Name, time.Unix(1, 0)); err != nil {
		addScheduleErrors(e, err)
	}
	if m := j.Schedule.CatchUp.Mode; m != "" && m != CatchUpLatest && m != CatchUpAll {
		e.Addf("schedule.catch_up.mode", "%q is neither latest nor all", m)
	}
	if w := j.Schedule.CatchUp.Window; w != nil {
		e.NotNegative("schedule.catch_up.window", *w)
	}
}

func addScheduleErrors(e *FieldErrors, err error) {
	var faults schedule.Errors
	if !errors.As(err, &faults) {
		e.AddAll("schedule", err)
	}
	for _, f := range faults {
		e.Addf("schedule."+f.Field, "%s", f.Message())
	}
}

// Compile makes the schedule ready for use; firstApplied is the start of an
// ISO repeat that names none.
func (s *Schedule) Compile(job Name, firstApplied time.Time) (*schedule.Schedule, error) {
	return schedule.CompileFrom(s.Spec, firstApplied, string(job))
}

func (j Job) validatePolicies(e *FieldErrors, t Traits) {
	oneOf(e, "overlap", j.Overlap, OverlapSkip, OverlapBufferOne, OverlapBufferAll, OverlapCancel, OverlapAllow)
	oneOf(e, "trigger", j.Trigger, AllSuccess, AllDone, AnySuccess)
	oneOf(e, "on_unknown", j.OnUnknown, UnknownRetry, UnknownFail, UnknownWait)
	oneOf(e, "isolation", j.Isolation, IsolationOwn, IsolationShared)
	if j.Isolation == IsolationShared && (t.User != "" || len(t.Downloads) > 0) {
		e.Addf("isolation", "shared: the warm executor runs as the scheduler's user and downloads nothing; spec.user and spec.fetch need isolation own")
	}
	j.validateLimits(e)
	if w := j.UnknownWait; w != nil {
		e.NotNegative("unknown_wait", *w)
	}
	if j.Retry.Attempts != 0 { // else the default is to come
		e.Within("retry.attempts", int64(j.Retry.Attempts), 1, 1000)
	}
	e.NotNegative("retry.backoff", j.Retry.Backoff)
	e.NotNegative("retry.max", j.Retry.Max)
	e.NotNegative("start_deadline", j.StartDeadline)
	e.NotNegative("max_run_time", j.MaxRunTime)
	e.NotNegative("kill_grace", j.KillGrace)
	for _, f := range []struct {
		name string
		v    float64
	}{
		{"resources.cpus", j.Resources.CPUs}, {"resources.mem", j.Resources.Mem}, {"resources.disk", j.Resources.Disk},
		{"resources.gpus", j.Resources.GPUs}, {"resources.ports", float64(j.Resources.Ports)},
	} {
		if f.v < 0 || f.v > 1e9 {
			e.Addf(f.name, "%g is out of range", f.v)
		}
	}
	if g := j.Resources.GPUs; g != math.Trunc(g) {
		e.Addf("resources.gpus", "%g is no whole number: Mesos gives whole devices away", g)
	}
}

func (j Job) validateLimits(e *FieldErrors) {
	if j.Concurrency < 0 {
		e.Addf("concurrency", "%d is negative; leave it out for no limit", j.Concurrency)
	}
	e.Within("priority", int64(j.Priority), -MaxPriority, MaxPriority)
	if j.Pool == (PoolUse{}) {
		return
	}
	if j.Pool.Name == "" {
		e.Addf("pool.name", "names no pool to take slots of")
	} else if err := CheckName(j.Pool.Name); err != nil {
		e.Addf("pool.name", "%v", err)
	}
	if j.Pool.Slots != 0 { // else the default is to come
		e.Within("pool.slots", int64(j.Pool.Slots), 1, MaxSlots)
	}
}

func (j Job) validatePlacement(e *FieldErrors) {
	oneOf(e, "placement.near", j.Placement.Near, NearCassandra, NearNothing)
	if w := j.Placement.Wait; w != nil {
		e.NotNegative("placement.wait", *w)
	}
	for i, c := range j.Placement.Constraints {
		c.validate(e, fmt.Sprintf("placement.constraints[%d]", i))
	}
}

// oneOf accepts the empty value too: the default fills it in.
func oneOf[T ~string](e *FieldErrors, field string, v T, allowed ...T) {
	if v == "" || slices.Contains(allowed, v) {
		return
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	e.Addf(field, "%q is not one of %s", v, strings.Join(names, ", "))
}

// Fingerprint is equal for schedules that name the same instants.
func (s *Schedule) Fingerprint() string {
	spec := s.Spec
	spec.Jitter = 0
	b, err := json.Marshal(spec)
	if err != nil { // a Spec holds only text, times and lists
		return fmt.Sprintf("%+v", spec)
	}
	return string(b)
}
