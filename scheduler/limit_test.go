package scheduler

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidemill/jobs"
)

// setPool declares a pool.
func (s *script) setPool(name jobs.Name, slots int) {
	s.t.Helper()
	if _, err := s.ask(SetPool{jobs.Pool{Name: name, Slots: slots}}); err != nil {
		s.t.Fatal(err)
	}
}

// declare creates or replaces jobs.
func (s *script) declare(list ...jobs.Job) {
	s.t.Helper()
	if _, err := s.ask(ApplyJobs{Jobs: list}); err != nil {
		s.t.Fatal(err)
	}
}

// named is a job of three splits that runs by hand.
func named(name jobs.Name, edit func(*jobs.Job)) jobs.Job {
	return manual(func(j *jobs.Job) {
		j.Name, j.Spec, j.Overlap = name, json.RawMessage(`"three"`), jobs.OverlapAllow
		edit(j)
	})
}

// because gives the reasons of a run's waiting splits, each once.
func (s *script) because(id jobs.RunID) []string {
	s.t.Helper()
	v, err := s.core.RunView(id)
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, w := range v.Waiting {
		for _, r := range w.Reasons {
			out = append(out, r.Message)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *script) wantBecause(id jobs.RunID, want string) {
	s.t.Helper()
	if got := s.because(id); len(got) != 1 || !strings.Contains(got[0], want) {
		s.t.Errorf("run %s waits because %q, want %q", id, got, want)
	}
}

func TestConcurrencyBoundsAJobsTasks(t *testing.T) {
	s := newScript(t, named("a", func(j *jobs.Job) { j.Concurrency = 2 }), named("b", func(*jobs.Job) {}))
	first, second := s.start("a", "1"), s.start("a", "2")
	launched := s.launchAll()
	if len(launched) != 2 {
		t.Fatalf("launched %v, want 2 of a's 6", launched)
	}
	s.wantBecause(second, "2 tasks of the job are at work: its concurrency is 2")
	s.failover()
	s.start("b", "1")
	if list := s.launchAll(); len(list) != 3 {
		t.Errorf("launched %v, want all of b's", list)
	}
	s.end(launched[0], jobs.TaskFinished)
	if list := s.launchAll(); len(list) != 1 || s.core.tasks[list[0]].rec.Run != first {
		t.Errorf("launched %v, want the last of the first run", list)
	}
}

func TestPoolsSlotsAreShared(t *testing.T) {
	s := newScript(t)
	one := named("one", func(j *jobs.Job) { j.Pool = jobs.PoolUse{Name: "readers"} })
	if _, err := s.ask(ApplyJobs{Jobs: []jobs.Job{one}}); err == nil || !strings.Contains(err.Error(), `pool.name: there is no pool "readers"`) {
		t.Fatalf("a pool that does not exist: %v", err)
	}
	s.setPool("readers", 4)
	two := named("two", func(j *jobs.Job) { j.Pool = jobs.PoolUse{Name: "readers", Slots: 2} })
	s.declare(one, two)
	s.start("one", "1")
	running := s.launchAll()
	second := s.start("two", "1")
	if list := s.launchAll(); len(list) != 0 {
		t.Fatalf("launched %v with one slot free of two", list)
	}
	s.wantBecause(second, "pool readers has 1 of 4 slots free, and the task takes 2, held by one (3)")
	s.wait(time.Second)
	third := s.start("one", "2")
	if list := s.launchAll(); len(list) != 0 {
		t.Errorf("%v passed the run that waits for two slots", list)
	}
	s.wantBecause(third, "pool readers gives its slots to run "+string(second)+" first")
	s.failover()
	s.end(running[0], jobs.TaskFinished)
	if list := s.launchAll(); len(list) != 1 || s.core.tasks[list[0]].rec.Run != second {
		t.Fatalf("launched %v, want one of %s", list, second)
	}
	s.wantBecause(second, "pool readers is full: 4 of 4 slots, held by one (2), two (2)")
	want := jobs.PoolView{
		Pool: jobs.Pool{Name: "readers", Slots: 4}, Used: 4, Waiting: 5, Holders: []jobs.PoolHolder{{Job: "one", Slots: 2}, {Job: "two", Slots: 2}},
	}
	if got := s.core.Pools(); len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("pools %+v, want %+v", got, want)
	}
	for name, do := range map[string]any{
		"deleted":         DeletePool{Name: "readers"},
		"made too small":  SetPool{jobs.Pool{Name: "readers", Slots: 1}},
		"left no slot":    SetPool{jobs.Pool{Name: "readers"}},
		"unknown deleted": DeletePool{Name: "writers"},
	} {
		if _, err := s.ask(do); err == nil {
			t.Errorf("a pool in use was %s", name)
		}
	}
	s.setPool("readers", 20)
	if list := s.launchAll(); len(list) != 5 {
		t.Errorf("launched %v, want all that waits once the pool is large", list)
	}
}

// An attempt that nobody knows the outcome of holds its slot; one that was
// given up does not.
func TestUnknownAttemptsHoldTheirSlots(t *testing.T) {
	s := newScript(t)
	s.setPool("p", 1)
	s.declare(manual(func(j *jobs.Job) { j.Pool = jobs.PoolUse{Name: "p"} }))
	s.start("j", "1")
	first := s.launchOne("a")
	s.executorSays(first, jobs.TaskRunning)
	s.update(first, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	if used := s.core.pools["p"].used; used != 1 {
		t.Errorf("an unknown attempt holds %d slots, want 1", used)
	}
	s.wait(time.Minute) // unknown_wait is half of it
	if used := s.core.pools["p"].used; used != 0 {
		t.Errorf("an attempt that was given up holds %d slots, want 0", used)
	}
	s.launchOne("b")
}

func TestPriorityThenAge(t *testing.T) {
	s := newScript(t, named("low", func(j *jobs.Job) { j.Priority = -1 }), named("old", func(*jobs.Job) {}),
		named("new", func(j *jobs.Job) { j.Resources.Mem = 65 }), named("high", func(j *jobs.Job) { j.Priority = 5 }))
	for _, name := range []jobs.Name{"low", "old", "new", "high"} {
		s.start(name, "1")
	}
	var order []jobs.Name
	for range 12 {
		s.offers++
		s.step(Offered{Offers: []jobs.Offer{{ // room for one
			ID: fmt.Sprint("o", s.offers), AgentID: "a", Hostname: "a", Address: "a:5051", Resources: jobs.Resources{CPUs: 0.15, Mem: 8192},
		}}})
		for _, call := range s.calls {
			if a, ok := call.(Accept); ok {
				for _, l := range a.Launches {
					order = append(order, s.core.tasks[l.Task].rec.Job)
					s.end(l.Task, jobs.TaskFinished)
				}
			}
		}
	}
	if got, want := fmt.Sprint(order), "[high high high old old old new new new low low low]"; got != want {
		t.Errorf("launched %s, want %s", got, want)
	}
}

// What a limit keeps waiting is still given a near place when it is let go:
// the time before the full pool is not time in which it waited for an offer.
func TestAFullPoolDoesNotEatTheWaitForANearPlace(t *testing.T) {
	near := jobs.Duration(3 * time.Second)
	s := newScript(t)
	s.setPool("p", 1)
	s.declare(manual(func(j *jobs.Job) { j.Name, j.Pool = "first", jobs.PoolUse{Name: "p"} }),
		manual(func(j *jobs.Job) {
			j.Name, j.Pool = "near", jobs.PoolUse{Name: "p"}
			j.Placement = jobs.Placement{Near: jobs.NearCassandra, Wait: &near}
		}))
	s.start("first", "1")
	first := s.launchOne("a")
	s.executorSays(first, jobs.TaskRunning)
	s.start("near", "1")
	s.wait(time.Minute)
	s.executorSays(first, jobs.TaskFinished)
	s.wait(time.Second)
	if list := s.offer("far"); len(list) != 0 {
		t.Errorf("launched %v far from the data, one second after the pool had room", list)
	}
	s.wait(3 * time.Second)
	if list := s.offer("far"); len(list) != 1 {
		t.Errorf("launched %v; after its wait it takes any place", list)
	}
}

// TestALimitThatIsGoneDoesNotKeepWaiting: while the limit was there its runs
// did not wait for a place; now they do, and no longer than the job says.
func TestALimitThatIsGoneDoesNotKeepWaiting(t *testing.T) {
	near := jobs.Duration(3 * time.Second)
	limited := func(to int) jobs.Job {
		return manual(func(j *jobs.Job) {
			j.Concurrency, j.Overlap, j.Placement = to, jobs.OverlapAllow, jobs.Placement{Near: jobs.NearCassandra, Wait: &near}
		})
	}
	for name, tc := range map[string]struct {
		before int
		edit   func(*script)
	}{
		"it was taken away before the run": {1, func(s *script) { s.declare(limited(0)); s.start("j", "2") }},
		"it came after the run":            {0, func(s *script) { s.start("j", "2"); s.declare(limited(1)) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, limited(tc.before))
			s.start("j", "1")
			s.wait(4 * time.Second)
			s.executorSays(s.launchOne("far"), jobs.TaskRunning)
			tc.edit(s)
			s.wait(4 * time.Second)
			if list := s.offer("far"); len(list) != 1 {
				t.Errorf("launched %v; after its wait it takes any place", list)
			}
		})
	}
}

func TestHoldKeepsEverythingWaitingAndLosesNothing(t *testing.T) {
	s := newScript(t, scheduled("0 * * * *", jobs.CatchUp{}), manual(func(j *jobs.Job) { j.Name = "hand" }))
	running := s.start("hand", "1")
	first := s.launchOne("a")
	v, err := s.ask(HoldLaunches{Reason: "new disks"})
	if err != nil || v.(jobs.Hold).Reason != "new disks" {
		t.Fatal(v, err)
	}
	s.failover()
	s.end(first, jobs.TaskFinished)
	s.wantRun(running, jobs.RunSucceeded)
	s.wait(61 * time.Minute)
	if list := s.launchAll(); len(list) != 0 {
		t.Fatalf("launched %v while launches are held", list)
	}
	if live := s.core.jobs["j"].live; len(live) != 1 {
		t.Fatalf("%d runs of what was due, want 1 that waits", len(live))
	} else {
		s.wantBecause(live[0].rec.ID, "launches are held since 2026-01-01T00:00:00Z: new disks")
	}
	if h := s.core.Status().Hold; h == nil || h.Reason != "new disks" {
		t.Errorf("the status says %v of the hold", h)
	}
	if _, err := s.ask(ReleaseLaunches{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ask(ReleaseLaunches{}); err == nil {
		t.Error("what is not held was released")
	}
	s.failover()
	s.launchOne("a")
}

// While launches are held no offers are asked for; they are once that ends.
func TestHoldSuppressesOffers(t *testing.T) {
	s := newScript(t, manual(nil))
	if _, err := s.ask(HoldLaunches{Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	s.start("j", "1")
	suppressed := false
	for range 10 {
		s.now = s.now.Add(time.Second)
		for _, call := range s.step(Tick{}).Free {
			switch call.(type) {
			case Suppress:
				suppressed = true
			case Revive:
				t.Error("offers were asked for")
			}
		}
	}
	if !suppressed {
		t.Error("offers still come")
	}
	fx := s.step(Request{Do: ReleaseLaunches{}})
	if !slices.ContainsFunc(fx.Free, func(c Call) bool { _, ok := c.(Revive); return ok }) {
		t.Errorf("after the release: %v, want REVIVE", fx.Free)
	}
}

// TestAPoolThatCannotBeRead gives no slots, and is left as it is; all else goes on.
func TestAPoolThatCannotBeRead(t *testing.T) {
	s := newScript(t, named("free", func(*jobs.Job) {}))
	s.setPool("p", 1)
	s.declare(named("j", func(j *jobs.Job) { j.Pool = jobs.PoolUse{Name: "p"} }))
	const novel = `{"name":"p","slots":"many"}`
	s.store[keyPool+"p"] = []byte(novel)
	s.failover()
	if problems := s.core.Status().Problems; len(problems) != 1 || !strings.Contains(problems[0], "pools/p cannot be read") {
		t.Errorf("problems %q", problems)
	}
	run := s.start("j", "1")
	s.start("free", "1")
	if launched := s.offer("a"); len(launched) != 3 {
		t.Errorf("launched %v, want the three tasks without a pool", launched)
	}
	s.wantBecause(run, "cannot be read")
	s.declare(named("j", func(j *jobs.Job) { j.Pool, j.Priority = jobs.PoolUse{Name: "p"}, 1 }))
	for _, do := range []any{SetPool{jobs.Pool{Name: "p", Slots: 5}}, DeletePool{Name: "p"}} {
		if _, err := s.ask(do); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%T: %v", do, err)
		}
	}
	if got := string(s.store[keyPool+"p"]); got != novel {
		t.Errorf("the record is %s now", got)
	}
}

// TestLimitsAlwaysHold: whatever happens, what is counted is what is at work,
// and no limit is passed.
func TestLimitsAlwaysHold(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newScript(t)
		s.setPool("p", 3)
		s.setPool("q", 2)
		for i := range 4 {
			s.declare(named(jobs.Name(fmt.Sprint("j", i)), func(j *jobs.Job) {
				j.Concurrency = rapid.IntRange(0, 3).Draw(r, "concurrency")
				j.Priority = rapid.IntRange(-1, 1).Draw(r, "priority")
				j.Pool.Name = rapid.SampledFrom([]jobs.Name{"", "p", "q"}).Draw(r, "pool")
				if j.Pool.Name != "" {
					j.Pool.Slots = rapid.IntRange(1, 2).Draw(r, "slots")
				}
			}))
		}
		for n := range rapid.IntRange(10, 60).Draw(r, "steps") {
			limitStep(r, s, n)
			checkLimits(r, s.core)
		}
	})
}

func limitStep(r *rapid.T, s *script, n int) {
	var live []jobs.TaskID
	for _, t := range s.core.orderedTasks() {
		if t.live() {
			live = append(live, t.rec.ID)
		}
	}
	act := rapid.IntRange(0, 8).Draw(r, "act")
	switch {
	case act < 2:
		s.start(jobs.Name(fmt.Sprint("j", rapid.IntRange(0, 3).Draw(r, "job"))), fmt.Sprint(n))
	case act < 4:
		s.offer(rapid.SampledFrom([]string{"a", "b"}).Draw(r, "agent"))
	case act == 4:
		s.failover()
	case act == 5:
		s.wait(time.Minute)
	case len(live) > 0:
		id := rapid.SampledFrom(live).Draw(r, "task")
		s.executorSays(id, jobs.TaskRunning)
		switch act {
		case 6:
			s.executorSays(id, rapid.SampledFrom([]string{jobs.TaskFinished, jobs.TaskFailed, jobs.TaskKilled}).Draw(r, "end"))
		case 7:
			s.update(id, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
		}
	}
}

func checkLimits(r *rapid.T, c *Core) {
	busy, used := map[jobs.Name]int{}, map[jobs.Name]int{}
	for _, t := range c.tasks {
		if !t.rec.State.Final() && !t.rec.Superseded {
			busy[t.rec.Job]++
			used[t.run.pinned().Pool.Name] += t.run.pinned().Pool.Slots
		}
	}
	for name, j := range c.jobs {
		if limit := j.rec.Job.Concurrency; j.busy != busy[name] || (limit > 0 && j.busy > limit) {
			r.Fatalf("job %s: %d at work, %d counted, at most %d", name, busy[name], j.busy, limit)
		}
	}
	for name, p := range c.pools {
		if p.used != used[name] || p.used > p.rec.Slots {
			r.Fatalf("pool %s: %d slots held, %d counted, of %d", name, used[name], p.used, p.rec.Slots)
		}
	}
}
