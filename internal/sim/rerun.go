package sim

import (
	"slices"

	"tidemill/jobs"
)

// A run of failed splits goes on where an earlier one ended: its origin.

// formerly is the account of an attempt by its number, in the run or in those
// whose failed splits it does again.
func (m *model) formerly(x *runAccount, stage, split, attempt int) *attemptAccount {
	for x != nil {
		for _, a := range x.attempts {
			if a.rec.Stage == stage && a.rec.Split == split && a.rec.Attempt == attempt {
				return a
			}
		}
		if x.rec.Rerun == nil {
			return nil
		}
		x = m.runs[x.rec.Rerun.Of]
	}
	return nil
}

// inherited looks at what a new run takes over: only what succeeded, under
// the version that it was written with.
func (m *model) inherited(x *runAccount) {
	r := x.rec.Rerun
	of := m.runs[r.Of]
	if of == nil || !of.finished {
		m.violate("run %s does again what failed in %s, which has not ended", x.rec.ID, r.Of)
		return
	}
	if x.rec.Version != of.rec.Version {
		m.violate("run %s writes under version %d, and what it takes over under %d", x.rec.ID, x.rec.Version, of.rec.Version)
	}
	for split, attempt := range r.Succeeded {
		if attempt > 0 && !m.succeededOnce(of, r.Stage, split, attempt) {
			m.violate("run %s takes split %d of %s for done, and its attempt %d never succeeded", x.rec.ID, split, r.Of, attempt)
		}
	}
	for _, a := range of.attempts {
		if a.rec.State == jobs.AttemptSucceeded && a.rec.Stage == r.Stage && (a.rec.Split >= len(r.Succeeded) || r.Succeeded[a.rec.Split] == 0) {
			m.violate("run %s is to do again what attempt %s did", x.rec.ID, a.rec.ID)
		}
	}
}

// succeededOnce says whether an attempt succeeded, or somebody said so.
func (m *model) succeededOnce(x *runAccount, stage, split, attempt int) bool {
	a := m.formerly(x, stage, split, attempt)
	return a != nil && a.rec.State == jobs.AttemptSucceeded && (a.success || a.run.marked)
}

// takeKept adds the splits that a run took over as done.
func (m *model) takeKept(x *runAccount, succeeded map[[2]int]bool) {
	if r := x.rec.Rerun; r != nil {
		for split, attempt := range r.Succeeded {
			if attempt > 0 {
				succeeded[[2]int{r.Stage, split}] = true
			}
		}
	}
}

// checkKept: what succeeded in the earlier run is not done again.
func (m *model) checkKept(a *attemptAccount) {
	r := a.run.rec.Rerun
	if r == nil {
		return
	}
	kept := r.Stage == a.rec.Stage && a.rec.Split < len(r.Succeeded) && r.Succeeded[a.rec.Split] > 0
	if kept || a.rec.Stage < r.Stage {
		m.violate("attempt %s does again what succeeded in %s", a.rec.ID, r.Of)
	}
}

// checkFormer: a stage reads what attempts left that are recorded as
// succeeded, one of each split of the stage before.
func (m *model) checkFormer(a jobs.Assignment) {
	x := m.attempt(a.Task).run
	if x == nil || a.Stage < 2 {
		return
	}
	if len(a.Former) == 0 || slices.Contains(a.Former, 0) {
		m.violate("attempt %s reads %v of the stage before", a.Task, a.Former)
	}
	for split, attempt := range a.Former {
		if !m.succeededOnce(x, a.Stage-1, split, attempt) {
			m.violate("attempt %s reads what attempt %d of split %d left, which never succeeded", a.Task, attempt, split)
		}
	}
}
