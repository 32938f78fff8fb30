package scheduler

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

// end has an attempt start and end as it says.
func (s *script) end(id jobs.TaskID, state string) {
	s.executorSays(id, jobs.TaskRunning)
	s.executorSays(id, state)
}

// endKilled ends what is being killed.
func (s *script) endKilled() {
	for _, t := range s.core.orderedTasks() {
		if t.live() && t.rec.Kill != "" {
			s.executorSays(t.rec.ID, jobs.TaskKilled)
		}
	}
}

func (s *script) rerunFailed(id jobs.RunID) jobs.Run {
	s.t.Helper()
	v, err := s.ask(RerunRun{ID: id, Failed: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return v.(jobs.Run)
}

// launchAll launches all that waits, and gives it in order.
func (s *script) launchAll() []jobs.TaskID {
	list := s.offer("a")
	slices.Sort(list)
	return list
}

func TestRerunOfFailedSplitsKeepsTheOthers(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Spec, j.Retry.Attempts = json.RawMessage(`"three"`), 1 }))
	id := s.start("j", "r")
	first := s.launchAll()
	s.end(first[0], jobs.TaskFinished)
	s.end(first[1], jobs.TaskFailed)
	s.endKilled()
	s.wantRun(id, jobs.RunFailed)
	s.failover()
	again := s.rerunFailed(id)
	if again.ID == id || again.Generation != 1 || again.Rerun == nil || again.Rerun.Kept != 1 || again.Rerun.Of != id {
		t.Fatalf("the rerun is %+v", again)
	}
	want := []jobs.TaskID{jobs.NewTaskID(again.ID, 1, 1, 2), jobs.NewTaskID(again.ID, 1, 2, 2)}
	launched := s.launchAll()
	if diff := cmp.Diff(want, launched); diff != "" {
		t.Fatalf("launched (-want +got):\n%s", diff)
	}
	s.end(launched[0], jobs.TaskFinished)
	s.failover()
	s.end(launched[1], jobs.TaskFinished)
	s.wantRun(id, jobs.RunFailed)
	s.wantRun(again.ID, jobs.RunSucceeded)
	v, err := s.core.RunView(again.ID)
	if err != nil || v.Splits.Done != 3 || v.Splits.Total != 3 {
		t.Errorf("%d of %d splits, %v; want 3 of 3", v.Splits.Done, v.Splits.Total, err)
	}
	if _, err := s.ask(RerunRun{ID: again.ID, Failed: true}); err == nil || !strings.Contains(err.Error(), "it succeeded") {
		t.Errorf("failed splits of a run that succeeded: %v", err)
	}
}

// planned runs the planning of the run that waits, with two splits in stage 1
// and one in stage 2.
func (s *script) planned() {
	s.t.Helper()
	id := s.launchOne("a")
	s.end(id, jobs.TaskFinished)
	if len(s.reads) != 1 || s.reads[0].File != jobs.PlanFile {
		s.t.Fatalf("reads %+v, want the plan", s.reads)
	}
	plan := mustJSON(jobs.Plan{Splits: []jobs.Split{{Stage: 1}, {Stage: 1}, {Stage: 2}}, Shared: json.RawMessage(`"shared"`)})
	s.step(Fetched{Task: id, File: jobs.PlanFile, Data: plan})
}

func TestRerunOfFailedSplitsTakesThePlanOver(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Spec, j.Retry.Attempts = json.RawMessage(`"planned"`), 2 }))
	id := s.start("j", "r")
	s.planned()
	stage1 := s.launchAll()
	s.end(stage1[0], jobs.TaskFinished)
	s.end(stage1[1], jobs.TaskFailed)
	s.wait(2 * time.Second)
	s.end(s.launchOne("a"), jobs.TaskFinished) // attempt 2 of split 1
	for range 2 {
		s.end(s.launchOne("a"), jobs.TaskFailed) // of stage 2
		s.wait(2 * time.Second)
	}
	s.wantRun(id, jobs.RunFailed)
	version := s.core.runs[id].rec.Version

	s.wait(time.Minute)
	s.failover()
	second := s.rerunFailed(id)
	s.failover()
	for range 2 {
		s.end(s.launchOne("a"), jobs.TaskFailed)
		s.wait(2 * time.Second)
	}
	s.wantRun(second.ID, jobs.RunFailed)

	third := s.rerunFailed(second.ID)
	last := s.launchOne("a")
	if want := jobs.NewTaskID(third.ID, 2, 0, 5); last != want {
		t.Errorf("launched %s, want %s: attempts are never numbered twice", last, want)
	}
	a := s.data[last]
	got := []any{a.Origin, a.PlannedBy(), a.Version, a.Former, string(a.Shared), a.Start}
	if diff := cmp.Diff([]any{id, id, version, []int{1, 2}, `"shared"`, 1}, got); diff != "" {
		t.Errorf("assignment (-want +got):\n%s", diff)
	}
	s.end(last, jobs.TaskFinished)
	s.wantRun(third.ID, jobs.RunSucceeded)
	if s.store[planKey(third.ID, 0)] != nil || s.store[planKey(id, 0)] == nil {
		t.Error("the plan is kept where the run succeeded, or was deleted where it failed")
	}
	for i := range 5 { // history forgets the failed ones, and their plans
		s.start("j", string(rune('a'+i)))
		s.wait(25 * time.Hour)
		s.planned()
		for range 2 {
			for _, id := range s.launchAll() {
				s.end(id, jobs.TaskFinished)
			}
		}
	}
	if _, ok := s.core.runs[id]; ok {
		t.Fatal("the run still stands in the history")
	}
	for key := range s.store {
		if strings.HasPrefix(key, keyPlan) {
			t.Errorf("%s is left", key)
		}
	}
}

func TestRerunOfFailedSplitsRefusesOtherWork(t *testing.T) {
	job := manual(func(j *jobs.Job) { j.Spec, j.Retry.Attempts = json.RawMessage(`"three"`), 1 })
	s := newScript(t, job)
	id := s.start("j", "r")
	first := s.launchAll()
	if _, err := s.ask(RerunRun{ID: id, Failed: true}); err == nil {
		t.Error("a live run was run again")
	}
	s.end(first[0], jobs.TaskFailed)
	s.endKilled()
	job.Resources.Mem = 512
	if _, err := s.ask(ApplyJobs{Jobs: []jobs.Job{job}}); err != nil {
		t.Fatal(err)
	}
	more := s.rerunFailed(id)
	if mem := s.core.runs[more.ID].pinned().Resources.Mem; mem != 512 {
		t.Errorf("the rerun has %g MiB, want what the job says now", mem)
	}
	job.Spec = json.RawMessage(`"other"`)
	if _, err := s.ask(ApplyJobs{Jobs: []jobs.Job{job}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ask(RerunRun{ID: id, Failed: true}); err == nil || !strings.Contains(err.Error(), "spec was changed") {
		t.Errorf("splits of another spec: %v", err)
	}
}

// A run that failed while it was planned leaves nothing to take over.
func TestRerunOfAFailedPlanningPlansAgain(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Spec, j.Retry.Attempts = json.RawMessage(`"planned"`), 1 }))
	id := s.start("j", "r")
	s.end(s.launchOne("a"), jobs.TaskFailed)
	s.wantRun(id, jobs.RunFailed)
	again := s.rerunFailed(id)
	if again.Rerun != nil || again.State != jobs.RunQueued || again.Stage != 0 {
		t.Errorf("the rerun is %+v, want one that plans", again)
	}
}

// A job that cannot be read by this program, or is gone, is not run again.
func TestRerunOfAJobThatIsNotThere(t *testing.T) {
	for want, spoil := range map[string]func(*script){
		"there is no such job": func(s *script) { delete(s.store, keyJob+"j") },
		"its job is held": func(s *script) {
			s.store[keyJob+"j"] = bytes.ReplaceAll(s.store[keyJob+"j"], []byte(`"stub"`), []byte(`"novel"`))
		},
		"it is held": func(s *script) { s.store[keyJob+"j"] = []byte("{") },
	} {
		s := newScript(t, manual(nil))
		id := s.start("j", "r")
		s.end(s.launchOne("a"), jobs.TaskFinished)
		spoil(s)
		s.failover()
		if _, err := s.ask(RerunRun{ID: id}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestRerunsThatHaveNothingLeftToDo: their runs were killed, and their work
// was quicker. Each is over as soon as it is its turn, and so is the next.
func TestRerunsThatHaveNothingLeftToDo(t *testing.T) {
	s := newScript(t, manual(nil))
	var done []jobs.RunID
	for _, request := range []string{"1", "2", "3"} {
		id := s.start("j", request)
		task := s.launchOne("a")
		s.executorSays(task, jobs.TaskRunning)
		if _, err := s.ask(KillRun{ID: id}); err != nil {
			t.Fatal(err)
		}
		s.executorSays(task, jobs.TaskFinished)
		s.wantRun(id, jobs.RunCancelled)
		done = append(done, id)
	}
	s.start("j", "4")
	task := s.launchOne("a")
	var again []jobs.RunID
	for _, id := range done {
		again = append(again, s.rerunFailed(id).ID)
	}
	s.executorSays(task, jobs.TaskFinished)
	for _, id := range again {
		s.wantRun(id, jobs.RunSucceeded)
	}
}
