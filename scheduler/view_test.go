package scheduler

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestJobsAreListedByNameAndFoundByTheirWords(t *testing.T) {
	named := func(name jobs.Name, owner string) jobs.Job {
		return manual(func(j *jobs.Job) { j.Name, j.Owner = name, owner })
	}
	s := newScript(t, named("b", "Ann"), named("a", "Bob"))
	want := func(q jobs.JobQuery, total int, names ...jobs.Name) {
		t.Helper()
		list, n := s.core.Jobs(q)
		var got []jobs.Name
		for _, v := range list {
			got = append(got, v.Name)
		}
		if diff := cmp.Diff(names, got); diff != "" || n != total {
			t.Errorf("%+v: %d in all, want %d (-want +got):\n%s", q, n, total, diff)
		}
	}
	want(jobs.JobQuery{}, 2, "a", "b")
	want(jobs.JobQuery{Search: "ANN"}, 1, "b")
	s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{named("aa", "Ann"), named("b", "Cid")}}})
	want(jobs.JobQuery{}, 3, "a", "aa", "b")
	want(jobs.JobQuery{Offset: 1, Limit: 1}, 3, "aa")
	want(jobs.JobQuery{Search: "ann"}, 1, "aa")
	s.step(Request{Do: DeleteJob{Name: "aa"}})
	want(jobs.JobQuery{}, 2, "a", "b")
	s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{named("aa", "Dora")}}})
	want(jobs.JobQuery{Search: "ann"}, 0)
	want(jobs.JobQuery{Search: "dora"}, 1, "aa")
}

func TestRunIsQueuedUntilATaskOfItHasStarted(t *testing.T) {
	for _, spec := range []string{`null`, `"planned"`} {
		s := newScript(t, manual(func(j *jobs.Job) { j.Spec = json.RawMessage(spec) }))
		id := s.start("j", "1")
		want := func(run jobs.RunState, situation string) {
			t.Helper()
			v, err := s.core.RunView(id)
			if err != nil || v.State != run {
				t.Errorf("spec %s: the run is told to be %s, want %s (%v)", spec, v.State, run, err)
			}
			if page, err := s.core.Runs(jobs.RunQuery{State: run}); page.Total != 1 || err != nil {
				t.Errorf("spec %s: %d runs are found by the state %s (%v)", spec, page.Total, run, err)
			}
			if j, err := s.core.JobView("j"); err != nil || j.State != situation || j.LastRun.State != run {
				t.Errorf("spec %s: the job is %s, its run %s, want %s and %s (%v)", spec, j.State, j.LastRun.State, situation, run, err)
			}
		}
		want(jobs.RunQueued, "queued")
		task := s.launchOne("a")
		want(jobs.RunQueued, "queued")
		s.failover()
		want(jobs.RunQueued, "queued")
		recorded := s.core.runs[id].rec.State
		s.executorSays(task, jobs.TaskRunning)
		want(recorded, "running")
		s.failover()
		want(recorded, "running")
	}
}

func TestRunWhoseStartNobodySawIsNotQueued(t *testing.T) {
	s := newScript(t, manual(nil))
	id := s.start("j", "1")
	s.update(s.launchOne("a"), jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	if v, err := s.core.RunView(id); err != nil || v.State != jobs.RunRunning || v.Unknown != 1 {
		t.Errorf("the run is told to be %s with %d unknown attempts, want running with 1 (%v)", v.State, v.Unknown, err)
	}
}

// TestFailuresSinceTheLastSuccess: they are counted beyond the runs that the
// store keeps, by whoever leads; an older program's by what it left.
func TestFailuresSinceTheLastSuccess(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Retry.Attempts = 1 }))
	runs := 0
	run := func(n int, state string) {
		for range n {
			runs++
			s.start("j", fmt.Sprint("r", runs))
			s.end(s.launchOne("a"), state)
			s.wait(25 * time.Hour)
		}
	}
	want := func(when string, want int64) {
		t.Helper()
		if v, err := s.core.JobView("j"); err != nil || v.FailuresSince != want {
			t.Errorf("%s: %d failures since the last success, %v; want %d", when, v.FailuresSince, err, want)
		}
	}
	older := func() {
		s.store["state/j"] = regexp.MustCompile(`"failing":\d+,`).ReplaceAll(s.store["state/j"], nil)
		s.failover()
	}
	run(5, jobs.TaskFailed)
	s.failover()
	want("without a success", 5)
	older()
	want("without a success, of an older program", 5)
	run(1, jobs.TaskFinished)
	want("after a success", 0)
	s.failover()
	want("after a success and a failover", 0)
	run(5, jobs.TaskFailed)
	want("after it", 5)
	kept := 0
	for key := range s.store {
		if strings.HasPrefix(key, keyRun) {
			kept++
		}
	}
	if kept >= 5 {
		t.Fatalf("%d runs are kept", kept)
	}
	older()
	want("of an older program, which kept fewer runs", int64(kept))
}
