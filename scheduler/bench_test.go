package scheduler_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// benchKind is work that is never done: only the core is measured.
type benchKind struct{}

func (benchKind) Name() string    { return "bench" }
func (benchKind) Summary() string { return "does nothing" }
func (benchKind) Check(json.RawMessage) (jobs.Traits, error) {
	return jobs.Traits{Idempotent: true, Isolation: jobs.IsolationShared}, nil
}
func (benchKind) Work(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
	return jobs.Result{}, nil
}

// cluster plays Mesos for the core: offers of all agents, and each launched
// task RUNNING and FINISHED at once.
type cluster struct {
	core   *scheduler.Core
	now    time.Time
	agents int
	offers int
	steps  []time.Duration
	done   int
	stored map[string][]byte // nil: nothing is kept
}

func (c *cluster) step(ev scheduler.Event) scheduler.Effects {
	began := time.Now()
	fx := c.core.Step(c.now, ev)
	c.steps = append(c.steps, time.Since(began))
	for _, g := range fx.Persist {
		for _, ch := range g {
			if c.stored != nil {
				c.stored[ch.Key] = ch.Value
			}
		}
	}
	return fx
}

// declare begins a term and applies so many jobs, due each hour.
func (c *cluster) declare(count int) {
	c.step(scheduler.Elected{Term: 1, Secret: []byte("secret")})
	c.step(scheduler.Subscribed{Stream: 1, FrameworkID: "F", Master: "m", MasterSince: c.now})
	for i := range count {
		j := jobs.Job{Name: jobs.Name(fmt.Sprintf("job-%05d", i)), Kind: "bench", Schedule: &jobs.Schedule{}}
		j.Schedule.Cron = []string{"0 * * * *"}
		c.step(scheduler.Request{ID: int64(i), Do: scheduler.ApplyJobs{Jobs: []jobs.Job{j}}})
	}
}

// offer brings an offer of one agent with room for slots tasks.
func (c *cluster) offer(agent, slots int) []jobs.Offer {
	c.offers++
	id := fmt.Sprintf("agent-%d", agent)
	return []jobs.Offer{{
		ID: fmt.Sprint("O", c.offers), AgentID: id, Hostname: id, Address: id + ":5051",
		Resources: jobs.Resources{CPUs: 0.1*float64(slots) + 0.1, Mem: 1e6},
	}}
}

// perform ends what was launched, and gives the freed room back as an offer.
func (c *cluster) perform(fx scheduler.Effects) {
	for _, call := range fx.Calls {
		accept, ok := call.(scheduler.Accept)
		if !ok {
			continue
		}
		c.step(scheduler.CallAnswered{Call: accept})
		for _, l := range accept.Launches {
			u := jobs.Update{Task: l.Task, State: jobs.TaskRunning, Source: "SOURCE_EXECUTOR", Agent: l.Agent, UUID: []byte(l.Task)}
			c.step(scheduler.Updated{Update: u})
			u.State = jobs.TaskFinished
			c.step(scheduler.Updated{Update: u})
			c.done++
		}
	}
}

// BenchmarkCore makes every job due at once and lets the core place, run and
// end them all: decisions are launches and updates taken.
func BenchmarkCore(b *testing.B) {
	for _, size := range []struct{ agents, jobs int }{{10, 1_000}, {100, 10_000}, {1_000, 10_000}, {1_000, 50_000}} {
		b.Run(fmt.Sprintf("agents=%d/jobs=%d", size.agents, size.jobs), func(b *testing.B) {
			for b.Loop() {
				runAll(b, size.agents, size.jobs)
			}
		})
	}
}

func runAll(b *testing.B, agents, count int) {
	b.StopTimer()
	kinds, err := jobs.NewRegistry(benchKind{})
	if err != nil {
		b.Fatal(err)
	}
	c := &cluster{core: scheduler.New(scheduler.DefaultConfig(), kinds), now: time.Unix(1_700_000_000, 0), agents: agents}
	if err := c.core.Load(nil); err != nil {
		b.Fatal(err)
	}
	c.declare(count)
	c.steps = nil
	b.StartTimer()
	began := time.Now()
	c.now = c.now.Add(time.Hour)
	for range count/500 + 1 {
		c.perform(c.step(scheduler.Tick{}))
	}
	for c.done < count {
		before := c.done
		for agent := range agents {
			c.perform(c.step(scheduler.Offered{Offers: c.offer(agent, 10)}))
		}
		if c.done == before {
			b.Fatalf("%d of %d jobs ended, and no more is launched", c.done, count)
		}
	}
	took := time.Since(began)
	slices.SortFunc(c.steps, cmp.Compare)
	b.ReportMetric(float64(3*count)/took.Seconds(), "decisions/s")
	b.ReportMetric(float64(c.steps[len(c.steps)*99/100].Microseconds()), "p99-µs/step")
	b.ReportMetric(float64(c.steps[len(c.steps)-1].Milliseconds()), "max-ms/step")
}

// BenchmarkTakeOver loads what a leader of so many jobs left, and begins the
// next term: all that stands between the store's answer and SUBSCRIBE.
func BenchmarkTakeOver(b *testing.B) {
	const count = 50_000
	kinds, err := jobs.NewRegistry(benchKind{})
	if err != nil {
		b.Fatal(err)
	}
	c := &cluster{core: scheduler.New(scheduler.DefaultConfig(), kinds), now: time.Unix(1_700_000_000, 0), stored: map[string][]byte{}}
	c.declare(count)
	c.now = c.now.Add(time.Hour)
	for range count/500 + 1 {
		c.step(scheduler.Tick{})
	}
	var records []scheduler.Record
	size := 0
	for key, value := range c.stored {
		records = append(records, scheduler.Record{Key: key, Value: value})
		size += len(key) + len(value)
	}
	for b.Loop() {
		next := scheduler.New(scheduler.DefaultConfig(), kinds)
		if err := next.Load(records); err != nil {
			b.Fatal(err)
		}
		if fx := next.Step(c.now, scheduler.Elected{Term: 2}); len(fx.Persist) == 0 {
			b.Fatal("nothing begins the term")
		}
	}
	b.ReportMetric(float64(len(records)), "records")
	b.ReportMetric(float64(size)/float64(len(records)), "bytes/record")
}
