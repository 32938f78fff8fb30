package scheduler

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler/match"
)

// split is one unit of a run's present stage, and how its attempts go.
type split struct {
	run       *run
	def       jobs.Split
	attempts  int   // launched
	starts    int   // of work
	failures  int   // of launches, since the last start
	current   *task // launching, running, or unknown and not given up
	outgoing  *task // of a service's instance: it serves until current is healthy
	succeeded *task
	failed    bool
	fetching  bool      // a planning task's plan is being read
	avoid     string    // the agent of the last failure
	waiting   bool      // in the ready queue
	since     time.Time // when it began to wait for an offer
	notBefore time.Time // back-off
	backoff   string    // what it backs off from
	refusals  []jobs.Refusal
	seq       int64  // in the ready queue; 0: not in it
	class     *class // there
	shut      shutTimes
}

// task is one attempt and what the core remembers of it besides its record.
type task struct {
	extra    unknown // fields of a newer program
	rec      jobs.Task
	run      *run
	split    *split // nil: of a stage that is over
	stream   int64  // the subscription its launch was decided under
	answered bool   // its ACCEPT was answered
	asked    bool   // its state was asked for and not told yet
	askAt    time.Time
	asks     int
	killing  alarm
	seeks    int // of its outcome file or its plan
	counted  bool
	pool     *pool // of which it holds slots, while it is counted
	slots    int
	progress *jobs.Progress
}

func (t *task) key() string                 { return keyTask + string(t.rec.ID) }
func (t *task) encode(now time.Time) []byte { return encode(t.rec, t.extra) }

func (t *task) live() bool {
	return t.rec.State == jobs.AttemptLaunching || t.rec.State == jobs.AttemptRunning
}

func compareTasks(a, b *jobs.Task) int {
	return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Split, b.Split), cmp.Compare(a.Attempt, b.Attempt))
}

// adopt takes a stored attempt in.
func (c *Core) adopt(x *run, t *task) {
	t.run, t.answered = x, true
	x.tasks[t.rec.ID] = t
	c.tasks[t.rec.ID] = t
	c.account(t)
	if t.rec.Stage != x.rec.Stage || t.rec.Split >= len(x.splits) {
		return
	}
	x.splits[t.rec.Split].attach(t)
}

// planLost says whether a planning task succeeded in vain: no plan came of it.
func (t *task) planLost() bool {
	return t.rec.Stage == 0 && t.rec.State == jobs.AttemptSucceeded && t.rec.Superseded
}

// attach gives a split one of its attempts.
func (s *split) attach(t *task) {
	t.split = s
	if t.rec.Attempt > s.attempts {
		s.attempts, s.starts = t.rec.Attempt, t.rec.Starts
	}
	switch {
	case t.rec.State == jobs.AttemptSucceeded && s.succeeded == nil && !s.run.traits.Service && !t.planLost():
		s.succeeded = t
		s.run.done++
	case t.rec.State.Final() || t.rec.Superseded:
	case s.current == nil:
		s.current = t
	case s.current.rec.Attempt < t.rec.Attempt: // a service's instances, one beside the other
		s.outgoing, s.current = s.current, t
	default:
		s.outgoing = t
	}
}

// latest is the split's last attempt, if it had one.
func (s *split) latest() *task {
	return s.run.tasks[jobs.NewTaskID(s.run.rec.ID, s.def.Stage, s.def.Number, s.attempts)]
}

// settled says whether the split needs no further attempt.
func (s *split) settled() bool { return s.succeeded != nil || s.failed }

// enqueue lets a split wait for an offer, after its back-off.
func (c *Core) enqueue(s *split) {
	if s.waiting || s.settled() || s.current != nil || s.run.rec.Cancel != "" || s.run.rec.State.Final() {
		return
	}
	s.waiting = true
	if s.notBefore.After(c.now) {
		c.at(s.notBefore, func() {
			if s.waiting && s.since.IsZero() && !s.notBefore.After(c.now) {
				c.makeReady(s)
			}
		})
		return
	}
	c.makeReady(s)
}

func (c *Core) makeReady(s *split) {
	s.since = c.now
	s.refusals = nil
	s.shut = c.shutTimes(s)
	t := c.waitingTask(s)
	c.ready.add(s, laneOf(s, match.ClassOf(&t)))
	c.wantRevive = true
}

// unqueue ends a split's waiting.
func (c *Core) unqueue(s *split) {
	s.waiting = false
	c.ready.remove(s)
}

// ended settles an attempt for good, and what follows from it.
func (c *Core) ended(t *task, state jobs.AttemptState, reason, message string) {
	if t.rec.State.Final() {
		return
	}
	t.rec.State, t.rec.Reason, t.rec.Message, t.rec.Ended = state, reason, message, c.now
	t.asked, t.rec.Ending, t.rec.EndingSince = false, "", time.Time{}
	t.run.placed = nil
	c.touch(t)
	c.noticeTask(t)
	c.agentDone(t)
	c.judge(t)
	x := t.run
	s := t.split
	if s != nil && s.outgoing == t {
		s.outgoing = nil
	}
	if s == nil || s.current != t {
		c.progress(x)
		return
	}
	s.current = nil
	if state != jobs.AttemptSucceeded {
		s.avoid = t.rec.Agent
	}
	if x.rec.Cancel == "" {
		c.afterAttempt(s, t)
	}
	c.progress(x)
}

// afterAttempt decides what a split does next.
func (c *Core) afterAttempt(s *split, t *task) {
	if s.run.traits.Service {
		c.afterInstance(s, t)
		return
	}
	switch t.rec.State {
	case jobs.AttemptSucceeded:
		if t.planLost() { // another leader finds it so
			s.attemptFailed(c, "its plan could not be taken over", false)
			return
		}
		if err := s.run.addResults(t.rec.Results); err != nil {
			s.attemptFailed(c, err.Error(), true)
			return
		}
		s.succeeded, s.failures = t, 0
		s.run.done++
		if len(t.rec.Results) > 0 {
			c.touch(s.run)
		}
	case jobs.AttemptNotStarted:
		s.launchFailed(c, cmp.Or(t.rec.Message, t.rec.Reason))
	case jobs.AttemptKilled:
		if t.rec.Drained {
			s.starts--
			s.delay(c, 0, t.rec.Reason)
			return
		}
		s.attemptFailed(c, explainEnd(t), t.rec.Permanent)
	default:
		s.attemptFailed(c, explainEnd(t), t.rec.Permanent)
	}
}

func explainEnd(t *task) string {
	text := fmt.Sprintf("attempt %d on %s %s", t.rec.Attempt, t.rec.Host, t.rec.State)
	if t.rec.ExitCode != nil && *t.rec.ExitCode != 0 && !strings.HasPrefix(t.rec.Message, "exit code") {
		text += fmt.Sprintf(" with exit code %d", *t.rec.ExitCode)
	}
	for _, part := range []string{t.rec.Reason, t.rec.Message} {
		if part != "" && !strings.HasPrefix(part, "REASON_") { // Mesos's names stand in the attempt
			text += ": " + part
		}
	}
	return text
}

// attemptFailed tries the split again, if its job still allows it.
func (s *split) attemptFailed(c *Core, reason string, permanent bool) {
	job := s.run.pinned()
	if !s.run.traits.Service && (permanent || s.starts >= job.Retry.Attempts) {
		s.failed = true
		if !permanent {
			reason = fmt.Sprintf("%s (start %d of %d)", reason, s.starts, job.Retry.Attempts)
		}
		c.cancel(s.run, jobs.RunFailed, s.name()+reason)
		return
	}
	s.delay(c, job.Retry.BackoffBefore(s.starts+1, string(s.run.rec.ID)), reason)
}

// launchFailed launches the split again: no work was done, so it is not one
// of its starts.
func (s *split) launchFailed(c *Core, reason string) {
	s.failures++
	s.starts--
	if deadline, ok := s.run.deadline(); ok && s.run.rec.Started.IsZero() && !c.now.Before(deadline) {
		c.cancel(s.run, jobs.RunSkipped, s.run.lateReason())
		return
	}
	if s.failures >= c.cfg.LaunchFailures && !s.run.traits.Service {
		s.failed = true
		c.cancel(s.run, jobs.RunFailed, fmt.Sprintf("%s%d launches failed, the last one: %s", s.name(), s.failures, reason))
		return
	}
	policy := jobs.Retry{Backoff: jobs.Duration(200 * time.Millisecond), Max: jobs.Duration(30 * time.Second)}
	s.delay(c, policy.BackoffBefore(s.failures+1, string(s.run.rec.ID)), "launch failed: "+reason)
}

func (s *split) delay(c *Core, d time.Duration, reason string) {
	s.notBefore, s.since, s.backoff = c.now.Add(d), time.Time{}, reason
	c.enqueue(s)
}

func (s *split) name() string {
	switch {
	case s.run.rec.Stage == 0:
		return "planning: "
	case len(s.run.splits) > 1:
		return fmt.Sprintf("split %d of stage %d: ", s.def.Number, s.def.Stage)
	}
	return ""
}

// kill persists the intent to kill an attempt, and sends it until the attempt
// is final.
func (c *Core) kill(t *task, reason string) {
	if !t.live() {
		return
	}
	if t.rec.Kill == "" {
		t.rec.Kill = reason
		c.touch(t)
	}
	c.sendKill(t)
}

func (c *Core) sendKill(t *task) {
	if t.rec.State.Final() || c.tasks[t.rec.ID] != t { // or its run ended without it
		return
	}
	if c.stream != 0 {
		c.call(Kill{Task: t.rec.ID, Agent: t.rec.Agent, Grace: t.run.killGrace()})
	}
	t.killing.set(c, c.now.Add(c.cfg.KillAgain), func() { c.sendKill(t) })
}

func (x *run) killGrace() time.Duration {
	if x.rec.Pinned == nil {
		return jobs.DefaultKillGrace.D()
	}
	return x.rec.Pinned.KillGrace.D()
}

// setUnknown records that nobody can know an attempt's outcome now, and lets
// the job's policy decide what becomes of it.
func (c *Core) setUnknown(t *task, reason, message string) {
	if t.rec.State.Final() || t.rec.State == jobs.AttemptUnknown {
		return
	}
	t.rec.State, t.rec.Reason, t.rec.Message, t.rec.UnknownSince = jobs.AttemptUnknown, reason, message, c.now
	if t.split != nil && t.split.outgoing == t { // its successor is there
		t.rec.Superseded, t.split.outgoing, t.run.placed = true, nil, nil
	}
	c.touch(t)
	c.noticeTask(t)
	c.decideUnknown(t)
	c.progress(t.run)
}

// decideUnknown gives an unknown attempt up now or later, or waits for a word.
func (c *Core) decideUnknown(t *task) {
	x := t.run
	if t.rec.State != jobs.AttemptUnknown || t.rec.Superseded || t.split == nil || t.split.current != t || x.rec.Cancel != "" || x.rec.State.Final() {
		return
	}
	at, policy := c.giveUpAt(t)
	if policy == jobs.UnknownWait {
		return
	}
	if c.now.Before(at) {
		c.at(at, func() { c.decideUnknown(t) })
		return
	}
	c.supersede(t, policy)
}

// supersede gives an unknown attempt up: another takes its place, or its run fails.
func (c *Core) supersede(t *task, policy jobs.OnUnknown) {
	t.rec.Superseded = true
	t.run.placed = nil
	c.touch(t)
	s := t.split
	s.current, s.avoid = nil, t.rec.Agent
	reason := fmt.Sprintf("attempt %d on %s is unknown: %s", t.rec.Attempt, t.rec.Host, t.rec.Message)
	if policy == jobs.UnknownFail {
		s.failed = true
		c.cancel(t.run, jobs.RunFailed, s.name()+reason)
		return
	}
	s.attemptFailed(c, reason, false)
}

// giveUpAt is when an unknown attempt may be superseded: idempotent work at
// once, other work after the job's unknown_wait; and never before its
// start_by has passed on every clock, unless it is known to have started.
func (c *Core) giveUpAt(t *task) (time.Time, jobs.OnUnknown) {
	x := t.run
	at, policy := t.rec.UnknownSince, jobs.UnknownRetry
	if !x.traits.Idempotent || (t.native() && !t.rec.Seen) { // without a start_by it may still begin
		policy = x.pinned().OnUnknown
		if policy == jobs.UnknownRetry {
			return c.deadAt(t), policy
		}
	}
	return c.startedBy(t, at), policy
}

// deadAt is when work of unknown outcome is taken to have ended: after the
// job's unknown_wait, within which its agent would have ended it.
func (c *Core) deadAt(t *task) time.Time {
	return c.startedBy(t, t.rec.UnknownSince.Add(t.run.pinned().UnknownWait.D()))
}

// startedBy is at, or when an attempt of which nothing was seen cannot start
// any more, where that is later.
func (c *Core) startedBy(t *task, at time.Time) time.Time {
	if safe := c.safeAfter(t); !t.rec.Seen && safe.After(at) {
		return safe
	}
	return at
}

// returned takes back an attempt that was unknown and speaks again. One that
// was given up is taken back only if nothing was launched in its place.
func (c *Core) returned(t *task) (adopted bool) {
	if t.rec.Superseded {
		s := t.split
		if s == nil || s.current != nil || s.settled() || s.attempts != t.rec.Attempt || t.run.rec.Cancel != "" {
			return false
		}
		t.rec.Superseded = false
		t.run.placed = nil
		c.unqueue(s)
		s.current, s.since = t, time.Time{}
	}
	t.rec.UnknownSince = time.Time{}
	return true
}

func (c *Core) noticeTask(t *task) {
	c.notify(jobs.Notice{
		Type: "task", Job: t.rec.Job, Run: t.rec.Run, Task: t.rec.ID, State: string(t.rec.State), Reason: t.rec.Reason,
	})
}

// watchTask arranges for what an attempt in the launching state needs if no
// word of it comes. While nobody is subscribed none can come: what was
// launched before that may long be at work, and is not killed for it.
func (c *Core) watchTask(t *task) {
	since := t.rec.Launched
	switch {
	case c.stream == 0:
		since = c.now
	case c.subscribed.After(since):
		since = c.subscribed
	}
	c.at(since.Add(c.cfg.LaunchTimeout), func() {
		switch {
		case t.rec.State != jobs.AttemptLaunching || t.rec.Kill != "":
		case c.stream == 0 || c.now.Before(c.subscribed.Add(c.cfg.LaunchTimeout)):
			c.watchTask(t)
		default:
			c.kill(t, "no word of its start within "+c.cfg.LaunchTimeout.String())
		}
	})
}

// watchRunTime ends a run that works longer than its job allows.
func (c *Core) watchRunTime(x *run) {
	limit := x.pinned().MaxRunTime
	if limit == 0 || x.traits.Service {
		return
	}
	c.at(x.rec.Started.Add(limit.D()), func() {
		if !x.rec.State.Final() {
			c.cancel(x, jobs.RunFailed, "it ran longer than its max_run_time of "+limit.String())
		}
	})
}
