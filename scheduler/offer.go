package scheduler

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler/match"
)

func (c *Core) onOffered(e Offered) {
	if c.stream == 0 {
		return
	}
	c.lastOffer = c.now
	for _, o := range e.Offers {
		a := c.agentOf(o.AgentID)
		a.offer, a.seen = o, c.now
		a.largest = jobs.Resources{
			CPUs: max(a.largest.CPUs, o.Resources.CPUs), Mem: max(a.largest.Mem, o.Resources.Mem),
			Disk: max(a.largest.Disk, o.Resources.Disk), GPUs: max(a.largest.GPUs, o.Resources.GPUs),
			Ports: max(a.largest.Ports, o.Resources.Ports),
		}
		o.Executor = c.sharedExecutor(&o).ID
		c.setAway(o.AgentID, a, o.Away)
		c.watchIdle(o.AgentID, a, o.Executors)
		c.offers = append(c.offers, o)
	}
}

// match gives the step's offers to the waiting splits and returns the rest.
// Every offer is answered in the step that brought it.
func (c *Core) match() {
	if len(c.offers) == 0 {
		return
	}
	offers := c.offers
	c.offers = nil
	if c.meta.Hold != nil {
		c.decline(offerIDs(offers), time.Time{})
		return
	}
	accepts := make([]*Accept, len(offers))
	round := match.NewRound(c.now, offers)
	scarce := c.mostAvoided(0)
	for i := range offers {
		if why, ok := c.aversion(c.agentOf(offers[i].AgentID)); ok && !scarce {
			round.Close(i, why)
		}
	}
	widens := c.serve(round, func(s *split, p match.Placement) {
		if accepts[p.Offer] == nil {
			accepts[p.Offer] = &Accept{Offers: []string{offers[p.Offer].ID}}
		}
		accepts[p.Offer].Launches = append(accepts[p.Offer].Launches, c.launch(s, p, &offers[p.Offer]))
		c.seal()
	})
	if !widens.IsZero() {
		c.reviveAlarm.set(c, widens, func() { c.wantRevive = true })
	}
	var rest []string
	for i, a := range accepts {
		if a != nil {
			c.call(*a)
		} else {
			rest = append(rest, offers[i].ID)
		}
	}
	c.decline(rest, widens)
}

func offerIDs(offers []jobs.Offer) []string {
	ids := make([]string, len(offers))
	for i, o := range offers {
		ids[i] = o.ID
	}
	return ids
}

// waitingTask is a split as the matching sees it.
func (c *Core) waitingTask(s *split) match.Task {
	job := s.run.pinned()
	t := match.Task{
		// What an attempt was given may be held by another program of the agent.
		PastPorts: s.attempts * job.Resources.Ports,

		Need: job.Resources, Near: job.Placement.Near, Hosts: s.def.Hosts, Racks: s.def.Racks, DC: s.def.DC,
		Constraints: s.run.constraints(), Avoid: c.avoided(s), Since: c.patientSince(s), Wait: time.Duration(*job.Placement.Wait),
	}
	if !s.run.traits.Service {
		t.Lasts = job.MaxRunTime.D()
	}
	if t.Constraints.Counted() && len(s.run.splits) > 1 { // a single task's always hold
		t.Run, t.Placed = string(s.run.rec.ID), s.run.tally()
	}
	switch {
	case s.run.traits.Container != nil: // the built-in executors' share is the agent's own
	case job.Isolation == jobs.IsolationShared:
		t.Executor = match.Executor{Shared: true, Resources: c.cfg.Shared.Resources}
	default:
		t.Executor = match.Executor{Resources: c.cfg.Own.Resources}
	}
	return t
}

// constraints are the run's, compiled when they are first needed.
func (x *run) constraints() *match.Constraints {
	if x.where == nil {
		x.where = match.Compile(x.pinned().Placement.Constraints)
	}
	return x.where
}

// tally counts the attempts that may be at work by what constraints count.
func (x *run) tally() *match.Tally {
	if x.placed == nil {
		x.placed = &match.Tally{}
		for _, t := range x.tasks {
			if !t.rec.State.Final() && !t.rec.Superseded {
				x.placed.Add(t.rec.Shown)
			}
		}
	}
	return x.placed
}

// avoided is the agent of the split's last failure, where there is another.
func (c *Core) avoided(s *split) string {
	if len(c.agents) < 2 {
		return ""
	}
	return s.avoid
}

// launch makes an attempt's record, which becomes durable before its ACCEPT
// leaves, and the launch itself.
func (c *Core) launch(s *split, p match.Placement, o *jobs.Offer) Launch {
	x, job := s.run, s.run.pinned()
	s.attempts++
	s.starts++ // taken back if the work never starts
	t := &task{run: x, split: s, stream: c.stream, rec: jobs.Task{
		ID:  jobs.NewTaskID(x.rec.ID, s.def.Stage, s.def.Number, s.attempts),
		Run: x.rec.ID, Job: x.rec.Job, Stage: s.def.Stage, Split: s.def.Number, Attempt: s.attempts,
		State: jobs.AttemptLaunching, Starts: s.starts, LaunchFailures: s.failures,
		Agent: o.AgentID, AgentAddr: o.Address, Host: o.Hostname, Offer: o.ID, Locality: p.Level,
		Preferred: s.def.Hosts, Waited: jobs.Duration(c.now.Sub(s.since).Round(time.Millisecond)), Ports: p.Ports,
		Launched: c.now, StartBy: c.startBy(x), Resources: job.Resources,
		Shown: x.constraints().Shown(o),
	}}
	l := Launch{
		Task: t.rec.ID, Name: taskName(x, s), Agent: o.AgentID, Resources: job.Resources, Ports: p.Ports, KillGrace: job.KillGrace.D(),
		Labels:    map[string]string{"tidemill_job": string(x.rec.Job), "tidemill_run": string(x.rec.ID), "tidemill_kind": job.Kind},
		Discovery: x.discovery(t),
	}
	if x.traits.Container != nil {
		t.rec.Executor, t.rec.StartBy = string(t.rec.ID), time.Time{}
		l.Native = c.nativeTask(t, s)
	} else {
		l.Executor, l.Data = c.executorFor(t, p, o), mustJSON(c.assignment(t, s))
		t.rec.Executor = l.Executor.ID
	}
	if x.traits.Service {
		t.rec.JobVersion = x.rec.JobVersion
		if job.Service.Health != nil {
			t.rec.Health = jobs.HealthUnknown
		}
	}
	c.unqueue(s)
	s.current, s.since, s.refusals = t, time.Time{}, nil
	if len(t.rec.Shown) > 0 {
		x.tally().Add(t.rec.Shown)
	}
	x.tasks[t.rec.ID], c.tasks[t.rec.ID] = t, t
	c.launches++
	c.touch(t)
	c.noticeTask(t)
	c.watchTask(t)
	c.watchAway(t)
	return l
}

// taskName is what Mesos's own pages show.
func taskName(x *run, s *split) string {
	switch {
	case x.rec.Stage == 0:
		return string(x.rec.Job) + " plan"
	case len(x.splits) > 1:
		return fmt.Sprintf("%s %d/%d", x.rec.Job, s.def.Number+1, len(x.splits))
	}
	return string(x.rec.Job)
}

// startBy is until when the executor may start the work, by its own clock.
func (c *Core) startBy(x *run) time.Time {
	at := c.now.Add(c.cfg.StartBy)
	if deadline, ok := x.deadline(); ok && x.rec.Started.IsZero() && deadline.Before(at) {
		at = deadline
	}
	return c.storeTime(at)
}

func (c *Core) assignment(t *task, s *split) jobs.Assignment {
	x, job := t.run, t.run.pinned()
	a := jobs.Assignment{
		Task: t.rec.ID, Run: x.rec.ID, Job: x.rec.Job, Kind: job.Kind, Owner: job.Owner,
		Stage: s.def.Stage, Split: s.def, Splits: len(x.splits),
		Attempt: t.rec.Attempt, Attempts: job.Retry.Attempts, Start: t.rec.Starts,
		Nominal: x.rec.Nominal, Interval: x.rec.Interval, Trigger: x.rec.Trigger, Version: x.rec.Version,
		Spec: job.Spec, Former: x.former, Arguments: x.rec.Arguments, Inputs: x.rec.Inputs, Resources: job.Resources,
		Ports: t.rec.Ports, Host: t.rec.Host, StartBy: t.rec.StartBy, KillGrace: job.KillGrace,
		Schedulers: c.schedulers, Token: c.taskToken(t.rec.ID),
	}
	if x.plan != nil {
		a.Shared = x.plan.Shared
	}
	if x.rec.Rerun != nil {
		a.Origin = x.rec.Rerun.Origin
	}
	if job.Service != nil {
		a.PortNames, a.Health = job.Service.Ports, job.Service.Health
	}
	if limit := job.MaxRunTime; limit > 0 && !x.traits.Service {
		a.MaxRun = limit
	}
	return a
}

// taskToken is what a task shows to be given its connections.
func (c *Core) taskToken(id jobs.TaskID) string {
	mac := hmac.New(sha256.New, c.meta.Secret)
	mac.Write([]byte(id))
	return hex.EncodeToString(mac.Sum(nil))
}

// decline returns what was not used. While something waits for a nearer
// offer, nothing is refused for longer than that wait.
func (c *Core) decline(offers []string, widens time.Time) {
	refuse := c.cfg.IdleDecline
	if c.hungry() {
		refuse = 5 * time.Second
	}
	if !widens.IsZero() {
		refuse = min(refuse, max(widens.Sub(c.now), 0))
	}
	if len(offers) > 0 {
		c.fx.Free = append(c.fx.Free, Decline{Offers: offers, Refuse: refuse})
	}
}

// reviveGap bounds how often offers are asked for; idleBefore is how long
// nothing may have waited before they are suppressed.
const (
	reviveGap  = 100 * time.Millisecond
	idleBefore = 2 * time.Second
)

// hungry says whether offers are wanted.
func (c *Core) hungry() bool { return c.ready.count > 0 && c.meta.Hold == nil }

// reviveOrSuppress asks for offers as soon as something waits, and for none
// when nothing does.
func (c *Core) reviveOrSuppress() {
	if c.stream == 0 {
		return
	}
	if c.hungry() && c.wantRevive {
		if wait := c.lastRevive.Add(reviveGap).Sub(c.now); wait > 0 {
			c.wantRevive = false
			c.reviveAlarm.set(c, c.now.Add(wait), func() { c.wantRevive = true })
			return
		}
		c.fx.Free = append(c.fx.Free, Revive{})
		c.suppressed, c.lastRevive, c.wantRevive = false, c.now, false
		c.idleAlarm.set(c, c.now.Add(idleBefore), c.suppressIdle)
	}
}

func (c *Core) suppressIdle() {
	switch {
	case c.stream == 0 || c.suppressed:
	case c.hungry() || c.now.Sub(c.lastRevive) < idleBefore:
		c.idleAlarm.set(c, c.now.Add(idleBefore), c.suppressIdle)
	default:
		c.suppressed = true
		c.fx.Free = append(c.fx.Free, Suppress{})
	}
}

// equalTokens compares in constant time.
func equalTokens(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }
