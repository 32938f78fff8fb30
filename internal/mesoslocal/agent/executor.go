package agent

import (
	"path/filepath"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	exec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"tidemill/internal/mesoslocal/wire"
)

// framework is one framework with executors here.
type framework struct {
	info      mesos.FrameworkInfo
	executors map[string]*executor
	ending    bool // it was removed: nothing of it is reported any more
}

func (f *framework) id() string        { return f.info.ID.GetValue() }
func (f *framework) checkpoints() bool { return f.info.Checkpoint != nil && *f.info.Checkpoint }

// phase is where an executor is in its life.
type phase int

const (
	registering phase = iota // started, has not subscribed yet
	running
	terminating // told to shut down, or being killed
	terminated
)

// executor is one executor's run in its container.
type executor struct {
	framework *framework
	info      mesos.ExecutorInfo
	command   bool // the built-in one, for a task with a command
	container string
	sandbox   string
	meta      string // directory of the checkpoints
	phase     phase

	pid   int // of the container's supervisor; zero while none is started
	start uint64
	child bool // the supervisor is this process's child

	stream     *wire.Stream
	queued     []*launch        // launches before it subscribed
	tasks      map[string]*task // live or not acknowledged to the end, queued ones included
	done       []*task          // newest last
	delivered  bool             // a task ever reached it
	registrant wire.Timer       // of the registration timeout
	killer     wire.Timer       // of the shutdown's grace period
	ending     mesos.TaskStatus_Reason
	why        string // what its tasks' last updates say
	journal    *journal
}

// launch is one task, or one group, on its way to an executor.
type launch struct {
	tasks []*task
	group bool
}

func (l *launch) event() *exec.Event {
	if !l.group {
		return &exec.Event{Type: exec.Event_LAUNCH, Launch: &exec.Event_Launch{Task: l.tasks[0].info}}
	}
	group := mesos.TaskGroupInfo{}
	for _, t := range l.tasks {
		group.Tasks = append(group.Tasks, t.info)
	}
	return &exec.Event{Type: exec.Event_LAUNCH_GROUP, LaunchGroup: &exec.Event_LaunchGroup{TaskGroup: group}}
}

// task is one task of an executor.
type task struct {
	info     mesos.TaskInfo
	state    mesos.TaskState
	status   *mesos.TaskStatus
	statuses []mesos.TaskStatus
}

func (t *task) id() string { return t.info.TaskID.Value }

func (e *executor) id() string { return e.info.ExecutorID.Value }

func (e *executor) send(event *exec.Event) {
	if e.stream != nil {
		e.stream.Send(event)
	}
}

func (e *executor) stopTimers() {
	for _, timer := range []wire.Timer{e.registrant, e.killer} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// live returns the tasks that have not ended, in the order of their ids.
func (e *executor) live() []*task {
	var list []*task
	for _, t := range e.tasks {
		if !wire.Terminal(t.state) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(x, y *task) int {
		if x.id() < y.id() {
			return -1
		}
		return 1
	})
	return list
}

func (e *executor) isQueued(id string) bool {
	return slices.ContainsFunc(e.queued, func(l *launch) bool {
		return slices.ContainsFunc(l.tasks, func(t *task) bool { return t.id() == id })
	})
}

// unqueue takes the launch of a task that was never delivered back; of a group, all.
func (e *executor) unqueue(id string) []*task {
	for i, l := range e.queued {
		if slices.ContainsFunc(l.tasks, func(t *task) bool { return t.id() == id }) {
			e.queued = slices.Delete(e.queued, i, i+1)
			return l.tasks
		}
	}
	return nil
}

// complete moves a task whose end is acknowledged to the history.
func (e *executor) complete(t *task) {
	const remembered = 200
	delete(e.tasks, t.id())
	e.done = append(e.done, t)
	if extra := len(e.done) - remembered; extra > 0 {
		e.done = slices.Delete(e.done, 0, extra)
	}
}

// grace is how long the executor may take for its shutdown.
func (a *Agent) grace(e *executor) time.Duration {
	if period := e.info.ShutdownGracePeriod; period != nil {
		return time.Duration(period.Nanoseconds)
	}
	return a.opts.ExecutorShutdownGrace
}

// runDir is the path of a run below slaves/, in the work directory and in meta/.
func runDir(agentID, frameworkID, executorID, container string) string {
	return filepath.Join("slaves", agentID, "frameworks", frameworkID, "executors", executorID, "runs", container)
}
