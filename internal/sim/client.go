package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
	"tidemill/scheduler"
)

// client is the users: they apply jobs, and ask again until they are answered.
type client struct {
	w        *world
	jobs     []jobs.Job
	requests int
}

// pick is one of a list, by chance.
func pick[T any](w *world, list ...T) T { return list[w.rng.IntN(len(list))] }

// declare makes up the jobs of the history: at least three, and an edge.
func (c *client) declare() {
	w := c.w
	rhythm := pick(w, "*/15 * * * * *", "*/20 * * * * *", "*/30 * * * * *")
	first := c.job("alpha", rhythm)
	second := c.job("beta", pick(w, rhythm, "*/25 * * * * *", "10,40 * * * * *"))
	child := c.job("child", "", "alpha")
	c.jobs = []jobs.Job{first, second, child}
	if w.chance(60) {
		c.jobs = append(c.jobs, c.job("both", "", "alpha", "beta"))
	}
	if w.chance(40) {
		c.jobs = append(c.jobs, c.job("last", "", "child"))
	}
	if w.chance(40) {
		c.jobs = append(c.jobs, c.job("manual", ""))
	}
}

func (c *client) job(name jobs.Name, rhythm string, after ...jobs.Name) jobs.Job {
	w := c.w
	s := spec{Millis: pick(w, 50, 800, 3000, 9000), Fail: pick(w, 0, 0, 0, 1, 5), Splits: pick(w, 1, 1, 1, 3), Idempotent: w.chance(40)}
	if w.chance(20) {
		s.Planned, s.Stages = true, pick(w, 1, 2)
	}
	raw, _ := json.Marshal(s) //nolint:errchkjson // our own type
	wait := jobs.Duration(25 * time.Second)
	j := jobs.Job{
		Name: name, Kind: "sim", Spec: raw, After: after,
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
	c.ask(scheduler.ApplyJobs{Jobs: c.jobs}, func(a scheduler.Answer) {
		if a.Err != nil {
			c.w.model.violate("the jobs were refused: %v", a.Err)
			return
		}
		for _, j := range c.jobs {
			c.w.model.acknowledged(j.Name)
		}
	})
	for at := 5 * time.Second; at < until; at += c.w.between(4*time.Second, 25*time.Second) {
		c.w.after(at, c.act)
	}
}

// act asks for one thing of those that users ask for.
func (c *client) act() {
	w := c.w
	j := pick(w, c.jobs...)
	ignore := func(scheduler.Answer) {}
	switch w.rng.IntN(10) {
	case 0, 1, 2, 3:
		c.requests++
		c.ask(scheduler.StartRun{RunRequest: jobs.RunRequest{
			Job: j.Name, RequestID: fmt.Sprintf("request-%d", c.requests), Children: w.chance(50),
		}}, func(a scheduler.Answer) {
			if r, ok := a.Value.(jobs.Run); ok && a.Err == nil {
				w.model.acknowledgedRun(r.ID)
			}
		})
	case 4:
		if id := w.model.anyLiveRun(); id != "" {
			w.model.marking(id)
			c.ask(scheduler.MarkRun{ID: id, Success: w.chance(50)}, ignore)
		}
	case 5:
		if id := w.model.anyLiveRun(); id != "" {
			c.ask(scheduler.KillRun{ID: id}, ignore)
		}
	case 6:
		c.ask(scheduler.PauseJob{Name: j.Name, Paused: true}, ignore)
		w.after(w.between(2*time.Second, 40*time.Second), func() {
			c.ask(scheduler.PauseJob{Name: j.Name, Paused: false}, ignore)
		})
	case 7, 8:
		edited := j
		edited.Retry.Attempts = pick(w, 1, 2, 3, 4)
		if j.Schedule != nil && w.chance(50) {
			s := *j.Schedule
			s.Cron = schedule.Crons{pick(w, "*/15 * * * * *", "*/20 * * * * *", "5,35 * * * * *")}
			edited.Schedule = &s
		}
		c.ask(scheduler.ApplyJobs{Jobs: []jobs.Job{edited}}, ignore)
	case 9:
		c.recreate(j)
	}
}

// recreate deletes a job and applies it again.
func (c *client) recreate(j jobs.Job) {
	c.w.model.deleting(j.Name)
	c.ask(scheduler.DeleteJob{Name: j.Name}, func(a scheduler.Answer) {
		var tries int
		var again func()
		again = func() {
			c.ask(scheduler.ApplyJobs{Jobs: []jobs.Job{j}}, func(a scheduler.Answer) {
				if a.Err != nil && tries < 30 { // its last tasks are still ending
					tries++
					c.w.after(2*time.Second, again)
				} else if a.Err == nil {
					c.w.model.acknowledged(j.Name)
				}
			})
		}
		c.w.after(c.w.between(100*time.Millisecond, 5*time.Second), again)
	})
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
