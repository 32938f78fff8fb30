package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	listed, err := s.core.Runs(jobs.RunQuery{})
	if err != nil || len(listed.Runs) != 1 || len(listed.Runs[0].Waiting) != 1 || listed.Runs[0].Waiting[0].Reasons[0].Code != "constraint" {
		t.Errorf("a list says of the first split that waits: %+v, %v", listed, err)
	}
	second := s.launchOne("b")
	s.executorSays(first, jobs.TaskRunning)
	s.executorSays(first, jobs.TaskFinished)
	if list := s.offer("b"); len(list) != 0 {
		t.Fatalf("%v was launched beside %s", list, second)
	}
	s.launchOne("a")
}

// TestBlackHoleAgentIsAvoided: one on which all launches fail gets nothing
// more for a while, says why, and gets work again by time or command.
func TestBlackHoleAgentIsAvoided(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Retry.Attempts = 20 }))
	s.offer("good")
	run := s.start("j", "1")
	for range 3 {
		id := s.launchOne("hole")
		s.update(id, jobs.TaskFailed, "SOURCE_SLAVE", "REASON_CONTAINER_LAUNCH_FAILED", "no space left on device")
		s.wantAttempt(id, jobs.AttemptNotStarted)
		s.wait(5 * time.Second)
	}
	if list := s.offer("hole"); len(list) != 0 {
		t.Fatalf("%v was launched on an agent that has failed three times", list)
	}
	if text := s.reasons(run); !strings.Contains(text, "agent_avoided: agent hole is avoided") || !strings.Contains(text, "no space left on device") {
		t.Errorf("the reasons are %s", text)
	}
	if st := s.core.Status(); st.Agents != 2 || st.AvoidedAgents != 1 {
		t.Errorf("%d of %d agents are avoided, want 1 of 2", st.AvoidedAgents, st.Agents)
	}
	for _, a := range s.core.Agents() {
		if (a.Avoided != nil) != (a.ID == "hole") {
			t.Errorf("agent %s is avoided: %v", a.ID, a.Avoided)
		}
	}
	first := s.launchOne("good")
	s.executorSays(first, jobs.TaskRunning)
	s.wait(5 * time.Minute)
	s.executorSays(first, jobs.TaskFailed)
	s.wait(time.Minute)
	s.launchOne("hole") // by time
}

func TestAvoidedAgentIsReleased(t *testing.T) {
	s := newScript(t, manual(nil))
	s.offer("good")
	s.start("j", "1")
	for range 3 {
		s.update(s.launchOne("hole"), jobs.TaskFailed, "SOURCE_SLAVE", "REASON_CONTAINER_LAUNCH_FAILED", "")
		s.wait(5 * time.Second)
	}
	if list := s.offer("hole"); len(list) != 0 {
		t.Fatalf("%v was launched", list)
	}
	if _, err := s.ask(ReleaseAgent{ID: "who"}); err == nil {
		t.Error("an agent was released that nobody knows")
	}
	if _, err := s.ask(ReleaseAgent{ID: "hole"}); err != nil {
		t.Fatal(err)
	}
	s.launchOne("hole")
}

// TestOneJobsFailuresSpeakAgainstTheJob: its work may end badly anywhere. What
// fails on all agents does not have more than half of them avoided.
func TestOneJobsFailuresSpeakAgainstTheJob(t *testing.T) {
	retry := jobs.Retry{Attempts: 50, Backoff: jobs.Duration(time.Second), Max: jobs.Duration(time.Second)}
	s := newScript(t, manual(func(j *jobs.Job) { j.Retry = retry }), manual(func(j *jobs.Job) { j.Name, j.Retry = "k", retry }))
	s.offer("b")
	s.start("j", "1")
	fail := func(agent string) {
		for _, id := range s.offer(agent) {
			s.executorSays(id, jobs.TaskRunning)
			s.executorSays(id, jobs.TaskFailed)
		}
	}
	for range 5 {
		fail("a")
		s.wait(30 * time.Second)
	}
	if n := s.core.Status().AvoidedAgents; n != 0 {
		t.Fatalf("%d agents are avoided for the failures of one job", n)
	}
	for i := range 12 { // now of several jobs, everywhere
		s.start("k", fmt.Sprint(i))
		for _, agent := range []string{"a", "b"} {
			fail(agent)
		}
		s.wait(5 * time.Second)
	}
	if n := s.core.Status().AvoidedAgents; n != 1 {
		t.Errorf("%d of two agents are avoided, want one", n)
	}
}

// TestReasonsTellNeverFromNothing: too large for every agent, met by none, no
// offers at all, and no offers any more are told apart.
func TestReasonsTellNeverFromNothing(t *testing.T) {
	large := manual(func(j *jobs.Job) { j.Resources.CPUs = 64 })
	elsewhere := manual(func(j *jobs.Job) {
		j.Name, j.Placement.Constraints = "k", []jobs.Constraint{{Field: "rack", Operator: jobs.Equals, Value: "z"}}
	})
	s := newScript(t, large, elsewhere, manual(func(j *jobs.Job) { j.Name = "l" }))
	tooLarge, nowhere, plain := s.start("j", "1"), s.start("k", "1"), s.start("l", "1")
	want := func(run jobs.RunID, texts ...string) {
		t.Helper()
		got := s.reasons(run)
		for _, text := range texts {
			if !strings.Contains(got, text) {
				t.Errorf("after %s the reasons of %s are %q, want %q", s.now.Sub(s.now.Truncate(time.Hour)), run, got, text)
			}
		}
	}
	want(plain, "no_offers: no offer has come to this leader yet")
	s.wait(20 * time.Second)
	want(plain, "yet, though they were asked for")
	first := s.launchOne("a")
	want(tooLarge, "never_fits: no agent seen so far has ever offered enough: cpus short by 56", "on the largest, a, which offered 8 cpus, 8192 MiB of mem")
	want(nowhere, "never_fits: no agent seen so far meets the constraints", "constraint rack EQUALS z (the agent has nothing)")
	s.executorSays(first, jobs.TaskFinished)
	plain = s.start("l", "2")
	s.step(Offered{Offers: []jobs.Offer{{ID: "small", AgentID: "a", Hostname: "a", Resources: jobs.Resources{CPUs: 0.01, Mem: 8192}}}})
	want(plain, "resources: cpus short by 0.09")
	if got := s.reasons(plain); strings.Contains(got, "no_offers") || strings.Contains(got, "never_fits") {
		t.Errorf("the reasons are %q, and it fits on an agent that has just offered something", got)
	}
	s.wait(20 * time.Second)
	want(plain, "no_offers: no offers since 2026-01-01T00:00:20Z, though they were asked for", "resources: cpus short by 0.09")
}

// TestExecutorsComeOutOfReservations: where too little is unreserved for them,
// and one that lives on is used again whatever is offered later.
func TestExecutorsComeOutOfReservations(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Overlap = jobs.OverlapAllow }))
	s.core.cfg.Shared.Resources = jobs.Resources{CPUs: 0.1, Mem: 128}
	reserved := []jobs.Reservation{{Resource: "cpus", Amount: 2, As: "cpus of r"}, {Resource: "mem", Amount: 64, As: "small"}, {Resource: "mem", Amount: 512, As: "mem of r"}}
	launch := func(o jobs.Offer) ExecutorSpec {
		t.Helper()
		s.start("j", fmt.Sprint(s.offers))
		s.offers++
		o.ID, o.AgentID, o.Hostname = fmt.Sprint("O", s.offers), "a", "a"
		s.step(Offered{Offers: []jobs.Offer{o}})
		for _, call := range s.calls {
			if a, ok := call.(Accept); ok {
				s.executorSays(a.Launches[0].Task, jobs.TaskFinished)
				return a.Launches[0].Executor
			}
		}
		t.Fatalf("nothing was launched with %+v", o)
		return ExecutorSpec{}
	}
	plain := launch(jobs.Offer{Role: "r", Resources: jobs.Resources{CPUs: 4, Mem: 1024}, Reserved: reserved})
	if len(plain.Reserved) != 0 || plain.Role != "r" {
		t.Errorf("with enough that is unreserved the executor is %+v", plain)
	}
	owned := launch(jobs.Offer{Role: "r", Resources: jobs.Resources{CPUs: 2, Mem: 600}, Reserved: reserved})
	want := map[string]string{"cpus": "cpus of r", "mem": "mem of r"}
	if diff := cmp.Diff(want, owned.Reserved); diff != "" || owned.ID == plain.ID {
		t.Errorf("the executor's reservations (-want +got):\n%s, its id %s", diff, owned.ID)
	}
	later := launch(jobs.Offer{Role: "r", Resources: jobs.Resources{CPUs: 4, Mem: 1024}, Reserved: reserved[:1], Executors: []string{owned.ID}})
	if diff := cmp.Diff(owned, later); diff != "" {
		t.Errorf("the executor that lives there was not used again:\n%s", diff)
	}
	if other := launch(jobs.Offer{Role: "q", Resources: jobs.Resources{CPUs: 4, Mem: 1024}}); other.ID == plain.ID || other.Role != "q" {
		t.Errorf("under another role the executor is %+v", other)
	}
}

// TestAvoidedAgentsAreTakenWhenNoOthersAreLeft: half of those that are there
// may be avoided; what is gone does not count.
func TestAvoidedAgentsAreTakenWhenNoOthersAreLeft(t *testing.T) {
	s := newScript(t, manual(nil))
	for _, agent := range []string{"a", "b", "c", "d"} {
		s.offer(agent)
	}
	for _, agent := range []string{"a", "b"} {
		s.core.agentOf(agent).record.avoided = s.now.Add(time.Hour)
	}
	s.start("j", "1")
	if got := s.offer("a"); len(got) != 0 {
		t.Errorf("launched %v on an agent that is avoided", got)
	}
	s.now = s.now.Add(time.Second)
	s.subscribe(2, s.now.Add(-time.Hour))
	if got := s.offer("a"); len(got) != 1 {
		t.Errorf("launched %v, want one task: no other agent has offered anything", got)
	}
}

// What a task runs as and is given is said of its own executor, whose id tells it apart.
func TestExecutorOfAGuest(t *testing.T) {
	s := newScript(t, manual(spec("guest")), manual(func(j *jobs.Job) { j.Name, j.Isolation = "plain", jobs.IsolationOwn }))
	s.start("j", "1")
	s.start("plain", "1")
	s.step(Offered{Offers: []jobs.Offer{{ID: "o", AgentID: "a", Hostname: "a", Resources: jobs.Resources{CPUs: 8, Mem: 8192}}}})
	of := map[string]ExecutorSpec{}
	for _, l := range s.calls[0].(Accept).Launches {
		of[l.Name] = l.Executor
	}
	guest, plain := of["j"], of["plain"]
	if guest.User != "guest" || len(guest.Downloads) != 1 || plain.User != "" || plain.Downloads != nil || guest.ID == plain.ID {
		t.Errorf("executors %+v and %+v", guest, plain)
	}
	j := manual(spec("guest"))
	j.Isolation = jobs.IsolationShared
	if err := s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{j}}}).Answers[0].Err; err == nil || !strings.Contains(err.Error(), "isolation: shared") {
		t.Errorf("a guest in the shared executor: %v", err)
	}
}
