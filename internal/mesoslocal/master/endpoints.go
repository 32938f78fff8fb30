package master

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

func (m *Master) serveVersion(w http.ResponseWriter, r *http.Request) {
	wire.WriteJSON(w, r, wire.Object{"version": Version, "build_user": "tidemill", "build_time": wire.Unix(m.started)})
}

func (m *Master) serveFlags(w http.ResponseWriter, r *http.Request) {
	wire.WriteJSON(w, r, wire.Object{"flags": m.flags()})
}

func (m *Master) flags() wire.Object {
	return wire.Object{
		"agent_ping_timeout":          seconds(m.opts.AgentPingTimeout),
		"max_agent_ping_timeouts":     fmt.Sprint(m.opts.MaxAgentPingTimeouts),
		"agent_reregister_timeout":    seconds(m.opts.AgentReregister),
		"allocation_interval":         seconds(m.opts.AllocationInterval),
		"zk":                          m.opts.ZooKeeper,
		"work_dir":                    m.opts.WorkDir,
		"authenticate_http_readwrite": fmt.Sprint(len(m.opts.Credentials) > 0),
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%gsecs", d.Seconds()) }

func (m *Master) serveState(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	state := wire.Object{
		"version": Version, "id": m.id, "pid": "master@" + m.Addr(), "hostname": m.hostname(),
		"start_time": wire.Unix(m.started), "elected_time": wire.Unix(m.elected),
		"leader": "master@" + m.leader, "leader_info": json.RawMessage(mustJSON(m.info())),
		"activated_slaves": len(m.agents), "unreachable_slaves": len(m.unreachable), "deactivated_slaves": 0,
		"flags": m.flags(), "slaves": m.agentList(), "recovered_slaves": m.recoveredList(),
		"frameworks": m.frameworkList(m.frameworks), "completed_frameworks": m.completedList(),
		"orphan_tasks": []any{}, "unregistered_frameworks": []any{},
	}
	m.mu.Unlock()
	wire.WriteJSON(w, r, state)
}

func (m *Master) serveFrameworks(w http.ResponseWriter, r *http.Request) {
	wanted := r.URL.Query().Get("framework_id")
	m.mu.Lock()
	list := map[string]*framework{}
	for id, f := range m.frameworks {
		if wanted == "" || wanted == id {
			list[id] = f
		}
	}
	answer := wire.Object{"frameworks": m.frameworkList(list), "completed_frameworks": m.completedList(), "unregistered_frameworks": []any{}}
	m.mu.Unlock()
	wire.WriteJSON(w, r, answer)
}

func (m *Master) serveAgents(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	answer := wire.Object{"slaves": m.agentList(), "recovered_slaves": m.recoveredList()}
	m.mu.Unlock()
	wire.WriteJSON(w, r, answer)
}

func (m *Master) serveTasks(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	tasks := []any{}
	for _, f := range m.frameworks {
		for _, t := range f.tasks {
			tasks = append(tasks, taskObject(t))
		}
	}
	m.mu.Unlock()
	wire.WriteJSON(w, r, wire.Object{"tasks": tasks})
}

func (m *Master) serveRoles(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	members, allocated := map[string][]string{}, map[string]resources.Bundle{}
	for _, f := range m.frameworks {
		for _, role := range f.roles {
			members[role] = append(members[role], f.id)
			allocated[role] = allocated[role].Plus(f.allocated[role])
		}
	}
	m.mu.Unlock()
	roles := []any{}
	for role, frameworks := range members {
		roles = append(roles, wire.Object{"name": role, "weight": 1.0, "frameworks": frameworks, "resources": allocated[role].Object()})
	}
	wire.WriteJSON(w, r, wire.Object{"roles": roles})
}

func (m *Master) agentList() []any {
	list := []any{}
	for _, a := range m.agents {
		offered, reserved := resources.Bundle{}, a.total.ByReservation()
		for _, o := range a.offers {
			offered = offered.Plus(o.amount)
		}
		one := wire.Object{
			"id": a.id, "hostname": a.info.Hostname, "port": a.info.GetPort(), "pid": "slave(1)@" + a.endpoint,
			"active": a.connected && !a.deactivated, "deactivated": a.deactivated, "version": Version,
			"attributes": resources.AttributesObject(a.info.Attributes),
			"resources":  a.total.Object(), "used_resources": a.used.Minus(offered).Object(),
			"offered_resources": offered.Object(), "unreserved_resources": reserved["*"].Object(),
			"reserved_resources": reservedObject(reserved),
			"registered_time":    wire.Unix(a.registered), "reregistered_time": unixOrZero(a.reregistered),
			"capabilities": agentCapabilities,
		}
		if a.drain != nil {
			one["drain_info"] = json.RawMessage(mustJSON(a.drain))
			one["estimated_drain_start_time_seconds"] = wire.Unix(a.draining)
		}
		list = append(list, one)
	}
	return list
}

// agentCapabilities are those of Mesos's agents that the local ones have too.
var agentCapabilities = []string{"MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "AGENT_OPERATION_FEEDBACK", "AGENT_DRAINING"}

func reservedObject(split map[string]resources.Bundle) wire.Object {
	byRole := wire.Object{}
	for role, amount := range split {
		if role != "*" {
			byRole[role] = amount.Object()
		}
	}
	return byRole
}

func (m *Master) recoveredList() []any {
	list := []any{}
	for id := range m.recovered {
		list = append(list, wire.Object{"id": id})
	}
	return list
}

func (m *Master) frameworkList(frameworks map[string]*framework) []any {
	list := []any{}
	for _, f := range frameworks {
		list = append(list, m.frameworkObject(f))
	}
	return list
}

func (m *Master) completedList() []any {
	list := []any{}
	for _, f := range m.removed.items {
		list = append(list, m.frameworkObject(f))
	}
	return list
}

func (m *Master) frameworkObject(f *framework) wire.Object {
	tasks, completed, unreachable, offers := []any{}, []any{}, []any{}, []any{}
	for _, t := range f.tasks {
		tasks = append(tasks, taskObject(t))
	}
	for _, t := range f.completed.items {
		if f.unreachable[t.id()] != t {
			completed = append(completed, taskObject(t))
		}
	}
	for _, t := range f.unreachable {
		unreachable = append(unreachable, taskObject(t))
	}
	offered, used := resources.Bundle{}, resources.Bundle{}
	for _, o := range f.offers {
		offers = append(offers, json.RawMessage(mustJSON(new(m.describe(o)))))
		offered = offered.Plus(o.amount)
	}
	for _, amount := range f.allocated {
		used = used.Plus(amount)
	}
	capabilities := []string{}
	for _, c := range f.info.Capabilities {
		capabilities = append(capabilities, c.Type.String())
	}
	return wire.Object{
		"id": f.id, "name": f.info.Name, "user": f.info.User, "roles": f.roles, "capabilities": capabilities,
		"hostname": f.info.GetHostname(), "webui_url": f.info.GetWebUiURL(), "failover_timeout": f.info.GetFailoverTimeout(),
		"checkpoint": f.checkpoints(), "active": f.connected, "connected": f.connected, "recovered": f.recovered,
		"registered_time": wire.Unix(f.registered), "reregistered_time": unixOrZero(f.reregistered),
		"unregistered_time": unixOrZero(f.unregistered),
		"offered_resources": offered.Object(), "used_resources": used.Minus(offered).Object(),
		"tasks": tasks, "completed_tasks": completed, "unreachable_tasks": unreachable, "offers": offers,
		"executors": []any{},
	}
}

func taskObject(t *task) wire.Object {
	statuses := []any{}
	for _, s := range t.statuses {
		entry := wire.Object{"state": s.State.String(), "timestamp": s.GetTimestamp()}
		if s.ContainerStatus != nil {
			entry["container_status"] = json.RawMessage(mustJSON(s.ContainerStatus))
		}
		statuses = append(statuses, entry)
	}
	return wire.Object{
		"id": t.id(), "name": t.info.Name, "framework_id": t.framework, "executor_id": t.executor, "slave_id": t.agent,
		"state": t.state.String(), "resources": t.amount.Object(), "role": t.role, "statuses": statuses,
	}
}

func unixOrZero(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return wire.Unix(t)
}

// mustJSON encodes a message of our own making, which always has a JSON form.
func mustJSON(message wire.Message) []byte {
	data, err := wire.Encode(message, wire.JSON)
	if err != nil {
		return []byte("null")
	}
	return data
}
