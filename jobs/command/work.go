package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"tidemill/jobs"
)

// Kind is the kind "command" or "service". Make it with New: a process has one
// of each.
type Kind struct {
	service bool
	family  *family
}

var (
	_ jobs.Kind          = (*Kind)(nil)
	_ jobs.HealthChecker = (*Kind)(nil)
	_ jobs.Native        = (*Kind)(nil)
)

// New makes the kind "command".
func New() *Kind { return &Kind{family: &family{}} }

// Service makes the kind "service" for the process that k is for.
func (k *Kind) Service() *Kind { return &Kind{service: true, family: k.family} }

// Name is the kind's.
func (k *Kind) Name() string {
	if k.service {
		return "service"
	}
	return "command"
}

// Summary tells people what it is.
func (k *Kind) Summary() string {
	if k.service {
		return "keeps instances of a shell text or a program running"
	}
	return "runs a shell text or a program"
}

// Work runs the command to its end. When ctx ends it is asked to end, and after
// the grace killed; whatever it started and left behind is killed in any case.
func (k *Kind) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	s, err := decode(a.Spec)
	if err != nil {
		return jobs.Result{}, jobs.Permanent(fmt.Errorf("read the command's spec: %w", err))
	}
	// The kernel kills the command when the thread that started it ends; this
	// one cannot while the goroutine holds it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if err := writeInputs(inputsPath(rt.Sandbox()), a.Inputs); err != nil {
		return jobs.Result{}, err
	}
	if len(s.Fetch) > 0 {
		if err := linkDownloads(strings.TrimSuffix(rt.Sandbox(), jobs.TaskDir(a.Task)), rt.Sandbox()); err != nil {
			return jobs.Result{}, err
		}
	}
	env := environment(append(os.Environ(), identity(s.User)...), s, a, rt.Sandbox())
	argv := s.filled(env).argv(a.Arguments)
	cmd := s.prepare(argv, env, rt.Sandbox())
	if _, err := os.Stat(cmd.Dir); err != nil {
		return jobs.Result{ExitCode: 127}, fmt.Errorf("enter the command's directory: %w", err)
	}
	last := &lastLines{}
	p, err := k.family.start(cmd, rt.Stdout(), io.MultiWriter(last, rt.Stderr()))
	if err != nil {
		return jobs.Result{ExitCode: 127}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	stopErr := await(ctx, p, a.KillGrace.D())
	sweepErr := p.finish()
	values, resultsErr := readResults(resultsPath(rt.Sandbox()))
	result := jobs.Result{ExitCode: exitCode(cmd), Values: values}
	switch {
	case stopErr != nil:
		return result, errors.Join(stopErr, sweepErr)
	case p.waitErr != nil:
		result.Message = last.String()
		return result, errors.Join(describe(cmd, p.waitErr), sweepErr)
	}
	return result, errors.Join(resultsErr, sweepErr)
}

// prepare makes a process in the command's directory.
func (s Spec) prepare(argv, env []string, sandbox string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = env, s.Dir
	if !filepath.IsAbs(cmd.Dir) {
		cmd.Dir = filepath.Join(sandbox, s.Dir)
	}
	return cmd
}

// await waits for the command's end. If ctx ends before, it sees to that end
// and says why.
func await(ctx context.Context, p *process, grace time.Duration) error {
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	var stop jobs.Stop
	if errors.As(cause, &stop) {
		grace = stop.Grace
	}
	termErr := p.signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.exited:
		return errors.Join(cause, termErr)
	case <-timer.C:
	}
	killErr := p.signal(syscall.SIGKILL)
	<-p.exited
	return errors.Join(fmt.Errorf("%w: it did not end within the grace of %s and was killed", cause, grace), termErr, killErr)
}

// exitCode is the command's, or 128 and the signal's number, as shells say.
func exitCode(cmd *exec.Cmd) int {
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

func describe(cmd *exec.Cmd, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("wait for the command: %w", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Errorf("the command was ended by signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Errorf("exit code %d", cmd.ProcessState.ExitCode())
}

// lastLines remembers the end of a stream: its last lines, within lastBytes.
type lastLines struct{ data []byte }

const (
	lastBytes = 1 << 10
	lastCount = 5
)

func (l *lastLines) Write(p []byte) (int, error) {
	l.data = append(l.data, p[max(0, len(p)-lastBytes):]...)
	if over := len(l.data) - lastBytes; over > 0 {
		l.data = append(l.data[:0], l.data[over:]...)
	}
	return len(p), nil
}

func (l *lastLines) String() string {
	lines := strings.Split(strings.TrimRight(string(l.data), "\n"), "\n")
	return strings.ToValidUTF8(strings.Join(lines[max(0, len(lines)-lastCount):], "\n"), "?")
}
