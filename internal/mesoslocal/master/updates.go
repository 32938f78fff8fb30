package master

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/wire"
)

// masterStatus is a status which the master itself makes: it has no UUID, so it needs
// no acknowledgement.
func masterStatus(id mesos.TaskID, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) mesos.TaskStatus {
	return mesos.TaskStatus{
		TaskID: id, State: &state, Reason: &reason, Message: &message,
		Source: mesos.SOURCE_MASTER.Enum(), Timestamp: new(wire.Unix(time.Now())),
	}
}

func (m *Master) sendStatus(f *framework, status mesos.TaskStatus) {
	f.send(&scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: status}})
}

// update takes a status update of an agent and forwards it.
func (m *Master) update(a *agent, update *wire.Update) {
	f := m.frameworks[update.FrameworkID]
	if f == nil {
		return // its framework is gone, and the agent will be told to end it
	}
	status := update.Status.Value
	if t := a.tasks[f.id][status.TaskID.Value]; t != nil {
		t.state = mesos.TaskState(update.Latest)
		t.updateState, t.updateUUID = status.State, status.UUID
		t.status = &status
		t.note(status)
		if wire.Terminal(t.state) {
			m.release(t)
		}
		m.metrics.observe(status)
	}
	m.sendStatus(f, status)
}

// note keeps the newest status of each state, as /state shows them.
func (t *task) note(status mesos.TaskStatus) {
	if n := len(t.statuses); n > 0 && *t.statuses[n-1].State == *status.State {
		t.statuses[n-1] = status
		return
	}
	t.statuses = append(t.statuses, status)
}

// exited takes the end of a custom executor.
func (m *Master) exited(a *agent, exited *wire.Exited) {
	executor := a.executors[exited.FrameworkID][exited.ExecutorID]
	if executor != nil {
		m.dropExecutor(a, exited.FrameworkID, executor)
	}
	f := m.frameworks[exited.FrameworkID]
	if f == nil {
		return
	}
	f.send(&scheduler.Event{Type: scheduler.Event_FAILURE, Failure: &scheduler.Event_Failure{
		AgentID:    &mesos.AgentID{Value: a.id},
		ExecutorID: &mesos.ExecutorID{Value: exited.ExecutorID},
		Status:     new(int32(exited.Status)),
	}})
}

func (m *Master) dropExecutor(a *agent, frameworkID string, e *executor) {
	delete(a.executors[frameworkID], e.info.ExecutorID.Value)
	if len(a.executors[frameworkID]) == 0 {
		delete(a.executors, frameworkID)
	}
	a.used = a.used.Minus(e.amount)
	m.checkDrained(a)
	if f := m.frameworks[frameworkID]; f != nil {
		f.credit(e.role, e.amount)
	}
}

func (m *Master) fromExecutor(a *agent, message *wire.ExecutorMessage) {
	if f := m.frameworks[message.FrameworkID]; f != nil {
		f.send(&scheduler.Event{Type: scheduler.Event_MESSAGE, Message: &scheduler.Event_Message{
			AgentID: mesos.AgentID{Value: a.id}, ExecutorID: mesos.ExecutorID{Value: message.ExecutorID}, Data: message.Data,
		}})
	}
}
