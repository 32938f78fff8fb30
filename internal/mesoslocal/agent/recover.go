package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	exec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"tidemill/internal/mesoslocal/container"
	"tidemill/internal/mesoslocal/wire"
)

func (a *Agent) idPath() string { return filepath.Join(a.opts.WorkDir, "meta", "agent_id") }

func (a *Agent) writeID() error {
	if err := os.MkdirAll(filepath.Dir(a.idPath()), 0o755); err != nil {
		return fmt.Errorf("keep the agent's id: %w", err)
	}
	if err := os.WriteFile(a.idPath(), []byte(a.id), 0o644); err != nil {
		return fmt.Errorf("keep the agent's id: %w", err)
	}
	return nil
}

// recover reads what a former agent left in the work directory: executors of
// checkpointing frameworks are taken over, all others are killed.
func (a *Agent) recover() error {
	id, err := os.ReadFile(a.idPath())
	if errors.Is(err, fs.ErrNotExist) {
		a.recovered = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	a.id = strings.TrimSpace(string(id))
	journals, err := filepath.Glob(filepath.Join(a.opts.WorkDir, "meta", runDir(a.id, "*", "*", "*"), journalName))
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, path := range journals {
		records, err := readJournal(path)
		if err != nil {
			return fmt.Errorf("recover: %w", err)
		}
		if err := a.recoverRun(path, records); err != nil {
			a.log.Warn().Err(err).Str("checkpoint", path).Msg("a run cannot be recovered")
		}
	}
	return nil
}

func (a *Agent) recoverRun(path string, records []record) error {
	e, err := a.rebuild(path, records)
	if err != nil {
		return err
	}
	if !e.framework.checkpoints() || e.pid == 0 && len(e.tasks) == 0 {
		if e.pid != 0 {
			container.Kill(e.pid, e.start, e.container, 3*time.Second)
		}
		return os.RemoveAll(e.meta)
	}
	f := a.frameworks[e.framework.id()]
	if f == nil {
		f = e.framework
		a.frameworks[f.id()] = f
	}
	e.framework = f
	f.executors[e.id()] = e
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("reopen checkpoint: %w", err)
	}
	e.journal = &journal{file: file}
	if e.pid == 0 || !container.Alive(e.pid, e.start) {
		container.KillMarked(e.container)
		a.ended(e, 0, false) // nobody is told of an executor's end while the agent was down
	}
	return nil
}

// rebuild makes an executor of its records.
func (a *Agent) rebuild(path string, records []record) (*executor, error) {
	if len(records) == 0 || records[0].Executor == nil {
		return nil, errors.New("the checkpoint does not say what runs")
	}
	f := &framework{executors: map[string]*executor{}}
	e := &executor{
		framework: f, command: records[0].Command, container: records[0].Container, meta: filepath.Dir(path),
		tasks: map[string]*task{}, ending: mesos.REASON_EXECUTOR_TERMINATED, why: "Executor terminated",
	}
	if err := errors.Join(f.info.Unmarshal(records[0].Framework), e.info.Unmarshal(records[0].Executor)); err != nil {
		return nil, fmt.Errorf("decode the checkpoint: %w", err)
	}
	e.sandbox = filepath.Join(a.opts.WorkDir, runDir(a.id, f.id(), e.id(), e.container))
	pending := map[string][]mesos.TaskStatus{}
	for _, r := range records[1:] {
		if err := e.replay(r, pending); err != nil {
			return nil, err
		}
	}
	if f.checkpoints() {
		for _, updates := range pending {
			for _, status := range updates {
				a.enqueue(f.id(), status)
			}
		}
	}
	return e, nil
}

func (e *executor) replay(r record, pending map[string][]mesos.TaskStatus) error {
	switch {
	case r.Process != nil:
		e.pid, e.start = r.Process.PID, r.Process.Start
	case r.Task != nil:
		t := &task{state: mesos.TASK_STAGING}
		if err := t.info.Unmarshal(r.Task); err != nil {
			return fmt.Errorf("decode a task of the checkpoint: %w", err)
		}
		e.tasks[t.id()] = t
	case r.Update != nil:
		var status mesos.TaskStatus
		if err := status.Unmarshal(r.Update); err != nil {
			return fmt.Errorf("decode an update of the checkpoint: %w", err)
		}
		id := status.TaskID.Value
		pending[id] = append(pending[id], status)
		if t := e.tasks[id]; t != nil {
			t.state, t.status = *status.State, &status
		}
		e.delivered = true
	case r.Ack != nil:
		e.replayAck(r.Ack, pending)
	}
	return nil
}

func (e *executor) replayAck(ack *ackRecord, pending map[string][]mesos.TaskStatus) {
	updates := pending[ack.Task]
	if len(updates) == 0 || !bytes.Equal(updates[0].UUID, ack.UUID) {
		return
	}
	pending[ack.Task] = updates[1:]
	if t := e.tasks[ack.Task]; t != nil && wire.Terminal(*updates[0].State) {
		e.complete(t)
	}
}

// awaitReregistration gives recovered executors their time to subscribe again; who does
// not is killed. Until then the agent answers 503 to all others.
func (a *Agent) awaitReregistration() {
	a.mu.Lock()
	waiting := a.strangers()
	a.mu.Unlock()
	if len(waiting) > 0 {
		a.announce()
		select {
		case <-a.ctx.Done():
			return
		case <-wire.After(a.opts.Clock, a.opts.ExecutorReregistration):
		}
		a.mu.Lock()
		waiting = a.strangers()
		for _, e := range waiting {
			e.ending = mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT
			e.why = "Executor did not reregister within " + durationText(a.opts.ExecutorReregistration)
		}
		a.mu.Unlock()
		for _, e := range waiting {
			a.destroy(e)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recovered = true
}

// announce asks the master for patience, as well as can be: it may be away itself.
func (a *Agent) announce() {
	link, _, err := a.connect()
	if err != nil {
		a.log.Debug().Err(err).Msg("the master does not know that the agent recovers")
		return
	}
	link.Send(wire.ToMaster{Recovering: &wire.Recovering{AgentID: a.ID()}})
	link.Close()
}

// strangers are recovered executors that have not subscribed to this agent.
func (a *Agent) strangers() []*executor {
	var list []*executor
	for _, f := range a.frameworks {
		for _, e := range f.executors {
			if e.phase == registering && e.pid != 0 {
				list = append(list, e)
			}
		}
	}
	return list
}

// resubscribed settles with an executor what happened while they were apart: updates it
// has no acknowledgement for, and tasks that never reached it.
func (a *Agent) resubscribed(e *executor, request *exec.Call_Subscribe) {
	known := map[string]bool{}
	for _, info := range request.UnacknowledgedTasks {
		known[info.TaskID.Value] = true
	}
	for _, update := range request.UnacknowledgedUpdates {
		known[update.Status.TaskID.Value] = true
		a.take(e, update.Status)
	}
	for _, t := range e.live() {
		if t.state == mesos.TASK_STAGING && !known[t.id()] && !e.isQueued(t.id()) {
			a.refuse(e, &launch{tasks: []*task{t}}, mesos.TASK_DROPPED, mesos.REASON_AGENT_RESTARTED, "Task launched during agent restart")
		}
	}
}
