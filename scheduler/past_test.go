package scheduler

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"tidemill/jobs"
)

// shelf is a history in memory, and a store that holds what it is given.
type shelf struct {
	*surroundings
	records []Record
	runs    []jobs.RunView // newest first
	looks   int            // entries that it looks at for one page; 0: all
	away    error
}

func (s *shelf) Campaign(ctx context.Context, copied Copy) (Leadership, error) {
	for _, r := range s.records {
		copied(Change(r))
	}
	return s, ctx.Err()
}

func (s *shelf) Write(context.Context, []jobs.RunView) error { return s.away }

func (s *shelf) Run(_ context.Context, id jobs.RunID) (jobs.RunView, error) {
	i := slices.IndexFunc(s.runs, func(v jobs.RunView) bool { return v.ID == id })
	switch {
	case s.away != nil:
		return jobs.RunView{}, s.away
	case i < 0:
		return jobs.RunView{}, &jobs.Error{Code: jobs.NotFound, Message: "not here"}
	}
	return s.runs[i], nil
}

func (s *shelf) Runs(_ context.Context, q jobs.RunQuery) (page jobs.RunPage, err error) {
	for i, v := range s.runs {
		switch {
		case v.Job != q.Job, !q.Before.IsZero() && v.Cursor().Compare(q.Before) <= 0:
			continue
		case len(page.Runs) == q.Limit, s.looks > 0 && i%s.looks == 0 && i > 0 && s.runs[i-1].Cursor().Compare(q.Before) > 0:
			page.Next = s.runs[i-1].Cursor()
			return page, s.away
		}
		if q.State == "" || v.State == q.State {
			page.Runs = append(page.Runs, v)
		}
	}
	return page, s.away
}

// ended is the n-th run of a job; runs are made three at a time.
func ended(n int) jobs.Run {
	created := time.Date(2026, 1, 1, 0, 0, n/3, 0, time.UTC)
	state := jobs.RunSucceeded
	if n%4 == 0 {
		state = jobs.RunFailed
	}
	key := jobs.InstantKey(time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC))
	return jobs.Run{ID: jobs.NewRunID("j", 1, key, 0), Job: "j", Key: key, State: state, Created: created, Ended: created.Add(time.Second)}
}

// leading has a scheduler lead with what is stored, and use it.
func (s *shelf) leading(t *testing.T, stored []jobs.Run, letGo time.Time, use func(*Scheduler)) {
	t.Helper()
	kinds, err := jobs.NewRegistry(stubKind{})
	if err != nil {
		t.Fatal(err)
	}
	s.surroundings = &surroundings{lost: make(chan struct{})}
	s.records = []Record{
		{Key: keyJob + "j", Value: mustJSON(jobRecord{Job: manual(nil)})},
		{Key: keyState + "j", Value: mustJSON(stateRecord{Incarnation: 1, Forgotten: letGo})},
	}
	for _, r := range stored {
		s.records = append(s.records, Record{Key: keyRun + string(r.ID), Value: mustJSON(r)})
	}
	cfg := DefaultConfig()
	cfg.History, cfg.HistoryBacklog = 1000, 1000
	scheduler := NewScheduler(Options{Core: cfg, Kinds: kinds, Elector: s, Mesos: s.surroundings, History: s, Log: zerolog.Nop()})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- scheduler.Serve(ctx) }()
	synctest.Wait()
	use(scheduler)
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

// walk reads a list to its end.
func walk(t *testing.T, s *Scheduler, q jobs.RunQuery) (ids []jobs.RunID) {
	t.Helper()
	for range 1000 {
		page, err := s.Runs(t.Context(), q)
		if err != nil || len(page.Runs) > q.Limit || page.Incomplete != "" {
			t.Fatalf("a page of %d of %d runs, %q, %v", len(page.Runs), q.Limit, page.Incomplete, err)
		}
		for _, r := range page.Runs {
			ids = append(ids, r.ID)
		}
		if q.Before = page.Next; q.Before.IsZero() {
			return ids
		}
	}
	t.Fatal("the list has no end")
	return nil
}

// TestListsGoOnInHistory: wherever a run lies, in the store, in history or, as
// it moves, in both, a list shows it once and in its place.
func TestListsGoOnInHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &shelf{looks: rapid.IntRange(0, 5).Draw(rt, "looks")}
		q := jobs.RunQuery{Job: "j", Limit: rapid.IntRange(1, 7).Draw(rt, "limit"), State: rapid.SampledFrom([]jobs.RunState{"", jobs.RunFailed}).Draw(rt, "state")}
		var stored []jobs.Run
		var letGo time.Time
		var want []jobs.RunID
		for n, where := range rapid.SliceOfN(rapid.SampledFrom([]string{"store", "history", "both"}), 0, 25).Draw(rt, "runs") {
			r := ended(n)
			if where != "history" {
				stored = append(stored, r)
			}
			if where != "store" {
				letGo = r.Created
				s.runs = append([]jobs.RunView{{Run: r}}, s.runs...)
			}
			if q.State == "" || r.State == q.State {
				want = append([]jobs.RunID{r.ID}, want...)
			}
		}
		synctest.Test(t, func(t *testing.T) {
			s.leading(t, stored, letGo, func(sched *Scheduler) {
				if diff := cmp.Diff(want, walk(t, sched, q)); diff != "" {
					t.Errorf("listed in pages of %d:\n%s", q.Limit, diff)
				}
				for offset := range want {
					page, err := sched.Runs(t.Context(), jobs.RunQuery{Job: "j", State: q.State, Offset: offset, Limit: 1})
					if s.looks == 0 && (err != nil || len(page.Runs) != 1 || page.Runs[0].ID != want[offset]) {
						t.Errorf("at offset %d: %v, %v; want %s", offset, page.Runs, err, want[offset])
					}
				}
			})
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// A history that is away takes nothing from what the store can tell.
func TestListsWithoutTheirHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{away: errors.New("no node answers")}
		stored := []jobs.Run{ended(10), ended(11), ended(12), ended(13)}
		s.leading(t, stored, ended(9).Created, func(sched *Scheduler) {
			page, err := sched.Runs(t.Context(), jobs.RunQuery{Job: "j", Limit: 10})
			if err != nil || len(page.Runs) != 4 || !strings.Contains(page.Incomplete, "no node answers") {
				t.Errorf("the first page: %+v, %v", page, err)
			}
			page, err = sched.Runs(t.Context(), jobs.RunQuery{Job: "j", Limit: 1})
			if err != nil || len(page.Runs) != 1 || page.Incomplete != "" || page.Next.IsZero() {
				t.Errorf("a page that the store fills: %+v, %v", page, err)
			}
			if _, err = sched.Runs(t.Context(), jobs.RunQuery{Job: "j", Limit: 10, Before: stored[0].Cursor()}); err == nil {
				t.Error("a list seems to end where history begins")
			}
			if _, err := sched.RunView(t.Context(), stored[1].ID); err != nil {
				t.Errorf("a stored run: %v", err)
			}
			_, err = sched.RunView(t.Context(), "j.1.20250101T000000Z.0")
			if code, _ := jobs.CodeOf(err); code != jobs.Unavailable {
				t.Errorf("a run that history may have: %v", err)
			}
			s.away = nil
			_, err = sched.RunView(t.Context(), "j.1.20250101T000000Z.0")
			if code, _ := jobs.CodeOf(err); code != jobs.NotFound {
				t.Errorf("a run that it has not: %v", err)
			}
			if _, err := sched.Runs(t.Context(), jobs.RunQuery{Job: "nobody", Limit: 10}); err == nil {
				t.Error("runs of a job that there never was")
			}
		})
	})
}
