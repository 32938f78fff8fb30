package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// agent is one host: the agent's process, the executors, and their sandboxes.
type agent struct {
	w         *world
	index     int
	id        string
	host      string
	offset    time.Duration // of its clock
	lost      bool          // the host is gone, and everything on it
	down      bool          // its process is; executors live on
	cutUntil  time.Duration // from the master
	muteUntil time.Duration // executors die before they tell an outcome
	stuck     time.Duration // launches that come before take until then
	total     jobs.Resources
	tasks     map[jobs.TaskID]*agentTask
	booked    map[jobs.TaskID]booking
	executors map[string]*executor
	files     map[string][]byte
	uuids     int
	visits    int           // registrations: what was arranged before one is void
	silent    time.Duration // when it was away last; 0: never
	away      bool          // it has to register again
	last      time.Duration // when the last message arrives
}

// booking is what a task holds of the agent, from its ACCEPT to its end.
type booking struct {
	need     jobs.Resources
	executor string
	share    jobs.Resources
	ports    []uint64
}

// sharedPrefix begins the ids of shared executors.
const sharedPrefix = "tidemill-shared-"

// executor runs tasks; a shared one stays warm.
type executor struct {
	id    string
	ready time.Duration
	share jobs.Resources
	dead  bool
}

type agentTask struct {
	launch     scheduler.Launch
	assignment jobs.Assignment
	executor   *executor
	working    bool
	done       bool // the outcome is stored
	latest     string
	updates    []jobs.Update
	sends      int
}

func newAgent(w *world, index int) *agent {
	return &agent{
		w: w, index: index, id: fmt.Sprintf("agent-%d", index), host: fmt.Sprintf("host-%d", index),
		total: jobs.Resources{CPUs: 2, Mem: 1024, Ports: agentPorts}, tasks: map[jobs.TaskID]*agentTask{},
		booked: map[jobs.TaskID]booking{}, executors: map[string]*executor{}, files: map[string][]byte{},
	}
}

func (a *agent) clock() time.Time { return epoch.Add(a.w.now + a.offset) }
func (a *agent) reachable() bool  { return !a.lost && !a.down && a.w.now >= a.cutUntil }
func (a *agent) delay() time.Duration {
	return max(a.cutUntil-a.w.now, 0) + a.w.hop()
}

// message carries something from the master, in order: behind what is stuck
// in the socket.
func (a *agent) message(do func()) {
	at := a.w.now + a.delay()
	if a.stuck > a.w.now && a.w.chance(60) {
		at = max(at, a.stuck)
	}
	a.last = max(at, a.last)
	visits := a.visits
	a.w.after(a.last-a.w.now, func() {
		if a.visits == visits { // or it went with its connection
			do()
		}
	})
}

// free is what can be offered, and the executors that take their shares
// there: a master books one when it takes the ACCEPT.
func (a *agent) free() (jobs.Resources, []string) {
	left := a.total
	shares := map[string]jobs.Resources{}
	for id, e := range a.executors {
		shares[id] = e.share
	}
	for _, id := range slices.Sorted(maps.Keys(a.booked)) {
		b := a.booked[id]
		left = left.Sub(b.need)
		shares[b.executor] = b.share
	}
	ids := slices.Sorted(maps.Keys(shares))
	for _, id := range ids {
		left = left.Sub(shares[id])
	}
	return left, ids
}

// An agent has these ports: enough for every service, since half of the
// agents may be avoided for longer than a history lasts.
const firstPort, agentPorts = 31000, 8

// freePorts are those that no booked task holds.
func (a *agent) freePorts() []jobs.PortRange {
	taken := map[uint64]bool{}
	for _, b := range a.booked {
		for _, p := range b.ports {
			taken[p] = true
		}
	}
	var out []jobs.PortRange
	for p := uint64(firstPort); p < firstPort+agentPorts; p++ {
		switch n := len(out); {
		case taken[p]:
		case n > 0 && out[n-1].End == p-1:
			out[n-1].End = p
		default:
			out = append(out, jobs.PortRange{Begin: p, End: p})
		}
	}
	return out
}

func (a *agent) book(l scheduler.Launch) {
	a.booked[l.Task] = booking{need: l.Resources, executor: l.Executor.ID, share: l.Executor.Resources, ports: l.Ports}
}

// launch takes a task from the master, if it still leads.
func (a *agent) launch(generation int, l scheduler.Launch) {
	if !a.reachable() || a.w.master.generation != generation || !a.w.master.up || a.w.master.agents[a].state != registered {
		if a.tasks[l.Task] == nil {
			delete(a.booked, l.Task)
		}
		return
	}
	t := &agentTask{launch: l, latest: jobs.TaskStaging}
	if err := json.Unmarshal(l.Data, &t.assignment); err != nil {
		a.w.model.violate("the data of %s is no assignment: %v", l.Task, err)
		return
	}
	a.w.model.assigned(t.assignment)
	a.tasks[l.Task] = t
	e := a.executors[l.Executor.ID]
	if e == nil {
		e = &executor{id: l.Executor.ID, ready: a.w.now + a.w.between(20*time.Millisecond, 400*time.Millisecond), share: l.Executor.Resources}
		a.executors[e.id] = e
	}
	t.executor = e
	a.w.after(max(e.ready-a.w.now, 0)+a.w.hop(), func() { a.begin(t) })
}

// begin is the executor's: it refuses what comes after its start_by.
func (a *agent) begin(t *agentTask) {
	if t.executor.dead || t.done || a.lost {
		return
	}
	if a.clock().After(t.assignment.StartBy) && a.w.bug != LateStart {
		a.w.model.refused(a, t)
		a.store(t, jobs.Outcome{NotStarted: true, Result: jobs.Result{Message: "too late"}})
		return
	}
	t.working = true
	a.w.model.started(a, t)
	a.update(t, jobs.TaskRunning, nil)
	spec := decodeSpec(t.assignment.Spec)
	d := time.Duration(spec.Millis) * time.Millisecond
	switch {
	case t.assignment.Stage == 0:
		d = 20 * time.Millisecond
	case spec.Service && t.assignment.Start > spec.Fail:
		return // it has no end
	}
	a.w.after(d/2+a.w.between(0, d), func() { a.finish(t, spec) })
}

// finish is the end of the work.
func (a *agent) finish(t *agentTask, spec spec) {
	if !t.working || t.executor.dead || a.lost {
		return
	}
	out := jobs.Outcome{OK: t.assignment.Start > spec.Fail, Started: a.clock()}
	if t.assignment.Stage == 0 {
		out.OK = true
		a.files[string(t.launch.Task)+"/"+jobs.PlanFile] = spec.plan()
	}
	if !out.OK {
		out.ExitCode = 1
	}
	a.store(t, out)
}

// store writes the outcome to the sandbox, then tells it.
func (a *agent) store(t *agentTask, out jobs.Outcome) {
	working := t.working
	t.working, t.done = false, true
	out.Task, out.Ended = t.launch.Task, a.clock()
	data, _ := json.Marshal(out) // our own type
	a.files[string(t.launch.Task)+"/"+jobs.OutcomeFile] = data
	if working {
		a.w.model.ended(t, out)
	}
	state := jobs.TaskFailed
	switch {
	case out.OK:
		state = jobs.TaskFinished
	case out.Killed:
		state = jobs.TaskKilled
	}
	a.w.after(a.w.hop(), func() {
		if a.w.now < a.muteUntil && !t.executor.dead && a.w.chance(50) {
			a.die(t.executor)
		}
		if !t.executor.dead && !a.lost {
			a.update(t, state, data)
		}
	})
}

func (a *agent) kill(id jobs.TaskID) {
	t := a.tasks[id]
	if t == nil {
		a.drop(id, "REASON_EXECUTOR_TERMINATED")
		return
	}
	if t.done {
		return
	}
	a.w.after(a.w.between(5*time.Millisecond, 500*time.Millisecond), func() {
		if t.done || t.executor.dead || a.lost {
			return
		}
		a.store(t, jobs.Outcome{Killed: true, NotStarted: false})
	})
}

// drop says of a task that the agent never had it.
func (a *agent) drop(id jobs.TaskID, reason string) {
	delete(a.booked, id)
	u := jobs.Update{Task: id, State: jobs.TaskDropped, Source: "SOURCE_AGENT", Reason: reason, Agent: a.id}
	a.w.after(a.delay(), func() { a.w.master.forwarded(a, u) })
}

// update queues an update: it is repeated until it is acknowledged, and the
// next waits behind it.
func (a *agent) update(t *agentTask, state string, data []byte) {
	if finalState(t.latest) {
		return
	}
	a.uuids++
	u := jobs.Update{
		Task: t.launch.Task, State: state, Source: "SOURCE_EXECUTOR", Agent: a.id, Executor: t.executor.id,
		UUID: fmt.Appendf(nil, "%s-%d", a.id, a.uuids), Data: data,
	}
	if state == jobs.TaskFailed && data == nil {
		u.Source, u.Reason, u.Message = "SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED", "Executor terminated"
	}
	t.latest = state
	if finalState(state) {
		delete(a.booked, t.launch.Task)
		if !strings.HasPrefix(t.executor.id, sharedPrefix) {
			delete(a.executors, t.executor.id)
		}
	}
	t.updates = append(t.updates, u)
	if len(t.updates) == 1 {
		a.sendHead(t, u, 10*time.Second)
	}
}

func (a *agent) sendHead(t *agentTask, u jobs.Update, again time.Duration) {
	t.sends++
	sends := t.sends
	if a.reachable() {
		w := a.w
		w.after(a.delay(), func() { w.master.forwarded(a, u) })
		if w.chance(3) {
			w.after(a.delay(), func() { w.master.forwarded(a, u) }) // a duplicate
		}
	}
	a.w.after(again, func() {
		if !a.lost && t.sends == sends && len(t.updates) > 0 {
			a.sendHead(t, t.updates[0], min(2*again, 40*time.Second))
		}
	})
}

func (a *agent) acknowledged(id jobs.TaskID, uuid []byte) {
	t := a.tasks[id]
	if t == nil || len(t.updates) == 0 || string(t.updates[0].UUID) != string(uuid) {
		return
	}
	state := t.updates[0].State
	t.updates = t.updates[1:]
	switch {
	case len(t.updates) > 0:
		a.sendHead(t, t.updates[0], 10*time.Second)
	case finalState(state):
		delete(a.tasks, id)
	default:
		t.sends++
	}
}

// shutdown ends an executor in order; die kills it.
func (a *agent) shutdown(id string) {
	if e := a.executors[id]; e != nil {
		a.die(e)
	}
}

// die ends an executor: its work ends where it is, and the agent says so of
// every task it has no final word of.
func (a *agent) die(e *executor) {
	e.dead = true
	delete(a.executors, e.id)
	for _, id := range slices.Sorted(maps.Keys(a.tasks)) {
		t := a.tasks[id]
		if t.executor != e {
			continue
		}
		if t.working {
			t.working = false
			a.w.model.ended(t, jobs.Outcome{})
		}
		t.done = true
		if !a.down {
			a.update(t, jobs.TaskFailed, nil)
		}
	}
	if a.reachable() {
		a.w.after(a.delay(), func() { a.w.master.tell(scheduler.ExecutorLost{Agent: a.id, Executor: e.id, Status: 9}) })
	}
}
