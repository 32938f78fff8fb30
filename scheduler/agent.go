package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
)

// agent is what offers have told of an agent.
type agent struct {
	offer   jobs.Offer           // the last one; its address may change when the agent restarts
	seen    time.Time            // when that came
	largest jobs.Resources       // most of each resource that one offer held
	live    map[string]int       // our live tasks by shared executor
	idle    map[string]time.Time // since when a shared executor has no work
	watched map[string]bool      // a timer looks after its idleness
	away    jobs.Unavailability
	inverse string // the last inverse offer
	record  strikes
}

func (c *Core) agentOf(id string) *agent {
	a, ok := c.agents[id]
	if !ok {
		a = &agent{live: map[string]int{}, idle: map[string]time.Time{}, watched: map[string]bool{}}
		c.agents[id] = a
	}
	return a
}

// agentDone counts an ended attempt out of its agent's shared executor.
func (c *Core) agentDone(t *task) {
	a, ok := c.agents[t.rec.Agent]
	if !ok || a.live[t.rec.Executor] == 0 {
		return
	}
	if a.live[t.rec.Executor]--; a.live[t.rec.Executor] == 0 {
		delete(a.live, t.rec.Executor)
		c.rests(t.rec.Agent, a, t.rec.Executor)
	}
}

// watchIdle finds shared executors that work for nobody this leader knows of:
// an earlier one's, or of a former version.
func (c *Core) watchIdle(agentID string, a *agent, executors []string) {
	for _, id := range executors {
		if _, known := a.idle[id]; !known && strings.HasPrefix(id, sharedPrefix) && a.live[id] == 0 {
			c.rests(agentID, a, id)
		}
	}
}

// rests lets a shared executor that has no work stay warm for a while. No
// offer need come meanwhile: none is asked for while nothing waits.
func (c *Core) rests(agentID string, a *agent, executor string) {
	a.idle[executor] = c.now
	if !a.watched[executor] {
		a.watched[executor] = true
		c.at(c.now.Add(c.cfg.ExecutorIdle), func() { c.endIdle(agentID, executor) })
	}
}

// endIdle shuts a shared executor down that has had no work for long. It never
// ends itself: that would race with a LAUNCH.
func (c *Core) endIdle(agentID, executor string) {
	a, ok := c.agents[agentID]
	if !ok {
		return
	}
	delete(a.watched, executor)
	since, idle := a.idle[executor]
	if !idle || a.live[executor] > 0 {
		return
	}
	again := since.Add(c.cfg.ExecutorIdle)
	if c.stream == 0 || c.ready.count > 0 { // it cannot be told, or may be launched on in this step
		again = later(again, c.now.Add(idleAgain))
	}
	if again.After(c.now) {
		a.watched[executor] = true
		c.at(again, func() { c.endIdle(agentID, executor) })
		return
	}
	delete(a.idle, executor)
	c.call(Shutdown{Agent: agentID, Executor: executor})
}

// idleAgain is when it is looked again whether an idle executor may end.
const idleAgain = 10 * time.Second

// onExecutorLost forgets a shared executor. Its tasks' ends come as updates.
func (c *Core) onExecutorLost(e ExecutorLost) {
	if a, ok := c.agents[e.Agent]; ok {
		delete(a.live, e.Executor)
		delete(a.idle, e.Executor)
	}
}

// strikes are what speaks against an agent. An agent on which all that is
// launched ends at once is always free, and would draw in all the work there
// is: after a few strikes nothing is placed there until they are half
// forgotten.
type strikes struct {
	score   float64 // halves every strikeHalfLife
	at      time.Time
	job     jobs.Name // of the last one
	cause   string
	avoided time.Time // until when
}

const (
	strikeHalfLife = 2 * time.Minute
	strikesAvoided = 2.5 // from so many on: three within half a minute
	strikesForgot  = 1.0 // until there are no more
	strikesMost    = 12.0
)

func (s *strikes) now(now time.Time) float64 {
	return s.score * math.Exp2(-now.Sub(s.at).Seconds()/strikeHalfLife.Seconds())
}

// judge counts an attempt that has ended for or against its agent. What was
// killed, and what never came to the agent, says nothing of it.
func (c *Core) judge(t *task) {
	a, ok := c.agents[t.rec.Agent]
	if !ok {
		return
	}
	s := &a.record
	switch {
	case t.rec.State == jobs.AttemptSucceeded:
		s.score = 0
	case t.rec.State == jobs.AttemptNotStarted && agentsFault(t.rec.Reason):
		c.strike(a, t)
	case t.rec.State != jobs.AttemptFailed || t.rec.Permanent || t.rec.Kill != "":
	case t.rec.Started.IsZero() || s.score == 0 || s.job != t.rec.Job:
		c.strike(a, t) // of what has run, the same job's again would rather be the job's fault
	}
}

// agentsFault are the reasons for a launch that failed which speak against
// the agent, and not against the task or for a race.
func agentsFault(reason string) bool {
	switch reason {
	case "REASON_CONTAINER_LAUNCH_FAILED", "REASON_CONTAINER_UPDATE_FAILED", "REASON_EXECUTOR_TERMINATED", "REASON_GC_ERROR",
		"REASON_EXECUTOR_REGISTRATION_TIMEOUT", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT", refusedByExecutor:
		return true
	}
	return false
}

// strike counts one more. What fails everywhere is not the agents' fault: at
// most half of them are avoided at once.
func (c *Core) strike(a *agent, t *task) {
	s := &a.record
	s.score, s.at, s.job = min(s.now(c.now)+1, strikesMost), c.now, t.rec.Job
	s.cause = fmt.Sprintf("%s: %s", t.rec.ID, cmp.Or(t.rec.Message, t.rec.Reason, string(t.rec.State)))
	if s.score < strikesAvoided || !c.avoids(a) && c.mostAvoided(1) {
		return
	}
	s.avoided = c.now.Add(time.Duration(math.Log2(s.score/strikesForgot) * float64(strikeHalfLife)))
	c.at(s.avoided, func() { c.wantRevive = true })
}

func (c *Core) avoids(a *agent) bool { return c.now.Before(a.record.avoided) }

// mostAvoided says whether more than half of the agents that are there, as far
// as this subscription's offers tell, would be avoided with so many more.
func (c *Core) mostAvoided(more int) bool {
	present, avoided := 0, more
	for _, a := range c.agents {
		if a.seen.Before(c.subscribed) {
			continue // it may be gone
		}
		present++
		if c.avoids(a) {
			avoided++
		}
	}
	return 2*avoided > present
}

func (c *Core) avoidedAgents() int {
	n := 0
	for _, a := range c.agents {
		if c.avoids(a) {
			n++
		}
	}
	return n
}

// aversion says why nothing is placed on an agent now.
func (c *Core) aversion(a *agent) (jobs.Refusal, bool) {
	if !c.avoids(a) {
		return jobs.Refusal{}, false
	}
	return jobs.Refusal{
		Code: "agent_avoided", Until: a.record.avoided,
		Message: fmt.Sprintf("agent %s is avoided, for what is begun there fails over and over (the last: %s)", a.offer.Hostname, a.record.cause),
	}, true
}

// releaseAgent forgives an agent what speaks against it.
func (c *Core) releaseAgent(id string) (jobs.AgentView, error) {
	a, ok := c.agents[id]
	if !ok {
		return jobs.AgentView{}, &jobs.Error{
			Code: jobs.NotFound, Op: "release", Subject: "agent " + id, Message: "no agent of that id has offered anything to this leader",
			Hint: "\"tidemill agent list\" shows those that have",
		}
	}
	a.record = strikes{}
	c.wantRevive = true
	return c.agentView(id, a), nil
}

// Agents lists the agents that have offered something to this leader, by host.
func (c *Core) Agents() []jobs.AgentView {
	list := make([]jobs.AgentView, 0, len(c.agents))
	for _, id := range slices.Sorted(maps.Keys(c.agents)) {
		if a := c.agents[id]; !a.seen.IsZero() {
			list = append(list, c.agentView(id, a))
		}
	}
	live := map[string]int{}
	for _, t := range c.tasks {
		if t.live() {
			live[t.rec.Agent]++
		}
	}
	for i := range list {
		list[i].Tasks = live[list[i].ID]
	}
	slices.SortStableFunc(list, func(x, y jobs.AgentView) int { return strings.Compare(x.Host, y.Host) })
	return list
}

func (c *Core) agentView(id string, a *agent) jobs.AgentView {
	v := jobs.AgentView{
		ID: id, Host: a.offer.Hostname, Address: a.offer.Address, Region: a.offer.Region, Zone: a.offer.Zone, Attributes: maps.Clone(a.offer.Attributes),
		Largest: a.largest, LastOffer: a.seen, Executors: slices.Clone(a.offer.Executors),
		Strikes: math.Round(a.record.now(c.now)*10) / 10,
	}
	if !a.away.Over(c.now) {
		v.Away = a.away.String()
	}
	if r, ok := c.aversion(a); ok {
		v.Avoided = &r
	}
	return v
}
