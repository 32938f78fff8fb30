package scheduler

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"tidemill/jobs"
)

// asked is how often a step's calls ask for offers, and how often for none.
func asked(fx Effects) (revives, suppresses int) {
	for _, call := range fx.Free {
		switch call.(type) {
		case Revive:
			revives++
		case Suppress:
			suppresses++
		}
	}
	return revives, suppresses
}

// TestOffersAreAskedForAtOnce and then ten times a second at most; when
// nothing waits any more they are to stop, once.
func TestOffersAreAskedForAtOnce(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.Overlap = jobs.OverlapAllow }))
	s.wait(10 * time.Second)
	var at []time.Time
	var due time.Time
	for i := range 200 { // a run each ten milliseconds for a second, and a second more
		var ev Event = Tick{}
		if i < 100 {
			ev, due = Request{Do: StartRun{RunRequest: jobs.RunRequest{Job: "j", RequestID: fmt.Sprint(i)}}}, s.now
		}
		if revives, _ := asked(s.step(ev)); revives > 0 {
			at = append(at, s.now)
		} else if i == 0 {
			t.Error("the first run is due, and no offers are asked for at once")
		}
		s.now = s.now.Add(10 * time.Millisecond)
	}
	for i := range at[1:] {
		if gap := at[i+1].Sub(at[i]); gap < 100*time.Millisecond {
			t.Errorf("offers are asked for again after %s", gap)
		}
	}
	if last := at[len(at)-1]; len(at) < 8 || last.Before(due) {
		t.Errorf("asked %d times, the last time at %s; a run was due at %s", len(at), last, due)
	}
	for s.launched() < 100 {
		s.offer("a")
	}
	suppressed := 0
	for range 10 {
		s.now = s.now.Add(time.Second)
		revives, suppresses := asked(s.step(Tick{}))
		if suppressed += suppresses; revives > 0 {
			t.Error("nothing waits, and offers are asked for")
		}
	}
	if suppressed != 1 {
		t.Errorf("nothing waits, and offers are stopped %d times", suppressed)
	}
	if revives, _ := asked(s.step(Request{Do: StartRun{RunRequest: jobs.RunRequest{Job: "j", RequestID: "last"}}})); revives != 1 {
		t.Errorf("after that a run is due, and offers are asked for %d times", revives)
	}
}

func (s *script) launched() int { return len(s.data) }

// TestNothingIsRefusedBeyondTheWaitForANearPlace: what waits for a nearer
// offer takes those that are refused now a little later.
func TestNothingIsRefusedBeyondTheWaitForANearPlace(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) {
		j.Spec, j.Placement.Wait = json.RawMessage(`"planned"`), new(jobs.Duration(2*time.Second))
	}))
	s.start("j", "1")
	plan := s.launchOne("a")
	s.end(plan, jobs.TaskFinished)
	s.step(Fetched{Task: plan, File: jobs.PlanFile, Data: mustJSON(jobs.Plan{Splits: []jobs.Split{{Stage: 1, Hosts: []string{"far"}}}})})
	since := s.now
	for range 20 {
		if launched := s.offer("a"); len(launched) > 0 {
			if waited := s.now.Sub(since); waited < 2*time.Second || waited > 3*time.Second {
				t.Errorf("it takes any place after %s", waited)
			}
			return
		}
		refused := false
		for _, call := range slices.Concat(s.calls, s.free) {
			if d, ok := call.(Decline); ok {
				refused = true
				if left := since.Add(2 * time.Second).Sub(s.now); d.Refuse > left {
					t.Errorf("refused for %s, with %s left to wait", d.Refuse, left)
				}
			}
		}
		if !refused {
			t.Fatalf("the offer is not answered: %+v", s.calls)
		}
		s.now = s.now.Add(200 * time.Millisecond)
		s.step(Tick{})
	}
	t.Error("it takes no other place")
}
