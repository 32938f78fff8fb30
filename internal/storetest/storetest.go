// Package storetest is the one suite that every store behind the scheduler's ports must pass.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/scheduler"
)

// Cluster is a store, empty at first, that schedulers join.
type Cluster interface {
	// Join adds a scheduler, which leaves when the test ends.
	Join(t *testing.T, url string) Member
}

// Member is one scheduler's way to the store.
type Member interface {
	scheduler.Elector
	// Crash ends this member as SIGKILL would: nothing is resigned, closed or flushed.
	Crash()
	// LoseAnswer lets the next commit reach the store but its answer not come back. It is false
	// where answers cannot be lost.
	LoseAnswer() bool
	// Disconnect loses the member's connection, which it may make again at once.
	Disconnect()
	// Follows says whether those who stand by copy the records.
	Follows() bool
}

// patience is how long a store on a loaded machine may take for what takes no time of its own.
const patience = 30 * time.Second

// Run runs the suite; open gives each test, which run side by side, a cluster of its own.
func Run(t *testing.T, open func(t *testing.T) Cluster) {
	tests := []struct {
		name string
		run  func(t *testing.T, c Cluster)
	}{
		{"records are found again as they were last committed", records},
		{"a batch is whole, in order, and like the model", model},
		{"a batch committed again is recognised", again},
		{"what is loaded is of one instant", instant},
		{"a batch without changes checks the term", check},
		{"the largest batches fit", largest},
		{"a new term fences the former", fence},
		{"one leads, and hands over when it resigns", handOver},
		{"a campaign ends with its context", giveUp},
		{"what was acknowledged survives a crash", crash},
		{"a lost answer leaves the outcome open, and is settled by committing again", lostAnswer},
		{"whoever leads next has copied what there is", follow},
		{"one that stands by follows the records", followClosely},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, open(t))
		})
	}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func lead(t *testing.T, e scheduler.Elector) scheduler.Leadership {
	t.Helper()
	l, err := e.Campaign(bounded(t), nil)
	if err != nil {
		t.Fatalf("campaign: %v", err)
	}
	return l
}

func put(key, value string) scheduler.Change {
	return scheduler.Change{Key: key, Value: append([]byte{}, value...)}
}

func remove(key string) scheduler.Change { return scheduler.Change{Key: key} }

func commit(t *testing.T, l scheduler.Leadership, sequence int64, changes ...scheduler.Change) {
	t.Helper()
	if err := l.Commit(bounded(t), scheduler.Batch{Sequence: sequence, Changes: changes}); err != nil {
		t.Fatalf("commit batch %d: %v", sequence, err)
	}
}

func load(t *testing.T, l scheduler.Leadership) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := l.Load(bounded(t), func(r scheduler.Record) error {
		if _, twice := found[r.Key]; twice {
			t.Errorf("record %q was loaded twice", r.Key)
		}
		found[r.Key] = string(r.Value)
		return nil
	})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return found
}

func wantRecords(t *testing.T, l scheduler.Leadership, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, load(t, l)); diff != "" {
		t.Fatalf("records differ from what was committed (-want +got):\n%s", diff)
	}
}

func wantFenced(t *testing.T, l scheduler.Leadership, sequence int64) {
	t.Helper()
	err := l.Commit(bounded(t), scheduler.Batch{Sequence: sequence, Changes: []scheduler.Change{put("late", "x")}})
	if !errors.Is(err, scheduler.ErrFenced) {
		t.Fatalf("commit in a term that is over: got %v, want ErrFenced", err)
	}
}

func wantLost(t *testing.T, l scheduler.Leadership) {
	t.Helper()
	select {
	case <-l.Lost():
	case <-bounded(t).Done():
		t.Fatal("Lost was not closed although the term is over")
	}
}
