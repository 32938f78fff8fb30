// Package command is the built-in command executor of the local Mesos: a process that
// runs the command of one task and reports how it went over the v1 executor API.
package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	exec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"tidemill/internal/mesoslocal/wire"
)

// defaultKillGrace is what a task has between SIGTERM and SIGKILL.
const defaultKillGrace = 3 * time.Second

// linger is how long the executor stays after its task's end is acknowledged, as a real one
// does: until then its task's id cannot be used again.
const linger = time.Second

// Executor runs one task.
type Executor struct {
	agent     string // host:port
	framework mesos.FrameworkID
	id        mesos.ExecutorID
	recovery  time.Duration // how long to seek a lost agent; zero: not at all
	clock     wire.Clock

	mu        sync.Mutex
	task      *mesos.TaskInfo
	process   *process
	killing   bool
	killState bool               // the framework wants TASK_KILLING
	unacked   []mesos.TaskStatus // in order
	finished  bool
	void      bool // the task has nothing to run
	outbox    chan mesos.TaskStatus

	check, health *check
	began         time.Time              // when the health check did
	lastCheck     *mesos.CheckStatusInfo // as reported
	lastHealth    *bool                  // as reported
	failures      uint32                 // of the health check, in a row
	unhealthy     bool                   // the task is killed for them

	done chan struct{} // the last update is acknowledged, or nobody waits for it
	once sync.Once
}

// Run is the process's work: it returns when the task is over and the agent knows it.
func Run(ctx context.Context, getenv func(string) string, clock wire.Clock) error {
	e := &Executor{
		clock:     clock,
		agent:     getenv("MESOS_AGENT_ENDPOINT"),
		framework: mesos.FrameworkID{Value: getenv("MESOS_FRAMEWORK_ID")},
		id:        mesos.ExecutorID{Value: getenv("MESOS_EXECUTOR_ID")},
		outbox:    make(chan mesos.TaskStatus, 16),
		done:      make(chan struct{}),
	}
	if e.agent == "" {
		return errors.New("run the command executor: MESOS_AGENT_ENDPOINT is not set (an agent starts it, not a user)")
	}
	if getenv("MESOS_CHECKPOINT") == "1" {
		e.recovery = parseDuration(getenv("MESOS_RECOVERY_TIMEOUT"))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var senders sync.WaitGroup
	senders.Go(func() { e.sendUpdates(ctx) })
	defer senders.Wait()
	defer cancel()
	return e.follow(ctx)
}

// follow keeps a subscription until the task is over or the agent is lost for good.
func (e *Executor) follow(ctx context.Context) error {
	lost := time.Now()
	for {
		connected, err := e.subscribe(ctx)
		select {
		case <-e.done:
			return nil
		default:
		}
		if connected {
			lost = time.Now()
		}
		if errors.Is(err, errNoCommand) {
			return err
		}
		if ctx.Err() != nil || time.Since(lost) >= e.recovery {
			e.abort()
			return fmt.Errorf("the agent is lost: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// abort kills the task without another word: there is nobody to tell.
func (e *Executor) abort() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.process != nil {
		e.process.signal(syscall.SIGKILL)
	}
}

func (e *Executor) finish() { e.once.Do(func() { close(e.done) }) }

// event handles one event of the agent.
func (e *Executor) event(event *exec.Event) error {
	switch event.Type {
	case exec.Event_SUBSCRIBED:
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, capability := range event.Subscribed.FrameworkInfo.Capabilities {
			e.killState = e.killState || capability.Type == mesos.FrameworkInfo_Capability_TASK_KILLING_STATE
		}
	case exec.Event_LAUNCH:
		return e.launch(event.Launch.Task)
	case exec.Event_KILL:
		e.kill(event.Kill.KillPolicy)
	case exec.Event_SHUTDOWN:
		e.shutdown()
	case exec.Event_ACKNOWLEDGED:
		return e.acknowledged(event.Acknowledged.UUID)
	}
	return nil
}

// errNoCommand ends the executor of a task that has nothing to run, as a real one aborts.
var errNoCommand = errors.New("the task's command has no value")

func (e *Executor) launch(task mesos.TaskInfo) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.task != nil {
		return nil // one task only, and the agent sees to that
	}
	e.task = &task
	e.report(mesos.TASK_STARTING, "")
	shell := task.Command.Shell == nil || *task.Command.Shell
	if shell && task.Command.Value == nil {
		e.void = true
		return nil
	}
	process, err := startProcess(task)
	if err != nil {
		e.report(mesos.TASK_FAILED, "Failed to launch the command: "+err.Error())
		e.finished = true
		return nil
	}
	e.process = process
	e.report(mesos.TASK_RUNNING, "")
	e.watch()
	go e.await(process) // the process ends with this one
	return nil
}

// await reports the end of the task.
func (e *Executor) await(process *process) {
	status := process.wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finished = true
	e.unwatch()
	state := mesos.TASK_FAILED
	var message string
	switch {
	case status.Exited() && status.ExitStatus() == 0:
		state = mesos.TASK_FINISHED
		fallthrough
	case status.Exited():
		message = fmt.Sprintf("Command exited with status %d", status.ExitStatus())
	default:
		message = "Command terminated with signal " + signalText(status.Signal())
	}
	if e.killing {
		state = mesos.TASK_KILLED
	}
	last := e.status(state, message)
	if e.unhealthy {
		last.Healthy = new(false)
	}
	e.send(last)
}

// signalText names signals as strsignal does.
func signalText(signal syscall.Signal) string {
	text := signal.String()
	return strings.ToUpper(text[:1]) + text[1:]
}

// kill asks the task to end, and ends it after the grace period.
func (e *Executor) kill(policy *mesos.KillPolicy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.process == nil || e.finished || e.killing {
		return
	}
	e.killing = true
	e.unwatch()
	if e.killState {
		e.report(mesos.TASK_KILLING, "")
	}
	if policy == nil {
		policy = e.task.KillPolicy
	}
	grace := defaultKillGrace
	if policy != nil && policy.GracePeriod != nil {
		grace = time.Duration(policy.GracePeriod.Nanoseconds)
	}
	process := e.process
	process.signal(syscall.SIGTERM)
	e.clock.AfterFunc(grace, func() { process.signal(syscall.SIGKILL) })
}

// shutdown kills the task; an executor without one, or with a finished one, just ends.
func (e *Executor) shutdown() {
	e.mu.Lock()
	idle := e.process == nil || e.finished
	e.mu.Unlock()
	if idle {
		e.finish()
		return
	}
	e.kill(nil)
}

// report tells of a change of the task's state; mu is held.
func (e *Executor) report(state mesos.TaskState, message string) { e.send(e.status(state, message)) }

// status makes an update; mu is held. It says that the task is checked, where it is, but
// not with which outcome: that is for updates of the check.
func (e *Executor) status(state mesos.TaskState, message string) mesos.TaskStatus {
	status := mesos.TaskStatus{
		TaskID: e.task.TaskID, State: &state, Source: mesos.SOURCE_EXECUTOR.Enum(), ExecutorID: &e.id,
		Timestamp: new(wire.Unix(time.Now())), UUID: wire.NewUUID(),
	}
	if message != "" {
		status.Message = &message
	}
	if e.task.Check != nil {
		status.CheckStatus = checkStatus(e.task.Check, nil)
	}
	return status
}

// send queues an update; mu is held.
func (e *Executor) send(status mesos.TaskStatus) {
	e.unacked = append(e.unacked, status)
	select {
	case e.outbox <- status:
	default: // the agent has been away for long: the next subscription carries it
	}
}

func (e *Executor) acknowledged(uuid []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, status := range e.unacked {
		if string(status.UUID) == string(uuid) {
			e.unacked = append(e.unacked[:i], e.unacked[i+1:]...)
			break
		}
	}
	if e.finished && len(e.unacked) == 0 {
		e.clock.AfterFunc(linger, e.finish)
	}
	if e.void && len(e.unacked) == 0 {
		return errNoCommand
	}
	return nil
}

// parseDuration reads Mesos's text form, as in 15mins.
func parseDuration(text string) time.Duration {
	for suffix, unit := range map[string]time.Duration{
		"weeks": 7 * 24 * time.Hour, "days": 24 * time.Hour, "hrs": time.Hour, "mins": time.Minute,
		"secs": time.Second, "ms": time.Millisecond,
	} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			var value float64
			if _, err := fmt.Sscan(number, &value); err == nil {
				return time.Duration(value * float64(unit))
			}
		}
	}
	return 0
}
