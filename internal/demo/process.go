package demo

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"tidemill/internal/lifeline"
	"tidemill/internal/stack"
)

// endGrace is how long a process may take to end in good order.
const endGrace = 10 * time.Second

// process is a scheduler of the demo, which can be killed and started again.
type process struct {
	name string
	url  string // of its API
	argv []string
	env  []string
	log  string
	line *lifeline.Line

	cmd  *exec.Cmd
	done chan struct{}
}

func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(p.env), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for the demo, which ends all in order
	if err := p.line.Attach(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func() { // ends with the process, which end awaits
		defer close(p.done)
		_ = cmd.Wait() // how it ended shows in its log
	}()
	return nil
}

// ended says whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends it by SIGKILL and waits for that.
func (p *process) kill() { p.end(syscall.SIGKILL) }

// stop ends it in good order and waits for that.
func (p *process) stop() {
	if p.cmd != nil {
		p.end(syscall.SIGTERM)
	}
}

func (p *process) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended by itself
	grace := time.NewTimer(endGrace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
		_ = p.cmd.Process.Kill() // it does not listen
		<-p.done
	}
}

// environment is this process's without what a user has set for Tidemill,
// which is not meant for the demo's parts.
func environment(more []string) []string {
	kept := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, stack.UserPrefix) })
	return append(kept, more...)
}
