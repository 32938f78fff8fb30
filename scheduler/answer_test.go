package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestApplySaysWhatItDid(t *testing.T) {
	first, second := manual(nil), manual(func(j *jobs.Job) { j.Name = "k" })
	s := newScript(t, first)
	applied := func(list ...jobs.Job) (out []jobs.Applied) {
		v, err := s.ask(ApplyJobs{Jobs: list})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range v.([]jobs.AppliedJob) {
			out = append(out, j.Applied)
		}
		return out
	}
	if diff := cmp.Diff([]jobs.Applied{jobs.JobUnchanged, jobs.JobCreated}, applied(first, second)); diff != "" {
		t.Error(diff)
	}
	first.Description = "other"
	if diff := cmp.Diff([]jobs.Applied{jobs.JobReplaced, jobs.JobUnchanged}, applied(first, second)); diff != "" {
		t.Error(diff)
	}
}

func TestRunsOfNoJobAreAnError(t *testing.T) {
	s := newScript(t, manual(nil))
	if page, err := s.core.Runs(jobs.RunQuery{Job: "j"}); page.Total != 0 || err != nil {
		t.Errorf("a job without runs: %d, %v", page.Total, err)
	}
	if _, err := s.core.Runs(jobs.RunQuery{Job: "nope"}); err == nil || !strings.Contains(err.Error(), "there is no such job") {
		t.Errorf("no job: %v", err)
	}
}

// A run says what its end made of the jobs after it, be it that they wait.
func TestRunNamesItsChildren(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Name = "a" }), manual(func(j *jobs.Job) { j.Name = "b" }),
		manual(func(j *jobs.Job) { j.Name, j.After = "child", []jobs.Name{"a"} }),
		manual(func(j *jobs.Job) { j.Name, j.After = "both", []jobs.Name{"a", "b"} }))
	first := s.parentRun("a", "1", jobs.TaskFinished)
	running := s.lastRun("child").ID
	s.wait(time.Second)
	v, err := s.ask(StartRun{jobs.RunRequest{Job: "a", RequestID: "2", Children: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range s.launchAll() {
		if s.core.tasks[id].rec.Job == "a" {
			s.succeedWith(id, nil)
		}
	}
	second := v.(jobs.Run).ID
	for id, want := range map[jobs.RunID][]jobs.ChildRun{
		first: {{Job: "both", Reason: "it waits for runs of [b]"}, {Job: "child", Run: running, State: jobs.RunQueued}},
		second: {{Job: "both", Reason: "it waits for runs of [b]"},
			{Job: "child", Run: s.lastRun("child").ID, State: jobs.RunSkipped, Reason: "overlap: run " + string(running) + " is under way"}},
	} {
		v, err := s.core.RunView(id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, v.Children); diff != "" {
			t.Errorf("children of %s (-want +got):\n%s", id, diff)
		}
	}
}

func TestPlacementNamesTheOfferShort(t *testing.T) {
	got := placement(&jobs.Task{Offer: "4a7b6a0e-3d6f-4b8e-9d1c-0a2f1f7c2f11-O12", Host: "agent-a", Locality: jobs.LocalReplica, Waited: jobs.Duration(time.Second)})
	if want := "offer O12 of agent-a, level replica, waited 1s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
