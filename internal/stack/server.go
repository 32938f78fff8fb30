package stack

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

const (
	// readyPoll is how often a starting server is asked whether it is ready.
	readyPoll = 20 * time.Millisecond
	// stopGrace is how long a server may take to end in good order, unless its recipe says otherwise.
	stopGrace = 20 * time.Second
	// tailBytes of a log are shown when a server fails.
	tailBytes = 2000
)

// recipe is how one server is started, and how it is asked whether it is ready.
type recipe struct {
	name    string
	address string
	dir     string
	argv    []string
	env     []string
	ready   func(ctx context.Context) error
	grace   time.Duration
}

// Server is one real server: a child process of this one, on loopback.
type Server struct {
	recipe  recipe
	nursery *nursery
	log     zerolog.Logger

	// restart is held by Restart, so that there is one life at a time. Kill and Stop do not wait
	// for it: a server may be killed while it starts.
	restart sync.Mutex
	mu      sync.Mutex // guards current
	current *process
}

// process is one life of a server.
type process struct {
	handle *os.Process
	exited chan struct{}
	// err is how it ended, once exited is closed.
	err error
}

// Name tells the server from the others of its stack, such as "cassandra-2".
func (s *Server) Name() string { return s.recipe.name }

// Address is the host and port that clients use.
func (s *Server) Address() string { return s.recipe.address }

// Pid is the process id of the server's present, or else its last, life.
func (s *Server) Pid() int { return s.life().handle.Pid }

// Done is closed when the server's present life ends; Restart begins another.
func (s *Server) Done() <-chan struct{} { return s.life().exited }

// LogFile is where the server's output goes; it is kept as long as the stack's directory.
func (s *Server) LogFile() string { return filepath.Join(s.recipe.dir, "out.log") }

func (s *Server) life() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Kill ends the server by SIGKILL and returns when it is gone.
func (s *Server) Kill() error {
	return s.end(syscall.SIGKILL)
}

// Stop ends the server in good order, or by SIGKILL when that takes too long, and returns when it
// is gone.
func (s *Server) Stop() error {
	return s.end(syscall.SIGTERM)
}

// Restart starts the server again over the same data, at the same address, and returns when it
// answers. A server that still runs is stopped first.
func (s *Server) Restart(ctx context.Context) error {
	s.restart.Lock()
	defer s.restart.Unlock()
	if err := s.end(syscall.SIGTERM); err != nil {
		return err
	}
	return s.start(ctx)
}

// start begins a life and waits until the server is ready or dead. The server is left running
// when that takes too long, or ctx ends first: Stop ends it.
func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not within %s", startTimeout))
	defer cancel()
	began := time.Now()
	if err := s.launch(); err != nil {
		return fmt.Errorf("start %s: %w", s.recipe.name, err)
	}
	if err := s.awaitReady(ctx); err != nil {
		return fmt.Errorf("start %s: %w; the end of %s: %s", s.recipe.name, err, s.LogFile(), tail(s.LogFile()))
	}
	s.log.Debug().Str("server", s.recipe.name).Str("address", s.recipe.address).Int("pid", s.Pid()).
		Dur("took", time.Since(began)).Msg("server is ready")
	return nil
}

func (s *Server) launch() error {
	output, err := os.OpenFile(s.LogFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	cmd := exec.Command(s.recipe.argv[0], s.recipe.argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.recipe.dir, output, output
	cmd.Env = append(os.Environ(), s.recipe.env...)
	if err := s.nursery.start(cmd); err != nil {
		return err
	}
	life := &process{handle: cmd.Process, exited: make(chan struct{})}
	go func() {
		life.err = cmd.Wait()
		close(life.exited)
	}()
	s.mu.Lock()
	s.current = life
	s.mu.Unlock()
	return nil
}

// awaitReady watches both: a server can die while it is waited for.
func (s *Server) awaitReady(ctx context.Context) error {
	life := s.life()
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		err := s.recipe.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-life.exited:
			return fmt.Errorf("it ended before it was ready: %w", errors.Join(life.err, err))
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

func (s *Server) end(sig syscall.Signal) error {
	life := s.life()
	if life == nil {
		return nil
	}
	if err := signal(life, sig); err != nil {
		return fmt.Errorf("stop %s: %w", s.recipe.name, err)
	}
	grace := cmp.Or(s.recipe.grace, stopGrace)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-life.exited:
		return nil
	case <-timer.C:
		s.log.Warn().Str("server", s.recipe.name).Dur("grace", grace).Msg("server does not stop: killing it")
	}
	if err := signal(life, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", s.recipe.name, err)
	}
	<-life.exited
	return nil
}

func signal(life *process, sig syscall.Signal) error {
	if err := life.handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func killGroup(p *os.Process) error {
	if err := syscall.Kill(-p.Pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process group %d: %w", p.Pid, err)
	}
	return nil
}

// tail is the end of a log, for an error that must say what happened.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = file.Seek(-tailBytes, io.SeekEnd)
	}
	content, err := io.ReadAll(io.LimitReader(file, tailBytes))
	if err != nil {
		return err.Error()
	}
	if content = bytes.TrimSpace(content); len(content) == 0 {
		return "(empty)"
	}
	return string(content)
}
