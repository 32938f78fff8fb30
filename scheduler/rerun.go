package scheduler

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"tidemill/jobs"
)

// rerun does a final run again, or its failed splits only: the same instant
// and interval, a higher generation.
func (c *Core) rerun(id jobs.RunID, failedOnly bool) (jobs.Run, error) {
	x, err := c.findRun("rerun", id)
	if err != nil {
		return jobs.Run{}, err
	}
	if _, err := c.find("rerun", x.rec.Job); err != nil {
		return jobs.Run{}, err
	}
	if x.job.held != "" {
		return jobs.Run{}, notAgain(x, "its job is held: "+x.job.held, hintHeld)
	}
	if !x.rec.State.Final() || x.job.traits.Service {
		return jobs.Run{}, notAgain(x, "it is "+string(x.rec.State), "kill it first, or wait for its end")
	}
	again := jobs.Run{
		Key: x.rec.Key, Trigger: jobs.ByHand, Nominal: x.rec.Nominal, Interval: x.rec.Interval,
		Arguments: x.rec.Arguments, Parents: x.rec.Parents, Inputs: x.rec.Inputs, FireChildren: x.rec.FireChildren,
	}
	var since time.Time
	if x.rec.Generation == 0 {
		since = x.rec.Created
	}
	again.Generation = c.newGeneration(x.job, x.rec.Key, since)
	if failedOnly {
		if err := c.takeOver(x, &again); err != nil {
			return jobs.Run{}, err
		}
	}
	return c.createRun(x.job, again).view(), nil
}

func notAgain(x *run, message, hint string) error {
	return &jobs.Error{Code: jobs.Conflict, Op: "rerun", Subject: "run " + string(x.rec.ID), Message: message, Hint: hint}
}

const rerunWhole = "tidemill run rerun without --failed does all of it again"

// takeOver gives a new run what an earlier one leaves it: the sealed plan
// under a key of its own, the version, and the splits that succeeded. A run
// that never came to its work leaves nothing: it is done again as a whole.
func (c *Core) takeOver(x *run, again *jobs.Run) error {
	switch {
	case x.rec.State == jobs.RunSucceeded:
		return notAgain(x, "it succeeded: no split is left to do", rerunWhole)
	case x.rec.Stage == 0:
		return nil
	case x.rec.Pinned == nil || (x.rec.PlanChunks > 0 && x.plan == nil):
		return notAgain(x, "its plan is no longer kept", rerunWhole)
	case !sameWork(x.rec.Pinned, &x.job.rec.Job):
		return notAgain(x, "the job's spec was changed since, and its splits are those of the earlier one", rerunWhole)
	}
	x.traits = x.job.traits
	r := &jobs.Rerun{Of: x.rec.ID, Origin: x.rec.ID, Stage: x.rec.Stage}
	if x.rec.Rerun != nil {
		r.Origin = x.rec.Rerun.Origin
	}
	r.Succeeded, r.Attempts = x.outcomes(r.Stage)
	for _, attempt := range r.Succeeded {
		if attempt > 0 {
			r.Kept++
		}
	}
	if before := x.stageBefore(r.Stage); before > 0 {
		r.Former, _ = x.outcomes(before)
	}
	if former := x.rec.Rerun; former != nil && former.Stage == r.Stage {
		r.Former = former.Former
	}
	again.Rerun, again.Version, again.Results = r, x.rec.Version, maps.Clone(x.rec.Results)
	if x.plan != nil {
		again.PlanChunks = c.storePlan(jobs.NewRunID(x.job.name, x.job.state.Incarnation, again.Key, again.Generation), mustJSON(x.plan))
	}
	return nil
}

// sameWork says whether two versions of a job mean the same by a split.
func sameWork(a, b *jobs.Job) bool {
	return a.Kind == b.Kind && bytes.Equal(compact(a.Spec), compact(b.Spec))
}

// stageBefore is the plan's stage before another; 0 where there is none.
func (x *run) stageBefore(stage int) int {
	before := 0
	if x.plan != nil {
		for _, s := range x.plan.Splits {
			if s.Stage < stage {
				before = max(before, s.Stage)
			}
		}
	}
	return before
}

// outcomes says, for each split of a stage, which attempt succeeded (0: none
// did), and the number of the last one. Final states never change, so that
// every leader finds the same.
func (x *run) outcomes(stage int) (succeeded, attempts []int) {
	n := len(x.splitsOf(stage))
	succeeded, attempts = make([]int, n), make([]int, n)
	if r := x.rec.Rerun; r != nil && r.Stage == stage {
		copy(succeeded, r.Succeeded)
		copy(attempts, r.Attempts)
	}
	for _, t := range slices.SortedFunc(slices.Values(x.attempts()), func(a, b jobs.Task) int { return compareTasks(&a, &b) }) {
		if t.Stage != stage || t.Split >= n {
			continue
		}
		attempts[t.Split] = max(attempts[t.Split], t.Attempt)
		if t.State == jobs.AttemptSucceeded && succeeded[t.Split] == 0 {
			succeeded[t.Split] = t.Attempt
		}
	}
	return succeeded, attempts
}

// takeOver makes the split go on where an earlier run left it: done, or with
// the number of its next attempt. Its starts are counted anew.
func (s *split) takeOver(attempts, succeeded int) {
	s.attempts = attempts
	if succeeded == 0 {
		return
	}
	s.succeeded = &task{run: s.run, rec: jobs.Task{Stage: s.def.Stage, Split: s.def.Number, Attempt: succeeded, State: jobs.AttemptSucceeded}}
	s.run.done++
}
