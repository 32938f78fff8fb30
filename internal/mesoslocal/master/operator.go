package master

import (
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	apimaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// serveOperator answers the calls of the operator API that are supported.
func (m *Master) serveOperator(w http.ResponseWriter, r *http.Request) {
	call := &apimaster.Call{}
	wire.ServeOperator(w, r, call, "master", func() (wire.Reply, *wire.Fault) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if response := m.show(call); response != nil {
			return wire.Reply{Message: response}, nil
		}
		return m.operate(call)
	})
}

// show answers the calls that only read; nil for all others.
func (m *Master) show(call *apimaster.Call) *apimaster.Response {
	switch call.Type {
	case apimaster.Call_GET_HEALTH:
		return &apimaster.Response{Type: apimaster.Response_GET_HEALTH, GetHealth: &apimaster.Response_GetHealth{Healthy: true}}
	case apimaster.Call_GET_VERSION:
		return &apimaster.Response{Type: apimaster.Response_GET_VERSION,
			GetVersion: &apimaster.Response_GetVersion{VersionInfo: mesos.VersionInfo{Version: Version}}}
	case apimaster.Call_GET_MASTER:
		return &apimaster.Response{Type: apimaster.Response_GET_MASTER,
			GetMaster: m.getMaster()}
	case apimaster.Call_GET_AGENTS:
		return &apimaster.Response{Type: apimaster.Response_GET_AGENTS, GetAgents: m.getAgents()}
	case apimaster.Call_GET_FRAMEWORKS:
		return &apimaster.Response{Type: apimaster.Response_GET_FRAMEWORKS, GetFrameworks: m.getFrameworks()}
	case apimaster.Call_GET_TASKS:
		return &apimaster.Response{Type: apimaster.Response_GET_TASKS, GetTasks: m.getTasks()}
	case apimaster.Call_GET_STATE:
		return &apimaster.Response{Type: apimaster.Response_GET_STATE, GetState: &apimaster.Response_GetState{
			GetAgents: m.getAgents(), GetFrameworks: m.getFrameworks(), GetTasks: m.getTasks()}}
	case apimaster.Call_GET_MAINTENANCE_SCHEDULE:
		return &apimaster.Response{Type: apimaster.Response_GET_MAINTENANCE_SCHEDULE,
			GetMaintenanceSchedule: &apimaster.Response_GetMaintenanceSchedule{Schedule: m.maintenance.schedule}}
	case apimaster.Call_GET_MAINTENANCE_STATUS:
		return &apimaster.Response{Type: apimaster.Response_GET_MAINTENANCE_STATUS,
			GetMaintenanceStatus: &apimaster.Response_GetMaintenanceStatus{Status: m.maintenanceStatus()}}
	}
	return nil
}

func (m *Master) getMaster() *apimaster.Response_GetMaster {
	started, elected := wire.Unix(m.started), wire.Unix(m.elected)
	return &apimaster.Response_GetMaster{MasterInfo: m.info(), StartTime: &started, ElectedTime: &elected}
}

// operate performs the calls that change something.
func (m *Master) operate(call *apimaster.Call) (wire.Reply, *wire.Fault) {
	switch call.Type {
	case apimaster.Call_TEARDOWN:
		f := m.frameworks[call.GetTeardown().GetFrameworkID().Value]
		if f == nil {
			return wire.Reply{}, wire.Faultf(http.StatusBadRequest, "No framework found with specified ID")
		}
		m.removeFramework(f)
		return wire.Reply{}, nil
	case apimaster.Call_UPDATE_MAINTENANCE_SCHEDULE:
		return wire.Reply{}, m.schedule(call.GetUpdateMaintenanceSchedule().GetSchedule())
	case apimaster.Call_START_MAINTENANCE:
		return wire.Reply{}, m.takeDown(call.GetStartMaintenance().GetMachines())
	case apimaster.Call_STOP_MAINTENANCE:
		return wire.Reply{}, m.bringUp(call.GetStopMaintenance().GetMachines())
	case apimaster.Call_RESERVE_RESOURCES:
		reserve := call.GetReserveResources()
		return m.operateOn(reserve.GetAgentID(), resources.Reserve(reserve.GetResources()))
	case apimaster.Call_UNRESERVE_RESOURCES:
		unreserve := call.GetUnreserveResources()
		return m.operateOn(unreserve.GetAgentID(), resources.Unreserve(unreserve.GetResources()))
	case apimaster.Call_CREATE_VOLUMES:
		create := call.GetCreateVolumes()
		return m.operateOn(create.GetAgentID(), resources.Create(create.GetVolumes()))
	case apimaster.Call_DESTROY_VOLUMES:
		destroy := call.GetDestroyVolumes()
		return m.operateOn(destroy.GetAgentID(), resources.Destroy(destroy.GetVolumes()))
	}
	return m.operateAgent(call)
}

func (m *Master) operateOn(id mesos.AgentID, conversion resources.Conversion) (wire.Reply, *wire.Fault) {
	a := m.agents[id.Value]
	if a == nil {
		return wire.Reply{}, wire.Faultf(http.StatusBadRequest, "No agent found with specified ID")
	}
	return wire.Reply{Status: http.StatusAccepted}, m.convertByOperator(a, conversion)
}

// operateAgent performs the calls about the use of one agent.
func (m *Master) operateAgent(call *apimaster.Call) (wire.Reply, *wire.Fault) {
	var id mesos.AgentID
	switch call.Type {
	case apimaster.Call_DRAIN_AGENT:
		id = call.GetDrainAgent().GetAgentID()
	case apimaster.Call_DEACTIVATE_AGENT:
		id = call.GetDeactivateAgent().GetAgentID()
	case apimaster.Call_REACTIVATE_AGENT:
		id = call.GetReactivateAgent().GetAgentID()
	case apimaster.Call_MARK_AGENT_GONE:
		id = call.GetMarkAgentGone().GetAgentID()
	default:
		return wire.Reply{}, wire.Faultf(http.StatusNotImplemented, "Operator call %s is not supported by the local Mesos", call.Type)
	}
	a := m.agents[id.Value]
	if a == nil {
		return wire.Reply{}, wire.Faultf(http.StatusBadRequest, "No agent found with specified ID")
	}
	switch call.Type {
	case apimaster.Call_DRAIN_AGENT:
		config := mesos.DrainConfig{MarkGone: call.DrainAgent.MarkGone}
		if grace := call.DrainAgent.MaxGracePeriod; grace != nil {
			config.MaxGracePeriod = &mesos.DurationInfo{Nanoseconds: grace.Seconds*1e9 + int64(grace.Nanos)}
		}
		return wire.Reply{}, m.drainAgent(a, config)
	case apimaster.Call_DEACTIVATE_AGENT:
		m.deactivate(a)
	case apimaster.Call_REACTIVATE_AGENT:
		m.reactivate(a)
	case apimaster.Call_MARK_AGENT_GONE:
		m.markGone(a)
	}
	return wire.Reply{}, nil
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
			AgentInfo: a.info, Active: a.connected && !a.deactivated, Deactivated: &a.deactivated, Version: Version, PID: &pid,
			DrainInfo: a.drain, EstimatedDrainStartTime: timeInfo(a.draining),
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
