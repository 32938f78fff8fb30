package master

import (
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/wire"
)

// drainAgent ends all tasks of an agent, each within the grace period, and makes no
// offers of it until it is reactivated; marked gone, it is never let in again.
func (m *Master) drainAgent(a *agent, config mesos.DrainConfig) *wire.Fault {
	if a.drain != nil {
		return wire.Faultf(http.StatusBadRequest, "Agent is already draining")
	}
	m.deactivate(a)
	a.drain, a.draining = &mesos.DrainInfo{State: mesos.DrainState_DRAINING, Config: config}, time.Now()
	a.send(wire.ToAgent{Drain: drainOrder(config)})
	m.checkDrained(a)
	return nil
}

func drainOrder(config mesos.DrainConfig) *wire.Drain {
	order := &wire.Drain{MarkGone: config.GetMarkGone()}
	if grace := config.MaxGracePeriod; grace != nil {
		order.MaxGrace = (*time.Duration)(&grace.Nanoseconds)
	}
	return order
}

// checkDrained notes the end of a draining: nothing runs on the agent any more.
func (m *Master) checkDrained(a *agent) {
	if a.drain == nil || a.drain.State == mesos.DrainState_DRAINED || len(a.tasks) > 0 || len(a.executors) > 0 {
		return
	}
	a.drain.State = mesos.DrainState_DRAINED
	m.log.Info().Str("agent", a.id).Msg("an agent is drained")
	if a.drain.Config.GetMarkGone() {
		m.markGone(a)
	}
}

// deactivate takes an agent out of the allocation.
func (m *Master) deactivate(a *agent) {
	a.deactivated = true
	for _, o := range a.offers {
		m.rescind(o)
	}
	m.rescindInverse(a)
}

// reactivate lets an agent have offers again, from the next cycle on.
func (m *Master) reactivate(a *agent) {
	a.deactivated, a.drain = false, nil
	a.send(wire.ToAgent{Drain: &wire.Drain{Over: true}})
}

// markGone removes an agent whose tasks an operator knows to be over: it is never let in
// again.
func (m *Master) markGone(a *agent) {
	m.registry.markGone(a.id)
	a.send(wire.ToAgent{Shutdown: &wire.Shutdown{Reason: "Agent has been marked gone"}})
	m.removeAgent(a, "Agent has been marked gone", removedByOperator)
}
