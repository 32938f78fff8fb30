package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong in a history.
type Fault struct {
	At     time.Duration
	Kind   FaultKind
	Target int
	For    time.Duration
}

func (f Fault) String() string {
	return fmt.Sprintf("%6.1fs %s target %d for %.1fs", f.At.Seconds(), f.Kind, f.Target, f.For.Seconds())
}

// FaultKind is what can go wrong.
type FaultKind string

// The faults.
const (
	LeaderCrash     FaultKind = "leader crash"
	LeaderStall     FaultKind = "leader stall"
	SchedulerCrash  FaultKind = "scheduler crash"
	StoreCut        FaultKind = "leader cut from the store"
	StoreFlaky      FaultKind = "flaky store"
	StoreSlow       FaultKind = "slow store"
	MesosCut        FaultKind = "leader cut from Mesos"
	MesosSilent     FaultKind = "answers of Mesos lost"
	MasterFailover  FaultKind = "master failover"
	ForgetfulMaster FaultKind = "forgetful master"
	AgentCrash      FaultKind = "agent crash"
	AgentCut        FaultKind = "agent cut off"
	AgentLost       FaultKind = "agent lost"
	AgentGone       FaultKind = "agent gone by operator"
	ExecutorKilled  FaultKind = "executor killed"
	ExecutorMute    FaultKind = "executors killed before they tell an outcome"
	StuckLaunch     FaultKind = "launches stuck"
	Rescind         FaultKind = "offers rescinded"
	OtherSubscriber FaultKind = "another subscriber with our framework's id"
	Unreadable      FaultKind = "a record that the next leader cannot read"
	ClocksOff       FaultKind = "the next leader's clock is off"
)

// kinds of faults, some several times: they are drawn from this list.
var faultKinds = []FaultKind{
	LeaderCrash, LeaderStall, LeaderStall, SchedulerCrash, StoreCut, StoreFlaky, StoreFlaky, StoreSlow, MesosCut, MesosSilent,
	MasterFailover, ForgetfulMaster, AgentCrash, AgentCrash, AgentCut, AgentCut, AgentLost, AgentGone, ExecutorKilled, ExecutorMute,
	StuckLaunch, StuckLaunch, Rescind, OtherSubscriber, Unreadable, ClocksOff, ClocksOff,
}

// drawFaults makes up a schedule with at least two failovers of the leader.
func (w *world) drawFaults(from, until time.Duration) []Fault {
	draw := func(kind FaultKind) Fault {
		return Fault{At: w.between(from, until), Kind: kind, Target: w.rng.IntN(8), For: w.between(200*time.Millisecond, 30*time.Second)}
	}
	list := []Fault{draw(LeaderCrash), draw(pick(w, LeaderStall, LeaderCrash, StoreCut))}
	for i := range list { // one after the other, and beyond a session's end
		list[i].For = w.between(6*time.Second, 15*time.Second)
		half := (until - from) / 2
		list[i].At = from + half*time.Duration(i) + w.between(0, half-12*time.Second)
	}
	for range 2 + w.rng.IntN(7) {
		list = append(list, draw(pick(w, faultKinds...)))
	}
	return list
}

// arrange lets the faults of the schedule happen.
func (w *world) arrange(list []Fault) {
	w.faults = list
	for _, f := range list {
		w.after(f.At-w.now, func() {
			w.logf("fault: %s", f)
			w.strike(f)
		})
	}
}

// leading is the process that leads, or thinks so; else the first.
func (w *world) leading() *process {
	for _, p := range w.processes {
		if p.leader != nil && p.leader.term == w.store.term {
			return p
		}
	}
	return w.processes[0]
}

func (w *world) strike(f Fault) {
	a := w.agents[f.Target%len(w.agents)]
	switch f.Kind {
	case LeaderCrash:
		w.kill(w.leading(), f.For)
	case SchedulerCrash:
		w.kill(w.processes[f.Target%len(w.processes)], f.For)
	case LeaderStall:
		w.leading().stall(f.For)
	case StoreCut:
		w.leading().cutStore(f.For)
	case StoreFlaky:
		w.flakyUntil = max(w.flakyUntil, w.now+f.For)
	case StoreSlow:
		w.slowUntil, w.slowBy = max(w.slowUntil, w.now+f.For), []time.Duration{700 * time.Millisecond, 3 * time.Second}[f.Target%2]
	case Unreadable:
		w.spoil(f)
	case ClocksOff:
		w.clocksOff(f)
	case OtherSubscriber:
		w.intrude(w.now + f.For/2)
	case MesosCut:
		w.leading().cutMesos(f.For)
	case MesosSilent:
		w.silentUntil = max(w.silentUntil, w.now+f.For/3)
	case MasterFailover, ForgetfulMaster:
		if w.master.up {
			w.master.failover(min(f.For, 8*time.Second), f.Kind == ForgetfulMaster)
		}
	case Rescind:
		for _, o := range w.master.sortedOffers() {
			w.master.rescind(o)
		}
	default:
		w.strikeAgent(a, f)
	}
}

func (w *world) strikeAgent(a *agent, f Fault) {
	switch f.Kind {
	case AgentCrash:
		a.crash(f.For)
	case AgentCut:
		a.cut(f.For)
	case AgentLost:
		a.vanish(false)
	case AgentGone:
		a.vanish(true)
	case ExecutorKilled:
		a.killExecutor(f.Target)
	case ExecutorMute:
		a.muteUntil = max(a.muteUntil, w.now+f.For)
	case StuckLaunch:
		a.stuck = max(a.stuck, w.now+f.For)
	}
}

func (w *world) kill(p *process, d time.Duration) {
	if !p.up {
		return
	}
	p.crash()
	w.after(d, p.start)
}

// intrude has another subscriber take the framework's stream, again and again.
func (w *world) intrude(until time.Duration) {
	if w.now < until {
		w.master.evict()
		w.after(w.between(200*time.Millisecond, 4*time.Second), func() { w.intrude(until) })
	}
}

// clockOffs are by how much leaders' clocks are off: within what the times of
// these histories bear, or beyond belief.
var clockOffs = []time.Duration{
	3 * time.Second, -3 * time.Second, 5 * time.Second, -5 * time.Second, 40 * time.Second, -40 * time.Second, 10 * time.Minute, -10 * time.Minute,
}

// clocksOff sets the clocks of those wrong that will lead, and lets them. A
// leader's own clock is steady: it goes by the time since it began to lead.
func (w *world) clocksOff(f Fault) {
	by := clockOffs[f.Target%len(clockOffs)]
	first := w.leading()
	var off []*process
	for _, p := range w.processes {
		if p != first && p.leader == nil {
			p.offset += by
			off = append(off, p)
		}
	}
	w.kill(first, time.Second)
	w.after(max(f.For, 6*time.Second), func() {
		for _, p := range off {
			if p.leader != nil {
				w.kill(p, time.Second)
			}
			p.offset -= by
		}
	})
}

// spoil makes a record unreadable to those who load it, for a while. Its bytes
// are as they were: it is a newer program's, say.
func (w *world) spoil(f Fault) {
	var keys []string
	for key := range w.store.records {
		if family, _, _ := strings.Cut(key, "/"); slices.Contains([]string{"jobs", "state", "runs", "tasks", "pools"}, family) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 || w.unreadable != "" {
		return
	}
	slices.Sort(keys)
	w.unreadable = pick(w, keys...)
	w.logf("record %s cannot be read by the next leaders", w.unreadable)
	w.kill(w.leading(), time.Second)
	w.after(max(f.For, 6*time.Second), func() {
		w.unreadable = ""
		for _, p := range w.processes {
			if p.leader != nil && p.leader.blind != "" {
				w.kill(p, time.Second)
			}
		}
	})
}
