package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tidemill/jobs"
)

// maxMessage bounds what an outcome says in words: it travels in an update.
const maxMessage = 4 << 10

// Mesos's own reasons for what is max_run_time here, and for news of health.
const (
	reasonMaxRun = "REASON_MAX_COMPLETION_TIME_REACHED"
	reasonHealth = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"
)

// conclude makes the one outcome of an attempt. A work that was killed has
// Killed, whatever it returned; one that max_run_time stopped has failed,
// unless it was done in time to say so; one that its health stopped has failed.
func conclude(a *attempt, r report, now time.Time) jobs.Outcome {
	if r.former != nil {
		return *r.former
	}
	o := jobs.Outcome{Task: a.task.ID, Started: a.started, Ended: now, Result: r.result}
	if err := checkValues(o.Values); err != nil {
		r.err, o.Values = errors.Join(r.err, err), nil
	}
	o.NotStarted = r.notStarted
	if r.notStarted {
		o.Started = time.Time{}
	}
	o.Killed = a.killed && !r.notStarted
	o.OK = r.err == nil && !o.Killed && !a.unhealthy
	o.Permanent = !o.OK && !o.Killed && jobs.IsPermanent(r.err)
	o.Message = bounded(explain(a, r, o), maxMessage)
	return o
}

// explain says why an attempt ended as it did: first why it was stopped, then
// the error, then what the work itself wants to tell.
func explain(a *attempt, r report, o jobs.Outcome) string {
	var parts []string
	said := ""
	if r.err != nil {
		said = r.err.Error()
	}
	if a.stop != nil && !o.OK && !strings.HasPrefix(said, a.stop.Reason) {
		parts = append(parts, a.stop.Reason)
	}
	if said != "" {
		parts = append(parts, said)
	}
	if o.Message != "" && (r.err == nil || !strings.Contains(r.err.Error(), o.Message)) {
		parts = append(parts, o.Message)
	}
	return strings.Join(parts, ": ")
}

// checkValues refuses results that the scheduler would not keep.
func checkValues(values map[string]string) error {
	size := 0
	for k, v := range values {
		size += len(k) + len(v)
	}
	if size > jobs.MaxResultBytes {
		return jobs.Permanent(fmt.Errorf("the results hold %d bytes; at most %d are kept with a run (write more than that to a store of its own)", size, jobs.MaxResultBytes))
	}
	return nil
}

// bounded keeps the first and the last of a text that is too long.
func bounded(s string, limit int) string {
	const gap = " … "
	if len(s) <= limit {
		return strings.ToValidUTF8(s, "?")
	}
	half := (limit - len(gap)) / 2
	return strings.ToValidUTF8(s[:half]+gap+s[len(s)-half:], "?")
}

// encodeOutcome writes an outcome as the scheduler reads it.
func encodeOutcome(o jobs.Outcome) []byte {
	b, err := json.Marshal(o)
	if err != nil {
		// Text, numbers and times by this machine's clock can be written.
		panic(fmt.Sprintf("executor: write the outcome of %s: %v", o.Task, err))
	}
	return b
}

// terminalUpdate reports an outcome; storeErr says that it is not on the disk.
func terminalUpdate(a *attempt, storeErr error) Update {
	u := Update{State: jobs.TaskFailed, Message: a.outcome.Message, Data: a.encoded}
	switch {
	case a.outcome.OK:
		u.State = jobs.TaskFinished
	case a.outcome.Killed:
		u.State = jobs.TaskKilled
	case a.unhealthy:
		u.Healthy = new(bool)
	case a.stop != nil:
		u.Reason = reasonMaxRun
	}
	if storeErr != nil {
		u.Message = strings.TrimPrefix(u.Message+": "+storeErr.Error(), ": ")
	}
	return u
}

// encodePlan checks a plan and writes it as the scheduler reads it.
func encodePlan(p jobs.Plan) ([]byte, error) {
	if n := len(p.Splits); n > jobs.MaxSplits {
		return nil, fmt.Errorf("the plan has %d splits; at most %d are allowed (make the splits larger)", n, jobs.MaxSplits)
	}
	next := map[int]int{}
	last := 0
	for i, s := range p.Splits {
		last = max(last, s.Stage)
		if s.Stage < 1 {
			return nil, fmt.Errorf("split %d of the plan has stage %d; stages count from 1", i, s.Stage)
		}
		if s.Number != next[s.Stage] {
			return nil, fmt.Errorf("split %d of the plan has number %d in stage %d, where %d is next", i, s.Number, s.Stage, next[s.Stage])
		}
		next[s.Stage]++
	}
	for stage := 1; stage <= last; stage++ {
		if next[stage] == 0 {
			return nil, fmt.Errorf("the plan has splits in stage %d, but none in stage %d", last, stage)
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write the plan: %w", err)
	}
	if len(b) > jobs.MaxPlanBytes {
		return nil, fmt.Errorf("the plan has %d bytes; at most %d are allowed (move what all splits share to Plan.Shared)", len(b), jobs.MaxPlanBytes)
	}
	return b, nil
}
