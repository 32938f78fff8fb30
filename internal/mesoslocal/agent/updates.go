package agent

import (
	"bytes"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/wire"
)

// The first and the longest wait before an update that nobody acknowledged goes again.
const (
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
)

type streamKey struct{ framework, task string }

// updateStream holds the updates of one task, in order: only the first is on its way,
// and the next follows when the scheduler has acknowledged it.
type updateStream struct {
	key     streamKey
	pending []mesos.TaskStatus
	latest  mesos.TaskState
	timer   wire.Timer
	wait    time.Duration
}

func (s *updateStream) stopTimer() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// enqueue adds an update to its task's stream and sends it when it is the first; mu is
// held. What is known already, by its UUID, is not added again.
func (a *Agent) enqueue(frameworkID string, status mesos.TaskStatus) {
	key := streamKey{frameworkID, status.TaskID.Value}
	s := a.streams[key]
	if s == nil {
		s = &updateStream{key: key}
		a.streams[key] = s
	}
	for _, known := range s.pending {
		if bytes.Equal(known.UUID, status.UUID) {
			return
		}
	}
	s.pending = append(s.pending, status)
	s.latest = *status.State
	if len(s.pending) == 1 {
		a.forward(s)
	}
}

// forward sends the first pending update and sees to it that it is sent again.
func (a *Agent) forward(s *updateStream) {
	s.stopTimer()
	if len(s.pending) == 0 {
		delete(a.streams, s.key)
		return
	}
	a.tell(s)
	s.wait = firstRetry
	a.armRetry(s)
}

func (a *Agent) armRetry(s *updateStream) {
	s.timer = a.opts.Clock.AfterFunc(s.wait, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.ctx.Err() != nil || a.streams[s.key] != s || len(s.pending) == 0 {
			return
		}
		a.tell(s)
		s.wait = min(2*s.wait, lastRetry)
		a.armRetry(s)
	})
}

func (a *Agent) tell(s *updateStream) {
	if a.link == nil {
		return
	}
	a.link.Send(wire.ToMaster{Update: &wire.Update{
		FrameworkID: s.key.framework, Status: wire.TaskStatus{Value: s.pending[0]}, Latest: int32(s.latest),
	}})
}

// acknowledge takes the scheduler's acknowledgement; one that fits no first update is a
// duplicate.
func (a *Agent) acknowledge(ack *wire.Acknowledge) {
	s := a.streams[streamKey{ack.FrameworkID, ack.TaskID}]
	if s == nil || len(s.pending) == 0 || !bytes.Equal(s.pending[0].UUID, ack.UUID) {
		return
	}
	head := s.pending[0]
	s.pending = s.pending[1:]
	if e, t := a.find(ack.FrameworkID, ack.TaskID); t != nil {
		e.journal.acknowledged(ack.TaskID, ack.UUID)
		if wire.Terminal(*head.State) {
			e.complete(t)
			a.tidy(e)
		}
	}
	a.forward(s)
}

// find looks a task up in all executors of a framework.
func (a *Agent) find(frameworkID, taskID string) (*executor, *task) {
	f := a.frameworks[frameworkID]
	if f == nil {
		return nil, nil
	}
	for _, e := range f.executors {
		if t := e.tasks[taskID]; t != nil {
			return e, t
		}
	}
	return nil, nil
}

// report makes an update of the agent's own about a task.
func (a *Agent) report(e *executor, t *task, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	if e.framework.ending {
		return
	}
	status := mesos.TaskStatus{
		TaskID: t.info.TaskID, State: &state, Reason: &reason, Message: &message,
		Source: mesos.SOURCE_AGENT.Enum(), Timestamp: new(wire.Unix(time.Now())), UUID: wire.NewUUID(),
		AgentID: &mesos.AgentID{Value: a.id}, ExecutorID: &mesos.ExecutorID{Value: e.id()},
	}
	a.accept(e, t, status)
}

// accept checkpoints an update of a known task and sends it on its way.
func (a *Agent) accept(e *executor, t *task, status mesos.TaskStatus) {
	if a.drain != nil {
		status = drained(status, a.drain)
	}
	t.state, t.status = *status.State, &status
	t.statuses = append(t.statuses, status)
	if len(t.statuses) > 16 {
		t.statuses = append(t.statuses[:0:0], t.statuses[1:]...)
	}
	e.journal.updated(status)
	a.enqueue(e.framework.id(), status)
}
