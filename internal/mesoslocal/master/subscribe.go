package master

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

func (m *Master) serveSubscribe(w http.ResponseWriter, r *http.Request, call *scheduler.Call, body wire.Body) {
	switch {
	case body.Accept == "":
		wire.NotAcceptable().Write(w)
		return
	case r.Header.Get(streamHeader) != "":
		wire.Text(w, http.StatusBadRequest, "Subscribe calls should not include the '"+streamHeader+"' header")
		return
	}
	stream, streamID := wire.NewStream(body.Accept), wire.NewID()
	id := m.subscribe(call.Subscribe, stream, streamID)
	w.Header().Set(streamHeader, streamID)
	m.tasks.Add(1)
	defer m.tasks.Done()
	closedHere := stream.Serve(r.Context(), w, wire.Heartbeat{
		Event:    &scheduler.Event{Type: scheduler.Event_HEARTBEAT},
		Interval: m.opts.HeartbeatInterval, Clock: m.opts.Clock,
	})
	if !closedHere && id != "" {
		m.disconnect(id, streamID)
	}
}

// subscribe registers a framework or takes it over, and returns its id; where it is
// refused the stream carries the ERROR.
func (m *Master) subscribe(request *scheduler.Call_Subscribe, stream *wire.Stream, streamID string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	info := *request.FrameworkInfo
	if info.Checkpoint == nil {
		info.Checkpoint = new(false)
	}
	id := info.ID.GetValue()
	refuse := func(message string) string {
		stream.Send(errorEvent(message))
		stream.Close()
		return ""
	}
	if err := validateSubscribe(info, request.SuppressedRoles); err != nil {
		return refuse(err.Error())
	}
	if id != "" && m.wasRemoved(id) {
		return refuse("Framework has been removed")
	}
	f := m.frameworks[id]
	if f == nil {
		if id == "" {
			id = fmt.Sprintf("%s-%04d", m.id, m.counters.frameworks)
			m.counters.frameworks++
		}
		info.ID = &mesos.FrameworkID{Value: id}
		f = m.addFramework(info, false)
		m.attach(f, stream, streamID, request.SuppressedRoles)
		m.allocateTo(f)
		return id
	}
	wasConnected := f.connected
	if f.stream != nil {
		f.send(errorEvent("Framework failed over"))
		f.stream.Close()
	}
	for _, o := range f.offers {
		m.withdraw(o)
	}
	m.change(f, info)
	m.attach(f, stream, streamID, request.SuppressedRoles)
	f.filters = nil
	if !wasConnected { // else its offers come with the next cycle
		m.allocateTo(f)
	}
	return id
}

func errorEvent(message string) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: message}}
}

func (m *Master) addFramework(info mesos.FrameworkInfo, recovered bool) *framework {
	f := &framework{
		id: info.ID.Value, info: info, roles: rolesOf(info), recovered: recovered,
		suppressed: map[string]bool{}, tasks: map[string]*task{}, unreachable: map[string]*task{},
		offers: map[string]*offer{}, inverse: map[string]*inverseOffer{}, operations: map[string]*operation{}, allocated: map[string]resources.Bundle{},
		completed: newHistory[*task](1000), registered: time.Now(),
	}
	m.frameworks[f.id] = f
	return f
}

// attach gives a framework its stream and greets it.
func (m *Master) attach(f *framework, stream *wire.Stream, streamID string, suppressed []string) {
	f.stopTimer()
	if f.connected || f.recovered || f.stream != nil {
		f.reregistered = time.Now()
	}
	f.stream, f.streamID, f.connected, f.recovered = stream, streamID, true, false
	f.suppressed = map[string]bool{}
	for _, role := range suppressed {
		f.suppressed[role] = true
	}
	stream.Send(&scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{
		FrameworkID:              &mesos.FrameworkID{Value: f.id},
		HeartbeatIntervalSeconds: new(m.opts.HeartbeatInterval.Seconds()),
		MasterInfo:               m.info(),
	}})
	stream.Send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
	m.log.Info().Str("framework", f.id).Str("name", f.info.Name).Msg("a framework subscribed")
}

// change takes what may change of a framework's description; the rest stays.
func (m *Master) change(f *framework, info mesos.FrameworkInfo) {
	info.ID, info.User, info.Checkpoint, info.Principal = f.info.ID, f.info.User, f.info.Checkpoint, f.info.Principal
	f.info, f.roles = info, rolesOf(info)
	for _, a := range m.agents {
		if a.tasks[f.id] != nil || a.executors[f.id] != nil {
			a.send(wire.ToAgent{UpdateFramework: &wire.FrameworkInfo{Value: info}})
		}
	}
}

func (m *Master) updateFramework(f *framework, update *scheduler.Call_UpdateFramework) *wire.Fault {
	info := update.FrameworkInfo
	if err := validateUpdate(f.info, info, update.SuppressedRoles); err != nil {
		return wire.Faultf(http.StatusBadRequest, "FrameworkInfo update is not valid: %s", err)
	}
	m.change(f, info)
	for _, o := range f.offers {
		if !slices.Contains(f.roles, o.role) {
			m.rescind(o)
		}
	}
	f.suppressed = map[string]bool{}
	for _, role := range update.SuppressedRoles {
		f.suppressed[role] = true
	}
	return nil
}

// disconnect handles a stream that the framework's side closed.
func (m *Master) disconnect(id, streamID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frameworks[id]
	if f == nil || f.streamID != streamID || m.ctx.Err() != nil {
		return
	}
	f.connected, f.stream, f.unregistered = false, nil, time.Now()
	for _, o := range f.offers {
		m.withdraw(o)
	}
	f.filters = nil
	m.log.Info().Str("framework", id).Dur("failover_timeout", failover(f.info)).Msg("a framework disconnected")
	m.awaitFailover(f)
}

// awaitFailover removes the framework unless it comes back within its failover timeout.
func (m *Master) awaitFailover(f *framework) {
	f.stopTimer()
	f.timer = m.opts.Clock.AfterFunc(failover(f.info), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.frameworks[f.id] == f && !f.connected && m.ctx.Err() == nil {
			m.removeFramework(f)
		}
	})
}

func failover(info mesos.FrameworkInfo) time.Duration {
	return time.Duration(max(info.GetFailoverTimeout(), 0) * float64(time.Second))
}

// removeFramework ends a framework for good, with all its tasks and executors.
func (m *Master) removeFramework(f *framework) {
	f.stopTimer()
	if f.stream != nil {
		f.stream.Close()
	}
	f.connected, f.stream, f.unregistered = false, nil, time.Now()
	for _, o := range f.offers {
		m.withdraw(o)
	}
	for _, t := range slices.Collect(maps.Values(f.tasks)) {
		if !wire.Terminal(t.state) {
			t.state = mesos.TASK_KILLED
		}
		m.forget(t)
	}
	for _, a := range m.agents {
		a.send(wire.ToAgent{ShutdownFramework: &wire.FrameworkRef{FrameworkID: f.id}})
		for _, e := range a.executors[f.id] {
			m.dropExecutor(a, f.id, e)
		}
	}
	delete(m.frameworks, f.id)
	m.removed.add(f)
	m.log.Info().Str("framework", f.id).Msg("a framework was removed")
}

func (m *Master) wasRemoved(id string) bool {
	return slices.ContainsFunc(m.removed.items, func(f *framework) bool { return f.id == id })
}

func rolesOf(info mesos.FrameworkInfo) []string {
	for _, capability := range info.Capabilities {
		if capability.Type == mesos.FrameworkInfo_Capability_MULTI_ROLE {
			return info.Roles
		}
	}
	if info.Role != nil {
		return []string{*info.Role}
	}
	return []string{"*"}
}
