package scheduler

import (
	"testing"
	"time"

	"tidemill/jobs"
)

// TestStartByIsToldByTheStoresClock: a leader whose clock is off lets agents, whose clocks are right,
// start its tasks for as long as any other leader would, and waits for as long before it gives one up.
func TestStartByIsToldByTheStoresClock(t *testing.T) {
	tests := []struct {
		name  string
		ahead time.Duration
		sets  func(s *script)
	}{
		{"right", 0, func(*script) {}},
		{"a little off", 0, func(s *script) { s.step(ClockSkewed{By: s.cfg.Skew}) }},
		{"ahead", 20 * time.Second, func(s *script) {
			s.now = s.now.Add(20 * time.Second)
			s.step(ClockSkewed{By: 20 * time.Second})
		}},
		{"behind", -20 * time.Second, func(s *script) { s.step(ClockSkewed{By: -20 * time.Second}) }},
		{"waiting for the time that the leader before had reached", 20 * time.Second, func(s *script) {
			s.now = s.now.Add(20 * time.Second)
			s.step(Tick{})
			s.now = s.now.Add(-20 * time.Second)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t, manual(nil))
			s.core.cfg.StartBy = time.Minute
			test.sets(s)
			s.start("j", "1")
			task := s.launchOne("a")
			ours := s.core.now
			if got, want := s.core.tasks[task].rec.StartBy, ours.Add(time.Minute-test.ahead); !got.Equal(want) {
				t.Errorf("start_by is %s after our time; want %s", got.Sub(ours), want.Sub(ours))
			}
			if got, want := s.core.safeAfter(s.core.tasks[task]), ours.Add(time.Minute+s.cfg.Skew); !got.Equal(want) {
				t.Errorf("given up %s after the launch; want %s", got.Sub(ours), want.Sub(ours))
			}
		})
	}
}

// TestADeadlineIsToldByTheStoresClockToo: it cuts the time to start short.
func TestADeadlineIsToldByTheStoresClockToo(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.StartDeadline = jobs.Duration(30 * time.Second) }))
	s.step(ClockSkewed{By: -20 * time.Second})
	s.start("j", "1")
	task := s.launchOne("a")
	if got := s.core.tasks[task].rec.StartBy.Sub(s.core.now); got != 50*time.Second {
		t.Errorf("start_by is %s after our time; want 50 s, which is 30 s by the store's", got)
	}
}

// TestClockBeyondBelief: a leader whose clock is wrong makes no runs, and does
// not leave its time to the next one.
func TestClockBeyondBelief(t *testing.T) {
	window := jobs.Duration(time.Hour)
	s := newScript(t, scheduled("* * * * *", jobs.CatchUp{Mode: jobs.CatchUpAll, Window: &window}))
	right := s.now
	var records []Record
	for key, value := range s.store {
		records = append(records, Record{Key: key, Value: value})
	}
	s.core = New(s.cfg, s.kinds)
	if err := s.core.Load(records); err != nil {
		t.Fatal(err)
	}
	s.now = right.Add(10 * time.Minute)
	s.step(ClockSkewed{By: 10 * time.Minute})
	s.lead()
	s.wait(90 * time.Second)
	if n := len(s.core.runs); n != 0 {
		t.Errorf("%d runs by a clock that is ten minutes ahead, want none", n)
	}
	s.now = right.Add(2*time.Minute + time.Second)
	s.failover()
	s.wait(10 * time.Second)
	if got := s.core.now; !got.Equal(s.now) {
		t.Errorf("the next leader's time is %s, want %s", got, s.now)
	}
	if n := len(s.core.runs); n == 0 {
		t.Error("no runs by the next leader")
	}
}

func TestCatchUpWaitsForTheClock(t *testing.T) {
	window := jobs.Duration(time.Hour)
	s := newScript(t, scheduled("* * * * *", jobs.CatchUp{Mode: jobs.CatchUpAll, Window: &window}))
	s.now = s.now.Add(3*time.Minute + time.Second)
	s.step(Tick{}) // 1 and 2 are missed, 3 runs
	s.step(ClockSkewed{By: time.Minute})
	s.executorSays(s.launchOne("a"), jobs.TaskFinished)
	if got := len(s.core.jobs["j"].live); got != 0 {
		t.Errorf("%d runs of what was missed, by a clock beyond belief", got)
	}
	s.step(ClockSkewed{})
	if got := len(s.core.jobs["j"].live); got != 1 {
		t.Errorf("%d runs once the clocks agree, want one", got)
	}
}

// TestUnreadableJobIsLeftAlone: nobody changes a job who cannot read all of it.
func TestUnreadableJobIsLeftAlone(t *testing.T) {
	for _, family := range []string{keyJob + "j", keyState + "j", keyRun, keyTask} {
		t.Run(family, func(t *testing.T) {
			s := newScript(t, manual(nil))
			run := s.start("j", "1")
			task := s.launchOne("a")
			s.executorSays(task, jobs.TaskRunning)
			key := map[string]string{keyRun: keyRun + string(run), keyTask: keyTask + string(task)}[family]
			if key == "" {
				key = family
			}
			whole := s.store[key]
			s.store[key] = []byte("?")
			s.failover()
			for _, do := range []any{
				ApplyJobs{Jobs: []jobs.Job{manual(nil)}}, DeleteJob{Name: "j"}, PauseJob{Name: "j", Paused: true},
				StartRun{jobs.RunRequest{Job: "j", RequestID: "2"}}, KillRuns{Job: "j"}, KillRun{ID: run}, MarkRun{ID: run}, RerunRun{ID: run},
			} {
				if fx := s.step(Request{Do: do}); fx.Answers[0].Err == nil || len(fx.Persist) > 0 {
					t.Errorf("%T: error %v, %d changes, want a refusal", do, fx.Answers[0].Err, len(fx.Persist))
				}
			}
			s.executorSays(task, jobs.TaskFinished)
			if len(s.calls) > 0 {
				t.Errorf("calls %v, want none", s.calls)
			}
			s.store[key] = whole
			s.failover()
			s.executorSays(task, jobs.TaskFinished)
			s.wantRun(run, jobs.RunSucceeded)
		})
	}
}
