package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"tidemill/internal/netns"
)

// server is the process that a host is for.
type server struct {
	Host
	at    *netns.Host
	argv  []string
	env   []string
	dir   string
	ready string // host:port that it listens on
	log   *journal

	mu      sync.Mutex
	process *os.Process
	done    chan struct{} // closed when the process has ended
}

// readyPoll is how often a starting server is tried.
const readyPoll = 20 * time.Millisecond

// start starts the server unless it runs, and returns when it listens.
func (s *server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		return nil
	}
	if err := s.launch(); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	dialer := net.Dialer{Timeout: time.Second}
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		conn, err := dialer.DialContext(ctx, "tcp", s.ready)
		if err == nil {
			conn.Close()
			return s.log.note(Event{Kind: Up, Host: s.Name})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w: %w", s.Name, ctx.Err(), err)
		case <-s.done:
			return fmt.Errorf("start %s: it ended at once; see %s", s.Name, s.output())
		case <-ticker.C:
		}
	}
}

func (s *server) output() string { return filepath.Join(s.dir, "out.log") }

func (s *server) launch() error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(s.output(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, out, out
	cmd.Env = append(os.Environ(), s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.at.Start(cmd); err != nil {
		return err
	}
	done := make(chan struct{})
	s.process, s.done = cmd.Process, done
	go func() { // ends with the process, for which kill waits
		_ = cmd.Wait() // it is killed
		close(done)
	}()
	return nil
}

func (s *server) running() bool {
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// kill is SIGKILL, and returns when the process is gone.
func (s *server) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return nil
	}
	err := errors.Join(s.log.note(Event{Kind: Kill, Host: s.Name}), s.signal(syscall.SIGKILL))
	<-s.done
	return err
}

func (s *server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.log.note(Event{Kind: Stop, Host: s.Name}), s.signal(syscall.SIGSTOP))
}

func (s *server) resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.signal(syscall.SIGCONT), s.log.note(Event{Kind: Resume, Host: s.Name}))
}

func (s *server) signal(sig syscall.Signal) error {
	if err := s.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", sig, s.Name, err)
	}
	return nil
}
