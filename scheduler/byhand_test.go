package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemill/jobs"
)

// ask makes a request and gives its answer.
func (s *script) ask(do any) (any, error) {
	fx := s.step(Request{Do: do})
	return fx.Answers[0].Value, fx.Answers[0].Err
}

// succeedAll launches and ends everything that waits, and gives the runs in
// the order they were launched.
func (s *script) succeedAll() (order []jobs.RunID) {
	for range 100 {
		list := s.offer("a")
		if len(list) == 0 {
			return order
		}
		for _, id := range list {
			s.executorSays(id, jobs.TaskRunning)
			order = append(order, s.core.tasks[id].rec.Run)
			s.executorSays(id, jobs.TaskFinished)
		}
	}
	s.t.Fatal("there is always something to launch")
	return nil
}

func TestBackfillRunsAnIntervalInItsOrder(t *testing.T) {
	s := newScript(t, scheduled("0 * * * *", jobs.CatchUp{}))
	s.cfg.History, s.core.cfg.History = 20, 20
	from := s.now.Add(-5 * time.Hour)
	n, err := s.ask(BackfillJob{jobs.BackfillRequest{Job: "j", From: from, To: from.Add(4 * time.Hour)}})
	if err != nil || n != 4 {
		t.Fatalf("%v instants, %v, want 4", n, err)
	}
	if live := len(s.core.jobs["j"].live); live != 1 {
		t.Errorf("%d runs at once, want 1", live)
	}
	s.failover()
	order := s.succeedAll()
	if len(order) != 4 || !slices.IsSorted(order) {
		t.Fatalf("ran %v, want 4 instants in order", order)
	}
	if _, err := s.ask(BackfillJob{jobs.BackfillRequest{Job: "j", From: from, To: from.Add(4 * time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	if again := s.succeedAll(); len(again) != 0 {
		t.Errorf("what had succeeded ran again: %v", again)
	}
	if _, err := s.ask(BackfillJob{jobs.BackfillRequest{Job: "j", From: from, To: from.Add(2 * time.Hour), Force: true, AtOnce: 2}}); err != nil {
		t.Fatal(err)
	}
	if again := s.succeedAll(); len(again) != 2 || again[0] != order[0][:len(order[0])-1]+"1" {
		t.Errorf("forced: %v, want two runs of generation 1", again)
	}
}

func TestBackfillRefusesWhatItCannotDo(t *testing.T) {
	s := newScript(t, scheduled("* * * * * *", jobs.CatchUp{}))
	for name, r := range map[string]jobs.BackfillRequest{
		"the future":  {Job: "j", From: s.now, To: s.now.Add(time.Hour)},
		"backwards":   {Job: "j", From: s.now, To: s.now.Add(-time.Hour)},
		"too much":    {Job: "j", From: s.now.Add(-24 * time.Hour), To: s.now},
		"no such job": {Job: "x", From: s.now.Add(-time.Hour), To: s.now},
	} {
		if _, err := s.ask(BackfillJob{r}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestRerunIsANewGeneration(t *testing.T) {
	s := newScript(t, manual(nil))
	id := s.start("j", "r")
	if _, err := s.ask(RerunRun{ID: id}); err == nil {
		t.Error("a live run was run again")
	}
	s.succeedAll()
	v, err := s.ask(RerunRun{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	again := v.(jobs.Run).ID
	if again == id {
		t.Fatalf("the rerun is %s itself", id)
	}
	s.succeedAll()
	s.wantRun(id, jobs.RunSucceeded)
	s.wantRun(again, jobs.RunSucceeded)
}

func TestUnknownAttemptsAreResolvedByHand(t *testing.T) {
	for as, want := range map[jobs.Resolution]jobs.RunState{
		jobs.ResolveSuccess: jobs.RunSucceeded, jobs.ResolveFailure: jobs.RunFailed, jobs.ResolveRetry: jobs.RunRunning,
	} {
		t.Run(string(as), func(t *testing.T) {
			s := newScript(t, manual(func(j *jobs.Job) { j.OnUnknown, j.Retry.Attempts = jobs.UnknownWait, 2 }))
			id := s.start("j", "r")
			if _, err := s.ask(ResolveRun{ID: id, As: as}); err == nil {
				t.Error("a run without unknown attempts was resolved")
			}
			first := s.launchOne("a")
			s.executorSays(first, jobs.TaskRunning)
			s.update(first, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
			s.wait(time.Hour)
			s.wantAttempt(first, jobs.AttemptUnknown)
			if as == jobs.ResolveFailure {
				s.core.runs[id].rec.Pinned.Retry.Attempts = 1
			}
			if _, err := s.ask(ResolveRun{ID: id, As: as}); err != nil {
				t.Fatal(err)
			}
			s.wantRun(id, want)
			if as == jobs.ResolveRetry {
				s.wait(time.Minute)
				if second := s.launchOne("b"); second == first {
					t.Errorf("%s was launched again", first)
				}
			}
		})
	}
}

func TestAttemptThatMayStillStartIsNotResolved(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.OnUnknown = jobs.UnknownWait }))
	id := s.start("j", "r")
	first := s.launchOne("a")
	s.update(first, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	if _, err := s.ask(ResolveRun{ID: id, As: jobs.ResolveRetry}); err == nil {
		t.Error("another attempt was let in while the first may still start")
	}
	s.wait(2 * time.Minute)
	if _, err := s.ask(ResolveRun{ID: id, As: jobs.ResolveRetry}); err != nil {
		t.Errorf("after its start_by: %v", err)
	}
}

// TestRunOfAThousandSplitsFitsInOneRecord: with all its attempts, each with a
// long word and replicas.
func TestRunOfAThousandSplitsFitsInOneRecord(t *testing.T) {
	s := newScript(t, manual(nil))
	id := s.start("j", "r")
	x := s.core.runs[id]
	launched := s.launchOne("a")
	one := s.core.tasks[launched].rec
	one.State = jobs.AttemptFailed
	one.Message, one.Reason = strings.Repeat("it says a lot of itself ", 40), "REASON_EXECUTOR_TERMINATED"
	one.Preferred = []string{"cassandra-host-1.example", "cassandra-host-2.example", "cassandra-host-3.example"}
	for i := range jobs.MaxSplits {
		rec := one
		rec.ID, rec.Split, rec.Attempt = jobs.NewTaskID(id, 1, i, 2), i, 2
		x.tasks[rec.ID] = &task{rec: rec, run: x}
	}
	s.executorSays(launched, jobs.TaskRunning)
	s.executorSays(launched, jobs.TaskFinished)
	if n := len(s.store[keyRun+string(id)]); n == 0 || n > MaxBatchBytes-recordOverhead-100 {
		t.Errorf("the run's record has %d bytes", n)
	}
	v, err := s.core.TaskView(jobs.NewTaskID(id, 1, 7, 2))
	if err != nil || v.Run != id || v.Job != "j" {
		t.Errorf("attempt 7 is remembered as %+v, %v", v, err)
	}
}

// An interval is given whole, or none is: half of one would be read as none, or as all there is.
func TestARunByHandCoversAWholeIntervalOrNone(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	to := from.Add(time.Hour)
	for want, intervals := range map[bool][]jobs.Interval{
		true:  {{}, {Start: from, End: to}},
		false: {{Start: from}, {End: to}, {Start: to, End: from}, {Start: from, End: from}},
	} {
		for i, interval := range intervals {
			s := newScript(t, manual(func(*jobs.Job) {}))
			v, err := s.ask(StartRun{jobs.RunRequest{Job: "j", RequestID: fmt.Sprint(i), Interval: interval}})
			if code, _ := jobs.CodeOf(err); (err == nil) != want || !want && code != jobs.Invalid {
				t.Errorf("%v: %v, %v", interval, v, err)
			}
		}
	}
}
