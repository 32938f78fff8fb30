package scheduler

import (
	"fmt"
	"time"

	"tidemill/jobs"
)

// evaluateLatest is the rule of latest_within for parents of different
// schedules: the child runs after each new success of a parent, with the
// latest success of every other. A failure changes nothing: the success
// before it stands, while it is fresh.
func (c *Core) evaluateLatest(child *job) {
	fresh := false
	for _, parent := range child.rec.Job.After {
		e := child.state.Edges[parent]
		for _, r := range e.Pending {
			if !c.succeeded(parent, r.State) || (e.Latest != nil && r.Nominal.Before(e.Latest.Nominal)) {
				continue // an older instant, caught up with, is not the latest
			}
			fresh = fresh || e.Latest == nil || r.Nominal.After(e.Latest.Nominal)
			e.Latest = &r
		}
		e.Pending = nil
	}
	c.touch(stateChange{child})
	if !fresh {
		return
	}
	var newest parentRun
	var ids []jobs.RunID
	consumed := make([]parentRun, len(child.rec.Job.After))
	for i, parent := range child.rec.Job.After {
		latest := child.state.Edges[parent].Latest
		if latest == nil {
			continue
		}
		consumed[i] = *latest
		ids = append(ids, latest.Run)
		if latest.Nominal.After(newest.Nominal) {
			newest = *latest
		}
	}
	c.fire(child, jobs.ConsumedKey(ids), newest.Nominal, newest.Interval, consumed)
}

// freshness skips a child's run for which a parent's latest success is too
// long ago, or there is none.
func (c *Core) freshness(child *jobs.Job, consumed []parentRun) (end jobs.RunState, reason string) {
	for i, p := range consumed {
		switch {
		case p.Run == "":
			return jobs.RunSkipped, fmt.Sprintf("parent %s has not succeeded yet", child.After[i])
		case c.now.Sub(p.Ended) > child.LatestWithin.D():
			return jobs.RunSkipped, fmt.Sprintf("parent %s last succeeded at %s, longer ago than %s",
				child.After[i], p.Ended.UTC().Format(time.RFC3339), child.LatestWithin)
		}
	}
	return "", ""
}

// succeeded says whether a parent's end is a success to its children.
func (c *Core) succeeded(parent jobs.Name, state jobs.RunState) bool {
	return state == jobs.RunSucceeded || (state == jobs.RunFailed && c.jobs[parent].rec.Job.SoftError)
}

// latestSuccess is a job's success of the latest instant that history knows.
func (c *Core) latestSuccess(parent jobs.Name) *parentRun {
	var latest *parentRun
	for _, x := range c.jobs[parent].recent {
		if x.rec.FireChildren && c.succeeded(parent, x.rec.State) && (latest == nil || !x.rec.Nominal.Before(latest.Nominal)) {
			r := noted(x)
			latest = &r
		}
	}
	return latest
}

// takeInputs hands a child's run the results of its parents' runs, as far as
// history knows these. Too many of them fail the run: half of them would be wrong.
func (c *Core) takeInputs(r *jobs.Run, child *job, consumed []parentRun) (end jobs.RunState, reason string) {
	size := 0
	for i, p := range consumed {
		parent, ok := c.runs[p.Run]
		if !ok || len(parent.rec.Results) == 0 {
			continue
		}
		for k, v := range parent.rec.Results {
			size += len(k) + len(v)
		}
		if r.Inputs == nil {
			r.Inputs = map[jobs.Name]map[string]string{}
		}
		r.Inputs[child.rec.Job.After[i]] = parent.rec.Results
	}
	if size > jobs.MaxResultBytes {
		r.Inputs = nil
		return jobs.RunFailed, fmt.Sprintf("the results of its parents have %d bytes together; at most %d are handed on", size, jobs.MaxResultBytes)
	}
	return "", ""
}
