package scheduler

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"time"

	"tidemill/jobs"
)

// onUpdate takes a status update. It is acknowledged with this step's calls,
// hence after what it changed is durable.
func (c *Core) onUpdate(u jobs.Update) {
	t, ok := c.tasks[u.Task]
	if ok && t.run.job.held != "" || !ok && c.heldTask(u.Task) {
		return // not acknowledged either: its word is for who can read its record
	}
	if len(u.UUID) > 0 {
		c.call(Acknowledge{Task: u.Task, Agent: u.Agent, UUID: u.UUID})
	}
	if !ok {
		c.onStranger(u)
		return
	}
	t.asked = false
	if t.rec.State.Final() {
		c.endLate(t, u)
		return
	}
	u = t.unmarked(u)
	if u.State == jobs.TaskGone && u.Source == "SOURCE_AGENT" {
		c.onEnd(t, u) // so is its container: the agent has destroyed it
		return
	}
	switch u.State {
	case jobs.TaskStaging:
		t.answered = true
	case jobs.TaskStarting, jobs.TaskRunning, jobs.TaskKilling:
		c.onAlive(t, u)
	case jobs.TaskFinished, jobs.TaskFailed, jobs.TaskKilled:
		c.onEnd(t, u)
	case jobs.TaskError:
		c.ended(t, jobs.AttemptNotStarted, u.Reason, u.Message)
	case jobs.TaskDropped:
		if t.rec.Seen && t.rec.Kill == "" { // it did start: its agent has lost it, and its executor may live on
			c.onLost(t, u)
			return
		}
		c.ended(t, jobs.AttemptNotStarted, u.Reason, u.Message)
	case jobs.TaskGoneByOperator:
		c.onGone(t, u)
	default: // LOST, UNREACHABLE, GONE by the master, UNKNOWN: the agent's, not the task's
		c.onLost(t, u)
	}
}

// heldTask says whether a task belongs to a job that is held.
func (c *Core) heldTask(id jobs.TaskID) bool {
	parts, err := jobs.ParseTaskID(id)
	if err != nil {
		return false
	}
	run, err := jobs.ParseRunID(parts.Run)
	if err != nil {
		return false
	}
	j, ok := c.jobs[run.Job]
	return ok && j.held != ""
}

// onStranger deals with a task that is not among the live ones: one that
// lives is of a run that is over, and is killed.
func (c *Core) onStranger(u jobs.Update) {
	switch u.State {
	case jobs.TaskStaging, jobs.TaskStarting, jobs.TaskRunning:
		c.call(Kill{Task: u.Task, Agent: u.Agent, Grace: jobs.DefaultKillGrace.D()})
	}
}

// endLate kills an attempt that says it runs after its final state, which
// never changes.
func (c *Core) endLate(t *task, u jobs.Update) {
	switch u.State {
	case jobs.TaskStarting, jobs.TaskRunning:
		c.call(Kill{Task: t.rec.ID, Agent: t.rec.Agent, Grace: t.run.killGrace()})
	}
}

func (c *Core) onAlive(t *task, u jobs.Update) {
	changed, back := !t.rec.Seen, t.rec.State == jobs.AttemptUnknown
	t.rec.Seen, t.answered = true, true
	if t.rec.State == jobs.AttemptUnknown {
		if !c.returned(t) {
			c.touch(t)
			c.call(Kill{Task: t.rec.ID, Agent: t.rec.Agent, Grace: t.run.killGrace()})
			return
		}
		changed = true
	}
	running := u.State == jobs.TaskRunning || u.State == jobs.TaskKilling && !t.rec.Started.IsZero()
	if running && t.rec.State != jobs.AttemptRunning {
		t.rec.State, t.rec.Reason, t.rec.Message = jobs.AttemptRunning, "", ""
		if t.rec.Started.IsZero() {
			t.rec.Started = c.now
		}
		changed = true
		c.noticeTask(t)
	} else if t.rec.State == jobs.AttemptUnknown {
		t.rec.State = jobs.AttemptLaunching
	}
	if u.Reason == reasonDraining && t.rec.Kill == "" && !t.rec.Drained {
		t.rec.Drained, changed = true, true
	}
	if t.takeHealth(u) {
		changed = true
		c.noticeTask(t)
	}
	if changed {
		c.touch(t)
	}
	x := t.run
	if changed {
		c.watchInstance(t)
		c.roll(x)
	}
	if x.rec.Started.IsZero() {
		x.rec.Started = c.now
		c.touch(x)
		c.noticeRun(x)
		c.watchRunTime(x)
	}
	switch {
	case x.rec.Cancel != "":
		c.kill(t, x.rec.Reason)
	case back && t.rec.Kill != "":
		c.sendKill(t)
	}
}

// onEnd takes a final state by the executor's or the agent's word.
func (c *Core) onEnd(t *task, u jobs.Update) {
	if t.native() {
		c.endNative(t, u)
		return
	}
	var out jobs.Outcome
	if len(u.Data) > 0 && json.Unmarshal(u.Data, &out) == nil && out.Task == t.rec.ID {
		c.settle(t, &out, u)
		return
	}
	switch {
	case u.Reason == "REASON_RECONCILIATION":
		if t.rec.Ending == "" { // its results are in the update that is still to come, and in the file
			c.seekOutcome(t, jobs.Update{Reason: u.Reason, Message: u.State})
		}
	case u.State == jobs.TaskFinished:
		c.settle(t, &jobs.Outcome{OK: true, Ended: c.now}, u)
	case u.Source != "SOURCE_EXECUTOR" && !t.rec.Seen && neverStarted(u.Reason):
		c.ended(t, jobs.AttemptNotStarted, u.Reason, u.Message)
	case u.State == jobs.TaskKilled:
		c.settle(t, &jobs.Outcome{Killed: true, Ended: c.now}, u)
	case u.Source != "SOURCE_EXECUTOR":
		c.seekOutcome(t, u)
	default:
		c.settle(t, &jobs.Outcome{Ended: c.now}, u)
	}
}

// neverStarted are the agent's reasons for a task that its executor never got.
func neverStarted(reason string) bool {
	switch reason {
	case "REASON_EXECUTOR_REGISTRATION_TIMEOUT", "REASON_CONTAINER_LAUNCH_FAILED", "REASON_TASK_KILLED_DURING_LAUNCH", "REASON_INVALID_OFFERS":
		return true
	}
	return false
}

// refusedByExecutor is the reason where the executor did not begin the work.
const refusedByExecutor = "refused by its executor"

// settle ends an attempt by its outcome.
func (c *Core) settle(t *task, out *jobs.Outcome, u jobs.Update) {
	t.rec.Results = out.Values
	t.rec.Permanent = out.Permanent
	if !out.Started.IsZero() && t.rec.Started.IsZero() {
		t.rec.Started = c.now
	}
	message := out.Message
	if message == "" {
		message = u.Message
	}
	if !out.Killed && !out.NotStarted {
		t.rec.ExitCode = &out.ExitCode
	}
	switch {
	case out.OK:
		c.succeed(t, u.Reason, message)
	case out.NotStarted:
		c.ended(t, jobs.AttemptNotStarted, refusedByExecutor, message)
	case out.Killed:
		t.rec.Drained = t.rec.Drained || u.Reason == reasonDraining && t.rec.Kill == ""
		c.ended(t, jobs.AttemptKilled, killReason(t), message)
	default:
		c.ended(t, jobs.AttemptFailed, u.Reason, message)
	}
}

// succeed ends an attempt well. The first success settles a split: one of an
// attempt that was given up while unknown counts, and ends its successor.
func (c *Core) succeed(t *task, reason, message string) {
	if s := t.split; t.rec.Superseded && !t.run.traits.Service && s != nil && !s.settled() && t.run.rec.Cancel == "" {
		t.rec.Superseded = false
		if s.current != nil {
			c.kill(s.current, "attempt "+string(t.rec.ID)+" succeeded after all")
		}
		c.unqueue(s)
		s.current = t
	}
	c.ended(t, jobs.AttemptSucceeded, reason, message)
}

// onGone: the operator says that the agent is gone for good, and with it
// every process: proof that nothing of the attempt lives.
func (c *Core) onGone(t *task, u jobs.Update) {
	if !t.rec.Seen {
		c.ended(t, jobs.AttemptNotStarted, u.Reason, u.Message)
		return
	}
	state, reason := jobs.AttemptFailed, u.Reason
	if t.rec.Drained {
		state, reason = jobs.AttemptKilled, killReason(t)
	}
	c.ended(t, state, reason, "the agent is gone for good: "+u.Message)
}

// onLost weighs a word that speaks of the agent, or of ignorance.
func (c *Core) onLost(t *task, u jobs.Update) {
	if u.Reason == "REASON_INVALID_OFFERS" {
		c.ended(t, jobs.AttemptNotStarted, u.Reason, u.Message)
		return
	}
	ignorant := u.Reason == "REASON_RECONCILIATION"
	if ignorant && !t.answered && t.stream == c.stream {
		return // its ACCEPT may still be on the way
	}
	if t.rec.Ending != "" && t.rec.State != jobs.AttemptUnknown {
		return // it ended, and its outcome file will tell how
	}
	if ignorant && !c.masterSettled() {
		c.ask(t) // a young master's ignorance means nothing
		return
	}
	byAgent := ignorant && strings.Contains(u.Message, "unknown to the agent")
	if byAgent && !t.rec.Seen {
		c.ended(t, jobs.AttemptNotStarted, u.Reason, u.Message)
		return
	}
	c.setUnknown(t, u.Reason, u.Message)
}

// seekFor bounds how long an outcome file is asked for before the attempt is
// unknown, and a plan before it is made again: across leaders.
const seekFor = 100 * time.Second

// seekOutcome: the executor ended without a word of its own, but it may have
// written the outcome to its sandbox first. That it ended is persisted, so
// that another leader goes on seeking.
func (c *Core) seekOutcome(t *task, u jobs.Update) {
	t.rec.Ending = u.Message
	if t.rec.Ending == "" {
		t.rec.Ending = u.Reason
	}
	t.rec.Reason, t.rec.Seen, t.rec.EndingSince = u.Reason, true, c.now
	c.touch(t)
	c.fetch(t, jobs.OutcomeFile, maxOutcomeBytes)
}

// seekOn goes on seeking an outcome file under another leader.
func (c *Core) seekOn(t *task) {
	if t.rec.EndingSince.IsZero() { // stored by a program that did not count
		t.rec.EndingSince = c.now
		c.touch(t)
	}
	c.fetch(t, jobs.OutcomeFile, maxOutcomeBytes)
}

// maxOutcomeBytes bounds an outcome file.
const maxOutcomeBytes = 64 << 10

// fetch reads a file of an attempt's sandbox.
func (c *Core) fetch(t *task, file string, limit int) {
	c.fx.Reads = append(c.fx.Reads, Read{Task: t.rec.ID, File: file, Limit: limit, Where: c.sandboxOf(&t.rec)})
}

// sandboxOf is where an attempt's files lie, at the agent's present address.
func (c *Core) sandboxOf(t *jobs.Task) Sandbox {
	where := Sandbox{AgentAddr: t.AgentAddr, AgentID: t.Agent, FrameworkID: c.meta.Framework, Executor: t.Executor}
	if a, ok := c.agents[t.Agent]; ok && a.offer.Address != "" {
		where.AgentAddr = a.offer.Address
	}
	return where
}

// onFetched takes a file that was read, or the reason why not.
func (c *Core) onFetched(e Fetched) {
	t, ok := c.tasks[e.Task]
	if !ok {
		return
	}
	if e.File == jobs.PlanFile {
		c.onPlan(t, e)
		return
	}
	if t.rec.State.Final() || t.rec.Ending == "" {
		return
	}
	var out jobs.Outcome
	u := jobs.Update{Reason: t.rec.Reason, Message: t.rec.Ending}
	switch {
	case e.Err == nil && json.Unmarshal(e.Data, &out) == nil && out.Task == t.rec.ID:
		c.settle(t, &out, u)
	case c.seekAgain(t, e.Err, t.rec.EndingSince, func() {
		if !t.rec.State.Final() && t.rec.Ending != "" {
			c.fetch(t, jobs.OutcomeFile, maxOutcomeBytes)
		}
	}):
	case t.rec.Ending == jobs.TaskFinished || t.rec.Ending == jobs.TaskKilled: // a master's word, without the results
		c.settle(t, &jobs.Outcome{Ended: c.now, OK: t.rec.Ending == jobs.TaskFinished, Killed: t.rec.Ending == jobs.TaskKilled}, u)
	case e.Err == nil || errors.Is(e.Err, fs.ErrNotExist):
		u.Message = "its executor ended and left no outcome (" + t.rec.Ending + ")"
		c.settle(t, &jobs.Outcome{Ended: c.now, Killed: t.rec.Kill != ""}, u)
	default:
		c.setUnknown(t, t.rec.Reason, "its executor ended, and its outcome file cannot be read: "+e.Err.Error())
	}
}

// seekAgain arranges for another try at a file whose agent did not answer,
// while it has not been sought for long.
func (c *Core) seekAgain(t *task, err error, since time.Time, try func()) bool {
	if err == nil || errors.Is(err, fs.ErrNotExist) || c.now.Sub(since) >= seekFor {
		return false
	}
	t.seeks++
	c.at(c.now.Add(time.Second<<min(t.seeks, 4)), try)
	return true
}

// onPlan seals the plan that a planning task left, or plans again.
func (c *Core) onPlan(t *task, e Fetched) {
	x := t.run
	if x.rec.State != jobs.RunPlanning || x.rec.Cancel != "" || len(x.splits) == 0 || x.splits[0].succeeded != t {
		return
	}
	err := e.Err
	if err == nil {
		if err = c.sealPlan(x, e.Data); err == nil {
			return
		}
	} else if c.seekAgain(t, err, t.rec.Ended, func() {
		if x.rec.State == jobs.RunPlanning && x.rec.Cancel == "" {
			c.fetch(t, jobs.PlanFile, jobs.MaxPlanBytes)
		}
	}) {
		return
	}
	c.planAgain(x, "its plan could not be taken over: "+err.Error())
}

// onMessage takes progress reports, which are never persisted.
func (c *Core) onMessage(e Messaged) {
	var list []jobs.Progress
	if json.Unmarshal(e.Data, &list) != nil {
		return
	}
	for _, p := range list {
		if t, ok := c.tasks[p.Task]; ok && t.rec.Agent == e.Agent {
			t.progress = &p
			c.notify(jobs.Notice{Type: "progress", Job: t.rec.Job, Run: t.rec.Run, Task: t.rec.ID})
		}
	}
}
