package scheduler

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// noMaster cannot be subscribed to: it refuses, or it does not answer.
type noMaster struct{ silent bool }

func (m noMaster) Subscribe(ctx context.Context, _ string) (Subscription, error) {
	if m.silent {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return nil, errors.New("connection refused")
}

// rivals is an elector whose terms are ended by resigning only. It counts them, and how long each
// lasted.
type rivals struct {
	urls  []string
	began time.Time
	terms []time.Duration
	lost  chan struct{}
	// ahead says by how much the scheduler's clock is; commits measure it.
	ahead    func() time.Duration
	measured atomic.Int64
}

func (r *rivals) Campaign(context.Context, Copy) (Leadership, error) {
	r.began, r.lost = time.Now(), make(chan struct{})
	return r, nil
}
func (r *rivals) Leader() (string, bool)                         { return r.urls[0], true }
func (r *rivals) Schedulers() []string                           { return r.urls }
func (r *rivals) Term() int64                                    { return int64(len(r.terms)) + 1 }
func (r *rivals) Lost() <-chan struct{}                          { return r.lost }
func (r *rivals) Load(context.Context, func(Record) error) error { return nil }
func (*rivals) CatchUp(context.Context) error                    { return nil }
func (r *rivals) Commit(context.Context, Batch) error {
	if r.ahead != nil {
		r.measured.Store(int64(r.ahead()))
	}
	return nil
}
func (r *rivals) ClockSkew() time.Duration { return time.Duration(r.measured.Load()) }

func (r *rivals) Resign(context.Context) error {
	r.terms = append(r.terms, time.Since(r.began))
	return nil
}

// leadInVain runs a scheduler without a master for a while.
func leadInVain(t *testing.T, m Mesos, elector *rivals, d time.Duration) {
	t.Helper()
	kinds, err := jobs.NewRegistry(stubKind{})
	if err != nil {
		t.Fatal(err)
	}
	s := NewScheduler(Options{
		Core: DefaultConfig(), Kinds: kinds, Elector: elector, Mesos: m, Log: zerolog.Nop(), MasterTimeout: 10 * time.Second,
	})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Serve(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestALeaderWithoutMasterLetsAnotherLead: the masters may be out of its own reach only.
func TestALeaderWithoutMasterLetsAnotherLead(t *testing.T) {
	for name, m := range map[string]noMaster{"refused": {}, "no answer": {silent: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				elector := &rivals{urls: []string{"http://a", "http://b"}}
				leadInVain(t, m, elector, 5*time.Minute)
				if len(elector.terms) < 3 {
					t.Fatalf("%d terms in five minutes", len(elector.terms))
				}
				for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
					if got := elector.terms[i]; got < want || got > want+pauseMost {
						t.Errorf("term %d lasted %s; want about %s, longer each time", i+1, got, want)
					}
				}
			})
		})
	}
}

func TestALeaderWithoutOthersGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		elector := &rivals{urls: []string{"http://a"}}
		leadInVain(t, noMaster{}, elector, 5*time.Minute)
		if len(elector.terms) != 1 {
			t.Errorf("%d terms; want one, as nobody else could lead", len(elector.terms))
		}
	})
}

// brief is a subscription that a master opens, and ends with a reason.
type brief struct {
	events chan Event
	reason string
}

func newBrief(reason string) brief {
	b := brief{make(chan Event, 2), reason}
	b.events <- Subscribed{FrameworkID: "F1"}
	b.events <- Refused{Message: reason}
	close(b.events)
	return b
}

func (b brief) Subscribe(context.Context, string) (Subscription, error) { return b, nil }
func (b brief) Events() <-chan Event                                    { return b.events }
func (b brief) Err() error                                              { return errors.New("the master refused: " + b.reason) }
func (brief) Send(context.Context, Call) error                          { return nil }
func (brief) Close()                                                    {}

// TestWhyAMasterEndsASubscription: it is said once, and of which framework.
func TestWhyAMasterEndsASubscription(t *testing.T) {
	for reason, want := range map[string]string{
		"Framework failed over": "the master ended the subscription: Framework failed over",
		"Framework has been removed": "the master says that framework F1 has been removed: its id is gone for good, " +
			"and with it all its tasks",
	} {
		s := &subscriber{
			mesos: newBrief(reason), log: zerolog.Nop(), post: func(Event) {}, patience: time.Second,
			fence: func(context.Context) error { return nil }, framework: func(context.Context) string { return "" },
			caller: newCaller(zerolog.Nop(), func(Event) {}),
		}
		if err := s.once(t.Context()); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", reason, err, want)
		}
	}
}
