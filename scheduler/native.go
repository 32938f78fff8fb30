package scheduler

import (
	"cmp"
	"path"
	"regexp"
	"strconv"

	"tidemill/jobs"
)

// A job with a container is run by Mesos's built-in executors. Their tasks
// have no start_by and leave no outcome file: Mesos's states alone say how
// they went, and their executor bears the task's own id.

// native says whether an attempt runs in a built-in executor.
func (t *task) native() bool { return isNative(&t.rec) }

func isNative(t *jobs.Task) bool { return t.Executor == string(t.ID) }

// logPath is where an attempt's stream lies in its executor's sandbox.
func logPath(t *jobs.Task, stream string) string { return path.Join(sandboxDir(t), stream) }

// sandboxDir is where an attempt's files lie in its executor's sandbox, which it may share.
func sandboxDir(t *jobs.Task) string {
	if isNative(t) {
		return "."
	}
	return jobs.TaskDir(t.ID)
}

// nativeTask is what the built-in executors are told of an attempt.
func (c *Core) nativeTask(t *task, s *split) *NativeTask {
	job := t.run.pinned()
	a := c.assignment(t, s)
	n := &NativeTask{User: cmp.Or(t.run.traits.User, c.cfg.Own.User), Downloads: t.run.traits.Downloads, Container: *t.run.traits.Container, MaxRun: a.MaxRun.D(), PortNames: a.PortNames, Health: a.Health}
	if kind, ok := c.kinds.Get(job.Kind); ok {
		n.Command = kind.(jobs.Native).Native(a) // the registry saw to it
	}
	return n
}

// endNative takes a built-in executor's end. What its agent says of a launch
// that failed before is no start.
func (c *Core) endNative(t *task, u jobs.Update) {
	switch {
	case u.State == jobs.TaskFinished:
		t.rec.ExitCode = new(int)
		c.succeed(t, u.Reason, u.Message)
	case u.Source != "SOURCE_EXECUTOR" && !t.rec.Seen && neverStarted(u.Reason):
		c.ended(t, jobs.AttemptNotStarted, u.Reason, u.Message)
	case u.State == jobs.TaskKilled:
		t.rec.Drained = t.rec.Drained || u.Reason == reasonDraining && t.rec.Kill == ""
		c.ended(t, jobs.AttemptKilled, killReason(t), u.Message)
	default:
		t.rec.ExitCode = exitCode(u.Message)
		c.ended(t, jobs.AttemptFailed, u.Reason, u.Message)
	}
}

// killReason says why an attempt was killed.
func killReason(t *task) string {
	switch {
	case t.rec.Kill != "":
		return t.rec.Kill
	case t.rec.Drained:
		return "its agent is drained"
	}
	return "killed, but not by this scheduler"
}

// exitMessage is how Mesos's command and docker executors tell an exit code.
var exitMessage = regexp.MustCompile(`^(?:Command|Container) exited with status (\d+)$`)

// exitCode is the one that a message tells, if any.
func exitCode(message string) *int {
	m := exitMessage.FindStringSubmatch(message)
	if m == nil {
		return nil
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return nil
	}
	return &n
}

// discovery makes a service known to Mesos-DNS and its like.
func (x *run) discovery(t *task) *Discovery {
	if !x.traits.Service {
		return nil
	}
	d := &Discovery{Name: string(x.rec.Job), Version: strconv.FormatInt(x.rec.JobVersion, 10)}
	names := x.portNames()
	for i, number := range t.rec.Ports {
		p := Port{Number: number}
		if i < len(names) {
			p.Name = names[i]
		}
		d.Ports = append(d.Ports, p)
	}
	return d
}
