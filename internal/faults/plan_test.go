package faults

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
	"tidemill/jobs/command"
	"tidemill/jobs/schedule"
)

func draw(t *testing.T, seed uint64) *workload {
	t.Helper()
	p := Pass{Seed: seed, Policy: jobs.UnknownRetry, Slack: slack}
	w, err := drawWorkload(rand.New(rand.NewPCG(seed, 0)), p, noon, noon.Add(10*time.Minute), 20, []string{"/bin/work", "task", "/tmp"})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The targets are the instants that the jobs' own schedules name, no more and no fewer.
func TestTargetsAreTheSchedulesInstants(t *testing.T) {
	for seed := range uint64(50) {
		w := draw(t, seed)
		want := map[jobs.Name][]time.Time{}
		for _, target := range w.targets {
			if target.Parent == "" {
				want[target.Job] = append(want[target.Job], target.At)
			}
		}
		got := map[jobs.Name][]time.Time{}
		for _, job := range w.jobs {
			if _, err := command.New().Check(job.Spec); err != nil {
				t.Fatalf("seed %d: %s: %v", seed, job.Name, err)
			}
			if job.Schedule == nil {
				continue
			}
			s, err := schedule.Compile(job.Schedule.Spec, string(job.Name))
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, job.Name, err)
			}
			for instant := range s.All(noon) {
				got[job.Name] = append(got[job.Name], instant.Nominal)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: targets and instants (-targets +instants):\n%s", seed, diff)
		}
	}
}

func TestNoRunReachesTheNextTarget(t *testing.T) {
	last := map[jobs.Name]Target{}
	for _, target := range draw(t, 1).targets {
		if former, ok := last[target.Job]; ok {
			if gap := target.At.Sub(former.At); gap <= former.Epsilon+slack+former.Duration {
				t.Errorf("%s: the next is due %s later", &former, gap)
			}
		}
		last[target.Job] = target
	}
}

func TestASeedDrawsTheSameAgain(t *testing.T) {
	if diff := cmp.Diff(draw(t, 7).targets, draw(t, 7).targets); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(draw(t, 7).targets, draw(t, 8).targets) {
		t.Error("another seed draws the same")
	}
}
