package scheduler

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tidemill/jobs"
)

// instant is a job's run for so many minutes after the script's beginning.
func (s *script) instant(minutes int) *run {
	at := time.Date(2026, 1, 1, 0, minutes, 0, 0, time.UTC)
	return s.core.runs[jobs.NewRunID("j", 1, jobs.InstantKey(at), 0)]
}

// states are those of the runs of the first minutes; none for an instant without one.
func (s *script) states(minutes int) []jobs.RunState {
	var out []jobs.RunState
	for n := 1; n <= minutes; n++ {
		state := jobs.RunState("none")
		if x := s.instant(n); x != nil {
			state = x.rec.State
		}
		out = append(out, state)
	}
	return out
}

func (s *script) lose(id jobs.TaskID) {
	s.t.Helper()
	s.executorSays(id, jobs.TaskRunning)
	s.update(id, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	s.wantAttempt(id, jobs.AttemptUnknown)
}

// TestOverlap: three instants fall due while the first one's attempt works, or
// is unknown: then it holds its place as if it did.
func TestOverlap(t *testing.T) {
	for policy, states := range map[jobs.Overlap][]jobs.RunState{
		jobs.OverlapSkip:      {jobs.RunRunning, jobs.RunSkipped, jobs.RunSkipped},
		jobs.OverlapBufferOne: {jobs.RunRunning, jobs.RunPending, jobs.RunSkipped},
		jobs.OverlapBufferAll: {jobs.RunRunning, jobs.RunPending, jobs.RunPending},
		jobs.OverlapAllow:     {jobs.RunRunning, jobs.RunRunning, jobs.RunRunning},
		// The first one's work is killed; the second, which has none, is over at once.
		jobs.OverlapCancel: {jobs.RunRunning, jobs.RunCancelled, jobs.RunPending},
	} {
		for _, unknown := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, unknown %v", policy, unknown), func(t *testing.T) {
				want := states
				if policy == jobs.OverlapCancel && unknown { // of which no word is waited for
					want = []jobs.RunState{jobs.RunCancelled, jobs.RunCancelled, jobs.RunRunning}
				}
				job := scheduled("* * * * *", jobs.CatchUp{})
				job.Overlap, job.OnUnknown = policy, jobs.UnknownWait
				s := newScript(t, job)
				s.wait(time.Minute)
				first := s.launchOne("a")
				s.executorSays(first, jobs.TaskRunning)
				if unknown {
					s.lose(first)
				}
				s.wait(2 * time.Minute)
				if diff := cmp.Diff(want, s.states(3)); diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
				if policy == jobs.OverlapCancel && !unknown {
					s.executorSays(first, jobs.TaskKilled)
					s.wantRun(s.instant(1).rec.ID, jobs.RunCancelled)
					s.wantRun(s.instant(3).rec.ID, jobs.RunRunning)
				}
			})
		}
	}
}

// TestByHandWaitsForItsTurn: what users ask for is not skipped, and is under
// the policy all the same.
func TestByHandWaitsForItsTurn(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Overlap = jobs.OverlapSkip }))
	first, second := s.start("j", "1"), s.start("j", "2")
	s.wantRun(second, jobs.RunPending)
	s.executorSays(s.launchOne("a"), jobs.TaskFinished)
	s.wantRun(first, jobs.RunSucceeded)
	s.wantRun(second, jobs.RunRunning)
}

// TestCatchUp: nobody leads for ten minutes of a job that is due each minute.
func TestCatchUp(t *testing.T) {
	window := func(d time.Duration) *jobs.Duration { w := jobs.Duration(d); return &w }
	for name, tc := range map[string]struct {
		catchUp jobs.CatchUp
		ran     []int
		skipped []string
	}{
		"the latest":           {jobs.CatchUp{}, []int{10}, []string{"1-9 missed; catch-up runs the latest only"}},
		"all":                  {jobs.CatchUp{Mode: jobs.CatchUpAll}, []int{10, 1, 2, 3, 4, 5, 6, 7, 8, 9}, nil},
		"all within a window":  {jobs.CatchUp{Mode: jobs.CatchUpAll, Window: window(4 * time.Minute)}, []int{10, 7, 8, 9}, []string{"1-6 missed, and older than the catch-up window of 4m"}},
		"a window of one":      {jobs.CatchUp{Mode: jobs.CatchUpAll, Window: window(time.Minute)}, []int{10}, []string{"1-9 missed, and older than the catch-up window of 1m"}},
		"a window of nothing":  {jobs.CatchUp{Window: window(time.Second)}, nil, []string{"1-9 missed; catch-up runs the latest only", "10-10 missed, and older than the catch-up window of 1s"}},
		"the latest, a window": {jobs.CatchUp{Window: window(4 * time.Minute)}, []int{10}, []string{"1-9 missed; catch-up runs the latest only"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, scheduled("* * * * *", tc.catchUp))
			s.cfg.History = 20
			s.now = s.now.Add(10*time.Minute + 20*time.Second)
			s.failover()
			s.step(Tick{})
			var ran []int
			for range 12 {
				s.failover() // what is left to catch up with is stored
				for _, id := range s.offer("a") {
					ran = append(ran, s.core.tasks[id].run.rec.Nominal.Minute())
					s.executorSays(id, jobs.TaskFinished)
				}
			}
			var skipped []string
			for _, r := range s.core.jobs["j"].state.Skipped {
				skipped = append(skipped, fmt.Sprintf("%d-%d %s", r.From.Minute(), r.To.Minute(), r.Reason))
			}
			if diff := cmp.Diff(tc.ran, ran); diff != "" {
				t.Errorf("ran (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.skipped, skipped); diff != "" {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCatchUpYields: an instant that is due now does not wait for those that
// were missed, nor do these run beside it.
func TestCatchUpYields(t *testing.T) {
	job := scheduled("* * * * *", jobs.CatchUp{Mode: jobs.CatchUpAll})
	job.Overlap = jobs.OverlapBufferAll
	s := newScript(t, job)
	s.now = s.now.Add(3*time.Minute + time.Second)
	s.step(Tick{})
	current := s.launchOne("a") // of minute 3
	s.executorSays(current, jobs.TaskRunning)
	s.wait(time.Minute)
	if diff := cmp.Diff([]jobs.RunState{"none", "none", jobs.RunRunning, jobs.RunPending}, s.states(4)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.executorSays(current, jobs.TaskFinished)
	if order := s.succeedAll(); len(order) == 0 || order[0] != s.instant(4).rec.ID {
		t.Errorf("ran %v, want minute 4 before what was missed", order)
	}
}

// TestStartDeadlineCounts: from the instant where a schedule made the run,
// else from the run's creation.
func TestStartDeadlineCounts(t *testing.T) {
	deadline := func(d time.Duration) func(*jobs.Job) {
		return func(j *jobs.Job) { j.StartDeadline = jobs.Duration(d) }
	}
	t.Run("from the instant", func(t *testing.T) {
		job := scheduled("* * * * *", jobs.CatchUp{})
		deadline(20 * time.Second)(&job)
		s := newScript(t, job)
		s.now = s.now.Add(time.Minute + 15*time.Second) // somebody leads again
		s.step(Tick{})
		s.wantRun(s.instant(1).rec.ID, jobs.RunRunning)
		s.wait(5 * time.Second)
		s.wantRun(s.instant(1).rec.ID, jobs.RunSkipped)
	})
	t.Run("from the creation", func(t *testing.T) {
		job := scheduled("* * * * *", jobs.CatchUp{Mode: jobs.CatchUpAll})
		deadline(20 * time.Second)(&job)
		s := newScript(t, job)
		s.now = s.now.Add(2*time.Minute + time.Second)
		s.step(Tick{})
		s.executorSays(s.launchOne("a"), jobs.TaskFinished) // minute 2; then 1 is caught up with
		s.wait(19 * time.Second)
		s.wantRun(s.instant(1).rec.ID, jobs.RunRunning)
		s.wait(time.Second)
		s.wantRun(s.instant(1).rec.ID, jobs.RunSkipped)
	})
	t.Run("not once the work has begun", func(t *testing.T) {
		s := newScript(t, manual(deadline(20*time.Second)))
		id := s.start("j", "1")
		s.executorSays(s.launchOne("a"), jobs.TaskRunning)
		s.wait(time.Minute)
		s.wantRun(id, jobs.RunRunning)
	})
	t.Run("over a failover", func(t *testing.T) {
		s := newScript(t, manual(deadline(20*time.Second)))
		id := s.start("j", "1")
		s.failover()
		s.wait(20 * time.Second)
		s.wantRun(id, jobs.RunSkipped)
	})
}

// TestRetries: the next start waits for its back-off, doubled each time up to
// the cap, over a failover too; the last failure is the run's.
func TestRetries(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) {
		j.Retry = jobs.Retry{Attempts: 4, Backoff: jobs.Duration(10 * time.Second), Max: jobs.Duration(15 * time.Second)}
	}))
	id := s.start("j", "1")
	for start := 1; start <= 4; start++ {
		task := s.launchOne("a")
		if got := s.data[task].Start; got != start {
			t.Errorf("start %d, want %d", got, start)
		}
		s.end(task, jobs.TaskFailed)
		if start == 4 {
			break
		}
		s.failover()
		backoff := s.core.runs[id].pinned().Retry.BackoffBefore(start+1, string(id))
		if want := []time.Duration{10 * time.Second, 15 * time.Second, 15 * time.Second}[start-1]; (backoff - want).Abs() > want/10 {
			t.Errorf("the back-off before start %d is %s, want about %s", start+1, backoff, want)
		}
		s.wait(backoff.Truncate(time.Second) - time.Second)
		if early := s.offer("a"); len(early) > 0 {
			t.Errorf("launched %v before the back-off of %s was over", early, backoff)
		}
		s.wait(3 * time.Second)
	}
	s.wantRun(id, jobs.RunFailed)
	if reason := s.core.runs[id].rec.Reason; !strings.Contains(reason, "start 4 of 4") {
		t.Errorf("it failed because %q", reason)
	}
}

// TestBackfillHasItsOwnLimit: so many of its runs at once, beside what is due.
func TestBackfillHasItsOwnLimit(t *testing.T) {
	job := scheduled("* * * * *", jobs.CatchUp{})
	job.Overlap = jobs.OverlapAllow
	s := newScript(t, job)
	if _, err := s.ask(BackfillJob{jobs.BackfillRequest{Job: "j", From: s.now.Add(-5 * time.Minute), To: s.now, AtOnce: 2}}); err != nil {
		t.Fatal(err)
	}
	count := func() (backfilled, due int) {
		for _, x := range s.core.jobs["j"].live {
			switch x.rec.Trigger {
			case jobs.ByBackfill:
				backfilled++
			case jobs.BySchedule:
				due++
			}
		}
		return backfilled, due
	}
	s.wait(3 * time.Minute)
	s.failover()
	if backfilled, due := count(); backfilled != 2 || due != 3 {
		t.Errorf("%d backfilled and %d due runs live, want 2 and 3", backfilled, due)
	}
	first := s.core.jobs["j"].live[0]
	for _, id := range s.offer("a") {
		if s.core.tasks[id].run == first {
			s.executorSays(id, jobs.TaskFinished)
		}
	}
	if backfilled, _ := count(); backfilled != 2 {
		t.Errorf("%d backfilled runs live after one ended, want 2", backfilled)
	}
}

// TestMaxRunTime: counted from the first start, whoever leads.
func TestMaxRunTime(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.MaxRunTime = jobs.Duration(time.Minute) }))
	id := s.start("j", "1")
	s.wait(2 * time.Minute) // it waits, and does not run
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	s.wait(40 * time.Second)
	s.failover()
	s.wait(19 * time.Second)
	if s.core.runs[id].rec.Cancel != "" {
		t.Error("it is ended too early")
	}
	s.wait(time.Second)
	if s.kills() != 1 {
		t.Errorf("calls %v, want its kill", s.calls)
	}
	s.executorSays(task, jobs.TaskKilled)
	s.wantRun(id, jobs.RunFailed)
	if reason := s.core.runs[id].rec.Reason; !strings.Contains(reason, "max_run_time of 1m") {
		t.Errorf("it failed because %q", reason)
	}
}

// TestMark: it changes the run only, and a success starts the children.
func TestMark(t *testing.T) {
	child := manual(func(j *jobs.Job) { j.Name, j.After = "child", []jobs.Name{"j"} })
	for _, success := range []bool{true, false} {
		want, attempt := jobs.RunFailed, jobs.AttemptSucceeded
		if success {
			want, attempt = jobs.RunSucceeded, jobs.AttemptFailed
		}
		mark := func(s *script, id jobs.RunID) {
			s.t.Helper()
			if _, err := s.ask(MarkRun{ID: id, Success: success}); err != nil {
				s.t.Fatal(err)
			}
		}
		check := func(t *testing.T, s *script, id jobs.RunID) {
			t.Helper()
			s.failover()
			s.wantRun(id, want)
			if fired := len(s.core.jobs["child"].live) == 1; fired != success {
				t.Errorf("success %v: the child runs: %v", success, fired)
			}
		}
		t.Run(fmt.Sprintf("a live run, success %v", success), func(t *testing.T) {
			s := newScript(t, manual(nil), child)
			id := s.start("j", "1")
			task := s.launchOne("a")
			s.executorSays(task, jobs.TaskRunning)
			mark(s, id)
			s.wantRun(id, jobs.RunRunning)
			if s.kills() != 1 {
				t.Errorf("calls %v, want the kill of its work", s.calls)
			}
			s.executorSays(task, jobs.TaskKilled)
			check(t, s, id)
			if got := s.core.runs[id].rec.Attempts[0].State; got != jobs.AttemptKilled {
				t.Errorf("its attempt is %s, want killed", got)
			}
		})
		t.Run(fmt.Sprintf("a final run, success %v", success), func(t *testing.T) {
			s := newScript(t, manual(func(j *jobs.Job) { j.Retry.Attempts = 1 }), child)
			id := s.start("j", "1")
			s.end(s.launchOne("a"), map[bool]string{true: jobs.TaskFailed, false: jobs.TaskFinished}[success])
			mark(s, id)
			check(t, s, id)
			if got := s.core.runs[id].rec.Attempts[0].State; got != attempt {
				t.Errorf("its attempt is %s, want %s: what was done stays as it was", got, attempt)
			}
		})
	}
}

// TestMarkOfWhatIsEnding: it was told to end as something else, and says so.
func TestMarkOfWhatIsEnding(t *testing.T) {
	s := newScript(t, manual(nil))
	id := s.start("j", "1")
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	if _, err := s.ask(KillRun{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ask(MarkRun{ID: id, Success: true}); err == nil || !strings.Contains(err.Error(), "ending as cancelled") {
		t.Errorf("got %v, want a refusal", err)
	}
	s.executorSays(task, jobs.TaskKilled)
	s.wantRun(id, jobs.RunCancelled)
	if _, err := s.ask(MarkRun{ID: id, Success: true}); err != nil {
		t.Error(err)
	}
	s.wantRun(id, jobs.RunSucceeded)
}

// TestOnUnknown: when an attempt is given up whose outcome nobody knows, and
// what follows. start_by is a minute after the launch, unknown_wait half of one.
func TestOnUnknown(t *testing.T) {
	for _, tc := range []struct {
		policy           jobs.OnUnknown
		idempotent, seen bool
		after            time.Duration // 0: never
		want             jobs.RunState
	}{
		{jobs.UnknownRetry, false, true, 30 * time.Second, jobs.RunRunning},
		{jobs.UnknownRetry, false, false, 62 * time.Second, jobs.RunRunning},
		{jobs.UnknownRetry, true, true, time.Second, jobs.RunRunning},
		{jobs.UnknownRetry, true, false, 62 * time.Second, jobs.RunRunning},
		{jobs.UnknownFail, false, true, time.Second, jobs.RunFailed},
		{jobs.UnknownFail, false, false, 62 * time.Second, jobs.RunFailed},
		{jobs.UnknownFail, true, true, time.Second, jobs.RunRunning},
		{jobs.UnknownWait, false, true, 0, jobs.RunRunning},
		{jobs.UnknownWait, true, true, time.Second, jobs.RunRunning},
	} {
		t.Run(fmt.Sprintf("%s, idempotent %v, seen %v", tc.policy, tc.idempotent, tc.seen), func(t *testing.T) {
			s := newScript(t, manual(func(j *jobs.Job) {
				if j.OnUnknown = tc.policy; tc.idempotent {
					j.Spec = json.RawMessage(`"idempotent"`)
				}
			}))
			id := s.start("j", "1")
			first := s.launchOne("a")
			if tc.seen {
				s.executorSays(first, jobs.TaskRunning)
			}
			s.update(first, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
			s.failover()
			given := func() bool { t := s.core.tasks[first]; return t == nil || t.rec.Superseded }
			if tc.after > 0 {
				s.wait(tc.after - time.Second)
			} else {
				s.wait(time.Hour)
			}
			if given() && tc.after != time.Second {
				t.Fatal("it is given up too early")
			}
			s.wait(time.Second)
			if given() != (tc.after > 0) {
				t.Fatalf("after %s: given up %v", tc.after, given())
			}
			s.wantRun(id, tc.want)
			s.wait(2 * time.Second)
			if next := s.offer("b"); (len(next) == 1) != (tc.after > 0 && tc.want == jobs.RunRunning) {
				t.Errorf("then launched %v", next)
			}
		})
	}
}

// TestReparent: the children of a job that goes take its parents, or its
// schedule where it has none, and are jobs that the next leader can read.
func TestReparent(t *testing.T) {
	parent := func(name jobs.Name, cron string) jobs.Job {
		j := scheduled(cron, jobs.CatchUp{})
		j.Name = name
		return j
	}
	child := func(name jobs.Name, after ...jobs.Name) jobs.Job {
		return manual(func(j *jobs.Job) { j.Name, j.After = name, after })
	}
	fresh := child("c", "a", "b")
	fresh.LatestWithin = jobs.Duration(time.Hour)
	any := child("c", "a", "b")
	any.Trigger = jobs.AnySuccess
	for name, tc := range map[string]struct {
		child  jobs.Job
		delete []jobs.Name
		after  []jobs.Name
		cron   string // its own; empty: none
	}{
		"the one parent":              {child("c", "a"), []jobs.Name{"a"}, nil, "0 * * * *"},
		"one of two":                  {child("c", "a", "b"), []jobs.Name{"a"}, []jobs.Name{"b"}, ""},
		"a parent with parents":       {child("c", "m"), []jobs.Name{"m"}, []jobs.Name{"a", "b"}, ""},
		"one that is there already":   {child("c", "m", "b"), []jobs.Name{"m"}, []jobs.Name{"a", "b"}, ""},
		"both, with latest_within":    {fresh, []jobs.Name{"a", "b"}, nil, "30 * * * *"},
		"both, with a trigger":        {any, []jobs.Name{"b", "a"}, nil, "0 * * * *"},
		"the grandparents, by and by": {child("c", "m"), []jobs.Name{"m", "a", "b"}, nil, "30 * * * *"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, parent("a", "0 * * * *"), parent("b", "30 * * * *"), child("m", "a", "b"))
			s.declare(tc.child)
			for _, gone := range tc.delete {
				if _, err := s.ask(DeleteJob{Name: gone, Mode: jobs.DeleteReparent}); err != nil {
					t.Fatal(err)
				}
			}
			s.failover()
			if problems := s.core.Status().Problems; len(problems) > 0 {
				t.Errorf("problems %q", problems)
			}
			got := s.core.jobs["c"].rec.Job
			if diff := cmp.Diff(tc.after, slices.Sorted(slices.Values(got.After)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("parents (-want +got):\n%s", diff)
			}
			cron := ""
			if got.Schedule != nil {
				cron = got.Schedule.Cron[0]
			}
			if cron != tc.cron {
				t.Errorf("its schedule is %q, want %q", cron, tc.cron)
			}
		})
	}
}
