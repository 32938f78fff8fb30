package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tidemill/jobs"
)

// maxPending bounds the parent runs an edge remembers; older ones are dropped.
const maxPending = 1000

// tellChildren notes a final run with every child, and creates the children's
// runs that it completes. Noting, consuming and creating are one group.
func (c *Core) tellChildren(x *run) {
	if !x.rec.FireChildren {
		return
	}
	for _, name := range c.graph.Children(x.rec.Job) {
		child := c.jobs[name]
		e := child.state.Edges[x.rec.Job]
		if e == nil || x.rec.Created.Before(e.Since) {
			continue // the edge sees runs created after itself
		}
		e.Pending = append(e.Pending, noted(x))
		if len(e.Pending) > maxPending {
			e.Pending = slices.Delete(e.Pending, 0, 1)
		}
		c.touch(stateChange{child})
		c.evaluate(child)
	}
}

// skippedUpstream looks again at the children that wait for an instant which
// this job's mark has passed without a run.
func (c *Core) skippedUpstream(j *job) {
	for _, name := range c.graph.Children(j.name) {
		c.evaluate(c.jobs[name])
	}
}

// setEdges makes the edges of a job's present parents, and drops the others.
func (c *Core) setEdges(j *job) {
	edges := map[jobs.Name]*edge{}
	for _, p := range j.rec.Job.After {
		if e, ok := j.state.Edges[p]; ok {
			edges[p] = e
		} else {
			edges[p] = &edge{Since: c.now}
		}
		if j.rec.Job.LatestWithin > 0 && edges[p].Latest == nil {
			edges[p].Latest = c.latestSuccess(p)
		}
	}
	j.state.Edges = edges
	c.touch(stateChange{j})
}

// evaluate creates the runs of a child whose parents are all done.
func (c *Core) evaluate(child *job) {
	if !child.declared() || child.held != "" || len(child.rec.Job.After) == 0 {
		return
	}
	switch {
	case c.graph.SameInstants(child.name):
		c.evaluateInstants(child)
	case child.rec.Job.LatestWithin > 0:
		c.evaluateLatest(child)
	default:
		c.evaluateSince(child)
	}
}

// evaluateInstants: one run of the child for one instant of all its parents.
func (c *Core) evaluateInstants(child *job) {
	for _, at := range waitingInstants(child) {
		if consumed, ok := c.consumable(child, at); ok {
			c.consume(child, at.Key, at.Nominal, at.Interval, consumed)
		}
	}
}

// waitingInstants are the instants that some parent has finished, oldest first.
func waitingInstants(child *job) []parentRun {
	seen := map[jobs.Key]bool{}
	var out []parentRun
	for _, p := range child.rec.Job.After {
		for _, r := range child.state.Edges[p].Pending {
			if !seen[r.Key] {
				seen[r.Key] = true
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b parentRun) int {
		return cmp.Or(a.Nominal.Compare(b.Nominal), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// consumable gathers, for one instant, each parent's run; ok when none is
// still to come. A parent whose mark passed the instant without a run is skipped.
func (c *Core) consumable(child *job, at parentRun) (consumed []parentRun, ok bool) {
	for _, name := range child.rec.Job.After {
		pending := child.state.Edges[name].Pending
		if i := slices.IndexFunc(pending, func(r parentRun) bool { return r.Key == at.Key }); i >= 0 {
			consumed = append(consumed, pending[i])
			continue
		}
		if !c.passed(c.jobs[name], at) {
			return nil, false
		}
		consumed = append(consumed, c.formerly(c.jobs[name], child.state.Edges[name], at))
	}
	return consumed, true
}

// formerly is a parent's run for an instant that the child consumed before,
// as far as history knows it; else the instant was skipped.
func (c *Core) formerly(parent *job, e *edge, at parentRun) parentRun {
	if x := parent.latestOf(at.Key); x != nil && x.rec.FireChildren && !x.rec.Created.Before(e.Since) {
		return noted(x)
	}
	return parentRun{Key: at.Key, Nominal: at.Nominal, State: jobs.RunSkipped}
}

// noted is a final run as its children's edges know it.
func noted(x *run) parentRun {
	return parentRun{Run: x.rec.ID, Key: x.rec.Key, Nominal: x.rec.Nominal, Interval: x.rec.Interval, State: x.rec.State, Ended: x.rec.Ended}
}

// passed says whether a scheduled parent will never run for an instant.
func (c *Core) passed(parent *job, at parentRun) bool {
	if parent.sched == nil || at.Key != jobs.InstantKey(at.Nominal) || parent.floor().Before(at.Nominal) {
		return false
	}
	if slices.ContainsFunc(parent.state.Backlog, func(b backlog) bool { return at.Nominal.After(b.After) && !at.Nominal.After(b.Until) }) {
		return false
	}
	return !slices.ContainsFunc(parent.live, func(x *run) bool { return x.rec.Key == at.Key })
}

// evaluateSince is Chronos's rule for parents of different schedules: the
// child runs when all of them ran since it did.
func (c *Core) evaluateSince(child *job) {
	var consumed []parentRun
	var nominal time.Time
	var covers jobs.Interval
	for _, p := range child.rec.Job.After {
		pending := child.state.Edges[p].Pending
		if len(pending) == 0 {
			return
		}
		best := bestOf(pending)
		consumed = append(consumed, best)
		for _, r := range pending {
			if r.Nominal.After(nominal) {
				nominal = r.Nominal
			}
			covers = widen(covers, r.Interval)
		}
	}
	ids := make([]jobs.RunID, 0, len(consumed))
	for _, p := range child.rec.Job.After {
		for _, r := range child.state.Edges[p].Pending {
			ids = append(ids, r.Run)
		}
	}
	key := jobs.ConsumedKey(ids)
	for _, p := range child.rec.Job.After {
		child.state.Edges[p].Pending = nil
	}
	c.fire(child, key, nominal, covers, consumed)
}

// bestOf is the latest success among a parent's runs, else its latest run.
func bestOf(pending []parentRun) parentRun {
	best := pending[0]
	for _, r := range pending[1:] {
		if r.State == jobs.RunSucceeded || best.State != jobs.RunSucceeded {
			best = r
		}
	}
	return best
}

func widen(a, b jobs.Interval) jobs.Interval {
	if a.Start.IsZero() || (!b.Start.IsZero() && b.Start.Before(a.Start)) {
		a.Start = b.Start
	}
	if b.End.After(a.End) {
		a.End = b.End
	}
	return a
}

// consume takes an instant's runs out of the edges and creates the child's.
func (c *Core) consume(child *job, key jobs.Key, nominal time.Time, covers jobs.Interval, consumed []parentRun) {
	for _, p := range child.rec.Job.After {
		e := child.state.Edges[p]
		e.Pending = slices.DeleteFunc(e.Pending, func(r parentRun) bool { return r.Key == key })
	}
	c.fire(child, key, nominal, covers, consumed)
}

// fire creates a child's run: to be run when all its parents succeeded, else
// recorded as what its parents made of it. It is never silently waiting.
func (c *Core) fire(child *job, key jobs.Key, nominal time.Time, covers jobs.Interval, consumed []parentRun) {
	c.touch(stateChange{child})
	if old := child.latestOf(key); old != nil && !old.refused() {
		return // it ran for this before: a parent was marked or rerun since
	}
	r := jobs.Run{Key: key, Trigger: jobs.ByParents, Nominal: nominal, Interval: covers, FireChildren: true}
	for _, p := range consumed {
		if p.Run != "" {
			r.Parents = append(r.Parents, p.Run)
		}
	}
	end, reason := c.verdict(&child.rec.Job, consumed)
	if end == "" {
		end, reason = c.takeInputs(&r, child, consumed)
	}
	r.Generation = c.newGeneration(child, key, c.sinceOf(key, nominal, consumed))
	if end == "" && child.rec.Job.Paused {
		end, reason = jobs.RunSkipped, "the job is paused"
	}
	if end == "" {
		c.createRun(child, r)
		return
	}
	c.createEnded(child, r, end, reason)
}

// verdict is what the parents' ends make of a child's run: nothing where it
// is to be run, else its final state and why.
func (c *Core) verdict(child *jobs.Job, consumed []parentRun) (end jobs.RunState, reason string) {
	if child.LatestWithin > 0 && !c.graph.SameInstants(child.Name) {
		return c.freshness(child, consumed)
	}
	if child.Trigger == jobs.AllDone {
		return "", ""
	}
	successes := 0
	for i, p := range consumed {
		parent := child.After[i]
		switch {
		case c.succeeded(parent, p.State):
			successes++
		case end == jobs.RunUpstreamFailed:
		case p.State == jobs.RunSkipped:
			end, reason = jobs.RunSkipped, "parent "+string(parent)+" was skipped"
		default:
			end, reason = jobs.RunUpstreamFailed, "parent "+string(parent)+" ended "+string(p.State)
		}
	}
	if child.Trigger == jobs.AnySuccess && successes > 0 {
		return "", ""
	}
	return end, reason
}

// createEnded records a run that is final from its beginning, and gives it.
func (c *Core) createEnded(j *job, r jobs.Run, state jobs.RunState, reason string) jobs.Run {
	r.Job, r.JobVersion, r.State, r.Created = j.name, j.rec.Job.Version, jobs.RunPending, c.now
	r.ID = jobs.NewRunID(j.name, j.state.Incarnation, r.Key, r.Generation)
	if old, ok := c.lookUp(r.ID); ok {
		return old.view()
	}
	pinned := j.rec.Job
	r.Pinned = &pinned
	x := &run{rec: r, job: j, traits: j.traits, tasks: map[jobs.TaskID]*task{}}
	c.runs[r.ID] = x
	j.live = append(j.live, x)
	c.finish(x, state, reason)
	return x.view()
}

// childRuns says what a run's end made of the jobs after it: their runs, or
// which other parents they wait for.
func (c *Core) childRuns(x *run) []jobs.ChildRun {
	if !x.rec.State.Final() || !x.rec.FireChildren {
		return nil
	}
	var out []jobs.ChildRun
	for _, name := range c.graph.Children(x.rec.Job) {
		child := c.jobs[name]
		for _, y := range slices.Concat(child.recent, child.live) {
			if slices.Contains(y.rec.Parents, x.rec.ID) {
				out = append(out, jobs.ChildRun{Job: name, Run: y.rec.ID, State: y.told(), Reason: y.rec.Reason})
			}
		}
		if missing := c.awaited(child, x.rec.ID); len(missing) > 0 {
			out = append(out, jobs.ChildRun{Job: name, Reason: fmt.Sprintf("it waits for runs of %v", missing)})
		}
	}
	return out
}

// awaited are the parents of a child that have no run yet to go with one that
// an edge has noted.
func (c *Core) awaited(child *job, id jobs.RunID) []jobs.Name {
	var noted parentRun
	for _, e := range child.state.Edges {
		for _, r := range e.Pending {
			if r.Run == id {
				noted = r
			}
		}
	}
	if noted.Run == "" {
		return nil
	}
	sameInstants := c.graph.SameInstants(child.name)
	var missing []jobs.Name
	for _, p := range child.rec.Job.After {
		if !slices.ContainsFunc(child.state.Edges[p].Pending, func(r parentRun) bool { return !sameInstants || r.Key == noted.Key }) {
			missing = append(missing, p)
		}
	}
	return missing
}
