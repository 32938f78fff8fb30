package master

import (
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	apimaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"tidemill/internal/mesoslocal/wire"
)

// serveOperator answers the read calls of the operator API that are supported.
func (m *Master) serveOperator(w http.ResponseWriter, r *http.Request) {
	if !wire.RequireMethod(w, r, http.MethodPost) {
		return
	}
	call := &apimaster.Call{}
	body, fault := wire.ReadCall(r, call, "mesos.master.Call_Type")
	if fault != nil {
		fault.Write(w)
		return
	}
	if !body.Typed {
		wire.Text(w, http.StatusBadRequest, "Failed to validate master::Call: Expecting 'type' to be present")
		return
	}
	if body.Accept == "" {
		wire.NotAcceptable().Write(w)
		return
	}
	response, fault := m.operate(call)
	if fault != nil {
		fault.Write(w)
		return
	}
	data, err := wire.Encode(response, body.Accept)
	if err != nil {
		wire.Text(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", body.Accept)
	_, _ = w.Write(data) // a client that went away needs no answer
}

func (m *Master) operate(call *apimaster.Call) (*apimaster.Response, *wire.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch call.Type {
	case apimaster.Call_GET_HEALTH:
		return &apimaster.Response{Type: apimaster.Response_GET_HEALTH, GetHealth: &apimaster.Response_GetHealth{Healthy: true}}, nil
	case apimaster.Call_GET_VERSION:
		return &apimaster.Response{Type: apimaster.Response_GET_VERSION,
			GetVersion: &apimaster.Response_GetVersion{VersionInfo: mesos.VersionInfo{Version: Version}}}, nil
	case apimaster.Call_GET_MASTER:
		return &apimaster.Response{Type: apimaster.Response_GET_MASTER,
			GetMaster: &apimaster.Response_GetMaster{MasterInfo: m.info()}}, nil
	case apimaster.Call_GET_AGENTS:
		return &apimaster.Response{Type: apimaster.Response_GET_AGENTS, GetAgents: m.getAgents()}, nil
	case apimaster.Call_GET_FRAMEWORKS:
		return &apimaster.Response{Type: apimaster.Response_GET_FRAMEWORKS, GetFrameworks: m.getFrameworks()}, nil
	case apimaster.Call_GET_TASKS:
		return &apimaster.Response{Type: apimaster.Response_GET_TASKS, GetTasks: m.getTasks()}, nil
	case apimaster.Call_GET_STATE:
		return &apimaster.Response{Type: apimaster.Response_GET_STATE, GetState: &apimaster.Response_GetState{
			GetAgents: m.getAgents(), GetFrameworks: m.getFrameworks(), GetTasks: m.getTasks()}}, nil
	case apimaster.Call_TEARDOWN:
		f := m.frameworks[call.GetTeardown().GetFrameworkID().Value]
		if f == nil {
			return nil, wire.Faultf(http.StatusBadRequest, "No framework found with specified ID")
		}
		m.removeFramework(f)
		return &apimaster.Response{}, nil
	}
	return nil, wire.Faultf(http.StatusNotImplemented, "Operator call %s is not supported by the local Mesos", call.Type)
}

func timeInfo(t time.Time) *mesos.TimeInfo {
	if t.IsZero() {
		return nil
	}
	return &mesos.TimeInfo{Nanoseconds: t.UnixNano()}
}

func (m *Master) getAgents() *apimaster.Response_GetAgents {
	answer := &apimaster.Response_GetAgents{}
	for _, a := range m.agents {
		pid := "slave(1)@" + a.endpoint
		answer.Agents = append(answer.Agents, apimaster.Response_GetAgents_Agent{
			AgentInfo: a.info, Active: a.connected, Version: Version, PID: &pid,
			RegisteredTime: timeInfo(a.registered), ReregisteredTime: timeInfo(a.reregistered),
			TotalResources: a.total.Mesos(""), AllocatedResources: a.used.Mesos("*"),
		})
	}
	return answer
}

func (m *Master) getFrameworks() *apimaster.Response_GetFrameworks {
	answer := &apimaster.Response_GetFrameworks{}
	describe := func(f *framework) apimaster.Response_GetFrameworks_Framework {
		return apimaster.Response_GetFrameworks_Framework{
			FrameworkInfo: f.info, Active: f.connected, Connected: f.connected, Recovered: f.recovered,
			RegisteredTime: timeInfo(f.registered), ReregisteredTime: timeInfo(f.reregistered),
			UnregisteredTime: timeInfo(f.unregistered),
		}
	}
	for _, f := range m.frameworks {
		answer.Frameworks = append(answer.Frameworks, describe(f))
	}
	for _, f := range m.removed.items {
		answer.CompletedFrameworks = append(answer.CompletedFrameworks, describe(f))
	}
	return answer
}

func (m *Master) getTasks() *apimaster.Response_GetTasks {
	answer := &apimaster.Response_GetTasks{}
	describe := func(t *task) mesos.Task {
		state := t.state
		described := mesos.Task{
			Name: t.info.Name, TaskID: t.info.TaskID, FrameworkID: mesos.FrameworkID{Value: t.framework},
			AgentID: mesos.AgentID{Value: t.agent}, State: &state, Resources: t.info.Resources,
			Statuses: t.statuses, Labels: t.info.Labels, StatusUpdateState: t.updateState, StatusUpdateUUID: t.updateUUID,
		}
		if t.executor != "" {
			described.ExecutorID = &mesos.ExecutorID{Value: t.executor}
		}
		return described
	}
	for _, f := range m.frameworks {
		for _, t := range f.tasks {
			answer.Tasks = append(answer.Tasks, describe(t))
		}
		for _, t := range f.unreachable {
			answer.UnreachableTasks = append(answer.UnreachableTasks, describe(t))
		}
		for _, t := range f.completed.items {
			answer.CompletedTasks = append(answer.CompletedTasks, describe(t))
		}
	}
	return answer
}
