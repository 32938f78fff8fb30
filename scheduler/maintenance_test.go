package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tidemill/jobs"
)

// offerAway brings an offer of an agent that will be unavailable, and says
// how much is launched with it.
func (s *script) offerAway(agent string, away jobs.Unavailability) int {
	s.offers++
	s.step(Offered{Offers: []jobs.Offer{{
		ID: fmt.Sprint("o", s.offers), AgentID: agent, Hostname: agent, Resources: jobs.Resources{CPUs: 8, Mem: 8192}, Away: away,
	}}})
	n := 0
	for _, call := range s.calls {
		if a, ok := call.(Accept); ok {
			n += len(a.Launches)
		}
	}
	return n
}

// TestNothingIsBegunThatWouldNotEndBeforeMaintenance: of known length or not.
func TestNothingIsBegunThatWouldNotEndBeforeMaintenance(t *testing.T) {
	for _, tt := range []struct {
		start, lasts time.Duration // the window's; the job's max_run_time
		duration     time.Duration
		launches     int
	}{
		{start: 30 * time.Minute, launches: 0},
		{start: 2 * time.Hour, launches: 1},
		{start: 30 * time.Minute, lasts: 10 * time.Minute, launches: 1},
		{start: 5 * time.Minute, lasts: 10 * time.Minute, launches: 0},
		{start: -time.Minute, lasts: time.Second, launches: 0},
		{start: -time.Hour, duration: 30 * time.Minute, launches: 1}, // it is over
	} {
		s := newScript(t, manual(func(j *jobs.Job) { j.MaxRunTime = jobs.Duration(tt.lasts) }))
		run := s.start("j", "1")
		if n := s.offerAway("a", jobs.Unavailability{Start: s.now.Add(tt.start), Duration: tt.duration}); n != tt.launches {
			t.Errorf("%+v: %d launches", tt, n)
		}
		if got := s.reasons(run); tt.launches == 0 && !strings.Contains(got, "maintenance: agent a is unavailable from 20") {
			t.Errorf("%+v: the reasons are %q", tt, got)
		}
	}
}

// answers says how inverse offers were answered in a step.
func answers(fx Effects) (yes, no int) {
	for _, call := range fx.Free {
		switch call := call.(type) {
		case AcceptInverse:
			yes += len(call.IDs)
		case DeclineInverse:
			no += len(call.IDs)
		}
	}
	return yes, no
}

// TestAgentIsLeftBeforeItsMaintenance: the inverse offer is declined while
// something runs there; in time that is ended, begins elsewhere, and costs no
// attempt; then the inverse offer is accepted.
func TestAgentIsLeftBeforeItsMaintenance(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Retry.Attempts = 1 }))
	run := s.start("j", "1")
	first := s.launchOne("a")
	s.executorSays(first, jobs.TaskRunning)
	ask := InverseOffered{ID: "i1", Agent: "a", Away: jobs.Unavailability{Start: s.now.Add(10 * time.Minute), Duration: time.Hour}}
	if yes, no := answers(s.step(ask)); yes != 0 || no != 1 {
		t.Errorf("with a task there: %d accepted, %d declined", yes, no)
	}
	s.wait(9 * time.Minute)
	if s.core.tasks[first].rec.Kill != "" {
		t.Fatal("it was ended a minute too early")
	}
	s.wait(time.Minute - 10*time.Second) // the kill grace and a margin
	if reason := s.core.tasks[first].rec.Kill; !strings.Contains(reason, "its agent is unavailable from") {
		t.Fatalf("it is not ended: %q", reason)
	}
	s.failover()
	s.executorSays(first, jobs.TaskKilled)
	ask.ID = "i2"
	if yes, no := answers(s.step(ask)); yes != 1 || no != 0 {
		t.Errorf("with nothing there: %d accepted, %d declined", yes, no)
	}
	if n := s.offerAway("a", ask.Away); n != 0 {
		t.Errorf("%d launched on the agent that is left", n)
	}
	second := s.launchOne("b")
	s.executorSays(second, jobs.TaskRunning)
	s.executorSays(second, jobs.TaskFinished)
	s.wantRun(run, jobs.RunSucceeded)
}

func TestMaintenanceThatIsCalledOffEndsNothing(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	first := s.launchOne("a")
	s.executorSays(first, jobs.TaskRunning)
	s.step(InverseOffered{ID: "i1", Agent: "a", Away: jobs.Unavailability{Start: s.now.Add(time.Minute)}})
	s.step(InverseRescinded{ID: "i1"})
	s.wait(2 * time.Minute)
	if reason := s.core.tasks[first].rec.Kill; reason != "" {
		t.Errorf("it was ended: %s", reason)
	}
}

// TestDrainedByMesosCostsNoAttempt: an operator drains the agent, and Mesos
// itself kills what runs there.
func TestDrainedByMesosCostsNoAttempt(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Retry.Attempts = 1 }))
	s.start("j", "1")
	first := s.launchOne("a")
	s.executorSays(first, jobs.TaskRunning)
	s.update(first, jobs.TaskKilled, "SOURCE_EXECUTOR", "REASON_AGENT_DRAINING", "")
	s.launchOne("b")
}

// TestDrainedToBeGone: Mesos calls a task gone as soon as its kill begins, but
// it has its grace, and another attempt waits for its end.
func TestDrainedToBeGone(t *testing.T) {
	outcome := func(s *script, id jobs.TaskID) {
		s.step(Updated{jobs.Update{Task: id, Agent: "a", State: jobs.TaskGoneByOperator, Source: "SOURCE_EXECUTOR", Reason: reasonDraining,
			Data: mustJSON(jobs.Outcome{Task: id, Killed: true}), UUID: []byte("u")}})
	}
	for name, end := range map[string]func(*script, jobs.TaskID){
		"the executor's word": outcome,
		"the master's": func(s *script, id jobs.TaskID) {
			s.update(id, jobs.TaskGoneByOperator, "SOURCE_MASTER", "REASON_RECONCILIATION", "Reconciliation: Task is gone")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, manual(func(j *jobs.Job) { j.Retry.Attempts = 1 }))
			s.start("j", "1")
			first := s.launchOne("a")
			s.executorSays(first, jobs.TaskRunning)
			s.update(first, jobs.TaskGoneByOperator, "SOURCE_EXECUTOR", reasonDraining, "killed")
			s.wantAttempt(first, jobs.AttemptRunning)
			if early := s.offer("b"); len(early) > 0 {
				t.Fatalf("%v is launched before %s has ended", early, first)
			}
			end(s, first)
			s.launchOne("b")
		})
	}
}
