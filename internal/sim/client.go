package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
	"tidemill/scheduler"
)

// client is the users: they apply jobs, and ask again until they are answered.
type client struct {
	w        *world
	pools    []jobs.Pool
	resized  bool // a pool was: once a history, so that what was allowed is known
	held     bool // launches were: once, too
	released bool // and are to be no more
	jobs     []jobs.Job
	requests int
}

// pick is one of a list, by chance.
func pick[T any](w *world, list ...T) T { return list[w.rng.IntN(len(list))] }

// declare makes up the jobs of the history: at least three, and an edge.
func (c *client) declare() {
	w := c.w
	for i := range w.rng.IntN(3) {
		c.pools = append(c.pools, jobs.Pool{Name: jobs.Name(fmt.Sprint("pool-", i+1)), Slots: pick(w, 1, 2, 3)})
	}
	rhythm := pick(w, "*/15 * * * * *", "*/20 * * * * *", "*/30 * * * * *")
	first := c.job("alpha", rhythm)
	second := c.job("beta", pick(w, rhythm, "*/25 * * * * *", "10,40 * * * * *"))
	child := c.job("child", "", "alpha")
	c.jobs = []jobs.Job{first, second, child}
	if w.chance(60) {
		both := c.job("both", "", "alpha", "beta")
		if w.chance(40) {
			both.LatestWithin, both.Trigger = jobs.Duration(pick(w, 12*time.Second, time.Minute)), jobs.AllSuccess
		}
		c.jobs = append(c.jobs, both)
	}
	if w.chance(40) {
		c.jobs = append(c.jobs, c.job("last", "", "child"))
	}
	if w.chance(40) {
		c.jobs = append(c.jobs, c.job("manual", ""))
	}
	if w.chance(30) {
		c.jobs = append(c.jobs, c.service("service"))
	}
}

// service is a job whose runs have no end; its instances listen on ports.
func (c *client) service(name jobs.Name) jobs.Job {
	w := c.w
	wait := jobs.Duration(25 * time.Second)
	return jobs.Job{
		Name: name, Kind: "sim", Spec: spec{Service: true, Millis: 3000, Fail: pick(w, 0, 0, 1), Splits: pick(w, 1, 2), Idempotent: w.chance(40)}.encode(),
		OnUnknown: jobs.UnknownRetry, UnknownWait: &wait, Resources: jobs.Resources{Ports: pick(w, 0, 1, 2)},
		Retry: jobs.Retry{Attempts: 1, Backoff: jobs.Duration(500 * time.Millisecond), Max: jobs.Duration(4 * time.Second)},
	}
}

func (c *client) job(name jobs.Name, rhythm string, after ...jobs.Name) jobs.Job {
	w := c.w
	s := spec{Millis: pick(w, 50, 800, 3000, 9000), Fail: pick(w, 0, 0, 0, 1, 5), Splits: pick(w, 1, 1, 1, 3), Idempotent: w.chance(40)}
	if w.chance(20) {
		s.Planned, s.Stages = true, pick(w, 1, 2)
	}
	if w.chance(25) {
		s.Host = pick(w, "host-1", "host-2")
	}
	wait := jobs.Duration(25 * time.Second)
	near := jobs.Duration(2 * time.Second)
	j := jobs.Job{
		Name: name, Kind: "sim", Spec: s.encode(), After: after, Placement: jobs.Placement{Wait: &near},
		Overlap:     pick(w, jobs.OverlapSkip, jobs.OverlapSkip, jobs.OverlapBufferOne, jobs.OverlapBufferAll, jobs.OverlapCancel, jobs.OverlapAllow),
		OnUnknown:   pick(w, jobs.UnknownRetry, jobs.UnknownRetry, jobs.UnknownFail, jobs.UnknownWait),
		UnknownWait: &wait, Isolation: pick(w, jobs.IsolationShared, jobs.IsolationOwn),
		Retry: jobs.Retry{Attempts: pick(w, 1, 2, 3), Backoff: jobs.Duration(500 * time.Millisecond), Max: jobs.Duration(4 * time.Second)},
	}
	if len(after) > 0 {
		j.Trigger = pick(w, jobs.AllSuccess, jobs.AllSuccess, jobs.AllDone, jobs.AnySuccess)
	}
	if w.chance(15) {
		j.StartDeadline = jobs.Duration(8 * time.Second)
	}
	if w.chance(10) {
		j.MaxRunTime = jobs.Duration(6 * time.Second)
	}
	if len(c.pools) > 0 && w.chance(40) {
		p := pick(w, c.pools...)
		j.Pool = jobs.PoolUse{Name: p.Name, Slots: pick(w, 1, min(2, p.Slots))}
	}
	j.Concurrency, j.Priority = pick(w, 0, 0, 0, 1, 2), pick(w, -1, 0, 0, 1)
	if rhythm != "" {
		window := jobs.Duration(pick(w, 40*time.Second, 10*time.Minute))
		j.Schedule = &jobs.Schedule{
			Spec:    schedule.Spec{Cron: schedule.Crons{rhythm}},
			CatchUp: jobs.CatchUp{Mode: pick(w, jobs.CatchUpLatest, jobs.CatchUpAll), Window: &window},
		}
	}
	return j
}

// begin applies everything, and then now and then asks for something.
func (c *client) begin(until time.Duration) {
	c.declare()
	c.declarePools(c.pools)
	for at := 5 * time.Second; at < until; at += c.w.between(3*time.Second, 14*time.Second) {
		c.w.after(at, c.act)
	}
	c.w.after(until+longestHold, c.release)
}

// declarePools creates the pools, then the jobs.
func (c *client) declarePools(left []jobs.Pool) {
	if len(left) > 0 {
		c.ask(scheduler.SetPool{Pool: left[0]}, func(a scheduler.Answer) {
			if code, _ := jobs.CodeOf(a.Err); a.Err != nil && code != jobs.Conflict { // it cannot be read just now
				c.w.model.violate("pool %s was refused: %v", left[0].Name, a.Err)
			}
			c.declarePools(left[1:])
		})
		return
	}
	c.ask(scheduler.ApplyJobs{Jobs: c.jobs}, func(a scheduler.Answer) {
		if a.Err != nil {
			c.w.model.violate("the jobs were refused: %v", a.Err)
			return
		}
		for _, j := range c.jobs {
			c.w.model.acknowledged(j.Name)
		}
	})
}

// longestHold bounds for how long launches are held.
const longestHold = 15 * time.Second

// act asks for one thing of those that users ask for.
func (c *client) act() {
	w := c.w
	j := pick(w, c.jobs...)
	live, ended := w.model.anyRun(false), w.model.anyRun(true)
	switch w.rng.IntN(20) {
	case 0, 1, 2, 3:
		c.start(j)
	case 4:
		c.byHand(live, scheduler.MarkRun{ID: live, Success: w.chance(50)})
	case 5:
		c.tell(scheduler.KillRun{ID: live})
	case 6, 7:
		c.pause(j)
	case 8, 9, 10:
		c.edit(j)
	case 11:
		c.recreate(j)
	case 12:
		c.tell(scheduler.RerunRun{ID: ended})
	case 13:
		c.byHand(live, scheduler.ResolveRun{ID: live, As: pick(w, jobs.ResolveSuccess, jobs.ResolveFailure, jobs.ResolveRetry)})
	case 14:
		to := epoch.Add(w.now).Truncate(time.Second)
		c.tell(scheduler.BackfillJob{BackfillRequest: jobs.BackfillRequest{
			Job: j.Name, From: to.Add(-40 * time.Second), To: to.Add(-5 * time.Second), AtOnce: pick(w, 1, 2), Force: w.chance(30),
		}})
	case 15:
		c.tell(scheduler.KillRuns{Job: j.Name, Reason: "killed by hand"})
	case 16:
		c.hold()
	case 17:
		c.resize()
	case 18, 19:
		c.tell(scheduler.RerunRun{ID: w.model.anyFailed(), Failed: true})
	}
}

// hold has nothing launched for a while.
func (c *client) hold() {
	if c.held {
		return
	}
	c.held = true
	c.ask(scheduler.HoldLaunches{Reason: "maintenance"}, func(scheduler.Answer) {
		if c.w.model.limits.hold == nil && !c.released {
			c.w.model.violate("the hold is acknowledged and not durable")
		}
		c.w.after(c.w.between(time.Second, longestHold), c.release)
	})
}

func (c *client) release() {
	c.released = true
	c.tell(scheduler.ReleaseLaunches{})
}

// resize gives a pool more slots or fewer.
func (c *client) resize() {
	if len(c.pools) > 0 && !c.resized {
		c.resized = true
		p := pick(c.w, c.pools...)
		p.Slots = pick(c.w, 2, 3, 4)
		c.tell(scheduler.SetPool{Pool: p})
	}
}

// tell asks for what may be refused.
func (c *client) tell(do any) { c.ask(do, func(scheduler.Answer) {}) }

// byHand says of a live run what became of it.
func (c *client) byHand(id jobs.RunID, do any) {
	if id != "" {
		c.w.model.marking(id)
		c.tell(do)
	}
}

func (c *client) start(j jobs.Job) {
	c.requests++
	request := jobs.RunRequest{Job: j.Name, RequestID: fmt.Sprintf("request-%d", c.requests), Children: c.w.chance(50)}
	c.w.model.requested(request)
	c.ask(scheduler.StartRun{RunRequest: request}, func(a scheduler.Answer) {
		if r, ok := a.Value.(jobs.Run); ok && a.Err == nil {
			c.w.model.acknowledgedRun(r.ID)
		}
	})
}

func (c *client) pause(j jobs.Job) {
	c.tell(scheduler.PauseJob{Name: j.Name, Paused: true})
	c.w.after(c.w.between(2*time.Second, 40*time.Second), func() { c.tell(scheduler.PauseJob{Name: j.Name, Paused: false}) })
}

// edit changes how often a job is tried, and when it runs, what it does, or
// whom it comes after; or how many instances a service has.
func (c *client) edit(j jobs.Job) {
	w := c.w
	j.Retry.Attempts = pick(w, 1, 2, 3, 4)
	if !decodeSpec(j.Spec).Service { // a service that may start none beside the others is never renewed
		j.Concurrency = pick(w, 0, j.Concurrency, 1, 2)
	}
	switch {
	case decodeSpec(j.Spec).Service && w.chance(40):
		c.tell(scheduler.ScaleJob{Name: j.Name, Instances: pick(w, 0, 1, 2, 3)})
		return
	case j.Schedule != nil && w.chance(50):
		s := *j.Schedule
		s.Cron = schedule.Crons{pick(w, "*/15 * * * * *", "*/20 * * * * *", "5,35 * * * * *")}
		j.Schedule = &s
	case len(j.After) > 1 && w.chance(60):
		j.After = j.After[:1]
	case w.chance(50):
		s := decodeSpec(j.Spec)
		s.Millis = pick(w, 100, 1000, 4000)
		j.Spec = s.encode()
	}
	c.tell(scheduler.ApplyJobs{Jobs: []jobs.Job{j}})
}

// recreate deletes a job, with those after it or from among them, and applies
// it again.
func (c *client) recreate(j jobs.Job) {
	mode := pick(c.w, jobs.DeleteRefuse, jobs.DeleteRefuse, jobs.DeleteReparent, jobs.DeleteCascade)
	list := []jobs.Job{j}
	if mode == jobs.DeleteCascade {
		list = c.family(j)
	}
	for _, one := range list {
		c.w.model.deleting(one.Name)
	}
	c.ask(scheduler.DeleteJob{Name: j.Name, Mode: mode}, func(a scheduler.Answer) {
		var tries int
		var again func()
		again = func() {
			c.ask(scheduler.ApplyJobs{Jobs: list}, func(a scheduler.Answer) {
				if a.Err != nil && tries < 30 { // its last tasks are still ending
					tries++
					c.w.after(2*time.Second, again)
				}
				for _, one := range list {
					if a.Err == nil {
						c.w.model.acknowledged(one.Name)
					}
				}
			})
		}
		c.w.after(c.w.between(100*time.Millisecond, 5*time.Second), again)
	})
}

// family is a job and all that come after it.
func (c *client) family(j jobs.Job) []jobs.Job {
	list := []jobs.Job{j}
	for _, other := range c.jobs { // parents stand before their children
		if slices.ContainsFunc(list, func(p jobs.Job) bool { return slices.Contains(other.After, p.Name) }) {
			list = append(list, other)
		}
	}
	return list
}

// ask finds the leader and asks it, again and again until there is an answer.
func (c *client) ask(do any, answer func(scheduler.Answer)) {
	w := c.w
	done := false
	var try func()
	try = func() {
		if done {
			return
		}
		for _, p := range w.processes {
			if p.leader == nil || !p.up {
				continue
			}
			l := p.leader
			l.receive(w.hop(), func() {
				l.request(do, func(a scheduler.Answer) {
					var e *jobs.Error
					if done || errors.As(a.Err, &e) && e.Code == jobs.Unavailable {
						return
					}
					done = true
					answer(a)
				})
			})
			break
		}
		w.after(3*time.Second, try)
	}
	try()
}
