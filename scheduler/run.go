package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler/match"
)

// run is one run and, while it lives, the splits of its stage.
//
//	pending ─► planning ─► running ─► succeeded | failed | cancelled
//	   └─► skipped | upstream_failed
type run struct {
	extra  unknown // fields of a newer program
	rec    jobs.Run
	job    *job
	traits jobs.Traits // of the pinned job
	plan   *jobs.Plan  // nil: the traits' static one
	chunks []string    // keys of what the store holds of a plan, be it sealed or not
	splits []*split    // of the present stage, by number
	former []int       // the attempts of the stage before that succeeded, by split
	done   int         // splits of the stage that succeeded
	tasks  map[jobs.TaskID]*task

	where  *match.Constraints // the pinned job's; see constraints
	placed *match.Tally       // of the attempts that may be at work; nil: to be counted again
}

func (x *run) key() string             { return keyRun + string(x.rec.ID) }
func (x *run) encode(time.Time) []byte { return encode(x.rec, x.extra) }

// pinned is the job as the run sees it.
func (x *run) pinned() *jobs.Job { return x.rec.Pinned }

// createRun makes the run that r describes, or finds it: its id says what it
// is for. The overlap policy decides whether it starts, waits or is skipped.
func (c *Core) createRun(j *job, r jobs.Run) *run {
	r.Job, r.JobVersion, r.State, r.Created = j.name, j.rec.Job.Version, jobs.RunPending, c.now
	r.ID = jobs.NewRunID(j.name, j.state.Incarnation, r.Key, r.Generation)
	if old, ok := c.lookUp(r.ID); ok {
		return old
	}
	pinned := j.rec.Job
	r.Pinned = &pinned
	x := &run{rec: r, job: j, traits: j.traits, tasks: map[jobs.TaskID]*task{}}
	if r.Rerun != nil {
		x.plan, x.chunks = c.runs[r.Rerun.Of].plan, planKeys(r.ID, r.PlanChunks)
	}
	c.runs[r.ID] = x
	busy := len(j.live)
	j.live = append(j.live, x)
	c.touch(x)
	c.noticeRun(x)
	if reason := c.overlapping(j, x, busy); reason != "" {
		c.finish(x, jobs.RunSkipped, reason)
		return x
	}
	c.watchDeadline(x)
	c.admit(j)
	return x
}

// maxBuffered bounds the runs of one job that wait or work at once.
const maxBuffered = 1000

// overlapping applies the overlap policy to a new run: a reason to skip it, or none.
func (c *Core) overlapping(j *job, x *run, busy int) string {
	switch {
	case busy == 0:
		return ""
	case busy >= maxBuffered:
		return fmt.Sprintf("overlap: %d runs of the job wait or work already", busy)
	case x.rec.Trigger == jobs.ByHand || x.rec.Trigger == jobs.ByCatchUp || x.rec.Trigger == jobs.ByBackfill:
		return ""
	}
	switch x.pinned().Overlap {
	case jobs.OverlapSkip:
		return "overlap: run " + string(j.live[0].rec.ID) + " is under way"
	case jobs.OverlapBufferOne:
		if pending := j.live[busy-1]; pending.rec.State == jobs.RunPending {
			return "overlap: run " + string(pending.rec.ID) + " waits already"
		}
	case jobs.OverlapCancel:
		for _, older := range slices.Clone(j.live[:busy]) {
			c.cancel(older, jobs.RunCancelled, "overlap: run "+string(x.rec.ID)+" takes its place")
		}
	}
	return ""
}

// admit starts the job's pending runs whose turn it is, in their order.
func (c *Core) admit(j *job) {
	if j.held != "" {
		return
	}
	for _, x := range slices.Clone(j.live) {
		if x.rec.State.Final() {
			continue // one that was started just now had nothing left to do, and let this one pass
		}
		if x.rec.State != jobs.RunPending || x.rec.Cancel != "" {
			if x.pinned().Overlap != jobs.OverlapAllow {
				return // it is under way: the others wait
			}
			continue
		}
		c.start(x)
		if !x.rec.State.Final() && x.pinned().Overlap != jobs.OverlapAllow {
			return
		}
	}
}

// watchDeadline gives the run up when it has not started by its start deadline.
func (c *Core) watchDeadline(x *run) {
	deadline, ok := x.deadline()
	if !ok {
		return
	}
	c.at(deadline, func() {
		if x.rec.State.Final() || x.rec.Cancel != "" || !x.rec.Started.IsZero() || x.mayWork() {
			return
		}
		c.finish(x, jobs.RunSkipped, x.lateReason())
	})
}

func (x *run) lateReason() string {
	return "it did not start within its start_deadline of " + x.pinned().StartDeadline.String()
}

// deadline is the latest start: counted from the nominal instant where a
// schedule made the run, else from its creation.
func (x *run) deadline() (time.Time, bool) {
	d := x.pinned().StartDeadline.D()
	if d == 0 || x.traits.Service {
		return time.Time{}, false
	}
	if x.rec.Trigger == jobs.BySchedule {
		return x.rec.Nominal.Add(d), true
	}
	return x.rec.Created.Add(d), true
}

// start begins the run's first stage.
func (c *Core) start(x *run) {
	switch {
	case x.rec.Rerun != nil: // under the version it took over
		x.rec.State, x.rec.Stage, x.former = jobs.RunRunning, x.rec.Rerun.Stage, x.rec.Rerun.Former
	case x.traits.Planned:
		x.rec.State, x.rec.Stage = jobs.RunPlanning, 0
		x.rec.Version = c.nextVersion(x.traits.Targets)
	default:
		x.rec.State, x.rec.Stage = jobs.RunRunning, 1
		x.rec.Version = c.nextVersion(x.traits.Targets)
	}
	c.touch(x)
	c.noticeRun(x)
	c.openStage(x)
	for _, s := range x.splits {
		c.enqueue(s)
	}
	if x.rec.Rerun != nil {
		c.progress(x) // of the splits it took over none may be left to do
	}
}

// nextVersion is the stamp of a run's writes: now in microseconds, or one
// more than the last one of any of its targets.
func (c *Core) nextVersion(targets []string) int64 {
	v := c.now.UnixMicro()
	for _, t := range targets {
		v = max(v, c.targets[t]+1)
	}
	for _, t := range targets {
		c.targets[t] = v
		c.touch(targetRecord{name: t, Version: v})
	}
	return v
}

// openStage lays out the splits of the run's present stage; those that
// succeeded in the run whose failed ones it does again are done.
func (c *Core) openStage(x *run) {
	list := x.splitsOf(x.rec.Stage)
	x.splits, x.done = make([]*split, len(list)), 0
	for i, def := range list {
		def.Number, def.Stage = i, x.rec.Stage
		s := &split{run: x, def: def}
		x.splits[i] = s
		if r := x.rec.Rerun; r != nil && r.Stage == x.rec.Stage && i < len(r.Attempts) {
			s.takeOver(r.Attempts[i], r.Succeeded[i])
		}
	}
}

// splitsOf is what a stage consists of.
func (x *run) splitsOf(stage int) []jobs.Split {
	var list []jobs.Split
	switch {
	case stage == 0:
		list = []jobs.Split{{}}
	case x.plan != nil:
		for _, s := range x.plan.Splits {
			if s.Stage == stage {
				list = append(list, s)
			}
		}
	case x.traits.Service:
		list = x.instances()
	case len(x.traits.Splits) > 0:
		list = x.traits.Splits
	default:
		list = []jobs.Split{{Stage: 1}}
	}
	return list
}

// nextStage is the plan's stage after the present one; 0 if it was the last.
func (x *run) nextStage() int {
	next := 0
	if x.plan == nil {
		return 0
	}
	for _, s := range x.plan.Splits {
		if s.Stage > x.rec.Stage && (next == 0 || s.Stage < next) {
			next = s.Stage
		}
	}
	return next
}

// progress moves the run on when its stage is done or its cancelling is over.
func (c *Core) progress(x *run) {
	switch {
	case x.rec.State.Final():
	case x.rec.Cancel != "":
		if !x.hasLive() && !c.leavesUnknown(x) {
			c.finish(x, x.rec.Cancel, x.rec.Reason)
		}
	case x.traits.Service:
		c.roll(x)
	case x.rec.State == jobs.RunPlanning:
		if s := x.splits[0]; s.succeeded != nil && !s.fetching {
			s.fetching = true
			c.fetch(s.succeeded, jobs.PlanFile, jobs.MaxPlanBytes)
		}
	case x.rec.State == jobs.RunRunning && x.done == len(x.splits) && !x.hasLive():
		c.advanceStage(x) // not before an attempt that a late success made needless has ended
	}
}

func (c *Core) advanceStage(x *run) {
	next := x.nextStage()
	if next == 0 {
		c.finish(x, jobs.RunSucceeded, "")
		return
	}
	x.former = make([]int, len(x.splits))
	for i, s := range x.splits {
		x.former[i] = s.succeeded.rec.Attempt
	}
	x.rec.Stage = next
	c.touch(x)
	c.openStage(x)
	for _, s := range x.splits {
		c.enqueue(s)
	}
}

// restoreFormer finds the frozen attempts of the stage before again: final
// states never change.
func (x *run) restoreFormer() {
	if r := x.rec.Rerun; r != nil && r.Stage == x.rec.Stage {
		x.former = r.Former
		return
	}
	if before := x.stageBefore(x.rec.Stage); before > 0 {
		x.former, _ = x.outcomes(before)
	}
}

// cancel ends the run as state: waiting splits are dropped, live attempts
// killed, and the run is final when none is left.
func (c *Core) cancel(x *run, state jobs.RunState, reason string) {
	if x.rec.State.Final() || x.rec.Cancel != "" {
		return
	}
	x.rec.Cancel, x.rec.Reason = state, reason
	c.touch(x)
	c.noticeRun(x)
	for _, s := range x.splits {
		c.unqueue(s)
	}
	for _, t := range x.orderedTasks() {
		if t.rec.State == jobs.AttemptLaunching || t.rec.State == jobs.AttemptRunning {
			c.kill(t, reason)
		}
	}
	c.progress(x)
}

// hasLive says whether an attempt of the run may be at work, as far as anyone
// can know: unknown ones are not waited for once the run is cancelled.
func (x *run) hasLive() bool {
	for _, t := range x.tasks {
		if t.rec.State == jobs.AttemptLaunching || t.rec.State == jobs.AttemptRunning {
			return true
		}
	}
	return false
}

// leavesUnknown says whether the run of a deleted job has an attempt that may
// still be at work. With the run goes all that is known of it, and the job's
// name is free: so it is waited for as before another attempt.
func (c *Core) leavesUnknown(x *run) bool {
	if !x.job.rec.Deleted {
		return false
	}
	for _, t := range x.tasks {
		if t.rec.State != jobs.AttemptUnknown {
			continue
		}
		if at := c.deadAt(t); c.now.Before(at) {
			c.at(at, func() { c.progress(x) })
			return true
		}
	}
	return false
}

// mayWork says whether an attempt of the run may be at work and was not given up.
func (x *run) mayWork() bool {
	for _, t := range x.tasks {
		if !t.rec.State.Final() && !t.rec.Superseded {
			return true
		}
	}
	return false
}

func (x *run) orderedTasks() []*task {
	return slices.SortedFunc(maps.Values(x.tasks), func(a, b *task) int { return compareTasks(&a.rec, &b.rec) })
}

// finish makes the run final: its record takes its attempts in, counters and
// children follow, and what it was in the way of may start. All in one group.
func (c *Core) finish(x *run, state jobs.RunState, reason string) {
	j := x.job
	x.rec.State, x.rec.Reason, x.rec.Ended, x.rec.Cancel = state, reason, c.now, ""
	attempts := x.orderedTasks()
	for _, t := range attempts {
		x.rec.Attempts = append(x.rec.Attempts, remembered(t.rec, len(attempts)))
	}
	if state == jobs.RunSucceeded {
		x.rec.Pinned = nil
	}
	c.count(j, state)
	if i := slices.Index(j.live, x); i >= 0 {
		j.live = slices.Delete(j.live, i, i+1)
	}
	j.recent = append(j.recent, x)
	c.touch(x)
	c.trim(j)
	c.touch(stateChange{j})
	c.noticeRun(x)
	c.tellChildren(x)
	if j.rec.Deleted {
		c.touch(jobChange{j})
	}
	c.forgetWork(x, attempts)
	c.admit(j)
	c.catchUp(j)
	c.backfill(j)
	c.ensureService(j)
}

// Of runs with more attempts than manyAttempts, an attempt's message is kept
// up to shortMessage: a thousand attempts must fit in one record.
const (
	manyAttempts = 50
	shortMessage = 120
)

// remembered is an attempt as its final run's record keeps it: without what
// only matters while it lives, or stands in the run itself.
func remembered(t jobs.Task, of int) jobs.Task {
	t.Run, t.Job, t.StartBy, t.Resources, t.Results, t.Shown, t.Seen, t.Starts, t.LaunchFailures = "", "", time.Time{}, jobs.Resources{}, nil, nil, false, 0, 0
	if of > manyAttempts {
		if len(t.Message) > shortMessage {
			t.Message = t.Message[:shortMessage] + "…"
		}
		if len(t.Preferred) > 1 {
			t.Preferred = t.Preferred[:1]
		}
	}
	return t
}

// recorded is an attempt of a final run, whole again.
func (x *run) recorded(t jobs.Task) jobs.Task {
	t.Run, t.Job = x.rec.ID, x.rec.Job
	return t
}

// forgetWork deletes what a final run no longer needs: its tasks, now in its
// record, and its plan, unless its failed splits may be run again.
func (c *Core) forgetWork(x *run, attempts []*task) {
	for _, t := range attempts {
		delete(c.tasks, t.rec.ID)
		c.account(t)
		c.discard(t.key())
	}
	for _, s := range x.splits {
		c.unqueue(s)
	}
	x.tasks, x.splits, x.former = nil, nil, nil
	if x.rec.State == jobs.RunSucceeded {
		c.forgetPlan(x)
	}
}

func (c *Core) count(j *job, state jobs.RunState) {
	switch state {
	case jobs.RunSucceeded:
		j.state.Successes++
		j.state.Failing = 0
		j.state.LastSuccess = c.now
	case jobs.RunFailed:
		j.state.Failures++
		j.state.Failing++
		j.state.LastFailure = c.now
	}
}

// failedLately counts the failures since the last success, as far as the runs
// that the store keeps can tell.
func (j *job) failedLately() int64 {
	if j.state.LastSuccess.IsZero() {
		return j.state.Failures
	}
	n := int64(0)
	for _, x := range j.recent {
		if x.rec.State == jobs.RunFailed && x.rec.Ended.After(j.state.LastSuccess) {
			n++
		}
	}
	return max(n, 1)
}

// A request's run is remembered for requestMemory, within maxRequested of a
// job: asking again with the same id finds it.
const (
	requestMemory = 24 * time.Hour
	maxRequested  = 1000
)

// trim lets go of the final runs beyond those that a job keeps, the oldest
// first, and says whether there were any.
func (c *Core) trim(j *job) bool {
	if len(j.recent) <= c.cfg.History && !j.rec.Deleted {
		return false
	}
	crowded := len(j.recent) > c.cfg.History+maxRequested
	forgettable := func(x *run) bool {
		return x.rec.Trigger != jobs.ByHand || c.now.Sub(x.rec.Created) >= requestMemory || crowded || j.rec.Deleted
	}
	excess := 0
	for _, x := range j.recent {
		if forgettable(x) {
			excess++
		}
	}
	if !j.rec.Deleted {
		excess -= c.cfg.History
	}
	if excess <= 0 {
		return false
	}
	j.recent = slices.DeleteFunc(j.recent, func(x *run) bool {
		if excess <= 0 || !forgettable(x) {
			return false
		}
		excess--
		j.forgets(x)
		c.retire(x)
		return true
	})
	return true
}

func (c *Core) noticeRun(x *run) {
	state := string(x.told())
	if x.rec.Cancel != "" && !x.rec.State.Final() {
		state = "ending as " + string(x.rec.Cancel)
	}
	c.notify(jobs.Notice{Type: "run", Job: x.rec.Job, Run: x.rec.ID, State: state, Reason: x.rec.Reason})
}

// addResults merges an attempt's key-values into the run's, within their bound.
func (x *run) addResults(values map[string]string) error {
	if len(values) == 0 {
		return nil
	}
	merged := maps.Clone(x.rec.Results)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, values)
	size := 0
	for k, v := range merged {
		size += len(k) + len(v)
	}
	if size > jobs.MaxResultBytes {
		return fmt.Errorf("the run's results have %d bytes; at most %d are kept", size, jobs.MaxResultBytes)
	}
	x.rec.Results = merged
	return nil
}
