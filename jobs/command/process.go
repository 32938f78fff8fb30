package command

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// drainWithin bounds the wait for output that nobody should write any more.
	drainWithin = 500 * time.Millisecond
	// sweepWithin bounds the chase after processes that fork while they are killed, and the wait for
	// those that a loaded machine lets die late. The first pauses between looks are short.
	sweepWithin   = 10 * time.Second
	sweepPause    = 2 * time.Millisecond
	maxSweepPause = 100 * time.Millisecond
)

// family is the commands of this process. What a command's own processes leave
// behind becomes a child of this process (it is a "subreaper"), and so can be
// found when nothing else tells whose it was.
type family struct {
	once    sync.Once
	err     error
	mu      sync.Mutex
	leaders map[int]bool // live commands
}

// adopt makes this process the parent of its descendants' orphans.
func (f *family) adopt() error {
	f.once.Do(func() {
		f.leaders = map[int]bool{}
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			f.err = fmt.Errorf("become the parent of the command's orphans: %w", err)
		}
	})
	return f.err
}

// process is a running command: a session of its own.
type process struct {
	family  *family
	cmd     *exec.Cmd
	mark    string // of its environment: what it starts inherits it
	leader  proc
	outputs []*os.File // our ends
	copies  sync.WaitGroup
	exited  chan struct{} // closed when the command itself ended
	waitErr error
}

// start starts cmd. The calling goroutine must be locked to its thread until
// the command has ended: Pdeathsig goes by the thread.
func (f *family) start(cmd *exec.Cmd, stdout, stderr io.Writer) (*process, error) {
	if err := f.adopt(); err != nil {
		return nil, err
	}
	// No id of ours would do: another framework on this agent may have the same.
	p := &process{family: f, cmd: cmd, mark: "TIDEMILL_PROCESS=" + rand.Text(), exited: make(chan struct{})}
	cmd.Env = append(cmd.Env, p.mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	out, err := p.pipe(stdout)
	if err != nil {
		return nil, err
	}
	errs, err := p.pipe(stderr)
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	cmd.Stdout, cmd.Stderr = out, errs
	err = f.fork(p)
	if err = errors.Join(err, out.Close(), errs.Close()); err != nil {
		p.drain()
		return nil, err
	}
	go func() {
		p.waitErr = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// fork starts the process and enters it among the live commands.
func (f *family) fork(p *process) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	var err error
	if p.leader, err = readProc(p.cmd.Process.Pid); err != nil { // a zombie can be read, too
		return errors.Join(err, p.cmd.Process.Kill(), p.cmd.Wait())
	}
	f.leaders[p.leader.pid] = true
	return nil
}

// pipe gives the command's end of a pipe whose content goes to w.
func (p *process) pipe(w io.Writer) (*os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	p.outputs = append(p.outputs, read)
	p.copies.Go(func() {
		if _, err := io.Copy(w, read); err != nil {
			// A full disk must not block the command, nor end it by SIGPIPE.
			_, _ = io.Copy(io.Discard, read)
		}
	})
	return write, nil
}

// signal sends a signal to the command's process group.
func (p *process) signal(s syscall.Signal) error {
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to the command: %w", unix.SignalName(s), err)
	}
	return nil
}

// finish kills all that the command left behind, once it has ended itself, and
// waits for the last of the output.
func (p *process) finish() error {
	<-p.exited
	p.family.mu.Lock()
	delete(p.family.leaders, p.cmd.Process.Pid)
	p.family.mu.Unlock()
	err := p.sweep()
	p.drain()
	return err
}

func (p *process) drain() {
	for _, f := range p.outputs {
		_ = f.SetReadDeadline(time.Now().Add(drainWithin))
	}
	p.copies.Wait()
	for _, f := range p.outputs {
		_ = f.Close()
	}
}

// sweep kills until nothing is left.
func (p *process) sweep() error {
	pause := sweepPause
	for waited := time.Duration(0); waited < sweepWithin; waited += pause {
		all, err := listProcs()
		if err != nil {
			return err
		}
		left := p.leftovers(all)
		if len(left) == 0 {
			return nil
		}
		for _, l := range left {
			if l.zombie {
				// Ours to reap; another's parent does it itself (ECHILD).
				_, _ = syscall.Wait4(l.pid, nil, syscall.WNOHANG, nil)
				continue
			}
			if err := syscall.Kill(l.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d that the command left behind: %w", l.pid, err)
			}
		}
		time.Sleep(pause) // the kernel ends and re-parents them meanwhile
		pause = min(2*pause, maxSweepPause)
	}
	return fmt.Errorf("processes that the command left behind do not die")
}

// leftovers picks the processes that belong to the ended command: by its
// session, by the mark in their environment, or, where no other command lives
// here, as orphans that this process adopted.
func (p *process) leftovers(all []proc) []proc {
	p.family.mu.Lock()
	defer p.family.mu.Unlock()
	self, mySession := os.Getpid(), 0
	if s, err := unix.Getsid(0); err == nil {
		mySession = s
	}
	var out []proc
	for _, c := range all {
		if c.started < p.leader.started || c.pid == self || p.family.leaders[c.pid] {
			continue
		}
		// What this process starts in its own session is no command's.
		adopted := c.parent == self && c.session != mySession
		switch {
		case c.zombie:
			if adopted {
				out = append(out, c)
			}
		case c.session == p.leader.pid,
			adopted && len(p.family.leaders) == 0,
			hasVariable(c.pid, p.mark):
			out = append(out, c)
		}
	}
	return out
}
