package scheduler

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"tidemill/jobs"
)

// onElected begins a term: what the records imply is set in motion.
func (c *Core) onElected(e Elected) {
	if len(c.meta.Secret) == 0 {
		c.meta.Secret = e.Secret
	}
	for _, t := range c.strays {
		if t.run.job.held == "" {
			c.discard(t.key())
		}
	}
	c.strays = nil
	c.forgetOrphans()
	c.touch(&c.meta)
	c.seal()
	c.resumeLeaving(c.stale)
	c.stale = nil
	c.holding.set(c.now, c.meta.Hold != nil)
	for _, j := range c.orderedJobs() {
		c.admit(j)
		c.ensureService(j)
		c.catchUp(j)
		c.backfill(j)
		c.evaluate(j)
		c.watchSchedule(j)
		c.seal()
	}
}

// orderedJobs are all jobs by name. A job is never taken out, so that the
// order holds until one is added.
func (c *Core) orderedJobs() []*job {
	if len(c.byName) != len(c.jobs) {
		c.byName = slices.SortedFunc(maps.Values(c.jobs), func(a, b *job) int { return cmp.Compare(a.name, b.name) })
	}
	return c.byName
}

// resume rebuilds, after the records are loaded, what only memory holds. What
// waits queues up again by the age of its run.
func (c *Core) resume() {
	var live []*run
	for _, j := range c.jobs {
		if j.held == "" {
			live = append(live, j.live...)
		}
	}
	sortRuns(live)
	for _, x := range live {
		c.resumeRun(x)
	}
}

func (c *Core) resumeRun(x *run) {
	c.watchDeadline(x)
	if x.rec.State == jobs.RunPending {
		return
	}
	x.restoreFormer()
	if !x.rec.Started.IsZero() {
		c.watchRunTime(x)
	}
	for _, t := range x.orderedTasks() {
		c.resumeTask(t)
	}
	for _, s := range x.splits {
		c.resumeSplit(s)
	}
	c.at(c.now, func() { c.progress(x) })
}

func (c *Core) resumeTask(t *task) {
	switch {
	case t.rec.State.Final():
		return
	case t.rec.State == jobs.AttemptUnknown:
		c.at(c.now, func() { c.decideUnknown(t) })
	case t.rec.Ending != "":
		c.at(c.now, func() { c.seekOn(t) })
	case t.rec.Kill != "" || t.run.rec.Cancel != "":
		c.at(c.now, func() { c.kill(t, t.run.rec.Reason) })
	case t.rec.State == jobs.AttemptLaunching:
		c.watchTask(t)
	default:
		c.watchInstance(t)
	}
	if a := c.agentOf(t.rec.Agent); t.run.rec.Pinned.Isolation == jobs.IsolationShared && !t.native() {
		a.live[t.rec.Executor]++
	}
}

// resumeSplit puts a split back where it was: its last attempt says whether
// it waits, and for how long.
func (c *Core) resumeSplit(s *split) {
	last := s.latest()
	if s.succeeded != nil {
		s.current = nil // one that a late success made needless: it only has to end
	}
	if s.settled() || s.current != nil || s.run.rec.Cancel != "" {
		return
	}
	if last == nil {
		c.at(c.now, func() { c.enqueue(s) })
		return
	}
	if last.rec.State == jobs.AttemptNotStarted {
		s.failures = last.rec.LaunchFailures
	}
	s.avoid = last.rec.Agent
	c.at(c.now, func() {
		if !s.waiting && !s.settled() && s.current == nil {
			c.afterAttempt(s, last)
		}
	})
}

// Reconciliation backs off from reconcileFirst to reconcileMost.
const (
	reconcileFirst = time.Second
	reconcileMost  = 30 * time.Second
	reconcileBatch = 500
)

// onSubscribed begins a stream. Launches decided under an earlier one either
// arrived or never will: every live task is asked for until it is answered.
func (c *Core) onSubscribed(e Subscribed) {
	c.stream, c.suppressed, c.lastRevive, c.subscribed = e.Stream, false, c.now, c.now
	if e.MasterSince.IsZero() && e.Master != c.master {
		e.MasterSince = c.now // it does not say: as if it were elected just now
	}
	if !e.MasterSince.IsZero() {
		c.masterSince = e.MasterSince
	}
	c.master = e.Master
	if c.meta.Framework != e.FrameworkID {
		c.meta.Framework = e.FrameworkID
		c.touch(&c.meta)
	}
	c.wantRevive = c.hungry()
	c.idleAlarm.set(c, c.now.Add(idleBefore), c.suppressIdle)
	for _, t := range c.orderedTasks() {
		if t.rec.Kill != "" && t.live() && t.run.job.held == "" {
			c.sendKill(t)
		}
	}
	stream := c.stream
	var full func()
	full = func() {
		if c.stream == stream {
			c.askAll()
			c.at(c.now.Add(c.cfg.ReconcileEvery), full)
		}
	}
	full()
}

func (c *Core) orderedTasks() []*task {
	return slices.SortedFunc(maps.Values(c.tasks), func(a, b *task) int {
		if a.rec.ID < b.rec.ID {
			return -1
		}
		return 1
	})
}

// askAll reconciles everything: what we know, explicitly; then what we may
// not know, implicitly.
func (c *Core) askAll() {
	for _, t := range c.orderedTasks() {
		if !t.rec.State.Final() {
			t.asked, t.asks, t.askAt = true, 0, c.now
		}
	}
	c.askPending()
	c.call(Reconcile{})
}

// ask has one task's state told, after the back-off of its earlier asking.
func (c *Core) ask(t *task) {
	t.asked = true
	c.askAlarm.set(c, t.askAt, c.askPending)
}

// askPending sends what is to be asked for now, and comes back for the rest
// until all is answered.
func (c *Core) askPending() {
	if c.stream == 0 {
		return
	}
	var refs []TaskRef
	var next time.Time
	for _, t := range c.orderedTasks() {
		if !t.asked || t.rec.State.Final() || (!t.answered && t.stream == c.stream) {
			continue
		}
		if !t.askAt.After(c.now) {
			refs = append(refs, TaskRef{Task: t.rec.ID, Agent: t.rec.Agent})
			t.askAt = c.now.Add(min(reconcileFirst<<min(t.asks, 8), reconcileMost))
			t.asks++
		}
		if next.IsZero() || t.askAt.Before(next) {
			next = t.askAt
		}
	}
	for chunk := range slices.Chunk(refs, reconcileBatch) {
		c.call(Reconcile{Tasks: chunk})
	}
	if !next.IsZero() {
		c.askAlarm.set(c, next, c.askPending)
	}
}

// masterSettled says whether the agents had time to tell the master of their
// tasks since it was elected.
func (c *Core) masterSettled() bool {
	return c.now.Sub(c.masterSince) >= c.cfg.MasterSettle
}

// onCallAnswered learns how Mesos took a call.
func (c *Core) onCallAnswered(e CallAnswered) {
	accept, ok := e.Call.(Accept)
	if !ok {
		return
	}
	reason := "refused by the master"
	if errors.Is(e.Err, errUnsent) {
		reason = "not sent"
	}
	for _, l := range accept.Launches {
		t, ok := c.tasks[l.Task]
		if !ok {
			continue
		}
		if e.Err == nil {
			t.answered = true
		} else {
			c.ended(t, jobs.AttemptNotStarted, reason, e.Err.Error())
			c.seal()
		}
	}
}
