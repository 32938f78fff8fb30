package scheduler

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

// chunks are the keys of the store's chunks of plans.
func (s *script) chunks() []string {
	var keys []string
	for key := range s.store {
		if strings.HasPrefix(key, keyPlan) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (s *script) wantChunks(when string, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.chunks()); diff != "" {
		s.t.Errorf("%s: chunks (-want +got):\n%s", when, diff)
	}
}

func planning(j *jobs.Job) { j.Spec, j.Retry.Attempts = json.RawMessage(`"planned"`), 1 }

// failedWithPlan is a run that failed and keeps its plan.
func (s *script) failedWithPlan(request string) jobs.RunID {
	s.t.Helper()
	id := s.start("j", request)
	s.planned()
	for _, task := range s.launchAll() {
		s.end(task, jobs.TaskFailed)
	}
	s.endKilled()
	s.wantRun(id, jobs.RunFailed)
	return id
}

// TestChunksOfNoRunAreDeleted: a leader died between the chunks of a plan and
// the run that was to take them over; or an older program left them.
func TestChunksOfNoRunAreDeleted(t *testing.T) {
	for _, held := range []bool{false, true} {
		s := newScript(t, manual(planning))
		id := s.failedWithPlan("r")
		fx := s.core.Step(s.now, Request{Do: RerunRun{ID: id, Failed: true}})
		first := fx.Persist[0]
		if len(first) != 1 || !strings.HasPrefix(first[0].Key, keyPlan) {
			t.Fatalf("first %+v is written, want a chunk", first)
		}
		s.apply(fx.Persist[:1]) // and no more
		gone := "plans/gone.3.r-9.0/2"
		s.store[gone] = []byte("{")
		s.wantChunks("after a crash", gone, planKey(id, 0), first[0].Key)
		if held {
			s.store[keyState+"j"] = []byte("{")
		}
		s.failover()
		if held {
			s.wantChunks("under who cannot read all of the job", planKey(id, 0), first[0].Key)
			continue
		}
		s.wantChunks("under the next leader", planKey(id, 0))
		if found := Check(s.kinds, s.records(), s.now); len(found) > 0 {
			t.Errorf("findings %+v", found)
		}
	}
}

// TestUnsealedChunksGoWithTheirRun: chunks were written, the seal was not, and
// the run came to another end, or to a shorter plan.
func TestUnsealedChunksGoWithTheirRun(t *testing.T) {
	begun := func(s *script) (jobs.RunID, jobs.TaskID) {
		id := s.start("j", "r")
		task := s.launchOne("a")
		for n := range 3 {
			s.store[planKey(id, n)] = []byte("{")
		}
		s.failover()
		return id, task
	}
	t.Run("killed", func(t *testing.T) {
		s := newScript(t, manual(planning))
		id, task := begun(s)
		if _, err := s.ask(KillRun{ID: id}); err != nil {
			t.Fatal(err)
		}
		s.end(task, jobs.TaskKilled)
		s.wantRun(id, jobs.RunCancelled)
		if _, err := s.ask(DeleteJob{Name: "j"}); err != nil {
			t.Fatal(err)
		}
		s.wantChunks("its job is deleted")
	})
	t.Run("planned", func(t *testing.T) {
		s := newScript(t, manual(planning))
		id, task := begun(s)
		s.end(task, jobs.TaskFinished)
		s.step(Fetched{Task: task, File: jobs.PlanFile, Data: mustJSON(jobs.Plan{Splits: []jobs.Split{{Stage: 1}}})})
		s.wantChunks("a shorter plan is sealed", planKey(id, 0))
		s.failover()
		s.end(s.launchOne("a"), jobs.TaskFinished)
		s.wantRun(id, jobs.RunSucceeded)
		s.wantChunks("it succeeded")
	})
}

// TestPlansOfStaleRunsGo: the job was deleted, and the leader died before its
// runs were; or their plans cannot be read.
func TestPlansOfStaleRunsGo(t *testing.T) {
	for _, spoilt := range []bool{false, true} {
		t.Run(fmt.Sprint("spoilt ", spoilt), func(t *testing.T) {
			s := newScript(t, manual(planning))
			s.cfg.HistoryBacklog = 100
			s.failover()
			id := s.failedWithPlan("r")
			if spoilt {
				s.store[planKey(id, 0)] = []byte("{")
				s.failover()
			}
			fx := s.core.Step(s.now, Request{Do: DeleteJob{Name: "j"}})
			s.apply(fx.Persist[:1])
			s.wantChunks("after a crash", planKey(id, 0))
			s.failover()
			s.wait(time.Second)
			s.wantChunks("under the next leader")
		})
	}
}
