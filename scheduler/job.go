package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
)

// job is a declaration, its state, and its runs.
type job struct {
	recExtra, stateExtra unknown // fields of newer programs
	name                 jobs.Name
	rec                  jobRecord
	state                stateRecord
	sched                *schedule.Schedule // nil: not on a schedule
	traits               jobs.Traits
	live                 []*run // not final, oldest first
	recent               []*run // final, oldest first
	held                 string // why nothing of it may move
	unreadable           bool   // a record of it is: nothing of it may be changed either
	due                  time.Time
	words                string // in which a search looks; empty: to be made again
	busy                 int    // attempts that may be at work
	full                 gate   // shut while as many are as the job's concurrency allows
}

// declared says whether the job exists for its users.
func (j *job) declared() bool { return !j.rec.Deleted }

// jobChange and stateChange are the job's two records in the store.
type (
	jobChange   struct{ *job }
	stateChange struct{ *job }
)

func (j jobChange) key() string { return keyJob + string(j.name) }
func (j jobChange) encode(time.Time) []byte {
	if j.rec.Deleted && len(j.live) == 0 {
		return nil
	}
	return encode(j.rec, j.recExtra)
}

func (j stateChange) key() string { return keyState + string(j.name) }
func (j stateChange) encode(now time.Time) []byte {
	j.state.Clock = now
	return encode(j.state, j.stateExtra)
}

// sortRuns puts the oldest first; of those made at one instant what is under
// way comes before what waits for it.
func sortRuns(list []*run) {
	waits := func(x *run) int {
		if x.rec.State == jobs.RunPending {
			return 1
		}
		return 0
	}
	slices.SortFunc(list, func(a, b *run) int {
		return cmp.Or(a.rec.Created.Compare(b.rec.Created), waits(a)-waits(b), a.rec.Nominal.Compare(b.rec.Nominal), cmp.Compare(a.rec.ID, b.rec.ID))
	})
}

// skip records a range of instants that will not be run.
func (c *Core) skip(j *job, from, to time.Time, reason string) {
	j.state.Skipped = append(j.state.Skipped, jobs.SkippedRange{From: from, To: to, Reason: reason, At: c.now})
	if n := len(j.state.Skipped); n > keptRanges {
		j.state.Skipped = slices.Clone(j.state.Skipped[n-keptRanges:])
	}
	c.touch(stateChange{j})
	c.notify(jobs.Notice{Type: "job", Job: j.name, State: string(jobs.RunSkipped), Reason: reason})
}

// Bounds of our clock's distance from the one that the store stamps our
// writes with: beyond the first it is a problem to be shown, beyond the
// second nothing is due, for nobody knows what the time is.
const (
	skewAlarm = 2 * time.Second
	skewStop  = 30 * time.Second
)

// weighClock takes our clock's distance. Where it is beyond belief the core goes by
// the store's: its time is persisted and never goes back, so that the next
// leaders would have to wait until theirs come to it.
func (c *Core) weighClock(by time.Duration) {
	c.ahead, c.stray = by, 0
	delete(c.problems, "clock")
	if by.Abs() > skewAlarm {
		text := fmt.Sprintf("this machine's clock and the store's are %s apart", by.Abs().Round(time.Millisecond))
		if c.strayed() {
			text += ": no runs are created until they agree"
			c.stray = by
		}
		c.problems["clock"] = text
	}
}

// resumeSchedules makes the runs that waited for the clocks to agree.
func (c *Core) resumeSchedules() {
	for _, j := range c.orderedJobs() {
		c.catchUp(j)
		c.backfill(j)
		c.watchSchedule(j)
	}
}

// strayed says whether our clock is too far off to go by.
func (c *Core) strayed() bool { return c.ahead.Abs() > skewStop }

// storeTime is a time of ours by the store's clock, which stands for the
// agents' own: ours may be off, or wait for the time that an earlier leader's
// clock had reached. What skew is allowed for is left alone.
func (c *Core) storeTime(t time.Time) time.Time { return t.Add(-c.aheadOfStore()) }

// ourTime is the reverse.
func (c *Core) ourTime(t time.Time) time.Time { return t.Add(c.aheadOfStore()) }

func (c *Core) aheadOfStore() time.Duration {
	if by := c.ahead - c.stray + c.lag; by.Abs() > c.cfg.Skew {
		return by
	}
	return 0
}

// safeAfter is when no executor starts the attempt any more, whose own clock
// may be off too.
func (c *Core) safeAfter(t *task) time.Time { return c.ourTime(t.rec.StartBy).Add(c.cfg.Skew) }

// schedulable says whether the job's schedule makes runs now.
func (j *job) schedulable() bool {
	return j.sched != nil && j.declared() && j.held == "" && !j.rec.Job.Paused
}

// watchSchedule arranges for the job's next instant. Timers of earlier
// arrangements find another due time and do nothing.
func (c *Core) watchSchedule(j *job) {
	if !j.schedulable() {
		j.due = time.Time{}
		return
	}
	next, ok := j.sched.Next(j.floor())
	if !ok {
		j.due = time.Time{}
		return
	}
	if next.Actual.Equal(j.due) {
		return
	}
	j.due = next.Actual
	c.at(j.due, func() {
		switch {
		case !j.due.Equal(next.Actual) || !j.schedulable():
		case c.strayed():
			j.due = time.Time{} // until the clocks agree
		default:
			c.takeDue(j)
		}
	})
}

// floor is the time after which instants are due: the mark, or the schedule's
// last edit where that is later.
func (j *job) floor() time.Time {
	if j.rec.Rescheduled.After(j.state.Mark) {
		return j.rec.Rescheduled
	}
	return j.state.Mark
}

// takeDue handles every instant that is due: one is run; of several, those
// in the catch-up window as its mode says, the rest is recorded as skipped.
// The mark moves in the same group as the runs it covers.
func (c *Core) takeDue(j *job) {
	floor := j.floor()
	first, ok := j.sched.Next(floor)
	if !ok || first.Actual.After(c.now) {
		c.watchSchedule(j)
		return
	}
	last := c.lastDue(j, first)
	j.state.Mark = last.Nominal
	j.due = time.Time{}
	c.touch(stateChange{j})
	switch {
	case last.Nominal.Equal(first.Nominal) && !c.missed(j, last):
		c.createScheduled(j, first, jobs.BySchedule)
	default:
		c.takeMissed(j, floor, first, last)
	}
	c.skippedUpstream(j)
	c.watchSchedule(j)
}

// lastDue is the latest instant that is due now.
func (c *Core) lastDue(j *job, first schedule.Instant) schedule.Instant {
	delay := first.Actual.Sub(first.Nominal)
	last, ok := j.sched.Previous(c.now.Add(-delay).Add(time.Nanosecond))
	if !ok || last.Nominal.Before(first.Nominal) {
		return first
	}
	return last
}

// inTime is how late the latest instant may be taken without having been
// missed: a failover takes no longer, and no clock wakes on time.
const inTime = 10 * time.Second

// missed says whether the latest instant that is due is too old to be run.
func (c *Core) missed(j *job, last schedule.Instant) bool {
	return c.now.Sub(last.Actual) > max(j.rec.Job.Schedule.CatchUp.Window.D(), inTime)
}

// takeMissed deals with several due instants, or one that is too old: the
// latest is current; the ones before it were missed.
func (c *Core) takeMissed(j *job, floor time.Time, first, last schedule.Instant) {
	catchUp := j.rec.Job.Schedule.CatchUp
	tooOld := "missed, and older than the catch-up window of " + catchUp.Window.String()
	previous, _ := j.sched.Previous(last.Nominal)
	switch {
	case first.Nominal.Equal(last.Nominal):
	case catchUp.Mode != jobs.CatchUpAll:
		c.skip(j, first.Nominal, previous.Nominal, "missed; catch-up runs the latest only")
	default:
		after := floor
		due := last.Nominal.Sub(last.Actual) // their jitter does not make them older
		if window := c.now.Add(due - catchUp.Window.D()); window.After(after) {
			after = window
		}
		if !first.Nominal.After(after) {
			to := previous.Nominal
			if inside, ok := j.sched.Previous(after.Add(time.Nanosecond)); ok && inside.Nominal.Before(to) {
				to = inside.Nominal
			}
			c.skip(j, first.Nominal, to, tooOld)
		}
		if previous.Nominal.After(after) {
			j.state.Backlog = append(j.state.Backlog, backlog{After: after, Until: previous.Nominal})
		}
	}
	if c.missed(j, last) {
		c.skip(j, last.Nominal, last.Nominal, tooOld)
		return
	}
	c.createScheduled(j, last, jobs.BySchedule)
	c.catchUp(j)
}

// leaveBacklog records what catch-up did not reach.
func (c *Core) leaveBacklog(j *job, reason string) {
	for _, b := range j.state.Backlog {
		c.skip(j, b.After.Add(time.Second), b.Until, reason)
	}
	j.state.Backlog = nil
}

// catchUp creates the next run of the backlog when none of the job is under
// way: missed instants yield to current ones.
func (c *Core) catchUp(j *job) {
	for len(j.state.Backlog) > 0 && len(j.live) == 0 && j.schedulable() && !c.strayed() {
		b := &j.state.Backlog[0]
		next, ok := j.sched.Next(b.After)
		if !ok || next.Nominal.After(b.Until) {
			j.state.Backlog = slices.Delete(j.state.Backlog, 0, 1)
			c.touch(stateChange{j})
			continue
		}
		b.After = next.Nominal
		c.touch(stateChange{j})
		c.createScheduled(j, next, jobs.ByCatchUp)
	}
}

// createScheduled creates an instant's run. What is due, or was missed, is
// run once: a backfill may have been quicker.
func (c *Core) createScheduled(j *job, at schedule.Instant, by jobs.Trigger) {
	key := jobs.InstantKey(at.Nominal)
	if by != jobs.ByBackfill && j.latestOf(key) != nil {
		return
	}
	from, to := j.sched.Interval(at.Nominal)
	c.createRun(j, jobs.Run{
		Key: key, Generation: c.newGeneration(j, key, at.Nominal), Trigger: by, Nominal: at.Nominal,
		Interval: jobs.Interval{Start: from, End: to}, FireChildren: true,
	})
}
