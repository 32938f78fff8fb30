package scheduler

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

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
	s.step(Elected{Term: 2, Ahead: 10 * time.Minute})
	s.subscribe(1, right)
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

// TestTimeNeverGoesBack: the next leader's clock is behind what an attempt's
// end was stored with, and nothing that it decides is earlier.
func TestTimeNeverGoesBack(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.launchOne("a")
	for _, happens := range []func(){
		func() { s.executorSays(task, jobs.TaskRunning) },
		func() { s.update(task, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "") },
		func() { s.executorSays(task, jobs.TaskFailed) },
	} {
		s.now = s.now.Add(5 * time.Second)
		happens()
		stored := s.now
		s.now = s.now.Add(-4 * time.Second)
		delete(s.store, keyMeta) // whatever else was stored later
		s.failover()
		if s.core.now.Before(stored) {
			t.Errorf("attempt %s: it is %s, and was %s", s.core.tasks[task].rec.State, s.core.now, stored)
		}
		s.now = stored
	}
}

func TestTimekeeper(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
	}
	type line struct {
		clock, elapsed float64 // say
		measured       bool
		want           float64
		leapt          bool
	}
	tests := []struct {
		name  string
		lines []line
	}{
		{"time passes", []line{{0, 0, false, 0, false}, {10, 10, false, 10, false}, {40, 40, false, 40, false}}},
		{"a small step back is the core's to bear", []line{{10, 10, false, 10, false}, {9, 10, false, 9, false}}},
		{"a stall", []line{{0, 0, false, 0, false}, {60, 60, false, 60, false}}},
		{"a small leap ahead", []line{{0, 0, false, 0, false}, {5, 1, false, 1, true}, {6, 2, true, 6, false}}},
		{"the machine slept", []line{{0, 0, false, 0, false}, {60, 1, false, 1, true}, {61, 2, true, 61, false}, {62, 3, false, 62, false}}},
		{"a leap ahead, and back", []line{
			{0, 0, false, 0, false}, {40, 1, false, 1, true}, {41, 2, true, 41, false}, {45, 6, false, 45, false}, {6, 7, false, 46, true}, {7, 8, true, 7, false},
		}},
		{"a leap back, and ahead", []line{
			{100, 0, false, 100, false}, {60, 1, false, 101, true}, {61, 2, true, 61, false}, {105, 6, false, 65, true}, {106, 7, true, 106, false},
		}},
		{"a leap that was undone before it was measured", []line{{0, 0, false, 0, false}, {40, 1, false, 1, true}, {2, 2, false, 2, false}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var k timekeeper
			for i, l := range test.lines {
				elapsed := time.Duration(l.elapsed * float64(time.Second))
				if l.measured {
					k.measured(at(l.clock), elapsed)
				}
				if now, leapt := k.read(at(l.clock), elapsed); !now.Equal(at(l.want)) || leapt != l.leapt {
					t.Errorf("line %d: it is %s, leapt %v; want %s, %v", i+1, now, leapt, at(l.want), l.leapt)
				}
			}
		})
	}
}

// TestALeapOfTheClockIsNotBelieved sets the clock far ahead for a while, twice, and has a job due
// every ten seconds: no instant may be taken before its time, nor passed over when the clock is
// right again.
func TestALeapOfTheClockIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kinds, err := jobs.NewRegistry(stubKind{})
		if err != nil {
			t.Fatal(err)
		}
		var ahead atomic.Int64
		elector := &rivals{urls: []string{"http://a"}, ahead: func() time.Duration { return time.Duration(ahead.Load()) }}
		s := NewScheduler(Options{
			Core: DefaultConfig(), Kinds: kinds, Elector: elector, Mesos: noMaster{}, Log: zerolog.Nop(),
			Now: func() time.Time { return time.Now().Add(elector.ahead()) },
		})
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { _ = s.Serve(ctx) }) // it ends with ctx
		defer serving.Wait()
		defer cancel()
		synctest.Wait()
		job := scheduled("*/10 * * * * *", jobs.CatchUp{})
		job.Overlap = jobs.OverlapAllow
		if _, err := s.Apply(ctx, []jobs.Job{job}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 2 {
			pass(30 * time.Second)
			ahead.Store(int64(100 * time.Second))
			pass(30 * time.Second)
			ahead.Store(0)
		}
		pass(25 * time.Second)
		page, err := s.Runs(ctx, jobs.RunQuery{})
		if err != nil {
			t.Fatal(err)
		}
		far := 0 // due while the clock was far off
		for _, run := range page.Runs {
			switch late := run.Created.Sub(run.Nominal); {
			case late < 0:
				t.Errorf("run %s was made %s before its time", run.ID, -late)
			case late > 2*time.Second:
				far++
			}
			if run.State == jobs.RunSkipped {
				t.Errorf("run %s is skipped: %s", run.ID, run.Reason)
			}
		}
		if in := len(page.Runs) - far; far > 2 || in < 8 {
			t.Errorf("%d runs in time and %d late, %s after the start; want those of the times when the clock was right, and one for each of the others", in, far, time.Since(began))
		}
	})
}

// TestTheClockIsReadAsItShows: what time.Now holds to measure durations would
// hide that the clock was set.
func TestTheClockIsReadAsItShows(t *testing.T) {
	leader := &term{opt: &Options{Now: time.Now}, began: time.Now()}
	if now, _ := leader.now(); now != now.Round(0) {
		t.Errorf("it is %s, with a reading that no clock shows", now)
	}
}

// pass lets time pass for all goroutines.
func pass(d time.Duration) { <-time.After(d) }
