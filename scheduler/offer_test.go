package scheduler

import (
	"fmt"
	"strings"
	"testing"

	"tidemill/jobs"
)

// reasons says why the run's splits wait.
func (s *script) reasons(id jobs.RunID) string {
	s.t.Helper()
	v, err := s.core.RunView(id)
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for _, w := range v.Waiting {
		for _, r := range w.Reasons {
			lines = append(lines, fmt.Sprintf("%s: %s", r.Code, r.Message))
		}
	}
	return strings.Join(lines, "\n")
}

// TestConstraintsCountTheRunsTasks: also those of a leader that is gone, and
// no longer those that have ended.
func TestConstraintsCountTheRunsTasks(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) {
		j.Spec = []byte(`"three"`)
		j.Placement.Constraints = []jobs.Constraint{{Field: "hostname", Operator: jobs.Unique}}
	}))
	run := s.start("j", "1")
	first := s.launchOne("a")
	s.executorSays(first, jobs.TaskRunning)
	s.failover()
	if list := s.offer("a"); len(list) != 0 {
		t.Fatalf("%v was launched beside %s", list, first)
	}
	if text := s.reasons(run); !strings.Contains(text, "constraint hostname UNIQUE (the agent has a; the run's tasks: a 1)") {
		t.Errorf("the reasons are %s", text)
	}
	second := s.launchOne("b")
	s.executorSays(first, jobs.TaskRunning)
	s.executorSays(first, jobs.TaskFinished)
	if list := s.offer("b"); len(list) != 0 {
		t.Fatalf("%v was launched beside %s", list, second)
	}
	s.launchOne("a")
}
