package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
)

// stubKind is work that only the tests do; its spec holds "idempotent",
// "planned", "three" (splits) and "guest" (a user), or nothing.
type stubKind struct{}

func (stubKind) Name() string    { return "stub" }
func (stubKind) Summary() string { return "does nothing" }
func (stubKind) Check(raw json.RawMessage) (jobs.Traits, error) {
	t := jobs.Traits{Idempotent: strings.Contains(string(raw), "idempotent"), Planned: strings.Contains(string(raw), "planned"), Splits: []jobs.Split{{Stage: 1}}}
	if strings.Contains(string(raw), "three") {
		t.Splits = []jobs.Split{{Stage: 1}, {Stage: 1}, {Stage: 1}}
	}
	if strings.Contains(string(raw), "guest") {
		t.User, t.Downloads, t.Isolation = "guest", []jobs.Download{{URI: "http://files/a"}}, jobs.IsolationOwn
	}
	return t, nil
}

func (stubKind) Work(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
	return jobs.Result{}, errors.ErrUnsupported
}

// script plays a core's surroundings, step by step.
type script struct {
	t      *testing.T
	core   *Core
	cfg    Config
	kinds  *jobs.Registry
	now    time.Time
	store  map[string][]byte
	calls  []Call // of the last step
	free   []Call // of it, that rest on no write
	reads  []Read
	past   []jobs.RunView // to be written to history; a Recorded answers
	offers int
	data   map[jobs.TaskID]jobs.Assignment // of what was launched
}

// newScript makes a core that leads, is subscribed with a settled master, and
// knows the jobs.
func newScript(t *testing.T, list ...jobs.Job) *script {
	t.Helper()
	kinds, err := jobs.NewRegistry(stubKind{}, door{})
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, cfg: DefaultConfig(), kinds: kinds, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), store: map[string][]byte{}, data: map[jobs.TaskID]jobs.Assignment{}}
	s.cfg.History = 3
	s.core = New(s.cfg, kinds)
	s.lead()
	fx := s.step(Request{Do: ApplyJobs{Jobs: list}})
	if err := fx.Answers[0].Err; err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *script) lead() {
	s.step(Elected{Term: 1, Secret: []byte("secret")})
	s.subscribe(1, s.now.Add(-time.Hour))
}

func (s *script) subscribe(stream int64, since time.Time) {
	s.step(Subscribed{Stream: stream, FrameworkID: "f", Master: "m:5050", MasterSince: since})
}

// failover has another core take over what is stored.
func (s *script) failover() {
	s.t.Helper()
	var records []Record
	for key, value := range s.store {
		records = append(records, Record{Key: key, Value: value})
	}
	s.core = New(s.cfg, s.kinds)
	if err := s.core.Load(records); err != nil {
		s.t.Fatal(err)
	}
	s.lead()
}

func (s *script) step(ev Event) Effects {
	fx := s.core.Step(s.now, ev)
	for _, g := range fx.Persist {
		for _, ch := range g {
			if ch.Value == nil {
				delete(s.store, ch.Key)
			} else {
				s.store[ch.Key] = ch.Value
			}
		}
	}
	s.calls, s.free, s.reads = fx.Calls, fx.Free, fx.Reads
	s.past = append(s.past, fx.History...)
	for _, v := range fx.History {
		if s.store[keyRun+string(v.ID)] == nil {
			s.t.Errorf("run %s is to be written to history, and the store does not hold it any more", v.ID)
		}
	}
	return fx
}

// wait lets time pass, second by second.
func (s *script) wait(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Second)
		s.step(Tick{})
	}
}

// offer brings a large offer of an agent, and says what is launched with it.
func (s *script) offer(agent string) []jobs.TaskID {
	s.offers++
	s.step(Offered{Offers: []jobs.Offer{{
		ID: fmt.Sprint("o", s.offers), AgentID: agent, Hostname: agent, Address: agent + ":5051", Resources: jobs.Resources{CPUs: 8, Mem: 8192},
	}}})
	var out []jobs.TaskID
	for _, call := range s.calls {
		if a, ok := call.(Accept); ok {
			for _, l := range a.Launches {
				out = append(out, l.Task)
				if l.Native != nil {
					continue
				}
				var a jobs.Assignment
				if err := json.Unmarshal(l.Data, &a); err != nil {
					s.t.Fatal(err)
				}
				s.data[l.Task] = a
			}
			s.step(CallAnswered{Call: a})
		}
	}
	return out
}

// launchOne launches the one task that waits.
func (s *script) launchOne(agent string) jobs.TaskID {
	s.t.Helper()
	list := s.offer(agent)
	if len(list) != 1 {
		s.t.Fatalf("launched %v, want one task", list)
	}
	return list[0]
}

func (s *script) update(id jobs.TaskID, state, source, reason, message string) {
	s.step(Updated{jobs.Update{Task: id, Agent: s.agent(id), State: state, Source: source, Reason: reason, Message: message, UUID: []byte("u")}})
}

func (s *script) agent(id jobs.TaskID) string {
	if t := s.core.tasks[id]; t != nil {
		return t.rec.Agent
	}
	return "a"
}

func (s *script) executorSays(id jobs.TaskID, state string) {
	s.update(id, state, "SOURCE_EXECUTOR", "", "")
}

func (s *script) start(name jobs.Name, request string) jobs.RunID {
	s.t.Helper()
	fx := s.step(Request{Do: StartRun{jobs.RunRequest{Job: name, RequestID: request}}})
	if err := fx.Answers[0].Err; err != nil {
		s.t.Fatal(err)
	}
	return fx.Answers[0].Value.(jobs.Run).ID
}

func (s *script) wantRun(id jobs.RunID, want jobs.RunState) {
	s.t.Helper()
	x, ok := s.core.runs[id]
	if !ok {
		s.t.Fatalf("run %s is gone, want %s", id, want)
	}
	if x.rec.State != want {
		s.t.Errorf("run %s is %s (%s), want %s", id, x.rec.State, x.rec.Reason, want)
	}
}

func (s *script) wantAttempt(id jobs.TaskID, want jobs.AttemptState) {
	s.t.Helper()
	t, ok := s.core.tasks[id]
	if !ok {
		s.t.Fatalf("attempt %s is gone, want %s", id, want)
	}
	if t.rec.State != want {
		s.t.Errorf("attempt %s is %s (%s), want %s", id, t.rec.State, t.rec.Reason, want)
	}
}

func (s *script) kills() int {
	n := 0
	for _, call := range s.calls {
		if _, ok := call.(Kill); ok {
			n++
		}
	}
	return n
}

func manual(edit func(*jobs.Job)) jobs.Job {
	wait := jobs.Duration(30 * time.Second)
	j := jobs.Job{Name: "j", Kind: "stub", UnknownWait: &wait, Retry: jobs.Retry{Attempts: 3, Backoff: jobs.Duration(time.Second)}}
	if edit != nil {
		edit(&j)
	}
	return j
}

func scheduled(cron string, catchUp jobs.CatchUp) jobs.Job {
	return manual(func(j *jobs.Job) {
		j.Schedule = &jobs.Schedule{Spec: schedule.Spec{Cron: schedule.Crons{cron}}, CatchUp: catchUp}
	})
}

// supersede launches the run's task, loses its agent until it is given up,
// and launches it again.
func (s *script) supersede() (first, second jobs.TaskID) {
	s.t.Helper()
	first = s.launchOne("a")
	s.executorSays(first, jobs.TaskRunning)
	s.update(first, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	s.wantAttempt(first, jobs.AttemptUnknown)
	s.wait(40 * time.Second)
	return first, s.launchOne("b")
}
