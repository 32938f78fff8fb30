package master

import (
	"net/http"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/allocator"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/wire"
)

const streamHeader = "Mesos-Stream-Id"

func (m *Master) serveScheduler(w http.ResponseWriter, r *http.Request) {
	if !wire.RequireMethod(w, r, http.MethodPost) {
		return
	}
	call := &scheduler.Call{}
	body, fault := wire.ReadCall(r, call, "mesos.scheduler.Call_Type")
	if fault == nil {
		principal, _ := m.principalOf(r)
		fault = validateCall(call, body.Typed, principal)
	}
	if fault != nil {
		fault.Write(w)
		return
	}
	if call.Type == scheduler.Call_SUBSCRIBE {
		m.serveSubscribe(w, r, call, body)
		return
	}
	if fault := m.handle(call, r.Header.Get(streamHeader)); fault != nil {
		fault.Write(w)
		return
	}
	if call.Type == scheduler.Call_UPDATE_FRAMEWORK {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// handle performs a call other than SUBSCRIBE.
func (m *Master) handle(call *scheduler.Call, streamID string) *wire.Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	framework, ok := m.frameworks[call.FrameworkID.Value]
	switch {
	case !ok:
		return wire.Faultf(http.StatusBadRequest, "Framework cannot be found")
	case !framework.connected && call.Type != scheduler.Call_TEARDOWN:
		return wire.Faultf(http.StatusForbidden, "Framework is not subscribed")
	case streamID == "":
		return wire.Faultf(http.StatusBadRequest, "All non-subscribe calls should include the '%s' header", streamHeader)
	case streamID != framework.streamID:
		return wire.Faultf(http.StatusBadRequest, "The stream ID '%s' included in this request didn't match "+
			"the stream ID currently associated with framework ID %s", streamID, framework.id)
	}
	return m.perform(framework, call)
}

func (m *Master) perform(f *framework, call *scheduler.Call) *wire.Fault {
	switch call.Type {
	case scheduler.Call_TEARDOWN:
		m.removeFramework(f)
	case scheduler.Call_ACCEPT:
		m.accept(f, call.Accept)
	case scheduler.Call_DECLINE:
		for _, id := range call.Decline.OfferIDs {
			if o := f.offers[id.Value]; o != nil {
				m.withdraw(o)
				f.refuse(o.role, o.agent.id, o.amount, m.filterUntil(call.Decline.Filters))
			}
		}
	case scheduler.Call_REVIVE:
		m.revive(f, call.Revive.GetRoles())
	case scheduler.Call_SUPPRESS:
		for _, role := range orAll(call.Suppress.GetRoles(), f.roles) {
			f.suppressed[role] = true
		}
	case scheduler.Call_KILL:
		m.kill(f, call.Kill)
	case scheduler.Call_ACKNOWLEDGE:
		m.acknowledge(f, call.Acknowledge)
	case scheduler.Call_RECONCILE:
		m.reconcile(f, call.Reconcile.Tasks)
	case scheduler.Call_MESSAGE:
		if a := m.agents[call.Message.AgentID.Value]; a != nil {
			a.send(wire.ToAgent{ToExecutor: &wire.ExecutorMessage{
				FrameworkID: f.id, ExecutorID: call.Message.ExecutorID.Value, Data: call.Message.Data}})
		}
	case scheduler.Call_SHUTDOWN:
		if a := m.agents[call.Shutdown.AgentID.Value]; a != nil {
			a.send(wire.ToAgent{ShutdownExecutor: &wire.ExecutorRef{
				FrameworkID: f.id, ExecutorID: call.Shutdown.ExecutorID.Value}})
		}
	case scheduler.Call_UPDATE_FRAMEWORK:
		return m.updateFramework(f, call.UpdateFramework)
	case scheduler.Call_ACCEPT_INVERSE_OFFERS:
		m.answerInverse(f, call.AcceptInverseOffers.InverseOfferIDs, allocator.InverseOfferStatus_ACCEPT, call.AcceptInverseOffers.Filters)
	case scheduler.Call_DECLINE_INVERSE_OFFERS:
		m.answerInverse(f, call.DeclineInverseOffers.InverseOfferIDs, allocator.InverseOfferStatus_DECLINE, call.DeclineInverseOffers.Filters)
	case scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS:
		m.acknowledgeOperation(f, call.AcknowledgeOperationStatus)
	case scheduler.Call_RECONCILE_OPERATIONS:
		m.reconcileOperations(f, call.ReconcileOperations.Operations)
	case scheduler.Call_REQUEST:
		// Accepted and without effect: the allocator takes no requests, as in Mesos.
	default:
		return wire.Faultf(http.StatusNotImplemented, "Call %s is not supported by the local Mesos", call.Type)
	}
	return nil
}

func orAll(roles, all []string) []string {
	if len(roles) == 0 {
		return all
	}
	return roles
}

// kill passes a KILL on; of a task that is not known it answers as reconciliation does.
func (m *Master) kill(f *framework, kill *scheduler.Call_Kill) {
	t := f.tasks[kill.TaskID.Value]
	if t == nil {
		m.reconcileTask(f, kill.TaskID, kill.AgentID)
		return
	}
	a := m.agents[t.agent]
	if a == nil {
		return
	}
	request := &wire.Kill{FrameworkID: f.id, TaskID: t.id()}
	if kill.KillPolicy != nil {
		request.Policy = &wire.KillPolicy{Value: *kill.KillPolicy}
	}
	a.send(wire.ToAgent{Kill: request})
}

// acknowledge forgets a task whose terminal update is acknowledged, and tells its agent.
func (m *Master) acknowledge(f *framework, ack *scheduler.Call_Acknowledge) {
	a := m.agents[ack.AgentID.Value]
	if a == nil || !a.connected {
		m.log.Debug().Str("task", ack.TaskID.Value).Msg("acknowledgement for an agent that is not here")
		return
	}
	if t := a.tasks[f.id][ack.TaskID.Value]; t != nil && string(t.updateUUID) == string(ack.UUID) &&
		t.updateState != nil && wire.Terminal(*t.updateState) {
		m.forget(t)
	}
	a.send(wire.ToAgent{Acknowledge: &wire.Acknowledge{FrameworkID: f.id, TaskID: ack.TaskID.Value, UUID: ack.UUID}})
}

// forget removes a task from what is live; the framework's history keeps it.
func (m *Master) forget(t *task) {
	m.release(t)
	if a := m.agents[t.agent]; a != nil {
		a.dropTask(t)
		m.checkDrained(a)
	}
	if f := m.frameworks[t.framework]; f != nil {
		delete(f.tasks, t.id())
		f.completed.add(t)
	}
}

// release gives a task's resources back.
func (m *Master) release(t *task) {
	if t.released {
		return
	}
	t.released = true
	if a := m.agents[t.agent]; a != nil {
		a.used = a.used.Minus(t.amount)
	}
	if f := m.frameworks[t.framework]; f != nil {
		f.credit(t.role, t.amount)
	}
}

func (m *Master) reconcile(f *framework, tasks []scheduler.Call_Reconcile_Task) {
	if len(tasks) > 0 {
		for _, t := range tasks {
			m.reconcileTask(f, t.TaskID, t.AgentID)
		}
		return
	}
	for _, t := range f.tasks {
		if a := m.agents[t.agent]; a != nil {
			m.sendStatus(f, statusOf(t))
		}
	}
}

// statusOf is the answer to a reconciliation of a task that is known.
func statusOf(t *task) mesos.TaskStatus {
	status := masterStatus(t.info.TaskID, t.reported(), mesos.REASON_RECONCILIATION, "Reconciliation: Latest task state")
	status.AgentID = &mesos.AgentID{Value: t.agent}
	if t.executor != "" {
		status.ExecutorID = &mesos.ExecutorID{Value: t.executor}
	}
	if t.status != nil {
		status.ContainerStatus = t.status.ContainerStatus
		status.Healthy = t.status.Healthy
		status.CheckStatus = t.status.CheckStatus
	}
	return status
}

func (m *Master) reconcileTask(f *framework, id mesos.TaskID, agentID *mesos.AgentID) {
	if t := f.tasks[id.Value]; t != nil {
		m.sendStatus(f, statusOf(t))
		return
	}
	answer := func(aware, plain mesos.TaskState, message string) {
		state := plain
		if f.partitionAware() {
			state = aware
		}
		status := masterStatus(id, state, mesos.REASON_RECONCILIATION, message)
		status.AgentID = agentID
		if lost := f.unreachable[id.Value]; lost != nil {
			status.AgentID = &mesos.AgentID{Value: lost.agent}
			status.UnreachableTime = &mesos.TimeInfo{Nanoseconds: m.unreachable[lost.agent].UnixNano()}
		} else if agentID != nil {
			if since, ok := m.unreachable[agentID.Value]; ok {
				status.UnreachableTime = &mesos.TimeInfo{Nanoseconds: since.UnixNano()}
			}
		}
		m.sendStatus(f, status)
	}
	agentUnreachable := false
	if agentID != nil {
		_, agentUnreachable = m.unreachable[agentID.Value]
	}
	switch {
	case f.unreachable[id.Value] != nil, agentUnreachable:
		answer(mesos.TASK_UNREACHABLE, mesos.TASK_LOST, "Reconciliation: Task is unreachable")
	case agentID == nil && len(m.recovered) > 0, agentID != nil && m.recovered[agentID.Value]:
		// The agent may yet come back with the task: a real master is silent here.
	case agentID != nil && m.agents[agentID.Value] != nil:
		answer(mesos.TASK_GONE, mesos.TASK_LOST, "Reconciliation: Task is unknown to the agent")
	default:
		answer(mesos.TASK_UNKNOWN, mesos.TASK_LOST, "Reconciliation: Task is unknown")
	}
}
