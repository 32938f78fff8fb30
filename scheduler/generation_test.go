package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"testing"
	"time"

	"tidemill/jobs"
)

// TestIDsOutliveHistory: a run that history forgot is made again under
// another id, and so are its tasks.
func TestIDsOutliveHistory(t *testing.T) {
	hourly := scheduled("0 * * * *", jobs.CatchUp{})
	child := manual(func(j *jobs.Job) { j.Name, j.After = "child", []jobs.Name{"j"} })
	s := newScript(t, hourly, child)
	first := s.now.Add(time.Hour)
	used := map[jobs.TaskID]bool{}
	work := func() {
		for again := true; again; {
			list := s.offer("a")
			again = len(list) > 0
			for _, id := range list {
				if used[id] {
					t.Errorf("task id %s is used twice", id)
				}
				used[id] = true
				s.executorSays(id, jobs.TaskFinished)
			}
		}
	}
	for range s.cfg.History + 2 {
		s.now = s.now.Add(time.Hour)
		s.step(Tick{})
		work()
	}
	s.failover()
	before := len(used)
	for range 2 {
		fx := s.step(Request{Do: BackfillJob{jobs.BackfillRequest{Job: "j", From: first, To: first.Add(time.Second)}}})
		if err := fx.Answers[0].Err; err != nil {
			t.Fatal(err)
		}
		work()
	}
	if n := len(used) - before; n != 2 { // once; then it is known to have succeeded
		t.Errorf("%d tasks of two backfills, want the run and its child", n)
	}
}

// servingJob makes a core that has a service.
func servingJob(t *testing.T) (*script, jobs.RunID) {
	t.Helper()
	s := newScript(t, manual(nil))
	kinds, err := jobs.NewRegistry(stubKind{}, stubService{})
	if err != nil {
		t.Fatal(err)
	}
	s.kinds = kinds
	s.failover()
	service := manual(func(j *jobs.Job) { j.Name, j.Kind = "s", "stub_service" })
	if err := s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{service}}}).Answers[0].Err; err != nil {
		t.Fatal(err)
	}
	return s, s.core.jobs["s"].live[0].rec.ID
}

func TestServicesInstanceBeginsAgainWhenItEndsWell(t *testing.T) {
	s, run := servingJob(t)
	s.executorSays(s.launchOne("a"), jobs.TaskFinished)
	s.failover()
	s.wait(20 * time.Second)
	s.wantRun(run, jobs.RunRunning)
	s.launchOne("a")
}

func TestRerunOfAServiceIsRefusedAfterAFailover(t *testing.T) {
	s, old := servingJob(t)
	s.step(Request{Do: PauseJob{Name: "s", Paused: true}})
	s.wantRun(old, jobs.RunCancelled)
	s.step(Request{Do: PauseJob{Name: "s"}})
	s.failover()
	if s.step(Request{Do: RerunRun{ID: old}}).Answers[0].Err == nil {
		t.Error("a run of a service is done again beside the one that lives")
	}
}

// TestPlanIsMadeAgainOnce: a planning whose plan was lost is not taken up
// again by the next leader, beside the one that took its place.
func TestPlanIsMadeAgainOnce(t *testing.T) {
	lose := func(t *testing.T) *script {
		s := newScript(t, manual(nil))
		kinds, err := jobs.NewRegistry(stubKind{}, stubPlanner{})
		if err != nil {
			t.Fatal(err)
		}
		s.kinds = kinds
		s.failover()
		planned := manual(func(j *jobs.Job) { j.Name, j.Kind = "p", "stub_planner" })
		if err := s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{planned}}}).Answers[0].Err; err != nil {
			t.Fatal(err)
		}
		s.start("p", "1")
		first := s.launchOne("a")
		s.executorSays(first, jobs.TaskFinished)
		s.step(Fetched{Task: first, File: jobs.PlanFile, Err: fs.ErrNotExist})
		return s
	}
	t.Run("while it waits", func(t *testing.T) {
		s := lose(t)
		s.failover()
		s.wait(20 * time.Second)
		s.launchOne("b")
	})
	t.Run("while it runs", func(t *testing.T) {
		s := lose(t)
		s.wait(20 * time.Second)
		s.executorSays(s.launchOne("b"), jobs.TaskRunning)
		s.failover()
		s.wait(20 * time.Second)
		if got := s.offer("c"); len(got) > 0 {
			t.Errorf("launched %v beside the planning that runs", got)
		}
	})
}

// stubPlanner is work that is planned.
type stubPlanner struct{ stubKind }

func (stubPlanner) Name() string { return "stub_planner" }
func (stubPlanner) Check(json.RawMessage) (jobs.Traits, error) {
	return jobs.Traits{Planned: true}, nil
}

func (stubPlanner) Plan(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Plan, error) {
	return jobs.Plan{}, errors.ErrUnsupported
}

// stubService is work without an end.
type stubService struct{ stubKind }

func (stubService) Name() string { return "stub_service" }
func (stubService) Check(json.RawMessage) (jobs.Traits, error) {
	return jobs.Traits{Service: true, Splits: []jobs.Split{{Stage: 1}}}, nil
}
