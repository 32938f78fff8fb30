package scheduler

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
)

// view is a copy of the run's record without what only the scheduler needs.
func (x *run) view() jobs.Run {
	r := x.rec
	r.State = x.told()
	r.Pinned = nil
	r.Attempts = nil
	if r.Rerun != nil {
		r.Rerun = &jobs.Rerun{Of: r.Rerun.Of, Origin: r.Rerun.Origin, Stage: r.Rerun.Stage, Kept: r.Rerun.Kept}
	}
	return r
}

// told is the state that users are told.
func (x *run) told() jobs.RunState {
	if under := x.rec.State; (under != jobs.RunPlanning && under != jobs.RunRunning) || !x.rec.Started.IsZero() {
		return under
	}
	for _, t := range x.tasks {
		if t.rec.State != jobs.AttemptLaunching && t.rec.State != jobs.AttemptNotStarted {
			return x.rec.State // its word of the start was lost, or nobody can know
		}
	}
	return jobs.RunQueued
}

// JobView is a job and what is known of it.
func (c *Core) JobView(name jobs.Name) (jobs.JobView, error) {
	j, err := c.find("show", name)
	if err != nil {
		return jobs.JobView{}, err
	}
	v := c.summary(j)
	v.Children = slices.Clone(c.graph.Children(name))
	v.Endpoints = j.endpoints()
	v.Skipped = slices.Clone(j.state.Skipped)
	return v, nil
}

// maxNext bounds how many coming instants are listed.
const maxNext = 1000

// Next lists when the coming runs of a job's schedule are due, at most n.
func (c *Core) Next(name jobs.Name, n int) ([]time.Time, error) {
	j, err := c.find("show", name)
	if err != nil {
		return nil, err
	}
	if j.sched == nil {
		return nil, &jobs.Error{Code: jobs.Invalid, Op: "show", Subject: "job " + string(name), Message: "it has no schedule, hence no instants", Hint: "run it now: tidemill job run " + string(name)}
	}
	var out []time.Time
	for at := range j.sched.All(j.floor()) {
		if len(out) == min(n, maxNext) {
			break
		}
		out = append(out, at.Actual)
	}
	return out, nil
}

// summary is what lists show of a job.
func (c *Core) summary(j *job) jobs.JobView {
	v := jobs.JobView{
		Job: j.rec.Job, State: j.situation(), Live: len(j.live), Held: j.held,
		Successes: j.state.Successes, Failures: j.state.Failures, FailuresSince: j.state.Failing,
		LastSuccess: some(j.state.LastSuccess), LastFailure: some(j.state.LastFailure),
	}
	if j.sched != nil {
		if j.rec.Job.Schedule.NeedsStart() {
			v.Start = some(j.rec.FirstApplied)
		}
		v.Handled = some(j.floor())
		if next, ok := j.sched.Next(j.floor()); ok && j.schedulable() {
			v.Next = &next.Actual
		}
	}
	v.Instances = c.countInstances(j)
	last := j.recent
	if len(j.live) > 0 {
		last = j.live
	}
	if len(last) > 0 {
		r := c.runSummary(last[len(last)-1])
		v.LastRun = &r
	}
	return v
}

func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (j *job) situation() string {
	switch {
	case j.held != "":
		return "held"
	case slices.ContainsFunc(j.live, func(x *run) bool { s := x.told(); return s != jobs.RunPending && s != jobs.RunQueued }):
		return "running"
	case len(j.live) > 0:
		return "queued"
	case j.rec.Job.Paused:
		return "paused"
	}
	return "idle"
}

// Jobs lists the jobs that a query selects, by name, and how many there are.
func (c *Core) Jobs(q jobs.JobQuery) ([]jobs.JobView, int) {
	search := strings.ToLower(q.Search)
	var found []*job
	for _, j := range c.orderedJobs() {
		if j.declared() && (q.Kind == "" || j.rec.Job.Kind == q.Kind) && j.contains(search) {
			found = append(found, j)
		}
	}
	total := len(found)
	found = page(found, q.Offset, q.Limit)
	out := make([]jobs.JobView, len(found))
	for i, j := range found {
		out[i] = c.summary(j)
	}
	return out, total
}

func (j *job) contains(search string) bool {
	if search == "" {
		return true
	}
	if declared := &j.rec.Job; j.words == "" {
		j.words = strings.ToLower(strings.Join([]string{string(j.name), declared.Owner, declared.Description, string(declared.Spec)}, "\n"))
	}
	return strings.Contains(j.words, search)
}

func page[T any](list []T, offset, limit int) []T {
	list = list[min(max(offset, 0), len(list)):]
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list
}

// maxExplained bounds of how many runs a list says why they wait: each may ask
// for what every agent has offered.
const maxExplained = 100

// Runs lists the runs of the store that a query selects, newest first. Those
// of a deleted job are there until they have ended, and history has them.
func (c *Core) Runs(q jobs.RunQuery) (jobs.RunPage, error) {
	var found []*run
	for x := range c.stored(q.Job) {
		if (q.State == "" || x.told() == q.State) && !(q.Live && x.rec.State.Final()) {
			found = append(found, x)
		}
	}
	if j, ok := c.jobs[q.Job]; q.Job != "" && len(found) == 0 && (!ok || !j.declared()) {
		_, err := c.find("list runs", q.Job)
		return jobs.RunPage{}, err
	}
	out := jobs.RunPage{Total: len(found)}
	found = slices.DeleteFunc(found, func(x *run) bool { return !q.Before.IsZero() && x.rec.Cursor().Compare(q.Before) <= 0 })
	slices.SortFunc(found, func(a, b *run) int { return a.rec.Cursor().Compare(b.rec.Cursor()) })
	shown := page(found, q.Offset, q.Limit)
	for i, x := range shown {
		v := c.runSummary(x)
		if i < maxExplained {
			v.Waiting = c.waitingSplits(x, 1)
		}
		out.Runs = append(out.Runs, v)
	}
	if q.Offset+len(shown) < len(found) && len(shown) > 0 {
		out.Next = shown[len(shown)-1].rec.Cursor()
	}
	return out, nil
}

// stored are all runs of the store, or those of a job.
func (c *Core) stored(name jobs.Name) iter.Seq[*run] {
	return func(yield func(*run) bool) {
		list := maps.Values(c.runs)
		if name != "" {
			list = func(yield func(*run) bool) {}
			if j, ok := c.jobs[name]; ok {
				list = slices.Values(slices.Concat(j.recent, j.live))
			}
		}
		for x := range list {
			if !yield(x) {
				return
			}
		}
		for _, x := range c.leaving.order {
			if (name == "" || x.rec.Job == name) && !yield(x) {
				return
			}
		}
	}
}

// attempts are the run's attempts, live or recorded.
func (x *run) attempts() []jobs.Task {
	if x.rec.State.Final() {
		out := make([]jobs.Task, len(x.rec.Attempts))
		for i, t := range x.rec.Attempts {
			out[i] = x.recorded(t)
		}
		return out
	}
	var out []jobs.Task
	for _, t := range x.orderedTasks() {
		out = append(out, t.rec)
	}
	return out
}

func (c *Core) runSummary(x *run) jobs.RunView {
	v := jobs.RunView{Run: x.view()}
	for _, s := range x.splits {
		switch {
		case s.succeeded != nil:
			v.Splits.Done++
		case s.failed:
			v.Splits.Failed++
		case s.current != nil && s.current.rec.State == jobs.AttemptUnknown: // counted below
		case s.current != nil:
			v.Splits.Live++
		default:
			v.Splits.Waiting++
		}
	}
	v.Splits.Total = len(x.splits)
	for _, t := range x.attempts() {
		if t.State == jobs.AttemptUnknown && !t.Superseded {
			v.Unknown++
		}
		if len(t.Preferred) > 0 && t.State != jobs.AttemptNotStarted {
			v.Splits.Placed++
			if t.Locality == jobs.LocalReplica {
				v.Splits.Local++
			}
		}
	}
	if x.rec.State.Final() {
		done := map[[2]int]bool{}
		if r := x.rec.Rerun; r != nil {
			for i, attempt := range r.Succeeded {
				if attempt > 0 {
					done[[2]int{r.Stage, i}] = true
				}
			}
		}
		for _, t := range x.rec.Attempts {
			at := [2]int{t.Stage, t.Split}
			done[at] = done[at] || t.State == jobs.AttemptSucceeded
		}
		for _, ok := range done {
			v.Splits.Total++
			if ok {
				v.Splits.Done++
			}
		}
	}
	return v
}

// RunView is a run with its attempts, and why each waiting split waits.
func (c *Core) RunView(id jobs.RunID) (jobs.RunView, error) {
	x, ok := c.lookUp(id)
	if !ok {
		return jobs.RunView{}, noRun("show", id)
	}
	v := c.runSummary(x)
	v.Tasks = c.taskViews(x)
	v.Waiting = c.waitingSplits(x, len(x.splits)+1)
	v.Children = c.childRuns(x)
	return v, nil
}

// waitingSplits are the first of a run's splits that wait, and why they do.
func (c *Core) waitingSplits(x *run, limit int) (out []jobs.WaitingSplit) {
	if x.rec.State == jobs.RunPending {
		out = append(out, jobs.WaitingSplit{Since: x.rec.Created, Reasons: c.pendingReasons(x)})
	}
	for _, s := range x.splits {
		if len(out) >= limit {
			break
		}
		if s.waiting || (s.current != nil && s.current.rec.State == jobs.AttemptUnknown) {
			out = append(out, jobs.WaitingSplit{
				Stage: s.def.Stage, Split: s.def.Number, Since: s.since, Preferred: s.def.Hosts, Reasons: c.Reasons(s),
			})
		}
	}
	return out
}

// taskViews are a run's attempts with how far they have come.
func (c *Core) taskViews(x *run) []jobs.TaskView {
	var out []jobs.TaskView
	for _, t := range x.attempts() {
		tv := jobs.TaskView{Task: t, Placement: placement(&t)}
		if live, ok := c.tasks[t.ID]; ok && live.progress != nil {
			p := *live.progress
			tv.Progress = &p
		}
		out = append(out, tv)
	}
	return out
}

// shortOffer is an offer's number, without the master's id before it.
func shortOffer(id string) string { return id[strings.LastIndexByte(id, '-')+1:] }

func placement(t *jobs.Task) string {
	text := fmt.Sprintf("offer %s of %s, level %s, waited %s", shortOffer(t.Offer), t.Host, t.Locality, t.Waited)
	if len(t.Preferred) > 0 {
		text += ", preferred " + strings.Join(t.Preferred, ", ")
	}
	return text
}

// pendingReasons says why a run has not started.
func (c *Core) pendingReasons(x *run) []jobs.Refusal {
	if x.job.held != "" {
		return []jobs.Refusal{{Code: "held", Message: x.job.held}}
	}
	return []jobs.Refusal{{Code: "overlap", Message: "run " + string(x.job.live[0].rec.ID) + " of the job is under way"}}
}

// Reasons says why a split is not running.
func (c *Core) Reasons(s *split) []jobs.Refusal {
	one := func(code, format string, args ...any) []jobs.Refusal {
		return []jobs.Refusal{{Code: code, Message: fmt.Sprintf(format, args...)}}
	}
	switch {
	case s.current != nil && s.current.rec.State == jobs.AttemptUnknown:
		at, policy := c.giveUpAt(s.current)
		if policy == jobs.UnknownWait {
			return one("unknown", "nobody can know how attempt %d went: %s; on_unknown is wait", s.current.rec.Attempt, s.current.rec.Message)
		}
		r := one("unknown", "nobody can know yet how attempt %d went: %s", s.current.rec.Attempt, s.current.rec.Message)
		r[0].Until = at
		return r
	case c.meta.Hold != nil:
		return one("hold", "launches are held since %s: %s", c.meta.Hold.Since.UTC().Format(time.RFC3339), c.meta.Hold.Reason)
	case s.since.IsZero():
		r := one("backoff", "backing off: %s", s.backoff)
		r[0].Until = s.notBefore
		return r
	case c.stream == 0:
		return one("no_master", "not subscribed with a Mesos master")
	}
	if why := c.limits(s); why != nil {
		return why
	}
	if r, never := c.neverFits(s); never {
		return append(r, slices.DeleteFunc(slices.Clone(s.why()), func(o jobs.Refusal) bool { return o.Code == "resources" })...)
	}
	if r, none := c.noOffers(s); none {
		return append(r, s.why()...)
	}
	return slices.Clone(s.why())
}

// noOffersAfter is how long Mesos may offer nothing while something waits
// before that is a reason of its own: allocation goes by the second.
const noOffersAfter = 10 * time.Second

// noOffers says whether Mesos offers nothing, and since when.
func (c *Core) noOffers(s *split) ([]jobs.Refusal, bool) {
	switch {
	case len(s.why()) == 0: // not one since it waits
	case c.now.Sub(c.lastOffer) < noOffersAfter || c.now.Sub(s.since) < noOffersAfter:
		return nil, false
	}
	text := "no offer has come to this leader yet"
	if !c.lastOffer.IsZero() {
		text = "no offers since " + c.lastOffer.UTC().Format(time.RFC3339)
	}
	if c.now.Sub(s.since) >= noOffersAfter {
		text += ", though they were asked for: other frameworks hold what there is, the quota of the role is used up, or no agent is up"
	}
	return []jobs.Refusal{{Code: "no_offers", Message: text}}, true
}

// why is what stood against the split, or its class, when it was last tried.
func (s *split) why() []jobs.Refusal {
	if s.class != nil && len(s.refusals) == 0 {
		return s.class.refusals
	}
	return s.refusals
}

// neverFits says whether no agent ever offered enough of some resource, of
// those that meet the constraints; or whether there are none of these.
func (c *Core) neverFits(s *split) ([]jobs.Refusal, bool) {
	t := c.waitingTask(s)
	need := t.Need.Add(t.Executor.Resources)
	var largest *agent
	var lack []string
	suited, seen := 0, 0
	for _, id := range slices.Sorted(maps.Keys(c.agents)) {
		a := c.agents[id]
		if a.seen.IsZero() { // known by a task alone
			continue
		}
		seen++
		if !t.Constraints.Suits(&a.offer) {
			continue
		}
		suited++
		short := need.Short(a.largest)
		if len(short) == 0 {
			return nil, false
		}
		if largest == nil || len(short) < len(lack) || (len(short) == len(lack) && a.largest.CPUs > largest.largest.CPUs) {
			largest, lack = a, short
		}
	}
	switch {
	case seen == 0:
		return nil, false
	case suited == 0:
		return []jobs.Refusal{{Code: "never_fits", Message: "no agent seen so far meets the constraints", Count: seen}}, true
	}
	return []jobs.Refusal{{
		Code: "never_fits", Count: suited, Message: fmt.Sprintf("no agent seen so far has ever offered enough: %s on the largest, %s, which offered %s",
			strings.Join(lack, ", "), largest.offer.Hostname, largest.largest),
	}}, true
}

// Status is the scheduler's own state; the loop adds what it knows.
func (c *Core) Status() jobs.Status {
	s := jobs.Status{
		Framework: c.meta.Framework, Master: c.master, Subscribed: c.stream != 0, Stream: c.stream, LastOffer: c.lastOffer, Hold: c.meta.Hold,
		WaitingTasks: c.ready.count, Agents: len(c.agents), AvoidedAgents: c.avoidedAgents(), Launches: c.launches, Schedulers: slices.Clone(c.schedulers),
	}
	for _, j := range c.jobs {
		if j.held != "" {
			s.HeldJobs++
		}
		if j.declared() {
			s.Jobs++
			s.LiveRuns += len(j.live)
		}
	}
	for _, t := range c.tasks {
		switch {
		case t.live():
			s.LiveTasks++
		case t.rec.State == jobs.AttemptUnknown && !t.rec.Superseded:
			s.UnknownTasks++
		}
	}
	s.HistoryBacklog, s.HistoryDropped = len(c.leaving.order), c.leaving.dropped
	for _, where := range slices.Sorted(maps.Keys(c.problems)) {
		s.Problems = append(s.Problems, where+": "+c.problems[where])
	}
	return s
}

// TaskView finds an attempt, live or in a run's record.
func (c *Core) TaskView(id jobs.TaskID) (jobs.Task, error) {
	if t, ok := c.tasks[id]; ok {
		return t.rec, nil
	}
	if parts, err := jobs.ParseTaskID(id); err == nil {
		if x, ok := c.lookUp(parts.Run); ok {
			for _, t := range x.attempts() {
				if t.ID == id {
					return t, nil
				}
			}
		}
	}
	return jobs.Task{}, &jobs.Error{Code: jobs.NotFound, Op: "show", Subject: "task " + string(id), Message: "there is no such task, or history has forgotten it", Hint: "tidemill run list names runs, tidemill run show their tasks"}
}

// Authorize checks a task's token; only a live attempt is given connections.
func (c *Core) Authorize(id jobs.TaskID, token string) bool {
	t, ok := c.tasks[id]
	return ok && !t.rec.State.Final() && equalTokens(token, c.taskToken(id))
}
