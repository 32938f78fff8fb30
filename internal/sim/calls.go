package sim

import (
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// subscribing: who subscribes has asked the store whether it leads.
func (m *model) subscribing(l *leader, round time.Duration) {
	s := m.w.store
	if l.term != s.term && s.raised < round {
		m.violate("scheduler %d subscribes in term %d, which was over before it began to", l.p.id, l.term)
	}
}

// called sees a call as it reaches the master.
func (m *model) called(s *stream, number int, call scheduler.Call) {
	if _, ack := call.(scheduler.Acknowledge); !ack {
		if number < s.taken {
			m.violate("a call overtakes another: %T", call)
		}
		s.taken = number
	}
	switch c := call.(type) {
	case scheduler.Accept:
		for _, l := range c.Launches {
			if _, ok := m.w.store.records["tasks/"+string(l.Task)]; !ok && !m.attempt(l.Task).recorded {
				m.violate("attempt %s is launched and not durable", l.Task)
			}
		}
		m.answered(s, c.Offers)
	case scheduler.Decline:
		m.answered(s, c.Offers)
	case scheduler.Acknowledge:
		m.checkAcknowledged(c)
	}
}

// answered: every offer once, and on the stream that brought it.
func (m *model) answered(s *stream, offers []string) {
	for _, id := range offers {
		if s.answered[id] {
			m.violate("offer %s is answered twice", id)
		}
		s.answered[id] = true
		if !s.offered[id] {
			m.violate("offer %s is answered on stream %d, which did not bring it", id, s.id)
		}
	}
}

// checkAcknowledged: what an update changes is durable before it is acknowledged.
func (m *model) checkAcknowledged(c scheduler.Acknowledge) {
	t := m.w.agentTask(c.Task)
	if t == nil || len(t.updates) == 0 || string(t.updates[0].UUID) != string(c.UUID) {
		return
	}
	a := m.attempt(c.Task)
	if !a.recorded || a.run.finished {
		return
	}
	u := t.updates[0]
	switch {
	case a.rec.State.Final():
	case finalState(u.State) && a.rec.Ending == "":
		m.violate("the %s of %s is acknowledged and not durable: it is %s", u.State, c.Task, a.rec.State)
	case !finalState(u.State) && !a.rec.Seen:
		m.violate("the %s of %s is acknowledged and not durable", u.State, c.Task)
	}
}

func (w *world) agentTask(id jobs.TaskID) *agentTask {
	for _, a := range w.agents {
		if t := a.tasks[id]; t != nil {
			return t
		}
	}
	return nil
}

// launched: an offer gives no more than it holds, and ids are new.
func (m *model) launched(o *offer, c scheduler.Accept) {
	var need jobs.Resources
	warm := slices.Clone(o.Executors)
	for _, l := range c.Launches {
		need = need.Add(l.Resources)
		if !slices.Contains(warm, l.Executor.ID) {
			need = need.Add(l.Executor.Resources)
			warm = append(warm, l.Executor.ID)
		}
		if m.fired[l.Task] {
			m.violate("task id %s is used twice", l.Task)
		}
		m.fired[l.Task] = true
	}
	if !need.Fits(o.Resources) {
		m.violate("offer %s holds %v, and %v is taken", o.ID, o.Resources, need)
	}
}

// settle looks at the end of a history: after a quiet time everything that
// was due has run, and nothing hangs.
func (m *model) settle(quiet time.Duration) {
	end := epoch.Add(m.w.now)
	for name, j := range m.jobs {
		if j.acked && !j.present && !j.deletes {
			m.violate("job %s was acknowledged and is lost", name)
		}
		if !j.present || j.sched == nil || j.rec.Job.Paused {
			continue
		}
		floor := j.state.Mark
		if j.rec.Rescheduled.After(floor) {
			floor = j.rec.Rescheduled
		}
		if next, ok := j.sched.Next(floor); ok && next.Actual.Before(end.Add(-quiet/2)) {
			m.violate("job %s: %s was due and nothing came of it", name, next.Nominal.Format(time.TimeOnly))
		}
	}
	for id, x := range m.runs {
		if !x.finished && x.rec.Created.Before(end.Add(-quiet/2)) && !m.waits(x) {
			m.violate("run %s hangs: it is %s since %s", id, x.rec.State, x.rec.Created.Format(time.TimeOnly))
		}
	}
	for id, a := range m.attempts {
		if a.working && (a.run == nil || a.run.finished) {
			m.violate("task %s is an orphan: it works, and its run is over", id)
		}
	}
	for _, o := range m.w.master.offers {
		if m.w.now-o.made > 10*time.Second && m.w.master.stream != nil && !m.w.master.stream.hungUp {
			m.violate("offer %s was never answered", o.ID)
		}
	}
	slices.Sort(m.violations)
}

// patience is how long nothing may come of a job that has something to do:
// as long as an update may have to be repeated.
const patience = 50 * time.Second

// seeking is how long an outcome file may be sought, begun again by a failover.
const seeking = 150 * time.Second

// waits says whether a run may live on: behind an attempt that works or is
// unknown and waits for a word, its own or an older run's of the job.
func (m *model) waits(x *runAccount) bool {
	for _, other := range m.runs {
		if other.rec.Job != x.rec.Job {
			continue
		}
		for _, a := range other.attempts {
			if a.working || m.w.now-a.touched < patience {
				return true // it works, or something came of it lately
			}
			if other.finished {
				continue
			}
			if a.rec.State == jobs.AttemptUnknown && !a.rec.Superseded {
				return true
			}
			if a.rec.Ending != "" && !a.rec.State.Final() && m.w.now-a.touched < seeking {
				return true
			}
		}
	}
	return false
}
