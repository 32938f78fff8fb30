package scheduler

import (
	"fmt"
	"io/fs"
	"testing"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
)

func TestLateSuccessWaitsForItsSuccessor(t *testing.T) {
	s := newScript(t, manual(nil))
	run := s.start("j", "1")
	first, second := s.supersede()
	s.executorSays(second, jobs.TaskRunning)
	s.executorSays(first, jobs.TaskFinished)
	if s.kills() != 1 {
		t.Errorf("%d kills, want the successor's", s.kills())
	}
	s.wantRun(run, jobs.RunRunning) // or the next run would overlap with what still works
	s.executorSays(second, jobs.TaskKilled)
	s.wantRun(run, jobs.RunSucceeded)
}

func TestSuccessorOfALateSuccessEndsAfterAFailover(t *testing.T) {
	for _, end := range []string{jobs.TaskFinished, jobs.TaskFailed, jobs.TaskKilled} {
		t.Run(end, func(t *testing.T) {
			s := newScript(t, manual(nil))
			run := s.start("j", "1")
			first, second := s.supersede()
			s.executorSays(second, jobs.TaskRunning)
			s.executorSays(first, jobs.TaskFinished)
			s.failover()
			s.executorSays(second, end)
			s.wantRun(run, jobs.RunSucceeded)
		})
	}
}

func TestUnknownSuccessorOfALateSuccess(t *testing.T) {
	s := newScript(t, manual(nil))
	run := s.start("j", "1")
	first, second := s.supersede()
	s.executorSays(second, jobs.TaskRunning)
	s.update(second, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	s.executorSays(first, jobs.TaskFinished)
	s.wantRun(run, jobs.RunSucceeded)
	s.wait(time.Minute) // nothing is decided about it any more
	s.wantRun(run, jobs.RunSucceeded)
}

func TestKillsEndWithTheRun(t *testing.T) {
	s := newScript(t, manual(nil))
	run := s.start("j", "1")
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	s.step(Request{Do: KillRun{ID: run}})
	s.update(task, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	s.wantRun(run, jobs.RunCancelled)
	kills := 0
	for range 60 {
		s.wait(time.Second)
		kills += s.kills()
	}
	if kills > 0 {
		t.Errorf("%d kills of a task that nobody waits for", kills)
	}
}

func TestStartDeadline(t *testing.T) {
	late := manual(func(j *jobs.Job) { j.StartDeadline = jobs.Duration(20 * time.Second) })
	t.Run("waits behind an unknown attempt", func(t *testing.T) {
		s := newScript(t, late)
		run := s.start("j", "1")
		task := s.launchOne("a")
		s.update(task, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
		s.wait(25 * time.Second)
		s.wantRun(run, jobs.RunRunning)
		s.executorSays(task, jobs.TaskFinished)
		s.wantRun(run, jobs.RunSucceeded)
	})
	t.Run("skips what never started", func(t *testing.T) {
		s := newScript(t, late)
		run := s.start("j", "1")
		s.wait(25 * time.Second)
		s.wantRun(run, jobs.RunSkipped)
	})
}

// ending has an executor end without a word of its task.
func (s *script) ending() jobs.TaskID {
	s.t.Helper()
	task := s.launchOne("a")
	s.update(task, jobs.TaskFailed, "SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
	if len(s.reads) != 1 {
		s.t.Fatalf("%d files are sought, want the outcome", len(s.reads))
	}
	return task
}

func TestOutcomeIsSoughtBeforeIgnoranceIsBelieved(t *testing.T) {
	s := newScript(t, manual(nil))
	run := s.start("j", "1")
	task := s.ending()
	s.update(task, jobs.TaskGone, "SOURCE_MASTER", "REASON_RECONCILIATION", "Reconciliation: Task is unknown to the agent")
	s.wantAttempt(task, jobs.AttemptLaunching)
	s.step(Fetched{Task: task, File: jobs.OutcomeFile, Data: mustJSON(jobs.Outcome{Task: task, OK: true})})
	s.wantRun(run, jobs.RunSucceeded)
}

// An agent that has lost what it knew of its executors drops tasks that they are at work on.
func TestDroppedAfterItsStart(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	s.update(task, jobs.TaskDropped, "SOURCE_AGENT", "REASON_RECONCILIATION", "Reconciliation: task unknown to the agent")
	s.wantAttempt(task, jobs.AttemptUnknown)
}

// An agent that comes back kills the executors that do not: its word ends their
// attempts, but work whose start nobody heard of may have succeeded before.
func TestExecutorThatMissedItsAgentsReturn(t *testing.T) {
	for _, seen := range []bool{true, false} {
		s := newScript(t, manual(nil))
		run := s.start("j", "1")
		task := s.launchOne("a")
		if seen {
			s.executorSays(task, jobs.TaskRunning)
		}
		s.update(task, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_AGENT_REMOVED", "")
		s.update(task, jobs.TaskGone, "SOURCE_AGENT", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT", "Executor did not reregister within 2secs")
		if len(s.reads) != 1 {
			t.Fatalf("seen %t: %d files are sought, want the outcome", seen, len(s.reads))
		}
		s.step(Fetched{Task: task, File: jobs.OutcomeFile, Data: mustJSON(jobs.Outcome{Task: task, OK: true})})
		s.wantRun(run, jobs.RunSucceeded)
	}
}

func TestReconciledEndKeepsItsResults(t *testing.T) {
	finished := func(t *testing.T) (*script, jobs.RunID, jobs.TaskID) {
		s := newScript(t, manual(nil))
		run := s.start("j", "1")
		task := s.launchOne("a")
		s.executorSays(task, jobs.TaskRunning)
		s.update(task, jobs.TaskFinished, "SOURCE_MASTER", "REASON_RECONCILIATION", "Reconciliation: Latest task state")
		s.wantRun(run, jobs.RunRunning)
		return s, run, task
	}
	out := jobs.Outcome{OK: true, Result: jobs.Result{Values: map[string]string{"rows": "7"}}}
	t.Run("from its file", func(t *testing.T) {
		s, run, task := finished(t)
		out.Task = task
		s.step(Fetched{Task: task, File: jobs.OutcomeFile, Data: mustJSON(out)})
		s.wantRun(run, jobs.RunSucceeded)
		if got := s.core.runs[run].rec.Results["rows"]; got != "7" {
			t.Errorf("rows %q, want 7", got)
		}
	})
	t.Run("from its update", func(t *testing.T) {
		s, run, task := finished(t)
		out.Task = task
		s.step(Updated{jobs.Update{Task: task, State: jobs.TaskFinished, Source: "SOURCE_EXECUTOR", Data: mustJSON(out), UUID: []byte("u")}})
		s.wantRun(run, jobs.RunSucceeded)
		if got := s.core.runs[run].rec.Results["rows"]; got != "7" {
			t.Errorf("rows %q, want 7", got)
		}
	})
	t.Run("or without", func(t *testing.T) {
		s, run, task := finished(t)
		s.step(Fetched{Task: task, File: jobs.OutcomeFile, Err: fs.ErrNotExist})
		s.wantRun(run, jobs.RunSucceeded)
	})
}

func TestUnreadableOutcomeIsDecidedAfterAFailover(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.ending()
	for range int(seekFor / (20 * time.Second)) {
		s.wait(20 * time.Second)
		s.wantAttempt(task, jobs.AttemptLaunching)
		s.failover() // another leader does not begin anew
		s.wait(time.Second)
		s.step(Fetched{Task: task, File: jobs.OutcomeFile, Err: fs.ErrPermission})
	}
	s.wantAttempt(task, jobs.AttemptUnknown)
	s.failover()
	s.wait(2 * time.Minute)
	if got := s.offer("b"); len(got) != 1 {
		t.Errorf("launched %v after unknown_wait, want another attempt", got)
	}
}

func TestReturnedAttemptIsQueuedOnce(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	s.update(task, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	s.wait(40 * time.Second) // given up, and waits for an offer
	s.executorSays(task, jobs.TaskRunning)
	s.executorSays(task, jobs.TaskFailed)
	s.wait(30 * time.Second)
	if got := s.offer("b"); len(got) != 1 {
		t.Errorf("launched %v, want one attempt", got)
	}
}

func TestKilledBeforeItsStartIsALaunchFailure(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.launchOne("a")
	s.wait(s.cfg.LaunchTimeout + time.Second)
	s.update(task, jobs.TaskKilled, "SOURCE_AGENT", "REASON_TASK_KILLED_DURING_LAUNCH", "")
	s.wantAttempt(task, jobs.AttemptNotStarted)
}

// TestSilenceCountsWhileSomebodyListens: of what was launched before a takeover or an outage, no
// word could come meanwhile. It is asked for, and not killed.
func TestSilenceCountsWhileSomebodyListens(t *testing.T) {
	for name, interrupt := range map[string]func(*script){
		"another leader": func(s *script) {
			s.now = s.now.Add(2 * s.cfg.LaunchTimeout)
			s.failover()
		},
		"another subscription": func(s *script) {
			s.step(Disconnected{})
			s.wait(2 * s.cfg.LaunchTimeout)
			s.subscribe(2, s.now.Add(-time.Hour))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, manual(nil))
			s.start("j", "1")
			task := s.launchOne("a")
			interrupt(s)
			s.wait(s.cfg.LaunchTimeout - time.Second)
			if why := s.core.tasks[task].rec.Kill; why != "" {
				t.Fatalf("it is killed: %s", why)
			}
			s.wait(2 * time.Second)
			if s.core.tasks[task].rec.Kill == "" {
				t.Error("it is not killed, although no word came in time")
			}
		})
	}
}

func TestSilentMasterIsYoung(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	s.step(Disconnected{})
	s.step(Subscribed{Stream: 2, FrameworkID: "f", Master: "other:5050"})
	s.update(task, jobs.TaskUnknown, "SOURCE_MASTER", "REASON_RECONCILIATION", "Reconciliation: Task is unknown")
	s.wantAttempt(task, jobs.AttemptRunning)
	s.wait(s.cfg.MasterSettle + time.Second)
	s.update(task, jobs.TaskUnknown, "SOURCE_MASTER", "REASON_RECONCILIATION", "Reconciliation: Task is unknown")
	s.wantAttempt(task, jobs.AttemptUnknown)
}

func TestHistoryKeepsScheduledRunsBesideRequests(t *testing.T) {
	s := newScript(t, scheduled("* * * * *", jobs.CatchUp{}))
	finish := func(run jobs.RunID) {
		s.executorSays(s.launchOne("a"), jobs.TaskFinished)
		s.wantRun(run, jobs.RunSucceeded)
	}
	for i := range 5 {
		finish(s.start("j", fmt.Sprint(i)))
	}
	s.wait(time.Minute)
	finish(jobs.NewRunID("j", 1, jobs.InstantKey(s.now), 0))
}

func TestCatchUpLeavesOutWhatRanInTime(t *testing.T) {
	window := jobs.Duration(time.Hour)
	s := newScript(t, scheduled("* * * * *", jobs.CatchUp{Mode: jobs.CatchUpAll, Window: &window}))
	s.now = s.now.Add(3*time.Minute + time.Second)
	s.step(Tick{}) // 1 and 2 are missed, 3 runs
	s.executorSays(s.launchOne("a"), jobs.TaskRunning)
	s.now = s.now.Add(3 * time.Minute)
	s.step(Tick{}) // 4 and 5 are missed, too; 6 is skipped since 3 still runs
	got := s.core.jobs["j"].state.Backlog
	if len(got) != 2 {
		t.Fatalf("backlog %v, want two ranges", got)
	}
	for at := 3; at <= 3; at++ {
		instant := time.Date(2026, 1, 1, 0, at, 0, 0, time.UTC)
		for _, b := range got {
			if instant.After(b.After) && !instant.After(b.Until) {
				t.Errorf("%v, which ran, is in the backlog %v", instant, b)
			}
		}
	}
}

func TestOneInstantOutsideTheWindowIsSkipped(t *testing.T) {
	window := jobs.Duration(10 * time.Minute)
	s := newScript(t, scheduled("0 * * * *", jobs.CatchUp{Window: &window}))
	s.now = s.now.Add(time.Hour + 20*time.Minute)
	s.step(Tick{})
	if n := len(s.core.runs); n != 0 {
		t.Errorf("%d runs of an instant that is 20 minutes old, want none", n)
	}
	if got := s.core.jobs["j"].state.Skipped; len(got) != 1 {
		t.Errorf("skipped %v, want the instant recorded", got)
	}
}

// TestInstantsInTimeAreNotMissed: however short the window, and however long
// the jitter, what is due is run; and what was missed is not.
func TestInstantsInTimeAreNotMissed(t *testing.T) {
	for _, c := range []struct {
		window, jitter, late time.Duration
		runs                 int
	}{
		{0, 0, 15 * time.Millisecond, 1},
		{0, 0, inTime, 1},
		{0, 0, inTime + time.Second, 0},
		{time.Minute, 23 * time.Hour, 15 * time.Millisecond, 1},
		{time.Minute, 23 * time.Hour, 2 * time.Minute, 0},
	} {
		window := jobs.Duration(c.window)
		j := scheduled("0 0 * * *", jobs.CatchUp{Window: &window, Mode: jobs.CatchUpAll})
		j.Schedule.Jitter = schedule.Duration(c.jitter)
		s := newScript(t, j)
		first, ok := s.core.jobs["j"].sched.Next(s.now)
		if !ok || c.jitter > 0 && first.Actual.Sub(first.Nominal) < 2*c.window {
			t.Fatalf("the first instant is %v", first)
		}
		s.now = first.Actual.Add(c.late)
		s.step(Tick{})
		if n := len(s.core.runs); n != c.runs {
			t.Errorf("%+v: %d runs", c, n)
		}
	}
	window := jobs.Duration(5 * time.Minute)
	j := scheduled("* * * * *", jobs.CatchUp{Window: &window, Mode: jobs.CatchUpAll})
	j.Schedule.Jitter = schedule.Duration(24 * time.Hour)
	s := newScript(t, j)
	s.now = s.now.Add(36 * time.Hour)
	s.step(Tick{})
	state := s.core.jobs["j"].state
	if len(state.Backlog) != 1 || state.Backlog[0].Until.Sub(state.Backlog[0].After) < 3*time.Minute {
		t.Errorf("backlog %v, want the last five minutes that were due", state.Backlog)
	}
}

func TestHeldJobsTasksAreLeftAlone(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.launchOne("a")
	s.store["runs/j.1."+string(jobs.RequestKey("1"))+".0"] = []byte("{")
	s.failover()
	s.executorSays(task, jobs.TaskFinished)
	if len(s.calls) > 0 {
		t.Errorf("calls %v about a task whose run cannot be read, want none: its word must come again", s.calls)
	}
}

// TestExecutorLivesWhereTheOfferSaysSo: a master books an executor when it
// takes the ACCEPT, and knows of its end before we do.
func TestExecutorLivesWhereTheOfferSaysSo(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) {
		j.Resources, j.Overlap = jobs.Resources{CPUs: 0.5, Mem: 32}, jobs.OverlapAllow
	}))
	s.core.cfg.Shared.Resources = jobs.Resources{CPUs: 0.25, Mem: 32}
	shared := s.core.sharedExecutor(&jobs.Offer{}).ID
	s.start("j", "1")
	s.executorSays(s.launchOne("a"), jobs.TaskRunning)
	s.start("j", "2")
	for _, tc := range []struct {
		executors []string
		launches  int
	}{{nil, 0}, {[]string{shared}, 1}} {
		s.step(Offered{Offers: []jobs.Offer{{
			ID: fmt.Sprint(tc.executors), AgentID: "a", Hostname: "a", Resources: jobs.Resources{CPUs: 0.6, Mem: 64}, Executors: tc.executors,
		}}})
		if len(s.calls) != tc.launches {
			t.Errorf("an offer of 0.6 cpus beside the executors %v has %d calls, want %d", tc.executors, len(s.calls), tc.launches)
		}
	}
}

func TestDeletedJobsNameWaitsForUnknownAttempts(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	s.step(Request{Do: DeleteJob{Name: "j"}})
	s.update(task, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	apply := func() error { return s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{manual(nil)}}}).Answers[0].Err }
	s.failover()
	if apply() == nil {
		t.Error("the name is free while the deleted job's task may be at work")
	}
	s.wait(31 * time.Second) // its unknown_wait
	if err := apply(); err != nil {
		t.Error(err)
	}
}

// TestStrayAttemptsAreDeleted: a leader died between a run's end and the
// deletion of its attempts, which stand in the run's own record.
func TestStrayAttemptsAreDeleted(t *testing.T) {
	for _, held := range []bool{false, true} {
		s := newScript(t, manual(nil))
		s.start("j", "1")
		task := s.launchOne("a")
		s.executorSays(task, jobs.TaskRunning)
		stray := s.store[keyTask+string(task)]
		s.executorSays(task, jobs.TaskFinished)
		if _, there := s.store[keyTask+string(task)]; there {
			t.Fatal("the attempt of a final run is kept")
		}
		s.store[keyTask+string(task)] = stray
		if held {
			s.store[keyState+"j"] = []byte("{")
		}
		s.failover()
		if _, there := s.store[keyTask+string(task)]; there != held {
			t.Errorf("held %v: it is kept: %v", held, there)
		}
	}
}
