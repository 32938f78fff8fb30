package scheduler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"tidemill/jobs"
)

// What users ask for: the Do of a Request.
type (
	// ApplyJobs creates or replaces jobs, all or none; the answer is []jobs.AppliedJob.
	ApplyJobs struct{ Jobs []jobs.Job }
	// DeleteJob removes a job; its live runs are cancelled.
	DeleteJob struct {
		Name jobs.Name
		Mode jobs.DeleteMode
	}
	// PauseJob pauses or resumes a job; the answer is a jobs.Job.
	PauseJob struct {
		Name   jobs.Name
		Paused bool
	}
	// ScaleJob sets how many instances a service has; the answer is a jobs.Job.
	ScaleJob struct {
		Name      jobs.Name
		Instances int
	}
	// StartRun makes a run by hand; the answer is a jobs.Run.
	StartRun struct{ jobs.RunRequest }
	// KillRun cancels a run.
	KillRun struct {
		ID     jobs.RunID
		Reason string
	}
	// KillRuns cancels all live runs of a job; the answer is how many.
	KillRuns struct {
		Job    jobs.Name
		Reason string
	}
	// MarkRun declares a run's end by hand; the answer is a jobs.Run.
	MarkRun struct {
		ID      jobs.RunID
		Success bool
	}
	// RerunRun makes a final run's work be done again, as the job is now, or
	// that of its failed splits only; the answer is a jobs.Run.
	RerunRun struct {
		ID     jobs.RunID
		Failed bool
	}
	// ResolveRun says how the attempts went whose outcome is unknown.
	ResolveRun struct {
		ID jobs.RunID
		As jobs.Resolution
	}
	// SetPool creates or changes a pool; the answer is a jobs.PoolView.
	SetPool struct{ jobs.Pool }
	// DeletePool removes one that no job names.
	DeletePool struct{ Name jobs.Name }
	// HoldLaunches keeps everything from being launched; the answer is a jobs.Hold.
	HoldLaunches struct{ Reason string }
	// ReleaseLaunches ends that.
	ReleaseLaunches struct{ Reason string }
	// BackfillJob runs a job's instants of an interval; the answer is how many.
	BackfillJob struct{ jobs.BackfillRequest }
	// ReleaseAgent lets tasks be placed on an agent that is avoided; the answer
	// is a jobs.AgentView.
	ReleaseAgent struct{ ID string }
)

func (c *Core) onRequest(r Request) {
	var value any
	var err error
	switch do := r.Do.(type) {
	case ApplyJobs:
		value, err = c.applyJobs(do.Jobs)
	case DeleteJob:
		err = c.deleteJob(do.Name, do.Mode)
	case PauseJob:
		value, err = c.pauseJob(do.Name, do.Paused)
	case ScaleJob:
		value, err = c.scaleJob(do.Name, do.Instances)
	case StartRun:
		value, err = c.startRun(do.RunRequest)
	case KillRun:
		err = c.killRun(do.ID, do.Reason)
	case KillRuns:
		value, err = c.killRuns(do.Job, do.Reason)
	case MarkRun:
		value, err = c.markRun(do.ID, do.Success)
	case RerunRun:
		value, err = c.rerun(do.ID, do.Failed)
	case ResolveRun:
		value, err = c.resolve(do.ID, do.As)
	case BackfillJob:
		value, err = c.backfillJob(do.BackfillRequest)
	case ReleaseAgent:
		value, err = c.releaseAgent(do.ID)
	case SetPool:
		value, err = c.setPool(do.Pool)
	case DeletePool:
		err = c.deletePool(do.Name)
	case HoldLaunches:
		value, err = c.holdLaunches(do.Reason)
	case ReleaseLaunches:
		err = c.releaseLaunches(do.Reason)
	default:
		err = fmt.Errorf("unknown request %T", r.Do)
	}
	c.fx.Answers = append(c.fx.Answers, Answer{ID: r.ID, Value: value, Err: err})
}

// applyJobs checks the whole list before it changes anything.
func (c *Core) applyJobs(list []jobs.Job) ([]jobs.AppliedJob, error) {
	checked := make([]jobs.Job, len(list))
	traits := map[jobs.Name]jobs.Traits{}
	var wrong jobs.FieldErrors
	for i, j := range list {
		full, t, err := c.kinds.Check(j)
		wrong.AddAll(prefixOf(list, i), err)
		wrong.AddAll(prefixOf(list, i), c.checkPool(full.Pool))
		checked[i], traits[j.Name] = full, t
		if slices.ContainsFunc(list[:i], func(o jobs.Job) bool { return o.Name == j.Name }) {
			wrong.Addf(prefixOf(list, i)+".name", "%q is named twice", j.Name)
		}
		old, ok := c.jobs[j.Name]
		if !ok {
			continue
		}
		if err := old.frozen("apply"); err != nil {
			return nil, err
		}
		if !old.declared() && len(old.live) > 0 {
			return nil, &jobs.Error{
				Code: jobs.Conflict, Op: "apply", Subject: "job " + string(j.Name),
				Message: "the former job of that name is deleted, and its last tasks are still ending", Hint: "try again in a moment",
			}
		}
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	if err := c.checkGraph(checked, list); err != nil {
		return nil, err
	}
	applied := map[jobs.Name]jobs.Applied{}
	for _, j := range jobs.Ordered(checked) {
		applied[j.Name] = c.applyJob(j, traits[j.Name])
		c.seal()
	}
	out := make([]jobs.AppliedJob, len(checked))
	for i, j := range checked {
		out[i] = jobs.AppliedJob{Job: c.jobs[j.Name].rec.Job, Applied: applied[j.Name]}
	}
	return out, nil
}

// prefixOf names a job of a list by its place; a single one needs no name.
func prefixOf(list []jobs.Job, i int) string {
	if len(list) == 1 {
		return ""
	}
	return fmt.Sprintf("[%d]", i)
}

// checkGraph puts all jobs into the graph and looks for unknown parents and
// cycles; where it finds any, the graph is as before.
func (c *Core) checkGraph(checked, list []jobs.Job) error {
	before := map[jobs.Name]*jobs.Job{}
	for _, j := range checked {
		if old, ok := c.jobs[j.Name]; ok && old.declared() {
			before[j.Name] = &old.rec.Job
		} else {
			before[j.Name] = nil
		}
		c.graph.Put(j)
	}
	var wrong jobs.FieldErrors
	for i, j := range checked {
		wrong.AddAll(prefixOf(list, i), c.graph.Check(j))
		if j.Schedule == nil && len(j.After) == 0 {
			continue
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	for name, old := range before {
		if old == nil {
			c.graph.Remove(name)
		} else {
			c.graph.Put(*old)
		}
	}
	return wrong
}

// applyJob creates or replaces one checked job. An edit that changes nothing
// changes nothing; runs under way keep the job as they know it.
func (c *Core) applyJob(n jobs.Job, traits jobs.Traits) jobs.Applied {
	applied := jobs.JobReplaced
	j, known := c.jobs[n.Name]
	if !known {
		j = &job{name: n.Name, rec: jobRecord{Deleted: true}}
		c.jobs[n.Name] = j
	}
	if j.rec.Deleted {
		j.state.Incarnation++
		j.rec = jobRecord{FirstApplied: nextSecond(c.now), Rescheduled: c.now}
		j.state = stateRecord{Incarnation: j.state.Incarnation, Mark: c.now}
		n.Created = c.now
		applied = jobs.JobCreated
	} else {
		if sameDeclaration(n, j.rec.Job) && j.held == "" {
			return jobs.JobUnchanged
		}
		n.Created = j.rec.Job.Created
		if !reflect.DeepEqual(n.Schedule, j.rec.Job.Schedule) {
			j.rec.Rescheduled = c.now
			c.leaveBacklog(j, "the schedule was changed before catch-up came to it")
			if n.Schedule != nil && !sameRepeat(n.Schedule, j.rec.Job.Schedule) {
				j.rec.FirstApplied = nextSecond(c.now)
			}
		}
	}
	wasPaused, wasHeld := j.rec.Job.Paused, j.held != ""
	n.Version, n.Incarnation, n.Updated = j.rec.Job.Version+1, j.state.Incarnation, c.now
	j.rec.Job, j.traits, j.held, j.words = n, traits, "", ""
	j.full.set(c.now, n.Concurrency > 0 && j.busy >= n.Concurrency)
	delete(c.problems, "job "+string(n.Name))
	j.due = c.now.Add(-1) // earlier arrangements are void
	if err := compile(c.kinds, j); err != nil {
		j.held = err.Error() // cannot be: it was checked
	}
	c.setEdges(j)
	c.touch(jobChange{j})
	c.notify(jobs.Notice{Type: "job", Job: j.name, State: "applied"})
	if wasHeld {
		for _, x := range slices.Clone(j.live) {
			c.resumeRun(x)
		}
	}
	if wasPaused && !n.Paused {
		c.skipPaused(j)
	}
	c.editService(j)
	c.ensureService(j)
	c.watchSchedule(j)
	c.catchUp(j)
	c.evaluate(j)
	return applied
}

// nextSecond is the start of a repeat that names none: its first instant is
// due at once, and still after the edit that made it.
func nextSecond(t time.Time) time.Time { return t.Truncate(time.Second).Add(time.Second) }

// sameDeclaration compares what users write.
func sameDeclaration(a, b jobs.Job) bool {
	a.Version, a.Incarnation, a.Created, a.Updated = b.Version, b.Incarnation, b.Created, b.Updated
	a.Spec, b.Spec = compact(a.Spec), compact(b.Spec)
	return reflect.DeepEqual(a, b)
}

func compact(doc json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, doc) != nil || b.Len() == 0 {
		return nil
	}
	return b.Bytes()
}

// sameRepeat says whether two schedules are one ISO repeat without a start:
// applied again, it keeps its stored start.
func sameRepeat(a, b *jobs.Schedule) bool {
	return b != nil && a.Repeat != "" && a.Repeat == b.Repeat
}

func (c *Core) find(op string, name jobs.Name) (*job, error) {
	j, ok := c.jobs[name]
	if !ok || !j.declared() {
		return nil, &jobs.Error{
			Code: jobs.NotFound, Op: op, Subject: "job " + string(name), Message: "there is no such job", Hint: "tidemill job list shows them",
		}
	}
	return j, j.frozen(op)
}

// deleteJob removes a job, once its children are dealt with as mode says.
func (c *Core) deleteJob(name jobs.Name, mode jobs.DeleteMode) error {
	j, err := c.find("delete", name)
	if err != nil {
		return err
	}
	for _, child := range slices.Clone(c.graph.Children(name)) {
		switch mode {
		case jobs.DeleteCascade:
			err = c.deleteJob(child, mode)
		case jobs.DeleteReparent:
			if err = c.jobs[child].frozen("delete"); err == nil {
				c.reparent(c.jobs[child], &j.rec.Job)
			}
		default:
			err = &jobs.Error{
				Code: jobs.Conflict, Op: "delete", Subject: "job " + string(name),
				Message: fmt.Sprintf("%v come after it", c.graph.Children(name)),
				Hint:    "delete them too with --cascade, or give them its own parents or schedule with --reparent",
			}
		}
		if err != nil {
			return err
		}
	}
	c.graph.Remove(name)
	j.rec.Deleted = true
	c.touch(jobChange{j})
	for _, x := range slices.Clone(j.live) {
		c.cancel(x, jobs.RunCancelled, "the job was deleted")
	}
	for _, x := range j.recent {
		c.retire(x)
	}
	j.recent, j.state.Edges, j.state.Backlog, j.state.Skipped = nil, nil, nil, nil
	c.touch(stateChange{j})
	c.notify(jobs.Notice{Type: "job", Job: name, State: "deleted"})
	return nil
}

// reparent gives a child the parents of a job that goes, or its schedule
// where that leaves it without a parent.
func (c *Core) reparent(child *job, gone *jobs.Job) {
	n := child.rec.Job
	var parents []jobs.Name
	for _, p := range n.After {
		if p != gone.Name {
			parents = append(parents, p)
			continue
		}
		for _, grand := range gone.After {
			if !slices.Contains(n.After, grand) && !slices.Contains(parents, grand) {
				parents = append(parents, grand)
			}
		}
	}
	n.After = parents
	if len(parents) == 0 {
		n.Schedule, n.Trigger, n.LatestWithin = gone.Schedule, "", 0
	}
	c.graph.Put(n)
	c.applyJob(n, child.traits)
	c.seal()
}

func (c *Core) pauseJob(name jobs.Name, paused bool) (jobs.Job, error) {
	op := "resume"
	if paused {
		op = "pause"
	}
	j, err := c.find(op, name)
	if err != nil {
		return jobs.Job{}, err
	}
	if j.rec.Job.Paused == paused {
		return j.rec.Job, nil
	}
	j.rec.Job.Paused = paused
	c.touch(jobChange{j})
	c.notify(jobs.Notice{Type: "job", Job: name, State: op + "d"})
	if paused {
		if j.traits.Service {
			for _, x := range slices.Clone(j.live) {
				c.cancel(x, jobs.RunCancelled, "the job was paused")
			}
		}
	} else {
		c.skipPaused(j)
	}
	c.ensureService(j)
	c.watchSchedule(j)
	c.catchUp(j)
	return j.rec.Job, nil
}

// skipPaused records the instants that a pause swallowed, and moves the mark
// past them.
func (c *Core) skipPaused(j *job) {
	if j.sched == nil {
		return
	}
	first, ok := j.sched.Next(j.floor())
	if !ok || first.Actual.After(c.now) {
		return
	}
	last := c.lastDue(j, first)
	j.state.Mark = last.Nominal
	c.skip(j, first.Nominal, last.Nominal, "the job was paused")
	c.skippedUpstream(j)
}
