package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tidemill/jobs"
)

// door is a service; its spec is anything: "box" runs it in a container,
// "alone" forbids two of one number at once.
type door struct{}

func (door) Name() string    { return "door" }
func (door) Summary() string { return "stays open" }
func (door) Check(raw json.RawMessage) (jobs.Traits, error) {
	t := jobs.Traits{Service: true, Idempotent: true, Isolation: jobs.IsolationShared, ChecksCommands: true}
	if strings.Contains(string(raw), "alone") {
		t.Idempotent = false
	}
	if strings.Contains(string(raw), "box") {
		t.Container = &jobs.Container{Type: jobs.ContainerDocker, Image: "door"}
	}
	return t, nil
}
func (door) Native(a jobs.Assignment) jobs.Command {
	return jobs.Command{Shell: "open " + string(a.Task)}
}
func (door) Work(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
	return jobs.Result{}, errors.ErrUnsupported
}

func web(instances int, edit func(*jobs.Job)) jobs.Job {
	return manual(func(j *jobs.Job) {
		j.Name, j.Kind, j.Service = "web", "door", &jobs.Service{Instances: &instances}
		if edit != nil {
			edit(j)
		}
	})
}

func (s *script) replaceJob(j jobs.Job) {
	s.t.Helper()
	if err := s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{j}}}).Answers[0].Err; err != nil {
		s.t.Fatal(err)
	}
}

// instances writes the service's live attempts, by split: "0.1 running".
func (s *script) instances() []string {
	var out []string
	for _, j := range s.core.jobs {
		for _, x := range j.live {
			for _, t := range x.orderedTasks() {
				if t.rec.State.Final() || t.rec.Superseded {
					continue
				}
				text := fmt.Sprintf("%d.%d %s", t.rec.Split, t.rec.Attempt, t.rec.State)
				if t.rec.Kill != "" {
					text += " killed"
				}
				if t.outdated() {
					text += " outdated"
				}
				out = append(out, text)
			}
		}
	}
	return out
}

func (s *script) wantInstances(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.instances()); diff != "" {
		s.t.Errorf("instances (-want +got):\n%s", diff)
	}
}

// id is the task of an instance, by its number and attempt.
func (s *script) id(split, attempt int) jobs.TaskID {
	for id, t := range s.core.tasks {
		if t.rec.Split == split && t.rec.Attempt == attempt {
			return id
		}
	}
	s.t.Fatalf("no attempt %d of instance %d", attempt, split)
	return ""
}

// opened has everything that waits launched, and run until it has settled.
func (s *script) opened() {
	for _, id := range s.offer("a") {
		s.executorSays(id, jobs.TaskRunning)
	}
	s.wait(settled)
}

// die ends the attempts that are killed.
func (s *script) die() {
	for _, t := range s.core.orderedTasks() {
		if t.rec.Kill != "" && t.live() {
			s.executorSays(t.rec.ID, jobs.TaskKilled)
		}
	}
}

func spec(text string) func(*jobs.Job) {
	return func(j *jobs.Job) { j.Spec = json.RawMessage(`"` + text + `"`) }
}

func TestScalingAService(t *testing.T) {
	s := newScript(t, web(2, nil))
	s.opened()
	s.wantInstances("0.1 running", "1.1 running")
	scale := func(n int) {
		if err := s.step(Request{Do: ScaleJob{Name: "web", Instances: n}}).Answers[0].Err; err != nil {
			t.Fatal(err)
		}
	}
	scale(3)
	s.opened()
	s.wantInstances("0.1 running", "1.1 running", "2.1 running")
	scale(1)
	s.wantInstances("0.1 running", "1.1 running killed", "2.1 running killed")
	scale(2) // while the former instance is still ending: its id is not used again
	s.opened()
	s.wantInstances("0.1 running", "1.1 running killed", "2.1 running killed") // no second one beside it
	s.failover()
	s.die()
	s.opened()
	s.wantInstances("0.1 running", "1.2 running")
	scale(0)
	s.die()
	s.wait(time.Minute)
	s.wantInstances()
	if n := len(s.core.jobs["web"].live); n != 1 {
		t.Errorf("%d runs of a service without instances, want the one", n)
	}
	scale(1)
	s.opened()
	s.wantInstances("0.2 running")
	for _, n := range []int{-1, jobs.MaxInstances + 1} {
		if err := s.step(Request{Do: ScaleJob{Name: "web", Instances: n}}).Answers[0].Err; err == nil {
			t.Errorf("scaled to %d", n)
		}
	}
	if v, err := s.core.JobView("web"); err != nil || v.Instances == nil || *v.Instances != (jobs.Instances{Wanted: 1, Running: 1, Healthy: 1}) {
		t.Errorf("view %+v, %v", v.Instances, err)
	}
}

func TestRollingWhereOthersSuffice(t *testing.T) {
	half := func(j *jobs.Job) { share := 0.5; j.Service.MinimumHealthy = &share }
	s := newScript(t, web(4, half))
	s.opened()
	s.replaceJob(web(4, func(j *jobs.Job) { half(j); spec("new")(j) }))
	s.wantInstances("0.1 running killed outdated", "1.1 running killed outdated", "2.1 running outdated", "3.1 running outdated")
	s.die()
	for _, id := range s.offer("a") {
		s.executorSays(id, jobs.TaskRunning)
	}
	s.wantInstances("0.2 running", "1.2 running", "2.1 running outdated", "3.1 running outdated") // not settled yet
	s.wait(settled)
	s.wantInstances("0.2 running", "1.2 running", "2.1 running killed outdated", "3.1 running killed outdated")
	s.failover()
	s.die()
	s.opened()
	s.wantInstances("0.2 running", "1.2 running", "2.2 running", "3.2 running")
}

func TestRollingWhereNoneMayBeMissed(t *testing.T) {
	s := newScript(t, web(2, nil))
	s.opened()
	s.replaceJob(web(2, spec("new")))
	s.wantInstances("0.1 running outdated", "1.1 running outdated")
	beside := s.launchOne("a")
	s.wantInstances("0.1 running outdated", "0.2 launching", "1.1 running outdated")
	s.failover() // which of the two serves is found again
	s.executorSays(beside, jobs.TaskRunning)
	s.wait(settled)
	s.wantInstances("0.1 running killed outdated", "0.2 running", "1.1 running outdated")
	s.die()
	s.opened()
	s.die()
	s.wantInstances("0.2 running", "1.2 running")
}

// Where two of one number must not run at once none starts beside another,
// whatever is to stay healthy.
func TestRollingOneThatIsAlone(t *testing.T) {
	s := newScript(t, web(2, spec("alone")))
	s.opened()
	s.replaceJob(web(2, spec("alone again")))
	s.wantInstances("0.1 running killed outdated", "1.1 running outdated")
	s.die()
	s.opened()
	s.wantInstances("0.2 running", "1.1 running killed outdated")
}

// A revision that does not come up leaves the former one serving.
func TestABrokenRevisionStopsAtItsFirstInstance(t *testing.T) {
	checked := func(text string) jobs.Job {
		return web(2, func(j *jobs.Job) { spec(text)(j); j.Service.Health = &jobs.Health{Command: "true"} })
	}
	s := newScript(t, checked("good"))
	health := func(id jobs.TaskID, ok bool) {
		s.step(Updated{jobs.Update{Task: id, Agent: "a", State: jobs.TaskRunning, Source: "SOURCE_EXECUTOR", Healthy: &ok, UUID: []byte("u")}})
	}
	for _, id := range s.offer("a") {
		s.executorSays(id, jobs.TaskRunning)
		health(id, true)
	}
	s.replaceJob(checked("bad"))
	for range 5 {
		id := s.launchOne("a")
		s.executorSays(id, jobs.TaskRunning)
		s.wait(settled) // a check has to succeed, it does not suffice to live
		health(id, false)
		s.update(id, jobs.TaskFailed, "SOURCE_EXECUTOR", "", "3 health checks in a row failed")
		s.wait(6 * time.Minute)
	}
	s.wantInstances("0.1 running outdated", "1.1 running outdated")
	s.replaceJob(checked("better"))
	for range 2 {
		id := s.launchOne("a")
		s.executorSays(id, jobs.TaskRunning)
		health(id, true)
		s.die()
	}
	s.wantInstances("0.7 running", "1.2 running")
	v, err := s.core.JobView("web")
	if err != nil || *v.Instances != (jobs.Instances{Wanted: 2, Running: 2, Healthy: 2}) {
		t.Errorf("view %+v, %v", v.Instances, err)
	}
}

func TestEditsThatLeaveInstancesAlone(t *testing.T) {
	s := newScript(t, web(1, nil))
	s.opened()
	s.replaceJob(web(1, func(j *jobs.Job) {
		j.Description, j.Retry.Max = "for people", jobs.Duration(time.Hour)
		share := 0.0
		j.Service.MinimumHealthy = &share
	}))
	s.wantInstances("0.1 running")
	if got := s.core.jobs["web"].live[0].pinned().Retry.Max; got != jobs.Duration(time.Hour) {
		t.Errorf("the run's retry.max is %s: the edit did not reach it", got)
	}
}

func TestBackoffOfAService(t *testing.T) {
	s := newScript(t, web(1, func(j *jobs.Job) {
		j.Retry = jobs.Retry{Backoff: jobs.Duration(10 * time.Second), Max: jobs.Duration(time.Minute)}
	}))
	crash := func(ran time.Duration) time.Duration {
		id := s.launchOne("a")
		s.executorSays(id, jobs.TaskRunning)
		s.wait(ran)
		s.executorSays(id, jobs.TaskFinished) // an end is an end, well or not
		sp := s.core.jobs["web"].live[0].splits[0]
		wait := sp.notBefore.Sub(s.now)
		s.wait(wait + time.Second)
		return wait.Round(10 * time.Second)
	}
	var got []time.Duration
	for range 5 {
		got = append(got, crash(time.Second))
	}
	s.failover()
	s.wait(2 * time.Minute) // it backs off anew
	got = append(got, crash(2*time.Minute), crash(time.Second), crash(time.Second))
	want := []time.Duration{10e9, 20e9, 40e9, 60e9, 60e9, 10e9, 10e9, 20e9}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("back-offs (-want +got):\n%s", diff)
	}
	if n := len(s.core.jobs["web"].live[0].tasks); n > keptInstances+1 {
		t.Errorf("%d attempts are kept, want at most %d", n, keptInstances+1)
	}
	for key := range s.store {
		if id, ok := strings.CutPrefix(key, keyTask); ok && s.core.tasks[jobs.TaskID(id)] == nil {
			t.Errorf("the store keeps %s, which is forgotten", key)
		}
	}
}

// An instance whose agent is lost is replaced; when it comes back it is killed.
func TestAnInstanceThatComesBackIsKilled(t *testing.T) {
	s := newScript(t, web(1, nil))
	s.opened()
	lost := s.id(0, 1)
	s.update(lost, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "health check timed out")
	s.wait(2 * time.Second)
	s.opened()
	s.wantInstances("0.2 running")
	s.update(lost, jobs.TaskRunning, "SOURCE_MASTER", "REASON_AGENT_REREGISTERED", "")
	if s.kills() != 1 {
		t.Errorf("calls %v, want a kill", s.calls)
	}
	s.wantInstances("0.2 running")
}

// One that comes back before it was replaced goes on.
func TestAnInstanceThatComesBackInTimeIsAdopted(t *testing.T) {
	s := newScript(t, web(1, nil))
	s.opened()
	lost := s.id(0, 1)
	s.update(lost, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	s.update(lost, jobs.TaskRunning, "SOURCE_MASTER", "REASON_AGENT_REREGISTERED", "")
	if s.kills() != 0 {
		t.Errorf("calls %v, want no kill", s.calls)
	}
	s.wait(time.Minute)
	if got := s.offer("a"); len(got) != 0 {
		t.Errorf("launched %v beside it", got)
	}
	s.wantInstances("0.1 running")
}

func TestEndpoints(t *testing.T) {
	s := newScript(t, web(1, func(j *jobs.Job) {
		j.Service.Ports = []string{"http", "admin"}
		j.Service.Health = &jobs.Health{TCP: true}
	}))
	s.step(Offered{Offers: []jobs.Offer{{
		ID: "o", AgentID: "a", Hostname: "host-a", Address: "host-a:5051",
		Resources: jobs.Resources{CPUs: 8, Mem: 8192, Ports: 10}, PortRanges: []jobs.PortRange{{Begin: 31000, End: 31009}},
	}}})
	launch := s.calls[0].(Accept).Launches[0]
	want := &Discovery{Name: "web", Version: "1", Ports: []Port{{Number: 31000, Name: "http"}, {Number: 31001, Name: "admin"}}}
	if diff := cmp.Diff(want, launch.Discovery); diff != "" {
		t.Errorf("discovery (-want +got):\n%s", diff)
	}
	var a jobs.Assignment
	if err := json.Unmarshal(launch.Data, &a); err != nil || !slices.Equal(a.PortNames, []string{"http", "admin"}) || a.Health == nil {
		t.Errorf("assignment %s, %v", launch.Data, err)
	}
	s.executorSays(launch.Task, jobs.TaskRunning)
	v, err := s.core.JobView("web")
	endpoints := []jobs.Endpoint{{
		Task: launch.Task, Host: "host-a", Ports: []uint64{31000, 31001}, URL: "http://host-a:31000",
		Names: map[string]uint64{"http": 31000, "admin": 31001}, Health: jobs.HealthUnknown,
	}}
	if diff := cmp.Diff(endpoints, v.Endpoints); diff != "" || err != nil {
		t.Errorf("endpoints, %v (-want +got):\n%s", err, diff)
	}
}

func TestNativeInstance(t *testing.T) {
	s := newScript(t, web(1, spec("box")))
	s.step(Offered{Offers: []jobs.Offer{{ID: "o", AgentID: "a", Hostname: "a", Resources: jobs.Resources{CPUs: 0.1, Mem: 64}}}})
	accept, ok := s.calls[0].(Accept)
	if !ok {
		t.Fatalf("calls %v: a built-in executor's share is not the offer's", s.calls)
	}
	l := accept.Launches[0]
	if l.Native == nil || l.Executor.ID != "" || l.Data != nil || l.Native.Command.Shell != "open "+string(l.Task) || l.Native.Container.Image != "door" {
		t.Errorf("launch %+v", l)
	}
	if got := s.core.tasks[l.Task]; got.rec.Executor != string(l.Task) || !got.rec.StartBy.IsZero() {
		t.Errorf("record %+v", got.rec)
	}
	if got := logPath(&s.core.tasks[l.Task].rec, "stdout"); got != "stdout" {
		t.Errorf("its log lies at %s", got)
	}
}

// TestNativeEnds: Mesos's states alone say how a built-in executor's task went.
func TestNativeEnds(t *testing.T) {
	code := func(n int) *int { return &n }
	tests := []struct {
		state, source, reason, message string
		seen                           bool
		want                           jobs.AttemptState
		code                           *int
	}{
		{jobs.TaskFinished, "SOURCE_EXECUTOR", "", "Command exited with status 0", true, jobs.AttemptSucceeded, code(0)},
		{jobs.TaskFailed, "SOURCE_EXECUTOR", "REASON_COMMAND_EXECUTOR_FAILED", "Command exited with status 7", true, jobs.AttemptFailed, code(7)},
		{jobs.TaskFailed, "SOURCE_EXECUTOR", "", "Container exited with status 137", true, jobs.AttemptFailed, code(137)},
		{jobs.TaskFailed, "SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED", "Executor terminated", true, jobs.AttemptFailed, nil},
		{jobs.TaskGoneByOperator, "SOURCE_EXECUTOR", "REASON_AGENT_DRAINING", "", true, jobs.AttemptRunning, nil},
		{jobs.TaskGoneByOperator, "SOURCE_EXECUTOR", "REASON_AGENT_DRAINING", "Command terminated with signal Terminated", true, jobs.AttemptKilled, nil},
		{jobs.TaskGone, "SOURCE_AGENT", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT", "Executor did not reregister within 2secs", true, jobs.AttemptFailed, nil},
		{jobs.TaskFailed, "SOURCE_AGENT", "REASON_CONTAINER_LAUNCH_FAILED", "Failed to launch container: no such image", false, jobs.AttemptNotStarted, nil},
		{jobs.TaskKilled, "SOURCE_EXECUTOR", "", "Command terminated with signal Terminated", true, jobs.AttemptKilled, nil},
		{jobs.TaskFinished, "SOURCE_MASTER", "REASON_RECONCILIATION", "Reconciliation: Latest task state", true, jobs.AttemptSucceeded, code(0)},
	}
	for _, tt := range tests {
		t.Run(tt.state+" "+tt.message, func(t *testing.T) {
			s := newScript(t, web(1, spec("box")))
			id := s.launchOne("a")
			if tt.seen {
				s.executorSays(id, jobs.TaskRunning)
			}
			s.update(id, tt.state, tt.source, tt.reason, tt.message)
			if len(s.reads) > 0 {
				t.Errorf("reads %v: there is no outcome file", s.reads)
			}
			s.wantAttempt(id, tt.want)
			if diff := cmp.Diff(tt.code, s.core.tasks[id].rec.ExitCode); diff != "" {
				t.Errorf("exit code (-want +got):\n%s", diff)
			}
		})
	}
}

// A launch of a built-in executor that was lost on the way may still begin: no
// start_by forbids it, so that it is given up late even where that is idempotent.
func TestALostNativeLaunchIsGivenUpLate(t *testing.T) {
	s := newScript(t, web(1, spec("box")))
	id := s.launchOne("a")
	s.update(id, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	s.wait(29 * time.Second) // of an unknown_wait of 30 s
	if got := s.offer("a"); len(got) != 0 {
		t.Errorf("launched %v", got)
	}
	s.wait(3 * time.Second)
	s.launchOne("a")
}

// TestRollingKeepsEnoughHealthy edits, scales and crashes a service at random:
// no decision of ours ever leaves fewer healthy instances than it wants, nor
// more than one beside the others, and in the end all are of the last revision.
func TestRollingKeepsEnoughHealthy(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(r, "instances")
		share := rapid.SampledFrom([]float64{0, 0.3, 0.5, 1}).Draw(r, "minimum_healthy")
		edition := 0
		edited := func() jobs.Job {
			return web(n, func(j *jobs.Job) { j.Service.MinimumHealthy = &share; spec(fmt.Sprint("edition ", edition))(j) })
		}
		s := newScript(t, edited())
		s.opened()
		healthy := func() (count int) {
			for _, x := range s.core.jobs["web"].live {
				for _, sp := range x.splits {
					if s.core.healthy(sp.current) || s.core.healthy(sp.outgoing) {
						count++
					}
				}
			}
			return count
		}
		guarded := func(do func()) {
			before := healthy()
			do()
			floor := s.core.jobs["web"].rec.Job.Service.Floor()
			if after := healthy(); after < before && after < floor {
				r.Fatalf("%d instances are healthy after %d were, and %d are wanted: %v", after, before, floor, s.instances())
			}
			if live := len(s.instances()); live > 2*6 {
				r.Fatalf("%d attempts live: %v", live, s.instances())
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"edit":     func(*rapid.T) { edition++; guarded(func() { s.replaceJob(edited()) }) },
			"wait":     func(*rapid.T) { guarded(func() { s.wait(3 * time.Second) }) },
			"offer":    func(*rapid.T) { guarded(func() { s.offer("a") }) },
			"die":      func(*rapid.T) { guarded(s.die) },
			"failover": func(*rapid.T) { guarded(s.failover) },
			"run": func(*rapid.T) {
				for _, task := range s.core.orderedTasks() {
					if task.rec.State == jobs.AttemptLaunching && task.rec.Kill == "" {
						guarded(func() { s.executorSays(task.rec.ID, jobs.TaskRunning) })
					}
				}
			},
			"crash": func(r *rapid.T) {
				if list := s.core.orderedTasks(); len(list) > 0 {
					if task := list[rapid.IntRange(0, len(list)-1).Draw(r, "task")]; task.live() {
						s.executorSays(task.rec.ID, jobs.TaskFailed)
					}
				}
			},
			"scale": func(r *rapid.T) {
				n = rapid.IntRange(0, 5).Draw(r, "instances")
				s.step(Request{Do: ScaleJob{Name: "web", Instances: n}})
			},
		})
		for range 2*n + 2 {
			s.die()
			s.wait(6 * time.Minute) // any back-off
			s.opened()
		}
		s.die()
		v, err := s.core.JobView("web")
		if want := (jobs.Instances{Wanted: n, Running: n, Healthy: n}); err != nil || *v.Instances != want {
			r.Fatalf("in the end %+v, want %+v, %v: %v", *v.Instances, want, err, s.instances())
		}
	})
}

// A port that another program of the agent holds is not tried for ever.
func TestNextAttemptGetsOtherPorts(t *testing.T) {
	s := newScript(t, web(1, func(j *jobs.Job) { j.Service.Ports = []string{"http", "admin"} }))
	for _, want := range [][]uint64{{31000, 31001}, {31002, 31003}, {31004, 31000}} {
		s.wait(time.Minute)
		s.step(Offered{Offers: []jobs.Offer{{
			ID: "o", AgentID: "a", Hostname: "a", Resources: jobs.Resources{CPUs: 8, Mem: 8192, Ports: 5}, PortRanges: []jobs.PortRange{{Begin: 31000, End: 31004}},
		}}})
		launch := s.calls[0].(Accept).Launches[0]
		if diff := cmp.Diff(want, launch.Ports); diff != "" {
			t.Errorf("ports (-want +got):\n%s", diff)
		}
		s.executorSays(launch.Task, jobs.TaskRunning)
		s.executorSays(launch.Task, jobs.TaskFailed)
	}
}
