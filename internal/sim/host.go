package sim

import (
	"maps"
	"slices"
	"time"

	"tidemill/jobs"
)

// recovery is how long executors outlive their agent.
const recovery = 20 * time.Second

// register makes the agent known to the master, with the tasks it has.
func (a *agent) register() {
	m := a.w.master
	if !a.reachable() || !m.up {
		return
	}
	r := m.agents[a]
	if r != nil && r.state == gone {
		return // it is told to end; its tasks ended before the operator said so
	}
	if r != nil && r.state == registered && !a.away {
		return
	}
	a.away = false
	again := r != nil && r.state == unreachable
	m.agents[a] = &registration{state: registered}
	if r != nil && r.state == registered {
		m.agents[a].offer = r.offer
	}
	a.visits++
	a.w.logf("master: %s is registered", a.id)
	for _, id := range slices.Sorted(maps.Keys(a.tasks)) {
		t := a.tasks[id]
		state := t.latest
		m.tasks[id] = &masterTask{id: id, agent: a, state: state, ended: finalState(state)}
		if again && state == jobs.TaskRunning {
			m.update(jobs.Update{Task: id, Agent: a.id, State: state, Source: "SOURCE_MASTER", Reason: "REASON_SLAVE_REREGISTERED"})
		}
		if len(t.updates) > 0 {
			a.sendHead(t, t.updates[0], 10*time.Second)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) { // of those that never arrived
		if m.tasks[id].agent == a && a.tasks[id] == nil {
			a.drop(id, "REASON_RECONCILIATION")
		}
	}
	m.allocate()
}

// reregister has the agent find the master again.
func (a *agent) reregister(d time.Duration) {
	a.w.after(max(d, a.cutUntil-a.w.now), a.register)
}

// leave is told when the master stops hearing of the agent: it is lost when
// that lasts.
func (a *agent) leave() {
	visits, m := a.visits, a.w.master
	if r := m.agents[a]; r != nil && r.offer != nil {
		m.rescind(r.offer)
	}
	a.silent, a.away = a.w.now, true
	a.w.after(pingTimeout, func() {
		if a.visits == visits && !a.reachable() {
			a.w.master.lost(a, unreachable)
		}
	})
	a.w.after(recovery, func() {
		if a.visits == visits && a.down && !a.lost {
			a.recoverFailed()
		}
	})
}

// recoverFailed ends the executors that waited for their agent in vain.
func (a *agent) recoverFailed() {
	for _, id := range slices.Sorted(maps.Keys(a.executors)) {
		a.die(a.executors[id])
	}
}

// crash kills the agent's process for a while; executors live on.
func (a *agent) crash(d time.Duration) {
	if a.lost || a.down {
		return
	}
	a.w.logf("%s: its agent crashes for %s", a.id, d)
	a.down = true
	a.leave()
	a.w.after(d, func() {
		if a.lost {
			return
		}
		a.down = false
		for _, id := range slices.Sorted(maps.Keys(a.tasks)) { // executors that died meanwhile
			if t := a.tasks[id]; t.executor.dead {
				a.update(t, jobs.TaskFailed, nil)
			}
		}
		a.reregister(a.w.between(100*time.Millisecond, 2*time.Second))
	})
}

// cut takes the agent off the network for a while.
func (a *agent) cut(d time.Duration) {
	if a.lost {
		return
	}
	a.w.logf("%s is cut off for %s", a.id, d)
	a.cutUntil = max(a.cutUntil, a.w.now+d)
	a.leave()
	a.reregister(d + a.w.between(100*time.Millisecond, 2*time.Second))
}

// vanish ends the host for good, and everything on it; another takes its
// place. The operator may say so.
func (a *agent) vanish(told bool) {
	if a.lost {
		return
	}
	a.w.logf("%s is lost for good (the operator says so: %v)", a.id, told)
	a.lost = true
	a.leave()
	for _, id := range slices.Sorted(maps.Keys(a.tasks)) {
		if t := a.tasks[id]; t.working {
			t.working = false
			a.w.model.ended(t, jobs.Outcome{})
		}
	}
	if told {
		a.w.after(a.w.between(time.Second, 12*time.Second), func() { a.w.master.lost(a, gone) })
	}
	next := newAgent(a.w, len(a.w.agents)+1)
	next.host = a.host
	a.w.agents = append(a.w.agents, next)
	a.w.after(a.w.between(time.Second, 5*time.Second), next.register)
}

// killExecutor kills one of those that live.
func (a *agent) killExecutor(n int) {
	ids := slices.Sorted(maps.Keys(a.executors))
	if len(ids) > 0 && !a.lost && !a.down {
		a.w.logf("%s: executor %s is killed", a.id, ids[n%len(ids)])
		a.die(a.executors[ids[n%len(ids)]])
	}
}
