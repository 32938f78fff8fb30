package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// Times of Mesos.
const (
	allocation  = 400 * time.Millisecond
	pingTimeout = 5 * time.Second
)

// master is the simulated Mesos master. Another one takes its place at a
// failover and knows what the agents tell it.
type master struct {
	w          *world
	generation int
	since      time.Duration
	up         bool
	framework  string
	suppressed bool
	stream     *stream
	streams    int
	agents     map[*agent]*registration
	tasks      map[jobs.TaskID]*masterTask
	offers     map[string]*offer
	nextOffer  int
	allocating bool
}

// registration is what the master knows of an agent.
type registration struct {
	state    agentState
	filtered time.Duration // no offers before
	offer    *offer
}

type agentState int

const (
	absent      agentState = iota // never heard of
	recovered                     // of the registry; it has not come yet
	registered                    // here
	unreachable                   // gone, perhaps for now
	gone                          // for good, says the operator
)

type masterTask struct {
	id    jobs.TaskID
	agent *agent
	state string
	ended bool // its resources are free again
}

// offer is outstanding until it is answered or rescinded.
type offer struct {
	jobs.Offer
	agent  *agent
	stream int
	made   time.Duration
}

func newMaster(w *world, generation int, framework string) *master {
	return &master{
		w: w, generation: generation, since: w.now, up: true, framework: framework, streams: generation * 1000,
		agents: map[*agent]*registration{}, tasks: map[jobs.TaskID]*masterTask{}, offers: map[string]*offer{},
	}
}

// failover has another master take over. It knows the agents of the registry,
// less those that forgetful leaves out.
func (m *master) failover(pause time.Duration, forgetful bool) {
	w := m.w
	w.logf("master fails over (forgetful: %v)", forgetful)
	m.up = false
	if m.stream != nil {
		m.stream.end(errEnded)
	}
	w.after(pause, func() {
		next := newMaster(w, m.generation+1, m.framework)
		for _, a := range w.agents {
			switch r := m.agents[a]; {
			case r == nil:
			case r.state == gone:
				next.agents[a] = &registration{state: gone}
			case r.state != absent && !forgetful:
				next.agents[a] = &registration{state: recovered}
			}
		}
		w.master = next
		for _, a := range w.agents {
			a.reregister(w.between(300*time.Millisecond, 9*time.Second))
		}
		w.after(reregistration, func() { next.giveUpRecovered() })
	})
}

// reregistration is how long a new master waits for the agents of the registry.
const reregistration = 15 * time.Second

func (m *master) giveUpRecovered() {
	for _, a := range m.w.agents {
		if r := m.agents[a]; m.up && r != nil && r.state == recovered {
			r.state = unreachable
		}
	}
}

// subscribe opens a stream, and ends the one before.
func (m *master) subscribe(l *leader, framework string, round time.Duration) (*stream, error) {
	if !m.up {
		return nil, errNoAnswer
	}
	m.w.model.subscribing(l, round)
	if old := m.stream; old != nil {
		old.send(scheduler.Refused{Message: "Framework failed over"})
		old.end(errEnded)
	}
	if framework == "" && len(m.w.model.fired) > 0 {
		m.w.model.violate("the framework's id is lost: its tasks are nobody's")
	}
	if m.framework == "" || framework == "" {
		m.framework = fmt.Sprintf("framework-%d", m.w.events)
	}
	for _, o := range m.sortedOffers() {
		m.withdraw(o)
	}
	m.streams++
	m.suppressed = false
	for _, r := range m.agents {
		r.filtered = 0
	}
	m.stream = &stream{m: m, l: l, id: m.streams, offered: map[string]bool{}, answered: map[string]bool{}, left: map[string]bool{}}
	m.w.logf("master: scheduler %d subscribed, stream %d", l.p.id, m.streams)
	return m.stream, nil
}

// evict has a stranger subscribe with our id: the stream that was is over.
// What the stranger is told it does not heed.
func (m *master) evict() {
	if !m.up || m.stream == nil {
		return
	}
	m.w.logf("master: a stranger subscribed with the framework's id")
	m.stream.send(scheduler.Refused{Message: "Framework failed over"})
	m.stream.end(errEnded)
	for _, o := range m.sortedOffers() {
		m.withdraw(o)
	}
}

func (m *master) sortedOffers() []*offer {
	return slices.SortedFunc(maps.Values(m.offers), func(a, b *offer) int { return int(a.made - b.made) })
}

func (m *master) withdraw(o *offer) {
	delete(m.offers, o.ID)
	if r := m.agents[o.agent]; r != nil && r.offer == o {
		r.offer = nil
	}
}

func (m *master) rescind(o *offer) {
	m.withdraw(o)
	m.tell(scheduler.Rescinded{Offer: o.ID})
}

func (m *master) tell(ev scheduler.Event) {
	if m.stream != nil {
		m.stream.send(ev)
	}
}

// allocate offers what is free, soon.
func (m *master) allocate() {
	if m.allocating {
		return
	}
	m.allocating = true
	m.w.after(m.w.between(10*time.Millisecond, allocation), func() {
		m.allocating = false
		if !m.up || m.stream == nil || m.suppressed {
			return
		}
		var list []jobs.Offer
		for _, a := range m.w.agents {
			if o := m.offerOf(a); o != nil {
				list = append(list, o.Offer)
			}
		}
		if len(list) > 0 {
			m.tell(scheduler.Offered{Offers: list})
		}
	})
}

func (m *master) offerOf(a *agent) *offer {
	r := m.agents[a]
	if r == nil || r.state != registered || r.offer != nil || r.filtered > m.w.now {
		return nil
	}
	free, executors := a.free()
	if free.CPUs < 0.05 {
		return nil
	}
	m.nextOffer++
	o := &offer{agent: a, stream: m.stream.id, made: m.w.now, Offer: jobs.Offer{
		ID: fmt.Sprintf("o-%d-%d", m.generation, m.nextOffer), AgentID: a.id, Hostname: a.host, Address: a.host + ":5051",
		Resources: free, PortRanges: a.freePorts(), Executors: executors,
	}}
	r.offer = o
	m.offers[o.ID] = o
	m.stream.offered[o.ID] = true
	return o
}

// call takes a call as the master does: a stream that is over has no say.
func (m *master) call(s *stream, number int, call scheduler.Call) error {
	if !m.up || m.w.master != m {
		return errNoAnswer
	}
	m.w.model.called(s, number, call)
	if m.stream != s {
		return &scheduler.CallError{Status: 400, Message: "the stream id included in this request didn't match the stream id currently associated with framework ID"}
	}
	switch c := call.(type) {
	case scheduler.Accept:
		m.accept(c)
	case scheduler.Decline:
		m.decline(c)
	case scheduler.Revive:
		m.suppressed = false
		for _, r := range m.agents {
			r.filtered = 0
		}
		m.allocate()
	case scheduler.Suppress:
		m.suppressed = true
	case scheduler.Kill:
		m.kill(c)
	case scheduler.Acknowledge:
		m.acknowledge(c)
	case scheduler.Reconcile:
		m.reconcile(c)
	case scheduler.Shutdown:
		m.toAgent(c.Agent, func(a *agent) { a.shutdown(c.Executor) })
	}
	return nil
}

func (m *master) decline(c scheduler.Decline) {
	for _, id := range c.Offers {
		if o := m.offers[id]; o != nil {
			m.withdraw(o)
			r := m.agents[o.agent]
			r.filtered = m.w.now + max(c.Refuse, 10*time.Millisecond)
			m.w.after(r.filtered-m.w.now, m.allocate)
		}
	}
}

func (m *master) accept(c scheduler.Accept) {
	o := m.offers[c.Offers[0]]
	if o == nil || len(c.Offers) != 1 || m.agents[o.agent].state != registered {
		for _, l := range c.Launches {
			m.update(jobs.Update{
				Task: l.Task, State: jobs.TaskLost, Source: "SOURCE_MASTER", Reason: "REASON_INVALID_OFFERS", Message: "Task launched with invalid offers", Agent: l.Agent,
			})
		}
		return
	}
	m.withdraw(o)
	m.w.model.launched(o, c)
	for _, l := range c.Launches {
		m.tasks[l.Task] = &masterTask{id: l.Task, agent: o.agent, state: jobs.TaskStaging}
		m.w.logf("master: %s launches on %s", l.Task, o.AgentID)
		o.agent.book(l)
		generation := m.generation
		o.agent.message(func() { o.agent.launch(generation, l) })
	}
	m.allocate()
}

// toAgent carries a message to an agent that is registered.
func (m *master) toAgent(id string, do func(*agent)) {
	for _, a := range m.w.agents {
		if r := m.agents[a]; a.id == id && r != nil && r.state == registered {
			a.message(func() {
				if a.reachable() && m.up {
					do(a)
				}
			})
		}
	}
}

func (m *master) kill(c scheduler.Kill) {
	if t := m.tasks[c.Task]; t != nil {
		if !m.w.chance(10) { // its messages may be lost
			m.toAgent(t.agent.id, func(a *agent) { a.kill(c.Task) })
		}
		return
	}
	m.answer(scheduler.TaskRef{Task: c.Task, Agent: c.Agent})
}

func (m *master) acknowledge(c scheduler.Acknowledge) {
	m.toAgent(c.Agent, func(a *agent) { a.acknowledged(c.Task, c.UUID) })
	if t := m.tasks[c.Task]; t != nil && t.ended {
		delete(m.tasks, c.Task)
	}
}

func (m *master) reconcile(c scheduler.Reconcile) {
	for _, ref := range c.Tasks {
		m.answer(ref)
	}
	if len(c.Tasks) > 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		if t := m.tasks[id]; m.agents[t.agent].state == registered {
			m.answer(scheduler.TaskRef{Task: id, Agent: t.agent.id})
		}
	}
}

// answer tells a task's state as reconciliation does: silence for an agent
// that has not come back yet, and ignorance that may be wrong.
func (m *master) answer(ref scheduler.TaskRef) {
	u := jobs.Update{Task: ref.Task, Agent: ref.Agent, Source: "SOURCE_MASTER", Reason: "REASON_RECONCILIATION"}
	state := m.stateOf(ref.Agent)
	t := m.tasks[ref.Task]
	switch {
	case t != nil && state == registered:
		u.State, u.Message = t.state, "Reconciliation: Latest task state"
	case state == recovered:
		return
	case state == registered:
		u.State, u.Message = jobs.TaskGone, "Reconciliation: Task is unknown to the agent"
	case state == gone:
		u.State, u.Message = jobs.TaskGoneByOperator, "Reconciliation: Task is gone"
	case state == unreachable:
		u.State, u.Message = jobs.TaskUnreachable, "Reconciliation: Task is unreachable"
	case m.w.chance(30):
		u.State, u.Message = jobs.TaskLost, "Reconciliation: Task is unknown"
	default:
		u.State, u.Message = jobs.TaskUnknown, "Reconciliation: Task is unknown"
	}
	m.update(u)
}

func (m *master) stateOf(agentID string) agentState {
	for _, a := range m.w.agents {
		if r := m.agents[a]; a.id == agentID && r != nil {
			return r.state
		}
	}
	return absent
}

func (m *master) update(u jobs.Update) {
	m.w.logf("master: tells %s %s %s", u.Task, u.State, u.Reason)
	m.tell(scheduler.Updated{Update: u})
}

// forwarded takes an agent's update.
func (m *master) forwarded(a *agent, u jobs.Update) {
	if r := m.agents[a]; !m.up || r == nil || r.state != registered {
		return
	}
	if t := m.tasks[u.Task]; t != nil {
		t.state = u.State
		if finalState(u.State) {
			t.ended = true
			m.agents[a].filtered = 0
			m.allocate()
		}
	}
	m.update(u)
}

// lost removes an agent that does not answer pings any more.
func (m *master) lost(a *agent, state agentState) {
	r := m.agents[a]
	if !m.up || r == nil || r.state != registered && r.state != unreachable {
		return
	}
	m.w.logf("master: %s is %v", a.id, map[agentState]string{unreachable: "unreachable", gone: "gone"}[state])
	r.state = state
	if r.offer != nil {
		m.rescind(r.offer)
	}
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		t := m.tasks[id]
		if t.agent != a {
			continue
		}
		u := jobs.Update{Task: id, Agent: a.id, Source: "SOURCE_MASTER", Reason: "REASON_SLAVE_REMOVED", State: jobs.TaskUnreachable}
		switch {
		case state == gone:
			u.State = jobs.TaskGoneByOperator
		case m.w.chance(30):
			u.State = jobs.TaskLost
		}
		delete(m.tasks, id)
		m.update(u)
	}
	m.tell(scheduler.AgentLost{Agent: a.id})
}

func finalState(s string) bool {
	switch s {
	case jobs.TaskFinished, jobs.TaskFailed, jobs.TaskKilled, jobs.TaskError, jobs.TaskDropped, jobs.TaskGone:
		return true
	}
	return false
}

// stream is one subscription, as the master sees it and as it reaches a leader.
type stream struct {
	m      *master
	l      *leader
	id     int
	number int64 // the leader's own
	over   bool  // the master ended it
	hungUp bool  // the leader did
	last   time.Duration
	calls  time.Duration // when the last call arrives
	sent   int
	taken  int // the call that came last

	offered, answered map[string]bool // offers
	left              map[string]bool // those whose answer left the leader, or that were rescinded
}

// deliver carries something to the leader, in order; what a cut holds up
// comes when it is over.
func (s *stream) deliver(do func()) {
	at := max(s.m.w.now+s.l.mesosDelay(), s.last)
	s.last = at
	s.l.receive(at-s.m.w.now, do)
}

func (s *stream) send(ev scheduler.Event) {
	if s.over || s.hungUp {
		return
	}
	s.deliver(func() { s.l.heard(s, ev) })
}

// greet begins the stream.
func (s *stream) greet() {
	s.send(scheduler.Subscribed{
		FrameworkID: s.m.framework, Master: fmt.Sprintf("master-%d", s.m.generation), MasterSince: epoch.Add(s.m.since),
	})
	s.m.allocate()
}

// end closes it from the master's side.
func (s *stream) end(err error) {
	if s.over {
		return
	}
	s.deliver(func() { s.l.streamEnded(s, err) })
	s.over = true
	if s.m.stream == s {
		s.m.stream = nil
	}
}

// hangUp closes it from the leader's; the master learns of it by and by.
func (s *stream) hangUp() {
	if s.hungUp {
		return
	}
	s.hungUp = true
	s.m.w.after(s.m.w.between(time.Millisecond, 2*time.Second), func() {
		if s.m.stream == s {
			for _, o := range s.m.sortedOffers() {
				s.m.withdraw(o)
			}
			s.m.stream = nil
		}
		s.over = true
	})
}

// callDelay keeps calls in their order; acknowledgements go beside them.
func (s *stream) callDelay(d time.Duration, call scheduler.Call) time.Duration {
	if _, ok := call.(scheduler.Acknowledge); ok {
		return d
	}
	if s.m.w.bug == CallsOutOfOrder {
		return d + s.m.w.between(0, time.Second)
	}
	at := max(s.m.w.now+d, s.calls)
	s.calls = at
	return at - s.m.w.now
}
