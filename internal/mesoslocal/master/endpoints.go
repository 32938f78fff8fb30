package master

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// object is a JSON object of the endpoints without a protobuf form.
type object = map[string]any

func writeJSON(w http.ResponseWriter, r *http.Request, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		wire.Text(w, http.StatusInternalServerError, err.Error())
		return
	}
	wire.WriteJSON(w, r, data)
}

func (m *Master) serveVersion(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, object{"version": Version, "build_user": "tidemill", "build_time": wire.Unix(m.started)})
}

func (m *Master) serveFlags(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, object{"flags": m.flags()})
}

func (m *Master) flags() object {
	return object{
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
	state := object{
		"version": Version, "id": m.id, "pid": "master@" + m.Addr(), "hostname": m.hostname(),
		"start_time": wire.Unix(m.started), "elected_time": wire.Unix(m.elected),
		"leader": "master@" + m.leader, "leader_info": json.RawMessage(mustJSON(m.info())),
		"activated_slaves": len(m.agents), "unreachable_slaves": len(m.unreachable), "deactivated_slaves": 0,
		"flags": m.flags(), "slaves": m.agentList(), "recovered_slaves": m.recoveredList(),
		"frameworks": m.frameworkList(m.frameworks), "completed_frameworks": m.completedList(),
		"orphan_tasks": []any{}, "unregistered_frameworks": []any{},
	}
	m.mu.Unlock()
	writeJSON(w, r, state)
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
	answer := object{"frameworks": m.frameworkList(list), "completed_frameworks": m.completedList(), "unregistered_frameworks": []any{}}
	m.mu.Unlock()
	writeJSON(w, r, answer)
}

func (m *Master) serveAgents(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	answer := object{"slaves": m.agentList(), "recovered_slaves": m.recoveredList()}
	m.mu.Unlock()
	writeJSON(w, r, answer)
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
	writeJSON(w, r, object{"tasks": tasks})
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
		roles = append(roles, object{"name": role, "weight": 1.0, "frameworks": frameworks, "resources": bundleObject(allocated[role])})
	}
	writeJSON(w, r, object{"roles": roles})
}

func (m *Master) agentList() []any {
	list := []any{}
	for _, a := range m.agents {
		offered := resources.Bundle{}
		for _, o := range a.offers {
			offered = offered.Plus(o.amount)
		}
		list = append(list, object{
			"id": a.id, "hostname": a.info.Hostname, "port": a.info.GetPort(), "pid": "slave(1)@" + a.endpoint,
			"active": a.connected, "version": Version,
			"attributes": attributesObject(a.info.Attributes),
			"resources":  bundleObject(a.total), "used_resources": bundleObject(a.used.Minus(offered)),
			"offered_resources": bundleObject(offered), "unreserved_resources": bundleObject(a.total),
			"reserved_resources": object{},
			"registered_time":    wire.Unix(a.registered), "reregistered_time": unixOrZero(a.reregistered),
			"capabilities": []string{"MULTI_ROLE"},
		})
	}
	return list
}

func (m *Master) recoveredList() []any {
	list := []any{}
	for id := range m.recovered {
		list = append(list, object{"id": id})
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

func (m *Master) frameworkObject(f *framework) object {
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
		offers = append(offers, json.RawMessage(mustJSON(ptr(m.describe(o)))))
		offered = offered.Plus(o.amount)
	}
	for _, amount := range f.allocated {
		used = used.Plus(amount)
	}
	capabilities := []string{}
	for _, c := range f.info.Capabilities {
		capabilities = append(capabilities, c.Type.String())
	}
	return object{
		"id": f.id, "name": f.info.Name, "user": f.info.User, "roles": f.roles, "capabilities": capabilities,
		"hostname": f.info.GetHostname(), "webui_url": f.info.GetWebUiURL(), "failover_timeout": f.info.GetFailoverTimeout(),
		"checkpoint": f.checkpoints(), "active": f.connected, "connected": f.connected, "recovered": f.recovered,
		"registered_time": wire.Unix(f.registered), "reregistered_time": unixOrZero(f.reregistered),
		"unregistered_time": unixOrZero(f.unregistered),
		"offered_resources": bundleObject(offered), "used_resources": bundleObject(used.Minus(offered)),
		"tasks": tasks, "completed_tasks": completed, "unreachable_tasks": unreachable, "offers": offers,
		"executors": []any{},
	}
}

func taskObject(t *task) object {
	statuses := []any{}
	for _, s := range t.statuses {
		entry := object{"state": s.State.String(), "timestamp": s.GetTimestamp()}
		if s.ContainerStatus != nil {
			entry["container_status"] = json.RawMessage(mustJSON(s.ContainerStatus))
		}
		statuses = append(statuses, entry)
	}
	return object{
		"id": t.id(), "name": t.info.Name, "framework_id": t.framework, "executor_id": t.executor, "slave_id": t.agent,
		"state": t.state.String(), "resources": bundleObject(t.amount), "role": t.role, "statuses": statuses,
	}
}

// bundleObject renders resources as the endpoints do: always with the usual four.
func bundleObject(b resources.Bundle) object {
	o := object{"cpus": 0.0, "mem": 0.0, "disk": 0.0, "gpus": 0.0}
	for _, name := range b.Names() {
		if ranges := b.Ranges(name); ranges != "" {
			o[name] = ranges
		} else {
			o[name] = b.Scalar(name)
		}
	}
	return o
}

func attributesObject(attributes []mesos.Attribute) object {
	o := object{}
	for _, a := range attributes {
		switch {
		case a.Scalar != nil:
			o[a.Name] = a.Scalar.Value
		case a.Ranges != nil:
			o[a.Name] = resources.Of([]mesos.Resource{{Name: a.Name, Ranges: a.Ranges}}).Ranges(a.Name)
		case a.Text != nil:
			o[a.Name] = a.Text.Value
		}
	}
	return o
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
