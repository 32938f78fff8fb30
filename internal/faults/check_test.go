package faults

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// at is a moment of a story, in seconds after noon.
func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// story is a hand-made history: a cluster of one scheduler, master and agent (and more of them where
// it asks), all up from the beginning, and one job "j" that is due at 100 s, with an epsilon of 20 s.
type story struct{ History }

func newStory() *story {
	s := &story{History{
		Pass: Pass{
			Policy: jobs.UnknownRetry, Slack: slack,
			Times: Times{Session: 2 * time.Second, Ping: 2 * time.Second, Launch: 3 * time.Second, StartBy: 3 * time.Second},
		},
		Records: map[jobs.Name]*Record{"j": {}},
		Read:    at(1000),
	}}
	s.hosts(ZooKeeper, 3).hosts(Master, 1).hosts(Scheduler, 1).hosts(Agent, 1)
	return s.due(100)
}

func (s *story) hosts(role Role, count int) *story {
	for range count {
		n := 1
		for _, h := range s.Pass.Hosts {
			if h.Role == role {
				n++
			}
		}
		name := fmt.Sprintf("%s-%d", role, n)
		s.Pass.Hosts = append(s.Pass.Hosts, Host{name, role})
		s.event(0, Event{Kind: Up, Host: name})
	}
	return s
}

func (s *story) due(seconds float64) *story {
	s.Targets = append(s.Targets, Target{Job: "j", At: at(seconds), Epsilon: 20 * time.Second, Duration: 5 * time.Second})
	return s
}

func (s *story) event(seconds float64, e Event) *story {
	e.At = at(seconds)
	s.Events = append(s.Events, e)
	return s
}

func (s *story) policy(p jobs.OnUnknown) *story {
	s.Pass.Policy = p
	return s
}

// work is an attempt for the target at nominal, at work between two times; one that is cut short
// has no end.
func (s *story) work(nominal float64, attempt int, start, last float64, complete bool, state jobs.AttemptState, edit ...func(*jobs.Task)) *story {
	return s.workOf("j", nominal, attempt, start, last, complete, state, edit...)
}

func (s *story) workOf(job jobs.Name, nominal float64, attempt int, start, last float64, complete bool, state jobs.AttemptState, edit ...func(*jobs.Task)) *story {
	run := jobs.NewRunID(job, 1, jobs.InstantKey(at(nominal)), 0)
	a := Attempt{
		Task: jobs.NewTaskID(run, 1, 0, attempt), Run: run, Job: job, Nominal: at(nominal), Host: "agent-1",
		Start: at(start), Seen: at(last),
	}
	if complete {
		a.End = at(last)
	}
	s.Attempts = append(s.Attempts, a)
	if state == "" {
		return s // the scheduler does not know it
	}
	t := jobs.Task{ID: a.Task, State: state, Launched: at(start - 0.5)}
	for _, f := range edit {
		f(&t)
	}
	r := s.Records[job]
	if r == nil {
		r = &Record{}
		s.Records[job] = r
	}
	for i := range r.Runs {
		if r.Runs[i].ID == run {
			r.Runs[i].Attempts = append(r.Runs[i].Attempts, t)
			return s
		}
	}
	final := jobs.RunSucceeded
	if !state.Final() {
		final = jobs.RunRunning
	}
	r.Runs = append(r.Runs, jobs.RunView{Run: jobs.Run{ID: run, Job: job, Nominal: at(nominal), State: final, Attempts: []jobs.Task{t}}})
	return s
}

func (s *story) recorded(nominal float64, state jobs.RunState) *story {
	run := jobs.Run{ID: jobs.NewRunID("j", 1, jobs.InstantKey(at(nominal)), 0), Nominal: at(nominal), State: state}
	s.Records["j"].Runs = append(s.Records["j"].Runs, jobs.RunView{Run: run})
	return s
}

func unknownSince(seconds float64) func(*jobs.Task) {
	return func(t *jobs.Task) { t.UnknownSince, t.Superseded = at(seconds), true }
}

func both(a, b string) []Way { return []Way{{a, b}, {b, a}} }

const (
	succeeded = jobs.AttemptSucceeded
	failed    = jobs.AttemptFailed
	cutShort  = jobs.AttemptKilled
	unknown   = jobs.AttemptUnknown
)

func TestCheck(t *testing.T) {
	tests := []struct {
		name  string
		story *story
		want  string // the last line
		more  string // owed, ran, struck, excused
	}{
		{"a run in its window", newStory().work(100, 1, 100.3, 105, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"a run at the last moment", newStory().work(100, 1, 125, 130, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"a run that is late", newStory().work(100, 1, 125.1, 130, true, succeeded),
			"missed 1, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 0 struck 0 excused 0"},
		{"no run", newStory().recorded(100, jobs.RunSkipped),
			"missed 1, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 0 struck 0 excused 0"},
		{"work that was never done", newStory().work(100, 1, 101, 104, false, failed),
			"missed 1, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 0 struck 0 excused 0"},
		{"not due before the end", newStory().due(980).work(100, 1, 101, 106, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},

		{"no scheduler, and recorded", newStory().event(50, Event{Kind: Kill, Host: "scheduler-1"}).recorded(100, jobs.RunSkipped),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 0 ran 0 struck 0 excused 0"},
		{"no scheduler, and in a skipped range", func() *story {
			s := newStory().event(50, Event{Kind: Kill, Host: "scheduler-1"})
			s.Records["j"].Job.Skipped = []jobs.SkippedRange{{From: at(40), To: at(100)}}
			return s
		}(), "missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 0 ran 0 struck 0 excused 0"},
		{"no scheduler, and run late", newStory().event(50, Event{Kind: Kill, Host: "scheduler-1"}).work(100, 1, 300, 305, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 0 ran 0 struck 0 excused 0"},
		{"no scheduler, and forgotten", newStory().event(50, Event{Kind: Kill, Host: "scheduler-1"}),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 1 of 1 targets", "owed 0 ran 0 struck 0 excused 0"},
		{"no scheduler, and the job forgotten", func() *story {
			s := newStory().event(50, Event{Kind: Kill, Host: "scheduler-1"})
			delete(s.Records, "j")
			return s
		}(), "missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 1 of 1 targets", "owed 0 ran 0 struck 0 excused 0"},
		{"no scheduler, and the work was never done", newStory().event(50, Event{Kind: Kill, Host: "scheduler-1"}).work(100, 1, 101, 104, false, ""),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 1, lost 1 of 1 targets", "owed 0 ran 0 struck 0 excused 0"},

		{"two attempts at once", newStory().work(100, 1, 100.3, 105, true, succeeded).work(100, 2, 104.9, 110, true, succeeded),
			"missed 0, doubled 1, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"another after a success", newStory().work(100, 1, 100.3, 105, true, succeeded).work(100, 2, 107, 112, true, succeeded),
			"missed 0, doubled 1, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"another after a failure", newStory().work(100, 1, 100.3, 102, false, failed).work(100, 2, 103, 108, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"one attempt started twice", newStory().work(100, 1, 100.3, 105, true, succeeded).work(100, 1, 100.4, 105, true, ""),
			"missed 0, doubled 1, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"two attempts at once, the former unknown before", newStory().
			work(100, 1, 100.3, 105, true, succeeded, unknownSince(102)).work(100, 2, 104, 109, true, cutShort),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 1"},
		{"two attempts at once, the former unknown after", newStory().
			work(100, 1, 100.3, 105, true, succeeded, unknownSince(103.8)).work(100, 2, 104, 109, true, cutShort),
			"missed 0, doubled 1, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"the same where unknown ones are waited for", newStory().policy(jobs.UnknownWait).
			work(100, 1, 100.3, 105, true, succeeded, unknownSince(102)).work(100, 2, 104, 109, true, cutShort),
			"missed 0, doubled 1, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},

		{"two runs of the job at once", newStory().due(130).work(100, 1, 124, 132, true, succeeded).work(130, 1, 131, 136, true, succeeded),
			"missed 0, doubled 0, overlaps 1, early 0, orphans 0, lost 0 of 2 targets", "owed 2 ran 2 struck 0 excused 0"},
		{"two runs of the job at once, the former unknown", newStory().due(130).
			work(100, 1, 124, 132, true, succeeded, unknownSince(128)).work(130, 1, 131, 136, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 2 targets", "owed 2 ran 2 struck 0 excused 1"},

		{"before its time", newStory().work(100, 1, 99.9, 105, true, succeeded),
			"missed 1, doubled 0, overlaps 0, early 1, orphans 0, lost 0 of 1 targets", "owed 1 ran 0 struck 0 excused 0"},
		{"before its time, as its clock had it", newStory().event(90, Event{Kind: Clock, Host: "scheduler-1", Offset: 4 * time.Second, Leads: true}).
			work(100, 1, 96.1, 101, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"before even that", newStory().event(90, Event{Kind: Clock, Host: "scheduler-1", Offset: 4 * time.Second, Leads: true}).
			work(100, 1, 95.9, 101, true, succeeded),
			"missed 1, doubled 0, overlaps 0, early 1, orphans 0, lost 0 of 1 targets", "owed 1 ran 0 struck 0 excused 0"},
		{"late, as its clock had it", newStory().event(90, Event{Kind: Clock, Host: "scheduler-1", Offset: -4 * time.Second, Leads: true}).
			work(100, 1, 128.9, 134, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"late, long after its clock was mended", newStory().event(50, Event{Kind: Clock, Host: "scheduler-1", Offset: 4 * time.Second, Leads: true}).
			event(60, Event{Kind: Clock, Host: "scheduler-1"}).work(100, 1, 128.9, 134, true, succeeded),
			"missed 1, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 0 struck 0 excused 0"},

		{"no record of an attempt", newStory().work(100, 1, 100.3, 105, true, ""),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 1, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"at work at the end, and recorded as over", newStory().work(100, 1, 100.3, 105, true, succeeded).work(975, 1, 995, 1000.5, false, failed),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 1, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"at work at the end, and recorded so", newStory().work(100, 1, 100.3, 105, true, succeeded).work(975, 1, 995, 1000.5, false, jobs.AttemptRunning),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},
		{"begun while the records were read", newStory().work(100, 1, 100.3, 105, true, succeeded).work(999, 1, 999, 1000.5, false, ""),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 1 struck 0 excused 0"},

		{"killed by the faults themselves", newStory().work(100, 1, 100.3, 103, false, failed).
			event(103.1, Event{Kind: Strike, Host: "agent-1"}).work(100, 2, 126, 131, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 0 ran 0 struck 1 excused 0"},
		{"killed by the faults, and never done", newStory().work(100, 1, 100.3, 103, false, "").event(103.1, Event{Kind: Strike, Host: "agent-1"}),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 1, lost 1 of 1 targets", "owed 0 ran 0 struck 1 excused 0"},
		{"a fault elsewhere is no excuse", newStory().work(100, 1, 100.3, 103, false, failed).
			event(103.1, Event{Kind: Strike, Host: "agent-2"}).work(100, 2, 126, 131, true, succeeded),
			"missed 1, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets", "owed 1 ran 0 struck 0 excused 0"},

		{"behind an unknown run, which is waited for", newStory().policy(jobs.UnknownWait).due(160).
			work(100, 1, 100.3, 103, false, unknown, unknownSince(110)).recorded(160, jobs.RunPending),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 2 targets", "owed 2 ran 0 struck 0 excused 2"},
		{"behind an unknown run, which is not waited for", newStory().due(160).
			work(100, 1, 100.3, 105, true, unknown, unknownSince(110)).recorded(160, jobs.RunPending),
			"missed 1, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 2 targets", "owed 2 ran 1 struck 0 excused 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := Check(&test.story.History)
			more := fmt.Sprintf("owed %d ran %d struck %d excused %d", v.Owed, v.Ran, v.Struck, v.Excused)
			if diff := cmp.Diff([]string{test.want, test.more}, []string{v.String(), more}); diff != "" {
				t.Errorf("verdict (-want +got):\n%s%v", diff, v.Findings)
			}
			if again := Check(reread(t, &test.story.History)); !cmp.Equal(again, v) {
				t.Errorf("a history that was written and read gives another verdict:\n%s", cmp.Diff(v, again))
			}
		})
	}
}

// reread is the history as a file keeps it.
func reread(t *testing.T, h *History) *History {
	t.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var again History
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	return &again
}

func TestChildren(t *testing.T) {
	parent := func() *story {
		s := newStory().work(100, 1, 100.3, 105, true, succeeded)
		s.Targets = append(s.Targets, Target{Job: "child", Parent: "j"})
		return s
	}
	tests := []struct {
		name  string
		story *story
		want  string
	}{
		{"after its parent", parent().workOf("child", 100, 1, 105.2, 106, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets"},
		{"before its parent ended", parent().workOf("child", 100, 1, 104.9, 106, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 1, orphans 0, lost 0 of 1 targets"},
		{"without its parent", parent().workOf("child", 100, 1, 106, 107, true, succeeded).workOf("child", 160, 1, 161, 162, true, succeeded),
			"missed 0, doubled 0, overlaps 0, early 1, orphans 0, lost 0 of 1 targets"},
		{"forgotten", parent(),
			"missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 1 of 1 targets"},
		{"doubled", parent().workOf("child", 100, 1, 105.2, 106, true, succeeded).workOf("child", 100, 2, 107, 108, true, succeeded),
			"missed 0, doubled 1, overlaps 0, early 0, orphans 0, lost 0 of 1 targets"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if v := Check(&test.story.History); v.String() != test.want {
				t.Errorf("got  %s\nwant %s\n%v", v.String(), test.want, v.Findings)
			}
		})
	}
}

// TestOwed is about windows from 100 s to 125 s, of which ten must be whole.
func TestOwed(t *testing.T) {
	cut := func(seconds float64, ways ...Way) func(*story) {
		return func(s *story) { s.event(seconds, Event{Kind: Cut, Cuts: ways}) }
	}
	do := func(seconds float64, kind Kind, host string) func(*story) {
		return func(s *story) { s.event(seconds, Event{Kind: kind, Host: host}) }
	}
	more := func(role Role) func(*story) { return func(s *story) { s.hosts(role, 1) } }
	offset := func(seconds float64, host string, by time.Duration) func(*story) {
		return func(s *story) { s.event(seconds, Event{Kind: Clock, Host: host, Offset: by, Leads: true}) }
	}
	tests := []struct {
		name   string
		happen []func(*story)
		owed   bool
	}{
		{"all is well", nil, true},
		{"one of three ZooKeeper servers is down", []func(*story){do(50, Kill, "zookeeper-2")}, true},
		{"two are down", []func(*story){do(50, Kill, "zookeeper-2"), do(50, Stop, "zookeeper-3")}, false},
		{"two cannot reach the third, which is all the same", []func(*story){cut(50, both("zookeeper-1", "zookeeper-2")...)}, true},
		{"none can reach another", []func(*story){cut(50, both("zookeeper-1", "zookeeper-2")...), cut(51, both("zookeeper-1", "zookeeper-3")...),
			cut(52, both("zookeeper-3", "zookeeper-2")...)}, false},
		{"the scheduler is down", []func(*story){do(50, Kill, "scheduler-1")}, false},
		{"there is another", []func(*story){do(50, Kill, "scheduler-1"), more(Scheduler)}, true},
		{"the master stalls", []func(*story){do(50, Stop, "master-1")}, false},
		{"the agent is down", []func(*story){do(50, Kill, "agent-1")}, false},
		{"it comes back ten seconds before the end", []func(*story){do(50, Kill, "agent-1"), do(115, Up, "agent-1")}, true},
		{"it comes back later", []func(*story){do(50, Kill, "agent-1"), do(115.1, Up, "agent-1")}, false},
		{"it goes after ten seconds", []func(*story){do(110, Kill, "agent-1")}, true},
		{"it goes sooner", []func(*story){do(109.9, Kill, "agent-1")}, false},
		{"two breaks leave too little", []func(*story){do(108, Stop, "agent-1"), do(109, Resume, "agent-1"), do(118, Stop, "agent-1")}, false},
		{"two agents in turn do not make one", []func(*story){more(Agent), do(50, Stop, "agent-2"), do(108, Resume, "agent-2"), do(109, Stop, "agent-1"), do(116, Stop, "agent-2")}, false},
		{"one way is as good as cut", []func(*story){cut(50, Way{"agent-1", "master-1"})}, false},
		{"healed in time", []func(*story){cut(50, Way{"agent-1", "master-1"}), do(114, Heal, "")}, true},
		{"an agent on the other side does not count", []func(*story){more(Agent), cut(50, both("agent-1", "master-1")...), cut(50, both("agent-2", "zookeeper-1")...), cut(50, both("agent-2", "scheduler-1")...)}, false},
		{"the leader's clock is a little off", []func(*story){offset(50, "scheduler-1", 29*time.Second)}, true},
		{"the leader's clock is far off", []func(*story){offset(50, "scheduler-1", -31*time.Second)}, false},
		{"another could lead, but does not", []func(*story){more(Scheduler), offset(50, "scheduler-1", 31*time.Second)}, false},
		{"until the one with the wrong clock is killed", []func(*story){more(Scheduler), offset(50, "scheduler-1", 31*time.Second), do(90, Kill, "scheduler-1")}, true},
		{"the clock is right again", []func(*story){offset(50, "scheduler-1", 31*time.Second), offset(110, "scheduler-1", 0)}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStory()
			for _, f := range test.happen {
				f(s)
			}
			if v := Check(&s.History); (v.Owed == 1) != test.owed {
				t.Errorf("owed %d, want %v", v.Owed, test.owed)
			}
		})
	}
}

// TestRunsAreAssignedSoThatAllTargetsAreServed: the first run fits both windows, the second only
// one of them.
func TestRunsAreAssignedSoThatAllTargetsAreServed(t *testing.T) {
	s := newStory().due(110).work(100, 1, 112, 117, true, succeeded).work(110, 1, 124, 125, true, succeeded)
	if v := Check(&s.History); v.Ran != 2 || v.Missed != 0 {
		t.Errorf("%d targets ran, %d were missed; want 2 and 0", v.Ran, v.Missed)
	}
	s = newStory().due(110).work(100, 1, 127, 130, true, succeeded).work(110, 1, 131, 134, true, succeeded)
	if v := Check(&s.History); v.Ran != 1 || v.Missed != 1 {
		t.Errorf("one run for two targets: %d ran, %d were missed; want 1 and 1", v.Ran, v.Missed)
	}
}

// TestOwedTargetsAreServedFirst: a leader whose clock was far off owes nothing, and its window, which
// reaches into the next, takes no run from there.
func TestOwedTargetsAreServedFirst(t *testing.T) {
	s := newStory().due(150).event(90, Event{Kind: Clock, Host: "scheduler-1", Offset: 50 * time.Second, Leads: true}).
		event(130, Event{Kind: Clock, Host: "scheduler-1"}).
		recorded(100, jobs.RunSkipped).work(150, 1, 151, 156, true, succeeded)
	if v := Check(&s.History); v.Owed != 1 || v.Ran != 1 || v.Missed != 0 {
		t.Errorf("%d owed, %d ran, %d missed; want 1, 1 and 0", v.Owed, v.Ran, v.Missed)
	}
}

func TestTooFewOwedTargetsFail(t *testing.T) {
	s := newStory().due(200).due(300).work(100, 1, 101, 106, true, succeeded).
		event(150, Event{Kind: Kill, Host: "scheduler-1"}).recorded(200, jobs.RunSkipped).recorded(300, jobs.RunSkipped)
	v := Check(&s.History)
	if v.Owed != 1 || v.Good() || v.Tried() {
		t.Errorf("owed %d of %d, good %v; want 1 of 3, which proves too little", v.Owed, v.Total, v.Good())
	}
	if v := Check(&newStory().work(100, 1, 101, 106, true, succeeded).History); !v.Good() {
		t.Errorf("a good history is not: %s", v.String())
	}
}

func TestFindingsTellWhatIsKnown(t *testing.T) {
	s := newStory().recorded(100, jobs.RunSkipped)
	s.Records["j"].Runs[0].Reason = "it is late"
	v := Check(&s.History)
	if len(v.Findings) != 1 || !strings.Contains(v.Findings[0].Text, "run j.1.20260301T120140Z.0 is skipped: it is late") {
		t.Errorf("findings: %q", v.Findings)
	}
}
