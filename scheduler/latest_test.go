package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

// succeedWith ends an attempt well, with results.
func (s *script) succeedWith(id jobs.TaskID, values map[string]string) {
	s.executorSays(id, jobs.TaskRunning)
	out := jobs.Outcome{Task: id, OK: true, Started: s.now, Ended: s.now, Result: jobs.Result{Values: values}}
	s.step(Updated{jobs.Update{Task: id, Agent: "a", State: jobs.TaskFinished, Source: "SOURCE_EXECUTOR", UUID: []byte("u"), Data: mustJSON(out)}})
}

// parentRun runs a job by hand, for its children too, and gives the run.
func (s *script) parentRun(name jobs.Name, request, state string) jobs.RunID {
	s.t.Helper()
	s.wait(time.Second)
	v, err := s.ask(StartRun{jobs.RunRequest{Job: name, RequestID: request, Children: true}})
	if err != nil {
		s.t.Fatal(err)
	}
	id := s.launchOne("a")
	if state == jobs.TaskFinished {
		s.succeedWith(id, map[string]string{"of": request})
	} else {
		s.end(id, state)
	}
	return v.(jobs.Run).ID
}

// lastRun is the latest of a job's runs, live or not.
func (s *script) lastRun(name jobs.Name) jobs.Run {
	s.t.Helper()
	page, _ := s.core.Runs(jobs.RunQuery{Job: name, Limit: 1})
	if len(page.Runs) == 0 {
		s.t.Fatalf("%s never ran", name)
	}
	return page.Runs[0].Run
}

func TestLatestSuccessWithin(t *testing.T) {
	once := func(name jobs.Name) jobs.Job {
		return manual(func(j *jobs.Job) { j.Name, j.Retry.Attempts = name, 1 })
	}
	child := manual(func(j *jobs.Job) {
		j.Name, j.After, j.LatestWithin, j.Overlap = "child", []jobs.Name{"a", "b"}, jobs.Duration(time.Hour), jobs.OverlapAllow
	})
	s := newScript(t, once("a"), once("b"), child)
	s.cfg.History, s.core.cfg.History = 20, 20
	s.parentRun("a", "a1", jobs.TaskFinished)
	if r := s.lastRun("child"); r.State != jobs.RunSkipped || r.Reason != "parent b has not succeeded yet" {
		t.Errorf("without a success of b: %s, %s", r.State, r.Reason)
	}
	b1 := s.parentRun("b", "b1", jobs.TaskFinished)
	r := s.lastRun("child")
	if diff := cmp.Diff(map[jobs.Name]map[string]string{"a": {"of": "a1"}, "b": {"of": "b1"}}, r.Inputs); diff != "" || r.State != jobs.RunQueued {
		t.Errorf("%s with inputs (-want +got):\n%s", r.State, diff)
	}
	if id := s.launchOne("a"); cmp.Diff(r.Inputs, s.data[id].Inputs) != "" {
		t.Errorf("the task is given %v", s.data[id].Inputs)
	} else {
		s.succeedWith(id, nil)
	}
	s.failover()
	s.parentRun("a", "a2", jobs.TaskFailed)
	if again := s.lastRun("child"); again.ID != r.ID {
		t.Errorf("a failure of a made %s: %s", again.ID, again.Reason)
	}
	a3 := s.parentRun("a", "a3", jobs.TaskFinished)
	s.succeedWith(s.launchOne("a"), nil)
	if r := s.lastRun("child"); r.State != jobs.RunSucceeded || cmp.Diff([]jobs.RunID{a3, b1}, r.Parents) != "" {
		t.Errorf("a's next success: %s, %s, after %v", r.State, r.Reason, r.Parents)
	}
	s.wait(time.Hour)
	s.parentRun("a", "a4", jobs.TaskFinished)
	if r := s.lastRun("child"); r.State != jobs.RunSkipped || !strings.Contains(r.Reason, "parent b last succeeded at 2026-01-01T00:00:02Z, longer ago than 1h") {
		t.Errorf("when b's success is old: %s, %s", r.State, r.Reason)
	}
	late := child
	late.Name = "late"
	s.declare(late)
	s.parentRun("b", "b2", jobs.TaskFinished)
	if r := s.lastRun("late"); r.State != jobs.RunQueued {
		t.Errorf("a child that was declared after a's success: %s, %s", r.State, r.Reason)
	}
}

// Where parents share their instants latest_within changes nothing.
func TestLatestWithinIsForDifferentSchedules(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Name = "a" }), manual(func(j *jobs.Job) {
		j.Name, j.After, j.LatestWithin = "child", []jobs.Name{"a"}, jobs.Duration(time.Second)
	}))
	s.parentRun("a", "1", jobs.TaskFinished)
	if r := s.lastRun("child"); r.State != jobs.RunQueued {
		t.Errorf("%s, %s", r.State, r.Reason)
	}
}

func TestResultsOfParentsAreBounded(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Name = "a" }), manual(func(j *jobs.Job) { j.Name = "b" }),
		manual(func(j *jobs.Job) { j.Name, j.After = "child", []jobs.Name{"a", "b"} }))
	for _, name := range []jobs.Name{"a", "b"} {
		s.wait(time.Second)
		if _, err := s.ask(StartRun{jobs.RunRequest{Job: name, RequestID: "1", Children: true}}); err != nil {
			t.Fatal(err)
		}
		s.succeedWith(s.launchOne("a"), map[string]string{"k": strings.Repeat("v", 10<<10)})
	}
	if r := s.lastRun("child"); r.State != jobs.RunFailed || !strings.Contains(r.Reason, "20482 bytes together; at most 16384") || r.Inputs != nil {
		t.Errorf("%s, %s", r.State, r.Reason)
	}
}
