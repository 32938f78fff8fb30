package scheduler

import (
	"fmt"
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
)

func (c *Core) startRun(r jobs.RunRequest) (jobs.Run, error) {
	j, err := c.find("run", r.Job)
	if err != nil {
		return jobs.Run{}, err
	}
	refuse := func(message, hint string) (jobs.Run, error) {
		return jobs.Run{}, &jobs.Error{Code: jobs.Conflict, Op: "run", Subject: "job " + string(r.Job), Message: message, Hint: hint}
	}
	switch {
	case j.held != "":
		return refuse("it is held: "+j.held, hintHeld)
	case j.traits.Service:
		return refuse("it is a service: it runs until it is paused", "tidemill job resume "+string(r.Job))
	case r.RequestID == "":
		return jobs.Run{}, &jobs.Error{Code: jobs.Invalid, Op: "run", Subject: "job " + string(r.Job), Message: "a request needs an id", Hint: "send a request_id: asking again with it gives the same run"}
	}
	if i := r.Interval; i != (jobs.Interval{}) && (i.Start.IsZero() || !i.Start.Before(i.End)) {
		return jobs.Run{}, &jobs.Error{Code: jobs.Invalid, Op: "run", Subject: "job " + string(r.Job), Message: "the interval of its data has no start before its end", Hint: "give both, the end later than the start"}
	}
	nominal := r.Nominal
	if nominal.IsZero() {
		nominal = c.now
	}
	run := jobs.Run{
		Key: jobs.RequestKey(r.RequestID), Trigger: jobs.ByHand, Nominal: nominal, Interval: r.Interval,
		Arguments: r.Arguments, FireChildren: r.Children,
	}
	if r.Succeeded {
		return c.createEnded(j, run, jobs.RunSucceeded, "marked successful by hand"), nil
	}
	return c.createRun(j, run).view(), nil
}

func (c *Core) killRuns(name jobs.Name, reason string) (int, error) {
	j, err := c.find("kill", name)
	if err != nil {
		return 0, err
	}
	live := slices.Clone(j.live)
	for _, x := range live {
		c.cancel(x, jobs.RunCancelled, reason)
	}
	return len(live), nil
}

// markRun declares how a run ended. It changes the run only: what its
// attempts did stays as it was. A success fires its children.
func (c *Core) markRun(id jobs.RunID, success bool) (jobs.Run, error) {
	x, err := c.findRun("mark", id)
	if err != nil {
		return jobs.Run{}, err
	}
	state, reason := jobs.RunFailed, "marked failed by hand"
	if success {
		state, reason = jobs.RunSucceeded, "marked successful by hand"
	}
	switch {
	case x.rec.State == state || x.rec.Cancel == state:
		return x.view(), nil
	case x.rec.Cancel != "":
		return jobs.Run{}, &jobs.Error{
			Code: jobs.Conflict, Op: "mark", Subject: "run " + string(id),
			Message: "it is ending as " + string(x.rec.Cancel), Hint: "mark it once it has ended",
		}
	}
	x.rec.FireChildren = x.rec.FireChildren || success
	if !x.rec.State.Final() {
		c.cancel(x, state, reason)
		return x.view(), nil
	}
	x.rec.State, x.rec.Reason, x.rec.Marked = state, reason, c.now
	c.count(x.job, state)
	c.touch(x)
	c.touch(stateChange{x.job})
	c.noticeRun(x)
	c.tellChildren(x)
	return x.view(), nil
}

func noRun(op string, id jobs.RunID) error {
	return &jobs.Error{
		Code: jobs.NotFound, Op: op, Subject: "run " + string(id), Message: "there is no such run, or history has forgotten it",
		Hint: "tidemill run list shows them",
	}
}

func (c *Core) killRun(id jobs.RunID, reason string) error {
	x, err := c.findRun("kill", id)
	if err != nil {
		return err
	}
	if x.rec.State.Final() {
		return &jobs.Error{Code: jobs.Conflict, Op: "kill", Subject: "run " + string(id), Message: "it is over: " + string(x.rec.State), Hint: "tidemill run show " + string(id) + " says how it went"}
	}
	if x.traits.Service {
		return &jobs.Error{
			Code: jobs.Conflict, Op: "kill", Subject: "run " + string(id), Message: "it is a service, and another run would take its place",
			Hint: "tidemill job pause " + string(x.rec.Job),
		}
	}
	if reason == "" {
		reason = "killed by request"
	}
	c.cancel(x, jobs.RunCancelled, reason)
	return nil
}

// findRun looks a run up for an operation on it.
func (c *Core) findRun(op string, id jobs.RunID) (*run, error) {
	x, ok := c.runs[id]
	if !ok {
		return nil, noRun(op, id)
	}
	return x, x.job.frozen(op)
}

// resolve settles by hand how a run's unknown attempts went.
func (c *Core) resolve(id jobs.RunID, as jobs.Resolution) (jobs.Run, error) {
	x, err := c.findRun("resolve", id)
	if err != nil {
		return jobs.Run{}, err
	}
	resolved := 0
	for _, t := range x.orderedTasks() {
		if t.rec.State != jobs.AttemptUnknown || t.rec.Superseded || t.split == nil || t.split.current != t {
			continue
		}
		if safe := c.safeAfter(t); !t.rec.Seen && c.now.Before(safe) {
			return jobs.Run{}, &jobs.Error{
				Code: jobs.Conflict, Op: "resolve", Subject: "run " + string(id),
				Message: "attempt " + string(t.rec.ID) + " may still start until " + safe.UTC().Format(time.RFC3339), Hint: "try again then",
			}
		}
		resolved++
		switch as {
		case jobs.ResolveSuccess:
			c.ended(t, jobs.AttemptSucceeded, "resolved by hand", t.rec.Message)
		case jobs.ResolveFailure:
			c.ended(t, jobs.AttemptFailed, "resolved by hand", t.rec.Message)
		case jobs.ResolveRetry:
			c.supersede(t, jobs.UnknownRetry)
		default:
			return jobs.Run{}, &jobs.Error{Code: jobs.Invalid, Op: "resolve", Message: fmt.Sprintf("%q is not success, failure or retry", as)}
		}
	}
	if resolved == 0 {
		return jobs.Run{}, &jobs.Error{Code: jobs.Conflict, Op: "resolve", Subject: "run " + string(id), Message: "none of its attempts is unknown", Hint: "tidemill run show " + string(id) + " says how they stand"}
	}
	c.progress(x)
	return x.view(), nil
}

// maxBackfill bounds the instants of one backfill.
const maxBackfill = 10_000

// backfillJob lets the instants of an interval be run, in their order and
// beside what is due, a few at a time. What succeeded already is left out,
// unless it is forced.
func (c *Core) backfillJob(r jobs.BackfillRequest) (int, error) {
	j, err := c.find("backfill", r.Job)
	if err != nil {
		return 0, err
	}
	refuse := func(code jobs.Code, message, hint string) (int, error) {
		return 0, &jobs.Error{Code: code, Op: "backfill", Subject: "job " + string(r.Job), Message: message, Hint: hint}
	}
	switch {
	case j.sched == nil:
		return refuse(jobs.Invalid, "it has no schedule, hence no instants", "run it for an interval: tidemill job run --from --to "+string(r.Job))
	case j.held != "":
		return refuse(jobs.Conflict, "it is held: "+j.held, hintHeld)
	case !r.From.Before(r.To) || r.To.After(c.now):
		return refuse(jobs.Invalid, "an interval ends after it begins, and not in the future", "what is to come, the schedule runs")
	}
	n := 0
	for at := range j.sched.All(r.From.Add(-1)) {
		if !at.Nominal.Before(r.To) {
			break
		}
		if n++; n > maxBackfill {
			return refuse(jobs.Invalid, fmt.Sprintf("the interval holds more than %d instants", maxBackfill), "ask for parts of it")
		}
	}
	if n > 0 {
		j.state.Backfills = append(j.state.Backfills, backfill{
			backlog: backlog{After: r.From.Add(-1), Until: r.To.Add(-1)}, AtOnce: max(r.AtOnce, 1), Force: r.Force,
		})
		c.touch(stateChange{j})
		c.backfill(j)
	}
	return n, nil
}

// backfill creates the next runs of the job's backfills, as far as each
// allows at once.
func (c *Core) backfill(j *job) {
	for len(j.state.Backfills) > 0 && j.sched != nil && j.declared() && j.held == "" && !c.strayed() {
		b := &j.state.Backfills[0]
		busy := 0
		for _, x := range j.live {
			if x.rec.Trigger == jobs.ByBackfill {
				busy++
			}
		}
		if busy >= b.AtOnce {
			return
		}
		c.touch(stateChange{j})
		next, ok := j.sched.Next(b.After)
		if !ok || next.Nominal.After(b.Until) {
			j.state.Backfills = slices.Delete(j.state.Backfills, 0, 1)
			continue
		}
		b.After = next.Nominal
		c.backfillInstant(j, next, b.Force)
	}
}

// backfillInstant creates an instant's run in a generation of its own;
// nothing where it succeeded or is under way, unless it is forced.
func (c *Core) backfillInstant(j *job, at schedule.Instant, force bool) {
	key := jobs.InstantKey(at.Nominal)
	if old := j.latestOf(key); old != nil && (!old.rec.State.Final() || old.rec.State == jobs.RunSucceeded && !force) {
		return
	}
	c.createScheduled(j, at, jobs.ByBackfill)
}
