package sim

import (
	"maps"
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// attemptAccount is an attempt: its record, and what truly was of it.
type attemptAccount struct {
	rec      taskRecord
	run      *runAccount
	recorded bool
	unknown  bool // ever recorded so
	since    int  // the write that did
	launched int  // the write that recorded it
	pool     jobs.PoolUse
	doomed   time.Duration // since when it is to be killed; 0: it is not
	held     bool          // it held slots when that was last looked at
	doubtful bool          // and was unknown then
	working  bool
	began    bool
	refused  bool // by its executor
	success  bool
	agent    *agent
	touched  time.Duration // when it was last heard of
}

func (m *model) attempt(id jobs.TaskID) *attemptAccount {
	a := m.attempts[id]
	if a == nil {
		a = &attemptAccount{}
		a.rec.ID = id
		m.attempts[id] = a
	}
	return a
}

func (m *model) putTask(id jobs.TaskID, ch scheduler.Change) {
	a := m.attempt(id)
	if ch.Value == nil {
		if a.run != nil && !a.run.finished {
			m.violate("attempt %s is forgotten while its run lives", id)
		}
		return
	}
	var rec taskRecord
	decode(ch, &rec)
	m.putAttempt(a, rec)
}

func (m *model) putAttempt(a *attemptAccount, rec taskRecord) {
	id, before := rec.ID, a.rec
	if rec.Kill != "" && a.doomed == 0 {
		a.doomed = m.w.now
	}
	a.rec, a.touched = rec, m.w.now
	if !a.recorded {
		m.newAttempt(a)
	}
	if before.State.Final() && a.rec.State != before.State {
		m.violate("attempt %s was final as %s and becomes %s", id, before.State, a.rec.State)
	}
	if !a.unknown && (a.rec.State == jobs.AttemptUnknown || a.rec.State.Final() && !a.rec.UnknownSince.IsZero()) {
		a.unknown, a.since = true, m.commits
		if a.rec.State == jobs.AttemptUnknown {
			m.believed(a)
		}
	}
	if a.rec.Superseded && !before.Superseded && a.rec.State == jobs.AttemptUnknown {
		m.givenUp(a)
	}
	if a.rec.State == jobs.AttemptNotStarted && a.began && !a.unknown && a.agent != nil && !a.agent.lost {
		m.violate("attempt %s is recorded as never started, and it did", id)
	}
	if a.rec.State == jobs.AttemptFailed && a.refused && !a.agent.lost {
		m.violate("attempt %s is recorded as failed, and its executor refused to start it", id)
	}
}

// newAttempt is a launch being recorded: it says what it supersedes.
func (m *model) newAttempt(a *attemptAccount) {
	a.recorded, a.launched = true, m.commits
	a.run = m.runs[a.rec.Run]
	if a.run == nil {
		m.violate("attempt %s is of a run that was never recorded", a.rec.ID)
		a.run = &runAccount{}
	}
	if a.rec.Stage == 0 && a.run.sealed {
		m.violate("attempt %s plans what has a plan", a.rec.ID)
	}
	if a.run.finished {
		m.violate("attempt %s is launched after its run ended as %s", a.rec.ID, a.run.rec.State)
	}
	starts := 1
	for _, other := range a.run.attempts {
		if other.rec.Stage != a.rec.Stage || other.rec.Split != a.rec.Split {
			continue
		}
		m.checkSuperseded(a, other)
		if other.rec.State != jobs.AttemptNotStarted {
			starts++
		}
	}
	if p := a.run.rec.Pinned; p != nil && a.run.rec.Trigger != jobs.ByService && starts > p.Retry.Attempts {
		m.violate("attempt %s is start %d of %d", a.rec.ID, starts, p.Retry.Attempts)
	}
	m.checkKept(a)
	if p := a.run.rec.Pinned; p != nil {
		a.pool = p.Pool
	}
	a.run.attempts = append(a.run.attempts, a)
	m.limits.launched = append(m.limits.launched, a)
}

// excused: the other was recorded unknown when this one was launched.
func (a *attemptAccount) excused(other *attemptAccount) bool {
	return other.unknown && other.since <= a.launched
}

// checkSuperseded: another attempt is launched only when the one before is
// over, or was given up after its start_by.
func (m *model) checkSuperseded(a, other *attemptAccount) {
	switch {
	case other.rec.State.Final():
		if other.rec.State == jobs.AttemptSucceeded && a.rec.Stage > 0 && !other.unknown && a.run.rec.Trigger != jobs.ByService {
			m.violate("attempt %s is launched after %s succeeded", a.rec.ID, other.rec.ID)
		}
	case a.run.rec.Trigger == jobs.ByService && replaces(a, other):
	case other.rec.State != jobs.AttemptUnknown || !other.rec.Superseded:
		m.violate("attempt %s is launched while %s is %s", a.rec.ID, other.rec.ID, other.rec.State)
	case !other.rec.Seen && epoch.Add(m.w.now).Before(other.rec.StartBy):
		m.violate("attempt %s is launched before the start_by of %s has passed", a.rec.ID, other.rec.ID)
	}
}

// givenUp: work that may not simply be repeated is given up only after its
// job's unknown_wait, or by hand.
func (m *model) givenUp(a *attemptAccount) {
	p := a.run.rec.Pinned
	if p == nil || a.run.marked || a.run.rec.Trigger == jobs.ByService || decodeSpec(p.Spec).Idempotent {
		return
	}
	latest := epoch.Add(m.w.now + m.by.offset.Abs()) // that the core may have taken for the time
	if m.clock.After(latest) {
		latest = m.clock
	}
	switch wait := a.rec.UnknownSince.Add(p.UnknownWait.D()); {
	case p.OnUnknown == jobs.UnknownWait:
		m.violate("attempt %s is given up, and its job is to wait for a word", a.rec.ID)
	case p.OnUnknown == jobs.UnknownRetry && latest.Before(wait):
		m.violate("attempt %s is given up before its unknown_wait is over", a.rec.ID)
	}
}

// believed: ignorance is no reason to call an attempt unknown while its agent
// was here all the time.
func (m *model) believed(a *attemptAccount) {
	if a.rec.Reason != "REASON_RECONCILIATION" || !a.working || a.agent.silent > 0 {
		return
	}
	m.violate("attempt %s is recorded as unknown, on a master's word, while it is at work on an agent that was never away", a.rec.ID)
}

// started: an attempt truly begins its work.
func (m *model) started(on *agent, t *agentTask) {
	a := m.attempt(t.launch.Task)
	m.w.logf("%s: %s begins", on.id, t.launch.Task)
	if a.began {
		m.violate("attempt %s begins twice", t.launch.Task)
	}
	a.began, a.working, a.agent = true, true, on
	if !a.recorded {
		m.violate("attempt %s begins and was never recorded", t.launch.Task)
		return
	}
	if on.clock().After(a.rec.StartBy) {
		m.violate("attempt %s begins after its start_by", t.launch.Task)
	}
	for _, id := range slices.Sorted(maps.Keys(m.runs)) {
		if x := m.runs[id]; x.rec.Job == a.run.rec.Job {
			m.checkOthers(a, x)
		}
	}
	m.checkCrowd(a)
}

// checkOthers: no other attempt of the split is at work or succeeded, and no
// other run where the policy forbids it, but those recorded unknown in time.
func (m *model) checkOthers(a *attemptAccount, x *runAccount) {
	for _, other := range x.attempts {
		if other == a || a.excused(other) {
			continue
		}
		same := x == a.run && other.rec.Stage == a.rec.Stage && other.rec.Split == a.rec.Split
		switch {
		case same && a.run.rec.Trigger == jobs.ByService && (!other.working || replaces(a, other)):
		case same && other.working:
			m.violate("doubled: attempt %s begins while %s is at work", a.rec.ID, other.rec.ID)
		case same && other.success && a.rec.Stage > 0 && !(other.agent.lost):
			m.violate("doubled: attempt %s begins after %s succeeded", a.rec.ID, other.rec.ID)
		case x != a.run && other.working && a.run.overlap != jobs.OverlapAllow && x.overlap != jobs.OverlapAllow:
			m.violate("overlap: attempt %s begins while %s is at work", a.rec.ID, other.rec.ID)
		}
	}
}

// replaces: an instance of a service may begin beside one of an older version
// that it is to replace, where two at once do no harm.
func replaces(a, other *attemptAccount) bool {
	return decodeSpec(a.run.rec.Pinned.Spec).Idempotent && other.rec.JobVersion < a.rec.JobVersion
}

// refused: its executor does not start it.
func (m *model) refused(on *agent, t *agentTask) {
	a := m.attempt(t.launch.Task)
	a.refused, a.agent = true, on
}

func (m *model) ended(t *agentTask, out jobs.Outcome) {
	a := m.attempt(t.launch.Task)
	m.w.logf("%s ends, ok: %v, killed: %v", t.launch.Task, out.OK, out.Killed)
	a.working, a.success = false, out.OK
}
