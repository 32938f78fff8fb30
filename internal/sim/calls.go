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
	m.answered(s, offersOf(call))
	switch c := call.(type) {
	case scheduler.Accept:
		for _, l := range c.Launches {
			if _, ok := m.w.store.records["tasks/"+string(l.Task)]; !ok && !m.attempt(l.Task).recorded {
				m.violate("attempt %s is launched and not durable", l.Task)
			}
		}
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
		m.checkPlace(o, l)
		if m.fired[l.Task] {
			m.violate("task id %s is used twice", l.Task)
		}
		m.fired[l.Task] = true
	}
	m.checkOrder(c)
	if !need.Fits(o.Resources) {
		m.violate("offer %s holds %v, and %v is taken", o.ID, o.Resources, need)
	}
}

// checkPlace: a launch has ports of the offer, and is away from its data only
// after it waited.
func (m *model) checkPlace(o *offer, l scheduler.Launch) {
	if len(l.Ports) != l.Resources.Ports {
		m.violate("attempt %s has ports %v, and needs %d", l.Task, l.Ports, l.Resources.Ports)
	}
	for i, p := range l.Ports {
		offered := slices.ContainsFunc(o.PortRanges, func(r jobs.PortRange) bool { return r.Begin <= p && p <= r.End })
		if !offered || slices.Contains(l.Ports[:i], p) {
			m.violate("attempt %s has port %d twice or without an offer of it", l.Task, p)
		}
	}
	a := m.attempt(l.Task)
	if len(a.rec.Preferred) == 0 || slices.Contains(a.rec.Preferred, o.Hostname) || a.run == nil || a.run.wait == 0 {
		return
	}
	since := a.run.rec.Created // it began to wait then, or later
	for _, other := range a.run.attempts {
		if other.rec.Split == a.rec.Split && other.rec.Stage == a.rec.Stage && !other.rec.Superseded && other.rec.Ended.After(since) && !other.rec.Ended.After(a.rec.Launched) {
			since = other.rec.Ended
		}
	}
	if waited := a.rec.Launched.Sub(since); waited < a.run.wait {
		m.violate("attempt %s is launched away from its data after %s", l.Task, waited)
	}
}
