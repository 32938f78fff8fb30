package agent

import (
	"net"
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	exec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"tidemill/internal/mesoslocal/wire"
)

func (a *Agent) serveExecutor(w http.ResponseWriter, r *http.Request) {
	if !wire.RequireMethod(w, r, http.MethodPost) {
		return
	}
	call := &exec.Call{}
	body, fault := wire.ReadCall(r, call, "mesos.executor.Call_Type")
	if fault == nil {
		fault = validateCall(call, body.Typed)
	}
	if fault != nil {
		fault.Write(w)
		return
	}
	if call.Type == exec.Call_SUBSCRIBE && body.Accept == "" {
		wire.NotAcceptable().Write(w)
		return
	}
	if call.Type == exec.Call_SUBSCRIBE {
		a.serveSubscribe(w, r, call, body)
		return
	}
	if fault := a.handle(call); fault != nil {
		fault.Write(w)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// validateCall checks the form of a call, in the order of Mesos's own checks.
func validateCall(call *exec.Call, typed bool) *wire.Fault {
	invalid := func(format string, args ...any) *wire.Fault {
		return wire.Faultf(http.StatusBadRequest, "Failed to validate Executor::Call: "+format, args...)
	}
	switch {
	case !typed:
		return invalid("Expecting 'type' to be present")
	case call.Type == exec.Call_SUBSCRIBE && call.Subscribe == nil:
		return invalid("Expecting 'subscribe' to be present")
	case call.Type == exec.Call_MESSAGE && call.Message == nil:
		return invalid("Expecting 'message' to be present")
	case call.Type == exec.Call_UPDATE && call.Update == nil:
		return invalid("Expecting 'update' to be present")
	case call.Type != exec.Call_UPDATE:
		return nil
	}
	status, executor, framework := &call.Update.Status, call.ExecutorID.Value, call.FrameworkID.Value
	switch {
	case status.UUID == nil:
		return invalid("Expecting 'uuid' to be present")
	case len(status.UUID) != 16:
		return invalid("Not a valid UUID")
	case status.ExecutorID != nil && status.ExecutorID.Value != executor:
		return invalid("ExecutorID in Call: %s does not match ExecutorID in TaskStatus: %s", executor, status.ExecutorID.Value)
	case status.GetSource() != mesos.SOURCE_EXECUTOR || status.Source == nil:
		return invalid("Received Call from executor %s of framework %s with invalid source, expecting 'SOURCE_EXECUTOR'",
			executor, framework)
	case status.State == nil:
		return invalid("Expecting 'state' to be present")
	case *status.State == mesos.TASK_STAGING:
		return invalid("Received TASK_STAGING from executor %s of framework %s which is not allowed", executor, framework)
	}
	return nil
}

// lookup finds the executor of a call; mu is held.
func (a *Agent) lookup(call *exec.Call) (*executor, *wire.Fault) {
	f := a.frameworks[call.FrameworkID.Value]
	if f == nil {
		return nil, wire.Faultf(http.StatusBadRequest, "Framework cannot be found")
	}
	e := f.executors[call.ExecutorID.Value]
	if e == nil {
		return nil, wire.Faultf(http.StatusBadRequest, "Executor cannot be found")
	}
	return e, nil
}

func (a *Agent) handle(call *exec.Call) *wire.Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, fault := a.lookup(call)
	if fault != nil {
		return fault
	}
	switch {
	case !a.recovered:
		return wire.Faultf(http.StatusServiceUnavailable, "Agent has not finished recovery")
	case e.phase == registering:
		return wire.Faultf(http.StatusForbidden, "Executor is not subscribed")
	case call.Type == exec.Call_UPDATE:
		a.take(e, call.Update.Status)
	case call.Type == exec.Call_MESSAGE && a.link != nil:
		a.link.Send(wire.ToMaster{FromExecutor: &wire.ExecutorMessage{
			FrameworkID: e.framework.id(), ExecutorID: e.id(), Data: call.Message.Data}})
	}
	return nil
}

// take accepts an executor's update, sends it on its way, and tells the executor so.
func (a *Agent) take(e *executor, status mesos.TaskStatus) {
	if e.phase == terminated || e.framework.ending {
		return
	}
	status.AgentID = &mesos.AgentID{Value: a.id}
	if status.Timestamp == nil {
		status.Timestamp = new(wire.Unix(time.Now()))
	}
	if t := e.tasks[status.TaskID.Value]; t != nil {
		if t.status != nil && string(t.status.UUID) == string(status.UUID) || wire.Terminal(t.state) {
			a.confirm(e, status) // sent again by an executor that missed its acknowledgement
			return
		}
		status.ExecutorID = &e.info.ExecutorID
		status.ContainerStatus = a.containerStatus(e)
		a.accept(e, t, status)
		a.confirm(e, status)
		return
	}
	a.enqueue(e.framework.id(), status) // of a task nobody knows: forwarded, and never confirmed
}

func (a *Agent) confirm(e *executor, status mesos.TaskStatus) {
	e.send(&exec.Event{Type: exec.Event_ACKNOWLEDGED, Acknowledged: &exec.Event_Acknowledged{
		TaskID: status.TaskID, UUID: status.UUID}})
}

func (a *Agent) containerStatus(e *executor) *mesos.ContainerStatus {
	host, _, _ := net.SplitHostPort(a.Addr()) // a listener's address always splits
	pid := uint32(e.pid)
	return &mesos.ContainerStatus{
		ContainerID: &mesos.ContainerID{Value: e.container},
		NetworkInfos: []mesos.NetworkInfo{{IPAddresses: []mesos.NetworkInfo_IPAddress{{
			Protocol: mesos.IPv4.Enum(), IPAddress: &host}}}},
		ExecutorPID: &pid,
	}
}

func (a *Agent) serveSubscribe(w http.ResponseWriter, r *http.Request, call *exec.Call, body wire.Body) {
	stream := wire.NewStream(body.Accept)
	if fault := a.subscribe(call, stream); fault != nil {
		fault.Write(w)
		return
	}
	a.tasks.Add(1)
	defer a.tasks.Done()
	stream.Serve(r.Context(), w, wire.Heartbeat{})
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, fault := a.lookup(call); fault == nil && e.stream == stream {
		e.stream = nil
	}
}

// subscribe gives an executor its stream, the former one ends, and what waits for it.
func (a *Agent) subscribe(call *exec.Call, stream *wire.Stream) *wire.Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, fault := a.lookup(call)
	if fault != nil {
		return fault
	}
	if e.phase == terminated {
		return wire.Faultf(http.StatusBadRequest, "Executor cannot be found")
	}
	again := e.delivered
	if e.stream != nil {
		e.stream.Close()
	}
	e.stream = stream
	if e.registrant != nil {
		e.registrant.Stop()
	}
	stream.Send(&exec.Event{Type: exec.Event_SUBSCRIBED, Subscribed: &exec.Event_Subscribed{
		ExecutorInfo: e.info, FrameworkInfo: e.framework.info, AgentInfo: a.info(),
		ContainerID: &mesos.ContainerID{Value: e.container},
	}})
	if e.phase == terminating {
		e.send(&exec.Event{Type: exec.Event_SHUTDOWN})
		return nil
	}
	e.phase = running
	if again {
		a.resubscribed(e, call.Subscribe)
	}
	queued := e.queued
	e.queued = nil
	for _, l := range queued {
		a.deliver(e, l)
	}
	if !e.delivered { // its tasks were killed before they reached it
		a.shutdown(e)
	}
	return nil
}
