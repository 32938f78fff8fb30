package agent

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/wire"
)

// drainAll kills all tasks, each within the shorter of its own grace period and the
// draining's; mu is held. The master lets no new ones come.
func (a *Agent) drainAll(order *wire.Drain) {
	if order.Over {
		a.drain = nil
		return
	}
	a.drain = order
	for _, f := range a.frameworks {
		for _, e := range f.executors {
			for _, t := range e.live() {
				a.killTask(e, t, drainPolicy(t.info.KillPolicy, order.MaxGrace))
			}
		}
	}
}

func drainPolicy(own *mesos.KillPolicy, longest *time.Duration) *mesos.KillPolicy {
	if longest == nil || own.GetGracePeriod() != nil && own.GracePeriod.Nanoseconds <= int64(*longest) {
		return own
	}
	return &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(*longest)}}
}

// drained says in a task's last updates why it was killed.
func drained(status mesos.TaskStatus, order *wire.Drain) mesos.TaskStatus {
	switch *status.State {
	case mesos.TASK_KILLING, mesos.TASK_KILLED:
		status.Reason = mesos.REASON_AGENT_DRAINING.Enum()
		if order.MarkGone { // of a task that has its grace, too
			status.State = mesos.TASK_GONE_BY_OPERATOR.Enum()
		}
	}
	return status
}

// retire ends all that runs here because the master wants no more of this agent; mu is held.
func (a *Agent) retire(reason string) {
	a.log.Error().Str("reason", reason).Msg("the master shut this agent down")
	a.retired = true
	for _, f := range a.frameworks {
		f.ending = true
		for _, e := range f.executors {
			a.tasks.Go(func() { a.destroy(e) })
		}
	}
}

func (a *Agent) isRetired() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.retired
}
