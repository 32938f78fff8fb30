package executor

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"tidemill/jobs"
)

// machine decides what becomes of tasks. It owns no goroutine, no clock and no
// I/O: step takes what happened and gives what is to be done, in order.
//
//	LAUNCH ─► working ──ended──────────────────► storing ─stored─► told ─acknowledged─► forgotten
//	   │         └─KILL, max_run, SHUTDOWN─► stopping ─ended, or given up─┘▲
//	   └─refused: late, draining, unreadable ──────────────────────────────┘
//
// The outcome is stored before the terminal update is sent, and every update
// is kept until the agent acknowledged it.
type machine struct {
	limits    limits
	own       bool // serves one task, and ends with it
	newUUID   func() []byte
	tasks     map[jobs.TaskID]*attempt
	connected bool
	killing   bool          // the framework wants TASK_KILLING
	lostAt    time.Time     // since when there is no agent
	patience  time.Duration // how long it may stay so
	served    bool          // a task was launched
	draining  error         // why no task is taken any more, and everything ends
	quiet     bool          // draining is in order: nothing failed
	leaveBy   time.Time     // draining waits no longer than this
	next      time.Time     // when to step again at the latest; zero: never
}

// limits are the times a machine goes by.
type limits struct {
	recovery time.Duration // how long tasks outlive the connection to the agent
	first    time.Duration // how long the first connection may take
	margin   time.Duration // beyond a kill's grace, until the work is given up
	shutdown time.Duration // from SHUTDOWN until Mesos kills the executor
	repeat   time.Duration // after which an unacknowledged update is sent again
}

type phase int

const (
	working  phase = iota
	stopping       // asked to end
	storing        // ended; the outcome is on its way to the disk
	told           // the terminal update is sent, and not yet acknowledged
)

// attempt is a launched task.
type attempt struct {
	task       Task
	assignment jobs.Assignment
	phase      phase
	started    time.Time
	maxRunAt   time.Time // zero: never
	stop       *jobs.Stop
	killed     bool // stopped by a kill, not by max_run_time nor its health
	unhealthy  bool // stopped for its health
	giveUpAt   time.Time
	outcome    jobs.Outcome
	encoded    []byte // the outcome, as it is stored and sent
	known      bool   // the agent acknowledged an update, and so knows of the launch
	unacked    []pending
}

// pending is an update that is not acknowledged.
type pending struct {
	Update
	sent    bool // on the stream that is open now
	againAt time.Time
}

// What happens, besides the agent's events.
type (
	// ended: the work returned, or never began.
	ended struct {
		task   jobs.TaskID
		report report
	}
	// stored: the outcome is durable, or could not be made so (err).
	stored struct {
		task jobs.TaskID
		err  error
	}
	// checked: a health check has news; nil: it succeeded. end: the work is
	// to end for it.
	checked struct {
		task jobs.TaskID
		err  error
		end  bool
	}
	// disconnected: the stream ended.
	disconnected struct{}
	// interrupted: the process was asked to end.
	interrupted struct{ reason string }
	// tick: time passed.
	tick struct{}
)

// report is what came of a work.
type report struct {
	result     jobs.Result
	err        error
	plan       []byte // of stage 0
	notStarted bool
	former     *jobs.Outcome // of an attempt that had ended before
}

// effect is something to do.
type effect interface{ effect() }

type (
	begin struct{ assignment jobs.Assignment }
	halt  struct {
		task jobs.TaskID
		stop jobs.Stop
	}
	store struct {
		task          jobs.TaskID
		outcome, plan []byte // plan: of stage 0 only
	}
	tell   struct{ update Update }
	forget struct{ task jobs.TaskID }
	leave  struct{ err error }
)

func (begin) effect()  {}
func (halt) effect()   {}
func (store) effect()  {}
func (tell) effect()   {}
func (forget) effect() {}
func (leave) effect()  {}

func newMachine(own bool, l limits, newUUID func() []byte, now time.Time) *machine {
	m := &machine{own: own, limits: l, newUUID: newUUID, tasks: map[jobs.TaskID]*attempt{}, lostAt: now, patience: l.first}
	m.arm(m.lonelyUntil())
	return m
}

// step takes one event (an Event of the agent, or one of the above).
func (m *machine) step(now time.Time, event any) []effect {
	var out []effect
	switch e := event.(type) {
	case Subscribed:
		m.connected, m.patience, m.killing = true, m.limits.recovery, e.Killing
		out = m.tellRest(now)
	case disconnected:
		m.disconnect(now)
	case Launch:
		out = m.launch(now, e)
	case Kill:
		out = m.kill(now, e)
	case Acknowledged:
		out = m.acknowledge(e)
	case Shutdown:
		out = m.drain(now, fmt.Errorf("the agent shut the executor down"), true)
	case interrupted:
		out = m.drain(now, fmt.Errorf("the executor was asked to end: %s", e.reason), true)
	case ended:
		out = m.end(now, e)
	case stored:
		out = m.report(now, e)
	case checked:
		out = m.check(now, e)
	}
	out = append(out, m.tick(now)...)
	return append(out, m.leave(now)...)
}

func (m *machine) launch(now time.Time, e Launch) []effect {
	if m.tasks[e.Task.ID] != nil {
		return nil // told twice: it is under way
	}
	a := &attempt{task: e.Task}
	m.tasks[e.Task.ID] = a
	m.served = true
	refuse := func(permanent bool, format string, args ...any) []effect {
		err := fmt.Errorf(format, args...)
		if permanent {
			err = jobs.Permanent(err)
		}
		return m.end(now, ended{e.Task.ID, report{err: err, notStarted: true}})
	}
	if err := json.Unmarshal(e.Data, &a.assignment); err != nil {
		return refuse(true, "read the task's assignment: %w (do the scheduler and this executor have the same version?)", err)
	}
	switch {
	case a.assignment.Task != e.Task.ID:
		return refuse(true, "the assignment is for task %q, not for %q", a.assignment.Task, e.Task.ID)
	case m.draining != nil:
		return refuse(false, "not started: %w", m.draining)
	case late(a.assignment, now):
		return refuse(false, "%w", lateError(a.assignment, now))
	}
	a.started = now
	if d := a.assignment.MaxRun.D(); d > 0 {
		a.maxRunAt = now.Add(d)
		m.arm(a.maxRunAt)
	}
	return append([]effect{begin{a.assignment}}, m.update(now, a, Update{State: jobs.TaskRunning})...)
}

// late says whether the attempt may no longer start by this agent's clock.
func late(a jobs.Assignment, now time.Time) bool {
	return !a.StartBy.IsZero() && now.After(a.StartBy)
}

func lateError(a jobs.Assignment, now time.Time) error {
	return fmt.Errorf("not started: its latest start was %s, %s ago by the agent's clock",
		a.StartBy.UTC().Format(time.RFC3339), now.Sub(a.StartBy).Round(time.Millisecond))
}

func (m *machine) kill(now time.Time, e Kill) []effect {
	a := m.tasks[e.Task]
	if a == nil {
		return nil
	}
	grace := e.Grace
	if grace <= 0 {
		grace = a.assignment.KillGrace.D()
	}
	return m.stop(now, a, jobs.Stop{Reason: "killed", Grace: grace}, true)
}

// stop asks a work to end. A second request may only shorten the grace.
func (m *machine) stop(now time.Time, a *attempt, s jobs.Stop, kill bool) []effect {
	if a.phase > stopping {
		return nil
	}
	giveUpAt := now.Add(s.Grace + m.limits.margin)
	if a.phase == stopping && !giveUpAt.Before(a.giveUpAt) {
		return nil
	}
	a.giveUpAt = giveUpAt
	m.arm(giveUpAt)
	if a.phase == stopping {
		return nil
	}
	a.phase, a.stop, a.killed = stopping, &s, kill
	out := []effect{halt{a.task.ID, s}}
	if m.killing && m.draining == nil { // draining leaves no time for more than the last word
		out = append(out, m.update(now, a, Update{State: jobs.TaskKilling, Message: bounded(s.Reason, maxMessage)})...)
	}
	return out
}

// check tells how a work's health changed, or ends the work for it: the
// terminal update then tells.
func (m *machine) check(now time.Time, e checked) []effect {
	a := m.tasks[e.task]
	if a == nil || a.phase != working {
		return nil
	}
	healthy, message := e.err == nil, ""
	if !healthy {
		message = bounded(e.err.Error(), maxMessage)
	}
	if e.end {
		a.unhealthy = true
		return m.stop(now, a, jobs.Stop{Reason: message, Grace: a.assignment.KillGrace.D()}, false)
	}
	return m.update(now, a, Update{State: jobs.TaskRunning, Reason: reasonHealth, Message: message, Healthy: &healthy})
}

func (m *machine) end(now time.Time, e ended) []effect {
	a := m.tasks[e.task]
	if a == nil || a.phase > stopping {
		return nil // given up before
	}
	a.outcome = conclude(a, e.report, now)
	a.encoded = encodeOutcome(a.outcome)
	a.phase = storing
	return []effect{store{a.task.ID, a.encoded, e.report.plan}}
}

func (m *machine) report(now time.Time, e stored) []effect {
	a := m.tasks[e.task]
	if a == nil || a.phase != storing {
		return nil
	}
	a.phase = told
	return m.update(now, a, terminalUpdate(a, e.err))
}

// update keeps an update until it is acknowledged, and sends it if it can.
func (m *machine) update(now time.Time, a *attempt, u Update) []effect {
	u.Task, u.UUID, u.Timestamp = a.task.ID, m.newUUID(), now
	a.unacked = append(a.unacked, pending{Update: u})
	if !m.connected {
		return nil
	}
	return []effect{m.send(now, &a.unacked[len(a.unacked)-1])}
}

func (m *machine) send(now time.Time, p *pending) effect {
	p.sent, p.againAt = true, now.Add(m.limits.repeat)
	m.arm(p.againAt)
	return tell{p.Update}
}

func (m *machine) acknowledge(e Acknowledged) []effect {
	a := m.tasks[e.Task]
	if a == nil {
		return nil
	}
	a.known = true
	a.unacked = slices.DeleteFunc(a.unacked, func(p pending) bool { return slices.Equal(p.UUID, e.UUID) })
	if a.phase < told || len(a.unacked) > 0 {
		return nil
	}
	delete(m.tasks, e.Task)
	return []effect{forget{e.Task}}
}

// unacknowledged is what a subscription must tell; it counts as sent on it.
func (m *machine) unacknowledged(now time.Time) (tasks []Task, updates []Update) {
	for _, a := range m.tasks {
		if !a.known {
			tasks = append(tasks, a.task)
		}
		for i := range a.unacked {
			p := &a.unacked[i]
			p.sent, p.againAt = true, now.Add(m.limits.repeat)
			m.arm(p.againAt)
			updates = append(updates, p.Update)
		}
	}
	return tasks, updates
}

// tellRest sends what came after the subscription was asked for.
func (m *machine) tellRest(now time.Time) []effect {
	var out []effect
	for _, a := range m.tasks {
		for i := range a.unacked {
			if p := &a.unacked[i]; !p.sent {
				out = append(out, m.send(now, p))
			}
		}
	}
	return out
}

func (m *machine) disconnect(now time.Time) {
	if m.connected {
		m.connected, m.lostAt = false, now
		m.arm(m.lonelyUntil())
	}
	for _, a := range m.tasks {
		for i := range a.unacked {
			a.unacked[i].sent = false
		}
	}
}

// lonelyUntil is when an executor without an agent ends.
func (m *machine) lonelyUntil() time.Time { return m.lostAt.Add(m.patience) }

// drain ends everything. The first reason holds.
func (m *machine) drain(now time.Time, reason error, quiet bool) []effect {
	if m.draining != nil {
		return nil
	}
	m.draining, m.quiet, m.leaveBy = reason, quiet, now.Add(m.limits.shutdown)
	m.arm(m.leaveBy)
	// Outcomes must be stored and sent before Mesos kills the executor.
	most := max(0, m.limits.shutdown/2-m.limits.margin)
	var out []effect
	for _, a := range m.tasks {
		s := jobs.Stop{Reason: reason.Error(), Grace: min(a.assignment.KillGrace.D(), most)}
		out = append(out, m.stop(now, a, s, true)...)
	}
	return out
}

// tick does what is due.
func (m *machine) tick(now time.Time) []effect {
	if m.next.IsZero() || now.Before(m.next) {
		return nil
	}
	m.next = time.Time{}
	var out []effect
	if !m.connected && m.draining == nil {
		if now.Before(m.lonelyUntil()) {
			m.arm(m.lonelyUntil())
		} else {
			out = m.drain(now, fmt.Errorf("no connection to the agent for %s", now.Sub(m.lostAt).Round(time.Millisecond)), false)
		}
	}
	if m.draining != nil && now.Before(m.leaveBy) {
		m.arm(m.leaveBy)
	}
	for _, a := range m.tasks {
		out = append(out, m.tickAttempt(now, a)...)
	}
	return out
}

func (m *machine) tickAttempt(now time.Time, a *attempt) []effect {
	var out []effect
	if a.phase == working && !a.maxRunAt.IsZero() {
		if now.Before(a.maxRunAt) {
			m.arm(a.maxRunAt)
		} else {
			reason := fmt.Sprintf("max_run_time of %s exceeded", a.assignment.MaxRun)
			out = m.stop(now, a, jobs.Stop{Reason: reason, Grace: a.assignment.KillGrace.D()}, false)
		}
	}
	if a.phase == stopping {
		if now.Before(a.giveUpAt) {
			m.arm(a.giveUpAt)
		} else {
			err := fmt.Errorf("the work did not end within the grace of %s and was given up", a.stop.Grace)
			out = append(out, m.end(now, ended{a.task.ID, report{err: err}})...)
		}
	}
	for i := range a.unacked {
		p := &a.unacked[i]
		switch {
		case !m.connected || !p.sent:
		case now.Before(p.againAt):
			m.arm(p.againAt)
		default:
			out = append(out, m.send(now, p))
		}
	}
	return out
}

// leave ends the executor once nothing is left to do.
func (m *machine) leave(now time.Time) []effect {
	if m.own && m.served && len(m.tasks) == 0 {
		return []effect{leave{}}
	}
	if m.draining == nil {
		return nil
	}
	for _, a := range m.tasks {
		if a.phase < told {
			return nil // leaveBy or not: an outcome must not be lost
		}
		if m.connected && now.Before(m.leaveBy) {
			return nil
		}
	}
	if m.quiet {
		return []effect{leave{}}
	}
	return []effect{leave{m.draining}}
}

// arm makes sure that step is called at t. Being called early does no harm.
func (m *machine) arm(t time.Time) {
	if m.next.IsZero() || t.Before(m.next) {
		m.next = t
	}
}
