package scheduler

import (
	"slices"
	"time"

	"tidemill/jobs"
)

// latestOf is the run of a key with the highest generation that history still knows.
func (j *job) latestOf(key jobs.Key) *run {
	var latest *run
	for _, list := range [][]*run{j.recent, j.live} {
		for _, x := range list {
			if x.rec.Key == key && (latest == nil || x.rec.Generation > latest.rec.Generation) {
				latest = x
			}
		}
	}
	return latest
}

// newGeneration is one that no run of the key ever had, though history may
// have forgotten some: an id, and those of its tasks, are never used again.
// No run of the key was created before since (zero: nobody knows).
func (c *Core) newGeneration(j *job, key jobs.Key, since time.Time) int {
	next := 0
	if latest := j.latestOf(key); latest != nil {
		next = latest.rec.Generation + 1
	}
	if since.After(j.state.Forgotten) {
		return next // history forgot no run of the key
	}
	j.state.Generations = max(j.state.Generations+1, next)
	c.touch(stateChange{j})
	return j.state.Generations
}

// forgets notes that history loses a run.
func (j *job) forgets(x *run) {
	j.state.Generations = max(j.state.Generations, x.rec.Generation)
	if x.rec.Created.After(j.state.Forgotten) {
		j.state.Forgotten = x.rec.Created
	}
}

// sinceOf is a time before which no child's run was created that consumed
// these parents' runs; zero where nobody knows.
func (c *Core) sinceOf(key jobs.Key, nominal time.Time, consumed []parentRun) time.Time {
	if key == jobs.InstantKey(nominal) {
		return nominal
	}
	var since time.Time
	for _, p := range consumed {
		parent, ok := c.runs[p.Run]
		if !ok || parent.rec.Generation > 0 {
			return time.Time{}
		}
		if since.IsZero() || parent.rec.Created.Before(since) {
			since = parent.rec.Created
		}
	}
	return since
}

// refused says whether a run ended without having been run, for its parents' sake.
func (x *run) refused() bool {
	return slices.Contains([]jobs.RunState{jobs.RunUpstreamFailed, jobs.RunSkipped}, x.rec.State)
}
