package scheduler

import (
	"time"

	"tidemill/jobs"
)

// How an agent is left that will be unavailable: instances of services in time
// to be up elsewhere, other work shortly before its kill grace has to begin.
const (
	leaveServices = 2 * time.Minute
	leaveMargin   = 5 * time.Second
	// askAgain is when Mesos may ask again to leave an agent.
	askAgain = 5 * time.Second
)

// reasonDraining is Mesos's for what it kills on an agent that is drained.
const reasonDraining = "REASON_AGENT_DRAINING"

// unmarked is what an update was before its agent, which is drained to be gone
// for good then, made it TASK_GONE_BY_OPERATOR: Mesos does so with TASK_KILLING
// and TASK_KILLED alike, while the task may have its grace. Which one it was its
// executor's words show: with the last, ours tells the outcome, Mesos's a message.
func (t *task) unmarked(u jobs.Update) jobs.Update {
	if u.State != jobs.TaskGoneByOperator || u.Reason != reasonDraining || u.Source == "SOURCE_MASTER" {
		return u
	}
	last := len(u.Data) > 0
	if t.native() {
		last = u.Message != ""
	}
	u.State = jobs.TaskKilled
	if u.Source == "SOURCE_EXECUTOR" && !last {
		u.State = jobs.TaskKilling
	}
	return u
}

// onInverseOffered answers whether an agent is left already. Until it is, it
// is said no for a moment, and asked again.
func (c *Core) onInverseOffered(e InverseOffered) {
	a := c.agentOf(e.Agent)
	a.inverse = e.ID
	c.setAway(e.Agent, a, e.Away)
	for _, t := range c.tasks {
		if t.rec.Agent == e.Agent && t.live() {
			c.fx.Free = append(c.fx.Free, DeclineInverse{IDs: []string{e.ID}, Refuse: askAgain})
			return
		}
	}
	c.fx.Free = append(c.fx.Free, AcceptInverse{IDs: []string{e.ID}, Refuse: askAgain})
}

// onInverseRescinded: the operator plans anew; what holds then, the next offers say.
func (c *Core) onInverseRescinded(e InverseRescinded) {
	for id, a := range c.agents {
		if a.inverse == e.ID {
			a.inverse = ""
			c.setAway(id, a, jobs.Unavailability{})
		}
	}
}

// setAway takes in when an agent will be unavailable.
func (c *Core) setAway(id string, a *agent, away jobs.Unavailability) {
	if a.away.Equal(away) {
		return
	}
	a.away = away
	if away.IsZero() {
		return
	}
	for _, t := range c.orderedTasks() {
		if t.rec.Agent == id {
			c.watchAway(t)
		}
	}
}

// watchAway ends an attempt in time before its agent is unavailable, so that
// another begins elsewhere. Nobody's fault, it is not one of the job's attempts.
func (c *Core) watchAway(t *task) {
	a, ok := c.agents[t.rec.Agent]
	if !ok || a.away.Over(c.now) || t.rec.State.Final() {
		return
	}
	away := a.away
	lead := t.run.killGrace() + leaveMargin
	if t.run.traits.Service {
		lead += leaveServices
	}
	c.at(away.Start.Add(-lead), func() {
		if a, ok := c.agents[t.rec.Agent]; !ok || !a.away.Equal(away) || !t.live() || t.rec.Kill != "" {
			return
		}
		t.rec.Drained = true
		c.kill(t, "its agent is unavailable "+away.String())
	})
}
