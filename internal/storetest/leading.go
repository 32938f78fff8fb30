package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tidemill/scheduler"
)

// handOverLimit is how soon another must lead after a Resign: much sooner than a session ends.
const handOverLimit = 3 * time.Second

func resign(t *testing.T, l scheduler.Leadership) {
	t.Helper()
	for range 2 { // it is idempotent
		if err := l.Resign(bounded(t)); err != nil {
			t.Fatalf("resign: %v", err)
		}
	}
	wantLost(t, l)
}

// campaign runs one in the background; the test waits for it.
func campaign(t *testing.T, e scheduler.Elector) <-chan scheduler.Leadership {
	t.Helper()
	return campaignWith(t, e, nil)
}

func campaignWith(t *testing.T, e scheduler.Elector, copied scheduler.Copy) <-chan scheduler.Leadership {
	t.Helper()
	won := make(chan scheduler.Leadership, 1)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		l, err := e.Campaign(ctx, copied)
		if err == nil {
			won <- l
		} else if ctx.Err() == nil {
			t.Errorf("campaign: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return won
}

func await(t *testing.T, won <-chan scheduler.Leadership) scheduler.Leadership {
	t.Helper()
	select {
	case l := <-won:
		return l
	case <-bounded(t).Done():
		t.Fatal("nobody leads")
		return nil
	}
}

func fence(t *testing.T, c Cluster) {
	a, b := c.Join(t, "http://127.0.0.1:1"), c.Join(t, "http://127.0.0.1:2")
	former := lead(t, a)
	commit(t, former, 1, put("a", "1"))
	resign(t, former)
	next := lead(t, b)
	if next.Term() <= former.Term() {
		t.Errorf("term %d follows term %d: it must rise", next.Term(), former.Term())
	}
	wantFenced(t, former, 2)
	commit(t, next, 1, put("a", "2"))
	wantFenced(t, former, 2)
	wantFenced(t, former, 1) // even one that was applied once: nothing may be released by it any more
	wantRecords(t, next, map[string]string{"a": "2"})
	if err := former.Load(bounded(t), func(scheduler.Record) error { return nil }); !errors.Is(err, scheduler.ErrFenced) {
		t.Errorf("load in a term that is over: got %v, want ErrFenced", err)
	}
}

func handOver(t *testing.T, c Cluster) {
	a, b := c.Join(t, "http://127.0.0.1:1"), c.Join(t, "http://127.0.0.1:2")
	if _, leads := a.Leader(); leads {
		t.Error("somebody leads before anybody campaigned")
	}
	current, other := lead(t, a), campaign(t, b)
	terms := map[int64]bool{current.Term(): true}
	for i := range 4 {
		commit(t, current, 1, put("round", fmt.Sprint(i)))
		select {
		case l := <-other:
			t.Fatalf("two lead: terms %d and %d", current.Term(), l.Term())
		default:
		}
		began := time.Now()
		resign(t, current)
		current = await(t, other)
		if took := time.Since(began); took > handOverLimit {
			t.Errorf("handing over took %v", took)
		}
		if terms[current.Term()] {
			t.Fatalf("term %d came twice", current.Term())
		}
		terms[current.Term()] = true
		wantRecords(t, current, map[string]string{"round": fmt.Sprint(i)})
		a, b = b, a
		other = campaign(t, b)
	}
}

func giveUp(t *testing.T, c Cluster) {
	a, b := c.Join(t, "http://127.0.0.1:1"), c.Join(t, "http://127.0.0.1:2")
	l := lead(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.Campaign(ctx, nil)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	// One that gave up stands in nobody's way.
	resign(t, l)
	resign(t, lead(t, a))
	resign(t, lead(t, b))
}

func crash(t *testing.T, c Cluster) {
	a := c.Join(t, "http://127.0.0.1:1")
	l := lead(t, a)
	commit(t, l, 1, put("a", "1"), put("b", "1"))
	commit(t, l, 2, put("a", "2"), remove("b"))
	a.Crash()

	b := c.Join(t, "http://127.0.0.1:2")
	next := lead(t, b)
	if next.Term() <= l.Term() {
		t.Errorf("term %d follows term %d: it must rise", next.Term(), l.Term())
	}
	wantRecords(t, next, map[string]string{"a": "2"})
	commit(t, next, 1, put("c", "3"))
	wantRecords(t, next, map[string]string{"a": "2", "c": "3"})
}

func lostAnswer(t *testing.T, c Cluster) {
	m := c.Join(t, "http://127.0.0.1:1")
	l := lead(t, m)
	commit(t, l, 1, put("set", "1"), put("deleted", "1"))
	if !m.LoseAnswer() {
		t.Skip("this store answers in the same process: no answer can be lost")
	}
	b := scheduler.Batch{Sequence: 2, Changes: []scheduler.Change{put("created", "2"), put("set", "2"), remove("deleted")}}
	if err := l.Commit(bounded(t), b); !errors.Is(err, scheduler.ErrUncertain) {
		t.Fatalf("commit whose answer was lost: got %v, want ErrUncertain", err)
	}
	settle(t, l, b)
	// What exists is known again: the next batch changes all that the uncertain one touched.
	commit(t, l, 3, put("created", "3"), put("set", "3"), put("deleted", "3"))
	wantRecords(t, l, map[string]string{"created": "3", "set": "3", "deleted": "3"})
}

// settle commits b until its outcome is known.
func settle(t *testing.T, l scheduler.Leadership, b scheduler.Batch) {
	t.Helper()
	ctx := bounded(t)
	for {
		err := l.Commit(ctx, b)
		if err == nil {
			return
		}
		if !errors.Is(err, scheduler.ErrUncertain) || ctx.Err() != nil {
			t.Fatalf("commit batch %d again: %v", b.Sequence, err)
		}
	}
}
