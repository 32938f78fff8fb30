package sim

import (
	"fmt"
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
)

// kinds of faults, some several times: they are drawn from this list.
var faultKinds = []FaultKind{
	LeaderCrash, LeaderStall, LeaderStall, SchedulerCrash, StoreCut, StoreFlaky, StoreFlaky, StoreSlow, MesosCut, MesosSilent,
	MasterFailover, ForgetfulMaster, AgentCrash, AgentCrash, AgentCut, AgentCut, AgentLost, AgentGone, ExecutorKilled, ExecutorMute,
	StuckLaunch, StuckLaunch, Rescind,
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
		w.slowUntil = max(w.slowUntil, w.now+f.For)
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
