package master

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// serveAgentLink upgrades an agent's request to a link and serves it until it breaks.
func (m *Master) serveAgentLink(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	leading := m.leading && m.settled
	m.mu.Unlock()
	if !leading || r.Header.Get("Upgrade") != wire.LinkProtocol {
		wire.Text(w, http.StatusServiceUnavailable, "Not the leading master")
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		wire.Text(w, http.StatusInternalServerError, err.Error())
		return
	}
	m.tasks.Add(1)
	defer m.tasks.Done()
	if err := switchProtocols(conn); err != nil {
		_ = conn.Close() // nothing was started on it
		return
	}
	m.serveLink(wire.NewLink[wire.ToAgent, wire.ToMaster](conn, buffered.Reader))
}

func switchProtocols(conn net.Conn) error {
	out := bufio.NewWriter(conn)
	fmt.Fprintf(out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", wire.LinkProtocol)
	return out.Flush()
}

func (m *Master) serveLink(link *agentLink) {
	defer link.Cut()
	stop := make(chan struct{})
	defer close(stop)
	m.tasks.Go(func() { // a stopping master breaks its links
		select {
		case <-m.ctx.Done():
			link.Cut()
		case <-stop:
		}
	})
	first, err := link.Receive()
	if err == nil && first.Recovering != nil {
		m.notePresence(first.Recovering.AgentID)
	}
	if err != nil || first.Register == nil {
		return
	}
	a, why := m.register(link, first.Register)
	if why != "" {
		link.Send(wire.ToAgent{Shutdown: &wire.Shutdown{Reason: why}})
		link.Close()
		return
	}
	m.tasks.Go(func() { m.ping(a, link, stop) })
	for {
		message, err := link.Receive()
		if err != nil {
			break
		}
		m.fromAgent(a, message)
	}
	m.agentDisconnected(a, link)
}

func (m *Master) fromAgent(a *agent, message wire.ToMaster) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agents[a.id] != a {
		return
	}
	switch {
	case message.Pong != nil:
		a.unanswered = 0
	case message.Update != nil:
		m.update(a, message.Update)
	case message.Exited != nil:
		m.exited(a, message.Exited)
	case message.FromExecutor != nil:
		m.fromExecutor(a, message.FromExecutor)
	case message.Operation != nil:
		m.operationUpdated(a, message.Operation)
	case message.Unregister != nil:
		m.removeAgent(a, fmt.Sprintf("Agent %s removed: the agent unregistered", a.info.Hostname), removedForGood)
	}
}

// ping tests an agent as long as its link lives; without answers it is cut off.
func (m *Master) ping(a *agent, link *agentLink, stop <-chan struct{}) {
	ticker := time.NewTicker(m.opts.AgentPingTimeout)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-m.ctx.Done():
			return
		case <-ticker.C:
		}
		m.mu.Lock()
		a.unanswered++
		silent := a.unanswered > m.opts.MaxAgentPingTimeouts
		m.mu.Unlock()
		if silent {
			link.Cut()
			return
		}
		link.Send(wire.ToAgent{Ping: &wire.Ping{Connected: true}})
	}
}

// register takes an agent in: new, back from a lost connection, or back from the dead; or
// it says why the agent must end.
func (m *Master) register(link *agentLink, request *wire.Register) (a *agent, refused string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	info := request.Info.Value
	id := info.ID.GetValue()
	if m.registry.isGone(id) {
		return nil, "Agent has been marked gone"
	}
	candidate := &agent{info: info, endpoint: request.Endpoint}
	if slices.ContainsFunc(m.maintenance.down, candidate.on) {
		return nil, "Machine is `DOWN`"
	}
	a = m.agents[id]
	news := "" // what frameworks are told of tasks that they may believe to be lost
	if _, unreachable := m.unreachable[id]; unreachable {
		news = "Unreachable agent re-reregistered"
	} else if a == nil && !m.recovered[id] {
		news = "Unknown agent reregistered"
	}
	if id == "" {
		m.replaceSameAddress(request.Endpoint)
		id = fmt.Sprintf("%s-S%d", m.id, m.counters.agents)
		m.counters.agents++
	}
	if a == nil {
		a = m.newAgent(id, info)
		m.agents[id] = a
		delete(m.recovered, id)
		delete(m.unreachable, id)
		m.registry.admit(id)
	} else {
		a.cut() // a former link that nobody noticed to be dead
		a.reregistered = time.Now()
	}
	a.link, a.connected, a.unanswered = link, true, 0
	a.info.Attributes, a.info.Hostname, a.endpoint = info.Attributes, info.Hostname, request.Endpoint
	a.total, a.unavailability = resources.Of(info.Resources), m.unavailability(a)
	link.Send(wire.ToAgent{Registered: &wire.Registered{AgentID: id}})
	if a.drain != nil {
		link.Send(wire.ToAgent{Drain: drainOrder(a.drain.Config)})
	}
	m.adopt(a, request, news)
	m.log.Info().Str("agent", id).Str("hostname", info.Hostname).Int("tasks", len(request.Tasks)).Msg("an agent registered")
	m.allocate([]*agent{a}, nil)
	return a, ""
}

func (m *Master) newAgent(id string, info mesos.AgentInfo) *agent {
	info.ID = &mesos.AgentID{Value: id}
	return &agent{
		id: id, info: info, registered: time.Now(),
		answered: map[string]inverseAnswer{},
		tasks:    map[string]map[string]*task{}, executors: map[string]map[string]*executor{}, offers: map[string]*offer{},
	}
}

// replaceSameAddress removes a former agent whose address a new one now has.
func (m *Master) replaceSameAddress(endpoint string) {
	for _, other := range m.agents {
		if other.endpoint == endpoint {
			m.removeAgent(other, fmt.Sprintf("Agent %s removed: a new agent registered at the same address", other.info.Hostname), removedForGood)
			return
		}
	}
}

// adopt makes the master's view of an agent that of the agent itself.
func (m *Master) adopt(a *agent, request *wire.Register, news string) {
	for _, carried := range request.Frameworks {
		if id := carried.Value.ID.GetValue(); m.frameworks[id] == nil && !m.wasRemoved(id) {
			m.awaitFailover(m.addFramework(carried.Value, true))
		}
	}
	for _, carried := range request.Executors {
		m.adoptExecutor(a, carried.Value)
	}
	present := map[string]bool{}
	for _, carried := range request.Tasks {
		present[carried.FrameworkID+"/"+carried.Info.Value.TaskID.Value] = true
		m.adoptTask(a, carried, news)
	}
	m.dropMissing(a, present)
}

func (m *Master) adoptExecutor(a *agent, info mesos.ExecutorInfo) {
	frameworkID := info.FrameworkID.GetValue()
	f := m.frameworks[frameworkID]
	if f == nil {
		a.send(wire.ToAgent{ShutdownFramework: &wire.FrameworkRef{FrameworkID: frameworkID}})
		return
	}
	if a.executors[frameworkID][info.ExecutorID.Value] != nil {
		return
	}
	e := &executor{info: info, role: roleOf(info.Resources), amount: resources.Of(info.Resources)}
	a.addExecutor(frameworkID, e)
	f.charge(e.role, e.amount)
}

func roleOf(list []mesos.Resource) string {
	for _, resource := range list {
		if resource.AllocationInfo != nil {
			return resource.AllocationInfo.GetRole()
		}
	}
	return "*"
}

func (m *Master) adoptTask(a *agent, carried wire.Task, news string) {
	f := m.frameworks[carried.FrameworkID]
	if f == nil {
		a.send(wire.ToAgent{ShutdownFramework: &wire.FrameworkRef{FrameworkID: carried.FrameworkID}})
		return
	}
	t := f.tasks[carried.Info.Value.TaskID.Value]
	if t == nil {
		info := carried.Info.Value
		t = &task{
			info: &info, framework: f.id, agent: a.id, executor: carried.ExecutorID,
			role: roleOf(info.Resources), amount: resources.Of(info.Resources), released: wire.Terminal(mesos.TaskState(carried.State)),
		}
		f.tasks[t.id()] = t
		if !t.released {
			f.charge(t.role, t.amount)
		}
		a.addTask(t)
	}
	t.state = mesos.TaskState(carried.State)
	if carried.Status != nil {
		status := carried.Status.Value
		t.status = &status
	}
	if carried.UpdateUUID != nil {
		t.updateUUID, t.updateState = carried.UpdateUUID, new(mesos.TaskState(carried.UpdateState))
	}
	delete(f.unreachable, t.id())
	if news != "" {
		status := statusOf(t)
		status.Message, status.Reason = new(news), mesos.REASON_AGENT_REREGISTERED.Enum()
		m.sendStatus(f, status)
	}
}

// dropMissing reports the tasks and executors that the agent no longer has.
func (m *Master) dropMissing(a *agent, present map[string]bool) {
	for frameworkID, tasks := range a.tasks {
		f := m.frameworks[frameworkID]
		for _, t := range slices.Collect(maps.Values(tasks)) {
			if present[frameworkID+"/"+t.id()] {
				continue
			}
			m.loseTask(f, t, mesos.TASK_DROPPED, mesos.REASON_RECONCILIATION, "Task is unknown to the agent")
		}
	}
}

// loseTask ends a task without its agent's word.
func (m *Master) loseTask(f *framework, t *task, aware mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	state := mesos.TASK_LOST
	if f.partitionAware() {
		state = aware
	}
	status := masterStatus(t.info.TaskID, state, reason, message)
	status.AgentID = &mesos.AgentID{Value: t.agent}
	if t.executor != "" {
		status.ExecutorID = &mesos.ExecutorID{Value: t.executor}
	}
	if since, ok := m.unreachable[t.agent]; ok {
		status.UnreachableTime = &mesos.TimeInfo{Nanoseconds: since.UnixNano()}
	}
	t.state, t.updateState, t.status = state, nil, &status
	t.note(status)
	m.forget(t)
	m.sendStatus(f, status)
}

// agentDisconnected handles a broken link: offers are rescinded at once, tasks of
// frameworks that do not checkpoint are lost, and the agent has its ping timeouts to
// come back.
func (m *Master) agentDisconnected(a *agent, link *agentLink) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agents[a.id] != a || a.link != link || m.ctx.Err() != nil {
		return
	}
	a.link, a.connected = nil, false
	for _, o := range a.offers {
		m.rescind(o)
	}
	m.rescindInverse(a)
	for frameworkID, tasks := range a.tasks {
		f := m.frameworks[frameworkID]
		if f.checkpoints() {
			continue
		}
		for _, t := range slices.Collect(maps.Values(tasks)) {
			m.loseTask(f, t, mesos.TASK_LOST, mesos.REASON_AGENT_DISCONNECTED, "Agent "+a.info.Hostname+" disconnected")
		}
	}
	for frameworkID, executors := range a.executors {
		if f := m.frameworks[frameworkID]; f == nil || !f.checkpoints() {
			for _, e := range executors {
				m.dropExecutor(a, frameworkID, e)
			}
		}
	}
	grace := time.Duration(m.opts.MaxAgentPingTimeouts) * m.opts.AgentPingTimeout
	m.log.Info().Str("agent", a.id).Dur("grace", grace).Msg("an agent disconnected")
	m.giveUpAfter(a, grace)
}

// giveUpAfter removes the agent as unreachable unless it shows itself within the grace.
func (m *Master) giveUpAfter(a *agent, grace time.Duration) {
	since := a.shown
	m.opts.Clock.AfterFunc(grace, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		switch {
		case m.agents[a.id] != a || a.connected || m.ctx.Err() != nil:
		case a.shown > since:
			m.giveUpAfter(a, grace)
		default:
			m.removeAgent(a, "health check timed out", removedAsUnreachable)
		}
	})
}

// notePresence counts as an answered ping of an agent that is recovering.
func (m *Master) notePresence(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.agents[id]; a != nil {
		a.shown++
	}
}

type removal int

const (
	removedAsUnreachable removal = iota
	removedForGood
	removedByOperator
)

// removeAgent takes an agent out, and with it its tasks: unreachable, or lost for good.
func (m *Master) removeAgent(a *agent, message string, how removal) {
	delete(m.agents, a.id)
	state, reason := mesos.TASK_LOST, mesos.REASON_AGENT_REMOVED // lost for partition-aware frameworks too
	switch how {
	case removedAsUnreachable:
		state = mesos.TASK_UNREACHABLE
		m.unreachable[a.id] = time.Now()
		m.registry.markUnreachable(a.id, time.Now())
	case removedByOperator:
		state, reason = mesos.TASK_GONE_BY_OPERATOR, mesos.REASON_AGENT_REMOVED_BY_OPERATOR
		m.registry.remove(a.id)
	default:
		m.registry.remove(a.id)
	}
	for frameworkID, tasks := range a.tasks {
		f := m.frameworks[frameworkID]
		for _, t := range slices.Collect(maps.Values(tasks)) {
			m.loseTask(f, t, state, reason, message)
			if how == removedAsUnreachable {
				f.unreachable[t.id()] = t
			}
		}
	}
	for frameworkID, executors := range a.executors {
		for _, e := range executors {
			m.dropExecutor(a, frameworkID, e)
		}
	}
	for _, o := range a.offers {
		m.rescind(o)
	}
	m.rescindInverse(a)
	for _, f := range m.frameworks {
		f.send(&scheduler.Event{Type: scheduler.Event_FAILURE, Failure: &scheduler.Event_Failure{
			AgentID: &mesos.AgentID{Value: a.id}}})
	}
	a.connected = false
	a.hangUp()
	m.log.Info().Str("agent", a.id).Str("why", message).Msg("an agent was removed")
}
