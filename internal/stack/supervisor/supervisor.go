// Package supervisor keeps a stack of real servers running in the background, from one command to
// the next: Up starts it, Down ends it, and Find tells of it.
//
// The servers are children of a process of their own, the supervisor, which has a lock on the state
// directory as long as it lives; when it ends, however it ends, its servers end with it.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/rs/zerolog"

	"tidemill/internal/stack"
)

func dataDir(dir string) string { return filepath.Join(dir, "data") }

// LogFile is where the supervisor of a state directory writes.
func LogFile(dir string) string { return filepath.Join(dir, "supervisor.log") }

// Supervise is the supervisor's own life: it reads the options that Up sends, starts the servers,
// and ends them when ctx does.
func Supervise(ctx context.Context, dir string, options io.Reader, log zerolog.Logger) error {
	lock, err := acquire(dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	var o stack.Options
	if err := json.NewDecoder(options).Decode(&o); err != nil {
		return fmt.Errorf("read the options of the stack: %w", err)
	}
	o.Dir, o.Log = dataDir(dir), log
	b := &board{dir: dir, state: State{Supervisor: os.Getpid(), Phase: Starting, Options: o}}
	o.Progress = func(line string) {
		if err := b.change(func(s *State) { s.Progress = append(s.Progress, line) }); err != nil {
			log.Warn().Err(err).Msg("cannot tell progress")
		}
	}
	if err := b.change(func(*State) {}); err != nil {
		return err
	}
	s, err := stack.Start(ctx, o)
	if err != nil {
		return errors.Join(err, b.change(func(s *State) { s.Phase, s.Error = Failed, err.Error() }))
	}
	return keep(ctx, s, b, log)
}

// keep holds the servers until ctx ends. A server that ends by itself is told, not started again:
// what ended it should be seen.
func keep(ctx context.Context, s *stack.Stack, b *board, log zerolog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watchers sync.WaitGroup
	err := b.change(func(state *State) {
		state.Phase, state.Addresses = Ready, s.Addresses()
		for i, server := range s.Servers() {
			state.Servers = append(state.Servers, Server{
				Name: server.Name(), Address: server.Address(), Pid: server.Pid(), Log: server.LogFile(),
			})
			watchers.Go(func() { watch(ctx, server, i, b, log) })
		}
	})
	if err == nil {
		<-ctx.Done()
	}
	cancel()
	watchers.Wait()
	log.Info().Msg("ending the servers")
	return errors.Join(err, s.Stop(), os.Remove(stateFile(b.dir)))
}

func watch(ctx context.Context, server *stack.Server, index int, b *board, log zerolog.Logger) {
	select {
	case <-ctx.Done():
	case <-server.Done():
		log.Error().Str("server", server.Name()).Str("log", server.LogFile()).Msg("server ended by itself")
		if err := b.change(func(s *State) { s.Servers[index].Pid = 0 }); err != nil {
			log.Warn().Err(err).Msg("cannot tell that a server ended")
		}
	}
}
