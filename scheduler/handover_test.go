package scheduler

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// surroundings are a store, an election and a master that note what is done to them, in order.
type surroundings struct {
	mu    sync.Mutex
	noted []string
	lost  chan struct{}
}

func (s *surroundings) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted = append(s.noted, what)
}

func (s *surroundings) Campaign(ctx context.Context, _ Copy) (Leadership, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s, nil
}
func (*surroundings) Leader() (string, bool)                         { return "", true }
func (*surroundings) Schedulers() []string                           { return nil }
func (*surroundings) Load(context.Context, func(Record) error) error { return nil }
func (*surroundings) CatchUp(context.Context) error                  { return nil }
func (*surroundings) Commit(context.Context, Batch) error            { return nil }
func (*surroundings) Term() int64                                    { return 1 }
func (s *surroundings) Lost() <-chan struct{}                        { return s.lost }
func (s *surroundings) Resign(context.Context) error                 { s.note("resigned"); return nil }
func (s *surroundings) Events() <-chan Event                         { return nil }
func (*surroundings) Err() error                                     { return nil }
func (*surroundings) Send(context.Context, Call) error               { return nil }
func (s *surroundings) Close()                                       { s.note("closed the stream") }
func (s *surroundings) Subscribe(context.Context, string) (Subscription, error) {
	s.note("subscribed")
	return s, nil
}

// TestHandOverClosesTheStreamFirst: whoever leads next subscribes to a master
// that hears nothing of this scheduler any more.
func TestHandOverClosesTheStreamFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &surroundings{lost: make(chan struct{})}
		kinds, err := jobs.NewRegistry(stubKind{})
		if err != nil {
			t.Fatal(err)
		}
		scheduler := NewScheduler(Options{Core: DefaultConfig(), Kinds: kinds, Elector: s, Mesos: s, Log: zerolog.Nop()})
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- scheduler.Serve(ctx) }()
		synctest.Wait()
		stop()
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		if want := []string{"subscribed", "closed the stream", "resigned"}; !slices.Equal(s.noted, want) {
			t.Errorf("done in the order %q, want %q", s.noted, want)
		}
	})
}

// fullDisk is an election that every candidate wins, and a store that nobody can write to.
type fullDisk struct {
	surroundings
	campaigns []time.Time
}

func (f *fullDisk) Campaign(context.Context, Copy) (Leadership, error) {
	f.campaigns = append(f.campaigns, time.Now())
	return f, nil
}

func (*fullDisk) CatchUp(context.Context) error { return errors.New("no space left on device") }

// TestTermsThatEndAtOnceAreFewerAndFewer: nobody is helped by five elections a
// second, each with its lines in the log.
func TestTermsThatEndAtOnceAreFewerAndFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fullDisk{surroundings: surroundings{lost: make(chan struct{})}}
		scheduler := NewScheduler(Options{Core: DefaultConfig(), Kinds: &jobs.Registry{}, Elector: f, Mesos: f, Log: zerolog.Nop()})
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := scheduler.Serve(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(f.campaigns); n < 10 || n > 20 {
			t.Errorf("%d elections in a minute, want between 10 and 20", n)
		}
		if again := f.campaigns[1].Sub(f.campaigns[0]); again > 100*time.Millisecond {
			t.Errorf("the second election came %s after the first", again)
		}
	})
}
