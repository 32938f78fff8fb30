package master

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/allocator"
	"github.com/mesos/mesos-go/api/v1/lib/maintenance"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/wire"
)

// maintenanceState is what operators have planned for machines.
type maintenanceState struct {
	schedule maintenance.Schedule
	down     []mesos.MachineID
}

// inverseOffer asks a framework to leave an agent before it becomes unavailable.
type inverseOffer struct {
	id        string
	framework *framework
	agent     *agent
}

// inverseAnswer is a framework's last answer to an inverse offer for an agent.
type inverseAnswer struct {
	status allocator.InverseOfferStatus_Status
	at     time.Time
	until  time.Time // no other inverse offer before
}

// schedule replaces the plan: offers are made anew, so that they tell of it, and
// frameworks are asked to leave the machines in it.
func (m *Master) schedule(plan maintenance.Schedule) *wire.Fault {
	var seen []mesos.MachineID
	for _, window := range plan.Windows {
		if len(window.MachineIDs) == 0 {
			return wire.Faultf(http.StatusBadRequest, "List of machines in the maintenance window is empty")
		}
		for _, machine := range window.MachineIDs {
			if machine.GetHostname() == "" && machine.GetIP() == "" {
				return wire.Faultf(http.StatusBadRequest, "Both 'hostname' and 'ip' for a machine are empty")
			}
			if listed(seen, machine) {
				return wire.Faultf(http.StatusBadRequest, "Machine '%s' appears more than once in the schedule", machineText(machine))
			}
			seen = append(seen, machine)
		}
	}
	for _, machine := range m.maintenance.down {
		if !listed(seen, machine) {
			return wire.Faultf(http.StatusBadRequest, "Machine '%s' is deactivated and cannot be removed from the schedule", machineText(machine))
		}
	}
	m.maintenance.schedule = plan
	var agents []*agent
	for _, a := range m.agents {
		a.unavailability, a.answered = m.unavailability(a), map[string]inverseAnswer{}
		for _, o := range a.offers {
			m.rescind(o)
		}
		m.rescindInverse(a)
		agents = append(agents, a)
	}
	m.allocate(agents, nil)
	return nil
}

func machineText(machine mesos.MachineID) string {
	if machine.GetHostname() == "" {
		return machine.GetIP()
	}
	return machine.GetHostname()
}

func listed(machines []mesos.MachineID, machine mesos.MachineID) bool {
	return slices.ContainsFunc(machines, func(one mesos.MachineID) bool { return one.Equal(machine) })
}

func (a *agent) on(machine mesos.MachineID) bool {
	host, _ := splitEndpoint(a.endpoint)
	return (machine.Hostname == nil || *machine.Hostname == a.info.Hostname) && (machine.IP == nil || *machine.IP == host)
}

// unavailability returns when an agent's machine is planned to be away, nil for never.
func (m *Master) unavailability(a *agent) *mesos.Unavailability {
	for _, window := range m.maintenance.schedule.Windows {
		if slices.ContainsFunc(window.MachineIDs, a.on) {
			return &window.Unavailability
		}
	}
	return nil
}

// offerInversely asks every framework that uses agents which will be unavailable, or is
// offered some of them, to leave; one that has answered is asked again after its filter.
func (m *Master) offerInversely(agents []*agent) {
	batches := map[*framework][]mesos.InverseOffer{}
	for _, a := range agents {
		if a.unavailability == nil || !a.connected {
			continue
		}
		for _, f := range m.frameworks {
			if !f.connected || !a.usedBy(f) || f.inverse[a.id] != nil || m.opts.Clock.Now().Before(a.answered[f.id].until) {
				continue
			}
			o := &inverseOffer{id: m.nextOfferID(), framework: f, agent: a}
			f.inverse[a.id] = o
			batches[f] = append(batches[f], mesos.InverseOffer{
				OfferID: mesos.OfferID{Value: o.id}, URL: a.url(), FrameworkID: mesos.FrameworkID{Value: f.id},
				AgentID: &mesos.AgentID{Value: a.id}, Unavailability: *a.unavailability,
			})
		}
	}
	for f, offers := range batches {
		f.send(&scheduler.Event{Type: scheduler.Event_INVERSE_OFFERS,
			InverseOffers: &scheduler.Event_InverseOffers{InverseOffers: offers}})
	}
}

func (a *agent) usedBy(f *framework) bool {
	if len(a.tasks[f.id]) > 0 || len(a.executors[f.id]) > 0 {
		return true
	}
	for _, o := range a.offers {
		if o.framework == f {
			return true
		}
	}
	return false
}

func (m *Master) rescindInverse(a *agent) {
	for _, f := range m.frameworks {
		if o := f.inverse[a.id]; o != nil {
			delete(f.inverse, a.id)
			f.send(&scheduler.Event{Type: scheduler.Event_RESCIND_INVERSE_OFFER,
				RescindInverseOffer: &scheduler.Event_RescindInverseOffer{InverseOfferID: mesos.OfferID{Value: o.id}}})
		}
	}
}

// answerInverse takes a framework's answer; one to an offer that is gone has no effect.
func (m *Master) answerInverse(f *framework, ids []mesos.OfferID, status allocator.InverseOfferStatus_Status, filters *mesos.Filters) {
	for agentID, o := range f.inverse {
		if slices.ContainsFunc(ids, func(id mesos.OfferID) bool { return id.Value == o.id }) {
			delete(f.inverse, agentID)
			o.agent.answered[f.id] = inverseAnswer{status: status, at: time.Now(), until: m.filterUntil(filters)}
		}
	}
}

func (m *Master) maintenanceStatus() maintenance.ClusterStatus {
	status := maintenance.ClusterStatus{DownMachines: m.maintenance.down}
	for _, window := range m.maintenance.schedule.Windows {
		for _, machine := range window.MachineIDs {
			if listed(m.maintenance.down, machine) {
				continue
			}
			draining := maintenance.ClusterStatus_DrainingMachine{ID: machine}
			for _, a := range m.agents {
				if !a.on(machine) {
					continue
				}
				for id, answer := range a.answered {
					draining.Statuses = append(draining.Statuses, allocator.InverseOfferStatus{
						Status: &answer.status, FrameworkID: mesos.FrameworkID{Value: id}, Timestamp: *timeInfo(answer.at)})
				}
			}
			status.DrainingMachines = append(status.DrainingMachines, draining)
		}
	}
	return status
}

// takeDown begins the maintenance of machines: their agents are shut down, and may not
// come back before bringUp.
func (m *Master) takeDown(machines []mesos.MachineID) *wire.Fault {
	for _, machine := range machines {
		scheduled := slices.ContainsFunc(m.maintenance.schedule.Windows, func(w maintenance.Window) bool {
			return listed(w.MachineIDs, machine)
		})
		if !scheduled || listed(m.maintenance.down, machine) {
			return wire.Faultf(http.StatusBadRequest, "Machine '%s' is not in DRAINING mode and cannot be brought down", machineText(machine))
		}
	}
	m.maintenance.down = append(m.maintenance.down, machines...)
	for _, a := range m.agents {
		if slices.ContainsFunc(machines, a.on) {
			a.send(wire.ToAgent{Shutdown: &wire.Shutdown{Reason: "Operator initiated 'Machine DOWN'"}})
			m.removeAgent(a, "Operator initiated 'Machine DOWN'", removedForGood)
		}
	}
	return nil
}

// bringUp ends the maintenance of machines, which leave the plan.
func (m *Master) bringUp(machines []mesos.MachineID) *wire.Fault {
	among := func(machine mesos.MachineID) bool { return listed(machines, machine) }
	for _, machine := range machines {
		if !listed(m.maintenance.down, machine) {
			return wire.Faultf(http.StatusBadRequest, "Machine '%s' is not in DOWN mode and cannot be brought up", machineText(machine))
		}
	}
	m.maintenance.down = slices.DeleteFunc(slices.Clone(m.maintenance.down), among)
	var windows []maintenance.Window
	for _, window := range m.maintenance.schedule.Windows {
		window.MachineIDs = slices.DeleteFunc(slices.Clone(window.MachineIDs), among)
		if len(window.MachineIDs) > 0 {
			windows = append(windows, window)
		}
	}
	m.maintenance.schedule.Windows = windows
	for _, a := range m.agents {
		a.unavailability = m.unavailability(a)
	}
	return nil
}

// serveMaintenanceSchedule is the plan's own endpoint, older than the operator API.
func (m *Master) serveMaintenanceSchedule(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		m.mu.Lock()
		plan := m.maintenance.schedule
		m.mu.Unlock()
		wire.WriteJSON(w, r, json.RawMessage(mustJSON(&plan)))
		return
	}
	var plan maintenance.Schedule
	if fault := readDocument(r, &plan); fault != nil {
		fault.Write(w)
		return
	}
	m.mu.Lock()
	fault := m.schedule(plan)
	m.mu.Unlock()
	if fault != nil {
		fault.Write(w)
	}
}

func (m *Master) serveMaintenanceStatus(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	status := m.maintenanceStatus()
	m.mu.Unlock()
	wire.WriteJSON(w, r, json.RawMessage(mustJSON(&status)))
}

// serveMachines takes a list of machines to an operation on them.
func (m *Master) serveMachines(operate func([]mesos.MachineID) *wire.Fault) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !wire.RequireMethod(w, r, http.MethodPost) {
			return
		}
		var machines []mesos.MachineID
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&machines); err != nil {
			wire.Text(w, http.StatusBadRequest, "Failed to parse the list of machines: "+err.Error())
			return
		}
		m.mu.Lock()
		fault := operate(machines)
		m.mu.Unlock()
		if fault != nil {
			fault.Write(w)
		}
	}
}

func readDocument(r *http.Request, message any) *wire.Fault {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 1<<20))
	if err == nil {
		_, err = wire.DecodeJSON(body, message)
	}
	if err != nil {
		return wire.Faultf(http.StatusBadRequest, "%s", err)
	}
	return nil
}
