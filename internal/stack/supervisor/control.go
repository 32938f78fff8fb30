package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"tidemill/internal/stack"
)

const (
	// statePoll is how often one who waits for a supervisor looks at its state.
	statePoll = 50 * time.Millisecond
	// downGrace is how long a supervisor may take to end its servers before it is killed, and the
	// servers with it. Each server is given less than that.
	downGrace = 40 * time.Second
)

// Up makes sure that a stack is up: it starts a supervisor by the command, which must call
// Supervise with the same directory and its standard input, unless there is one; then it waits
// until the servers are ready, telling progress. Found says that another Up had started it.
// When ctx ends before that, what this Up started is ended.
func Up(ctx context.Context, dir string, command []string, o stack.Options, progress func(string)) (state State, found bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return State{}, false, fmt.Errorf("make the state directory: %w", err)
	}
	var child *child
	if _, up, err := Find(dir); err != nil {
		return State{}, false, err
	} else if !up {
		if child, err = spawn(dir, command, o); err != nil {
			return State{}, false, fmt.Errorf("start the supervisor: %w", err)
		}
	}
	state, err = follow(ctx, dir, child, progress)
	found = child == nil || state.Supervisor != child.pid
	if err != nil && ctx.Err() != nil && child != nil {
		err = errors.Join(err, child.end())
	}
	return state, found, err
}

// child is a supervisor that this process has started.
type child struct {
	pid    int
	handle *os.Process
	exited chan struct{}
}

// spawn starts a supervisor in a session of its own, so that it outlives the terminal.
func spawn(dir string, command []string, o stack.Options) (*child, error) {
	options, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(LogFile(dir), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(options), log, log
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{pid: cmd.Process.Pid, handle: cmd.Process, exited: make(chan struct{})}
	go func() {
		// How it ended is told by its state and its log.
		_ = cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

func (c *child) end() error {
	if err := c.handle.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the supervisor: %w", err)
	}
	<-c.exited
	return nil
}

// gone says whether no supervisor is to be expected from the child any more.
func (c *child) gone() bool {
	if c == nil {
		return true
	}
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// follow waits until the supervisor that has the directory is ready, or there is none.
func follow(ctx context.Context, dir string, c *child, progress func(string)) (State, error) {
	ticker := time.NewTicker(statePoll)
	defer ticker.Stop()
	for told := 0; ; {
		// The order matters: a child seen as gone before the look at the lock cannot take it after.
		gone := c.gone()
		state, up, err := Find(dir)
		if err != nil {
			return State{}, err
		}
		// Of a stack that was up before, the way there is no news.
		if c != nil || state.Phase == Starting {
			for ; told < len(state.Progress); told++ {
				progress(state.Progress[told])
			}
		}
		if up && state.Phase == Ready {
			return state, nil
		}
		if !up && gone {
			return State{}, whyGone(dir)
		}
		select {
		case <-ctx.Done():
			return state, fmt.Errorf("wait for the servers: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// whyGone explains that a supervisor ended before its servers were ready.
func whyGone(dir string) error {
	state, err := readState(dir)
	if err == nil && state.Phase == Failed {
		return errors.New(state.Error)
	}
	return errors.Join(fmt.Errorf("the supervisor ended before the servers were ready: see %s", LogFile(dir)), err)
}

// Down ends the supervisor that has the directory, and so its servers, and returns when they are
// gone; was is false when there was none.
func Down(ctx context.Context, dir string) (was bool, err error) {
	pid, err := holder(dir)
	if err != nil || pid == 0 {
		return false, err
	}
	// The handle stands for this very process; asked again, the lock proves whose it is.
	process, err := os.FindProcess(pid)
	if err != nil {
		return false, fmt.Errorf("find the supervisor: %w", err)
	}
	defer func() { _ = process.Release() }()
	if again, err := holder(dir); err != nil || again != pid {
		return again == 0, err
	}
	if err := terminate(ctx, dir, pid, process); err != nil {
		return true, fmt.Errorf("end supervisor %d: %w", pid, err)
	}
	return true, nil
}

func terminate(ctx context.Context, dir string, pid int, process *os.Process) error {
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.NewTimer(downGrace)
	defer kill.Stop()
	ticker := time.NewTicker(statePoll)
	defer ticker.Stop()
	for {
		now, err := holder(dir)
		if err != nil || now != pid {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-kill.C:
			if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		case <-ticker.C:
		}
	}
}

// Purge removes what the servers kept and said; no supervisor may have the directory.
func Purge(dir string) error {
	if _, err := os.Stat(lockFile(dir)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lock, err := acquire(dir)
	if err != nil {
		return fmt.Errorf("remove the servers' data: %w", err)
	}
	defer func() { _ = lock.Close() }()
	// By name: the directory is the user's choice and may hold other things.
	var failed error
	for _, path := range []string{dataDir(dir), LogFile(dir), stateFile(dir), filepath.Join(dir, "state.json.next")} {
		failed = errors.Join(failed, os.RemoveAll(path))
	}
	return failed
}
