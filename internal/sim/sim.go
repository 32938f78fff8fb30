// Package sim plays random histories of crashes, failovers and lost messages:
// the real core and the loop's real protocols, in virtual time, against a
// simulated Mesos, store and network, under the eyes of a plain model.
package sim

import (
	"io"
	"math/rand/v2"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// Options make a history reproducible: the same options give the same one.
type Options struct {
	Seed   uint64
	Faults []Fault // nil: drawn from the seed; empty: none
	Bug    Bug
	Trace  io.Writer // what happens, line by line; nil: nothing
}

// Result is what came of a history.
type Result struct {
	Faults     []Fault
	Violations []string
	Events     int
	Failovers  int
	Jobs       int
	Edges      int
	Runs       int
	Attempts   int
	Commits    int
}

// A history's parts: faults happen in the first, the second lets everything settle.
const (
	troubled = 75 * time.Second
	settling = 105 * time.Second
	lastAsk  = 70 * time.Second
)

// coreConfig has times that fit into a history.
func coreConfig() scheduler.Config {
	share := jobs.Resources{CPUs: 0.1, Mem: 32}
	return scheduler.Config{
		Shared:  scheduler.ExecutorSpec{Name: "shared", Command: "tidemill", Resources: share},
		Own:     scheduler.ExecutorSpec{Name: "own", Command: "tidemill", Resources: share},
		StartBy: 8 * time.Second, Skew: 2 * time.Second, LaunchTimeout: 12 * time.Second, MasterSettle: 16 * time.Second,
		KillAgain: 3 * time.Second, ReconcileEvery: 40 * time.Second, LaunchFailures: 20, History: 3,
		IdleDecline: 30 * time.Second, ExecutorIdle: 15 * time.Second,
	}
}

// Run plays one history.
func Run(o Options) Result {
	w := &world{rng: rand.New(rand.NewPCG(o.Seed, 0x7469646d)), trace: o.Trace, bug: o.Bug, killed: map[jobs.TaskID]bool{}, core: o.Bug.config(coreConfig())}
	w.core.HistoryBacklog, w.past = backlogs[o.Seed%uint64(len(backlogs))], newPast(w, o.Seed)
	w.model = newModel(w)
	w.store = &store{w: w, records: map[string][]byte{}}
	w.master = newMaster(w, 1, "")
	for i := range 3 {
		p := &process{w: w, id: i + 1, offset: w.between(-500*time.Millisecond, 500*time.Millisecond)}
		w.processes = append(w.processes, p)
		p.start()
	}
	for i := range 2 + w.rng.IntN(2) {
		a := newAgent(w, i+1)
		a.offset = w.between(-500*time.Millisecond, 500*time.Millisecond)
		w.agents = append(w.agents, a)
		w.after(w.hop(), a.register)
	}
	w.client = &client{w: w}
	w.client.begin(lastAsk)
	list := w.drawFaults(12*time.Second, troubled)
	if o.Faults != nil {
		list = o.Faults
	}
	w.arrange(list)
	w.play(troubled + settling)
	if len(w.model.violations) == 0 {
		w.model.settle(settling)
	}
	return w.result()
}

func (w *world) result() Result {
	r := Result{
		Faults: w.faults, Violations: w.model.violations, Events: w.events, Failovers: w.model.failovers - 1,
		Jobs: len(w.client.jobs), Runs: len(w.model.runs), Attempts: len(w.model.attempts), Commits: w.model.commits,
	}
	for _, j := range w.client.jobs {
		r.Edges += len(j.After)
	}
	return r
}

// Shrink leaves out the faults that a violation does not need.
func Shrink(o Options, faults []Fault) []Fault {
	for size := len(faults) / 2; size >= 1; {
		smaller := false
		for from := 0; from+size <= len(faults); from++ {
			fewer := append(append([]Fault{}, faults[:from]...), faults[from+size:]...)
			o.Faults = fewer
			if len(Run(o).Violations) > 0 {
				faults, smaller = fewer, true
				break
			}
		}
		if !smaller {
			size /= 2
		}
	}
	return faults
}
