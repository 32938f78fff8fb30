package agent

import (
	"os"
	"path/filepath"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	exec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"tidemill/internal/mesoslocal/container"
	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// launch takes tasks of the master to their executor, which is started where it is not
// there yet; mu is held.
func (a *Agent) launch(order *wire.Launch) {
	f := a.frameworks[order.Framework.Value.ID.GetValue()]
	if f == nil || f.ending && len(f.executors) == 0 {
		f = &framework{info: order.Framework.Value, executors: map[string]*executor{}}
		a.frameworks[f.id()] = f
	}
	l := &launch{group: order.Executor != nil}
	for _, carried := range order.Tasks {
		l.tasks = append(l.tasks, &task{info: carried.Value, state: mesos.TASK_STAGING})
	}
	info, command := a.executorInfo(f, l.tasks[0].info, order.Executor)
	e := f.executors[info.ExecutorID.Value]
	switch {
	case e == nil:
		a.launchOnNew(f, info, command, l)
	case command:
		a.refuse(e, l, mesos.TASK_DROPPED, mesos.REASON_TASK_INVALID, "Cannot reuse an already existing executor for a command task")
	case e.phase == terminating || e.phase == terminated:
		a.refuse(e, l, mesos.TASK_DROPPED, mesos.REASON_EXECUTOR_TERMINATED, "Executor terminating")
	default:
		a.add(e, l)
		a.deliver(e, l)
	}
}

// refuse reports tasks that never reach an executor, or whose executor the agent ended; a
// framework that is not aware of partitions hears that they are lost.
func (a *Agent) refuse(e *executor, l *launch, aware mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	state := mesos.TASK_LOST
	for _, capability := range e.framework.info.Capabilities {
		if capability.Type == mesos.FrameworkInfo_Capability_PARTITION_AWARE {
			state = aware
		}
	}
	for _, t := range l.tasks {
		a.report(e, t, state, reason, message)
	}
}

func (a *Agent) add(e *executor, l *launch) {
	for _, t := range l.tasks {
		e.tasks[t.id()] = t
		e.journal.launched(t.info)
		if err := a.linkVolumes(e, t.info.Resources); err != nil {
			a.log.Warn().Err(err).Str("task", t.id()).Msg("a task goes without its volume")
		}
	}
}

func (a *Agent) deliver(e *executor, l *launch) {
	if e.phase == registering || e.stream == nil {
		e.queued = append(e.queued, l)
		return
	}
	e.delivered = true
	e.send(l.event())
}

// executorInfo returns the executor of a task: its own, its group's, or one made for
// its command.
func (a *Agent) executorInfo(f *framework, info mesos.TaskInfo, ofGroup *wire.ExecutorInfo) (mesos.ExecutorInfo, bool) {
	switch {
	case ofGroup != nil:
		return ofGroup.Value, false
	case info.Executor != nil:
		return *info.Executor, false
	}
	made := mesos.ExecutorInfo{
		Type: mesos.ExecutorInfo_CUSTOM, ExecutorID: mesos.ExecutorID{Value: info.TaskID.Value},
		FrameworkID: f.info.ID, Command: &mesos.CommandInfo{}, Name: new("Command Executor (Task: " + info.TaskID.Value + ")"),
		Source: &info.TaskID.Value,
	}
	if overhead, err := resources.Parse("cpus:0.1;mem:32"); err == nil {
		made.Resources = overhead.Mesos("*")
	}
	if info.Command != nil {
		made.Command.URIs, made.Command.User = info.Command.URIs, info.Command.User
	}
	made.Container = info.Container
	return made, true
}

// launchOnNew starts an executor with its first tasks.
func (a *Agent) launchOnNew(f *framework, info mesos.ExecutorInfo, command bool, l *launch) {
	e := &executor{
		framework: f, info: info, command: command, container: wire.NewID(), tasks: map[string]*task{},
		ending: mesos.REASON_EXECUTOR_TERMINATED, why: "Executor terminated",
	}
	run := runDir(a.id, f.id(), e.id(), e.container)
	e.sandbox, e.meta = filepath.Join(a.opts.WorkDir, run), filepath.Join(a.opts.WorkDir, "meta", run)
	f.executors[e.id()] = e
	for _, t := range l.tasks {
		e.tasks[t.id()] = t
	}
	err := a.prepare(e)
	for _, t := range l.tasks {
		if err == nil {
			err = a.linkVolumes(e, t.info.Resources)
		}
	}
	if err != nil {
		a.fail(e, func() { a.refuse(e, l, mesos.TASK_GONE, mesos.REASON_EXECUTOR_TERMINATED, err.Error()) })
		return
	}
	for _, t := range l.tasks {
		e.journal.launched(t.info)
	}
	e.queued = append(e.queued, l)
	if image(info.Container) || image(l.tasks[0].info.Container) {
		a.failLaunch(e, "the local Mesos runs no container images: use a real cluster, or leave `container` out")
		return
	}
	a.tasks.Go(func() { a.startContainer(e) })
}

func image(info *mesos.ContainerInfo) bool {
	return info != nil && (info.Docker != nil || info.GetMesos().GetImage() != nil)
}

// fail ends an executor that has no process: what is reported comes from the caller.
func (a *Agent) fail(e *executor, report func()) {
	e.phase = terminated
	report()
	if !e.command && !e.framework.ending {
		a.exited(e, 0)
	}
	a.tidy(e)
}

// failLaunch ends an executor whose container could not be started.
func (a *Agent) failLaunch(e *executor, why string) {
	a.fail(e, func() {
		for _, t := range e.live() {
			a.report(e, t, mesos.TASK_FAILED, mesos.REASON_CONTAINER_LAUNCH_FAILED, "Failed to launch container: "+why)
		}
	})
}

func (a *Agent) exited(e *executor, status int) {
	if a.link != nil {
		a.link.Send(wire.ToMaster{Exited: &wire.Exited{FrameworkID: e.framework.id(), ExecutorID: e.id(), Status: status}})
	}
}

// kill ends a task on the scheduler's order.
func (a *Agent) kill(order *wire.Kill) {
	e, t := a.find(order.FrameworkID, order.TaskID)
	if t == nil || wire.Terminal(t.state) {
		return
	}
	var policy *mesos.KillPolicy
	if order.Policy != nil {
		policy = &order.Policy.Value
	}
	a.killTask(e, t, policy)
}

// killTask ends a task that was not delivered yet itself, and asks the executor else.
func (a *Agent) killTask(e *executor, t *task, policy *mesos.KillPolicy) {
	if e.isQueued(t.id()) {
		for _, undelivered := range e.unqueue(t.id()) {
			a.report(e, undelivered, mesos.TASK_KILLED, mesos.REASON_TASK_KILLED_DURING_LAUNCH, "Killed before delivery to the executor")
		}
		return
	}
	e.send(&exec.Event{Type: exec.Event_KILL, Kill: &exec.Event_Kill{TaskID: t.info.TaskID, KillPolicy: policy}})
}

func (a *Agent) toExecutor(message *wire.ExecutorMessage) {
	if f := a.frameworks[message.FrameworkID]; f != nil {
		if e := f.executors[message.ExecutorID]; e != nil && e.phase == running {
			e.send(&exec.Event{Type: exec.Event_MESSAGE, Message: &exec.Event_Message{Data: message.Data}})
		}
	}
}

// shutdown tells an executor to end, and kills its container after the grace period.
func (a *Agent) shutdown(e *executor) {
	if e.phase == terminating || e.phase == terminated {
		return
	}
	e.phase = terminating
	e.send(&exec.Event{Type: exec.Event_SHUTDOWN})
	e.killer = a.opts.Clock.AfterFunc(a.grace(e), func() {
		if a.ctx.Err() == nil {
			a.destroy(e)
		}
	})
}

// shutdownFramework ends everything of a framework; nothing of it is reported any more.
func (a *Agent) shutdownFramework(id string) {
	f := a.frameworks[id]
	if f == nil {
		return
	}
	f.ending = true
	for key, s := range a.streams {
		if key.framework == id {
			s.stopTimer()
			delete(a.streams, key)
		}
	}
	for _, e := range f.executors {
		if e.phase == terminated {
			a.tidy(e)
		} else {
			a.shutdown(e)
		}
	}
	if len(f.executors) == 0 {
		delete(a.frameworks, id)
	}
}

// ended handles the end of a container: its live tasks end with it.
func (a *Agent) ended(e *executor, status int, report bool) {
	if e.phase == terminated {
		return
	}
	e.phase = terminated
	e.stopTimers()
	if e.stream != nil {
		e.stream.Close()
		e.stream = nil
	}
	a.log.Debug().Str("executor", e.id()).Int("status", status).Msg("an executor ended")
	if !e.command && !e.framework.ending && report {
		a.exited(e, status)
	}
	e.queued = nil
	if live := e.live(); e.ending == mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT {
		a.refuse(e, &launch{tasks: live}, mesos.TASK_GONE, e.ending, e.why)
	} else {
		for _, t := range live {
			a.report(e, t, mesos.TASK_FAILED, e.ending, e.why)
		}
	}
	a.tidy(e)
}

// tidy forgets an executor that has ended and whose updates are all acknowledged.
func (a *Agent) tidy(e *executor) {
	f := e.framework
	if e.phase != terminated || !f.ending && len(e.tasks) > 0 || f.executors[e.id()] != e {
		return
	}
	const remembered = 150
	e.journal.close()
	_ = os.RemoveAll(e.meta) // a leftover is found, and found to be over, at the next recovery
	delete(f.executors, e.id())
	a.completed = append(a.completed, e)
	if extra := len(a.completed) - remembered; extra > 0 {
		a.completed = append(a.completed[:0:0], a.completed[extra:]...)
	}
	if len(f.executors) == 0 {
		delete(a.frameworks, f.id())
	}
}

// awaitRegistration kills an executor that does not subscribe in time.
func (a *Agent) awaitRegistration(e *executor) {
	e.registrant = a.opts.Clock.AfterFunc(a.opts.ExecutorRegistration, func() {
		a.mu.Lock()
		late := e.phase == registering && a.ctx.Err() == nil
		if late {
			e.phase, e.ending = terminating, mesos.REASON_EXECUTOR_REGISTRATION_TIMEOUT
			e.why = "Executor did not register within " + durationText(a.opts.ExecutorRegistration)
		}
		a.mu.Unlock()
		if late {
			a.destroy(e)
		}
	})
}

// destroy kills an executor's container with all that runs in it. It takes mu itself.
func (a *Agent) destroy(e *executor) {
	a.mu.Lock()
	pid, start := e.pid, e.start
	if e.phase != terminated {
		e.phase = terminating
	}
	a.mu.Unlock()
	if pid == 0 {
		return // startContainer sees the phase
	}
	container.Kill(pid, start, e.container, 3*time.Second)
	a.checkContainers()
}
