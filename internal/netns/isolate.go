package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageVariable says, within an isolated tree of processes, which of them a process is.
const stageVariable = "TIDEMILL_NETNS_STAGE"

// The stages.
const (
	stageInit = "init" // the first process: it reaps
	stageRun  = "run"  // the program itself
)

// ErrNotAllowed says that this process may not make namespaces.
var ErrNotAllowed = errors.New("making namespaces needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN (in a container: --privileged)")

// Allowed says why this process may not make namespaces, where it may not.
func Allowed() error {
	failed := make(chan error)
	go onOwnThread(func() { failed <- unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS) })
	if err := <-failed; err != nil {
		return fmt.Errorf("make namespaces: %w: %w", ErrNotAllowed, err)
	}
	return nil
}

// Isolate runs this program, with its arguments, again in network, process and mount namespaces of
// its own, and gives its exit code. Where the program runs in them already it says so: then it is to
// go on. All processes in the namespaces end with this one or with the program, whichever is
// first, and so do the namespaces.
func Isolate(ctx context.Context) (inside bool, code int, err error) {
	switch os.Getenv(stageVariable) {
	case stageRun:
		return true, 0, os.Unsetenv(stageVariable)
	case stageInit:
		code, err = reap()
		return false, code, err
	}
	code, err = enter(ctx)
	return false, code, err
}

// enter starts the first process of the namespaces, and waits for it.
func enter(ctx context.Context) (int, error) {
	runtime.LockOSThread() // the death signal is this thread's
	defer runtime.UnlockOSThread()
	cmd := again(stageInit)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Setpgid:    true, // Ctrl-C is for this process, which passes it on
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("make namespaces: %w: %w", ErrNotAllowed, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	return status(cmd.Wait())
}

// reap is the first process of the namespaces: it runs the program, passes SIGTERM on to it, and
// takes the end of every process that has no other parent.
func reap() (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return 0, fmt.Errorf("make the mounts private: %w: %w", ErrNotAllowed, err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return 0, fmt.Errorf("mount /proc: %w: %w", ErrNotAllowed, err)
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	cmd := again(stageRun)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the program: %w", err)
	}
	program := cmd.Process.Pid
	go func() { // ends with this process, which the program's end ends
		<-terminated
		_ = syscall.Kill(program, syscall.SIGTERM)
	}()
	for {
		var ended syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ended, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the program: %w", err)
		case pid == program && ended.Signaled():
			return signalled + int(ended.Signal()), nil
		case pid == program:
			return ended.ExitStatus(), nil
		}
	}
}

// again is this program with its arguments, in a further stage.
func again(stage string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
	return cmd
}

// signalled is added to a signal's number, as shells do.
const signalled = 128

func status(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 0, fmt.Errorf("wait for the namespaces: %w", err)
	case exit.ExitCode() < 0:
		return signalled + int(syscall.SIGKILL), nil
	}
	return exit.ExitCode(), nil
}
