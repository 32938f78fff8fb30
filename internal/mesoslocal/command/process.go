package command

import (
	"errors"
	"os"
	osexec "os/exec"
	"syscall"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/container"
)

// process is the command of a task, in a session of its own.
type process struct {
	cmd *osexec.Cmd
}

func startProcess(task mesos.TaskInfo) (*process, error) {
	cmd := osexec.Command("/bin/sh", "-c", task.Command.GetValue())
	if task.Command.Shell != nil && !*task.Command.Shell {
		argv := task.Command.Arguments
		if len(argv) == 0 {
			argv = []string{task.Command.GetValue()}
		}
		cmd = osexec.Command(task.Command.GetValue(), argv[1:]...)
		cmd.Args = argv
		if cmd.Err != nil { // a real executor forks first, and exec fails in the child
			cmd = osexec.Command("/bin/sh", "-c", "echo 'Failed to execute command' >&2; exit 1")
		}
	}
	cmd.Env = environment(task)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return nil, err
		}
		cmd = osexec.Command("/bin/sh", "-c", "echo 'Failed to execute command' >&2; exit 1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return nil, err
		}
	}
	return &process{cmd: cmd}, nil
}

func environment(task mesos.TaskInfo) []string {
	env := append(os.Environ(), "MESOS_TASK_ID="+task.TaskID.Value)
	if task.Command.Environment != nil {
		for _, variable := range task.Command.Environment.Variables {
			env = append(env, variable.Name+"="+variable.GetValue())
		}
	}
	return env
}

// wait returns how the command ended.
func (p *process) wait() syscall.WaitStatus {
	_ = p.cmd.Wait() // the status tells what the error would
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return syscall.WaitStatus(1 << 8)
	}
	return status
}

// signal reaches the command and all below it, whatever their sessions.
func (p *process) signal(signal syscall.Signal) {
	below := descendants(p.cmd.Process.Pid)
	_ = syscall.Kill(-p.cmd.Process.Pid, signal) // its group may be gone
	for _, pid := range below {
		_ = syscall.Kill(pid, signal) // it may be gone
	}
}

func descendants(pid int) []int {
	var all []int
	for _, child := range container.Children(pid) {
		all = append(append(all, child), descendants(child)...)
	}
	return all
}
