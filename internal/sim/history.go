package sim

import (
	"errors"
	"math/rand/v2"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// past is the simulated Cassandra of finished runs, in some of the histories.
// What goes there is slow, fails, and may be there though its answer is lost.
type past struct {
	w         *world
	rng       *rand.Rand // its own: what happens to others does not depend on it
	awayFrom  time.Duration
	awayUntil time.Duration
	runs      map[jobs.RunID]written
}

// written is a run as it is there, and at which time it was written.
type written struct {
	state jobs.RunState
	at    time.Time
}

var errAway = errors.New("no node answers")

// backlogs are how many runs may wait for history: there is none in a third of
// the histories, and in another one it overflows.
var backlogs = []int{0, 6, 1000}

func newPast(w *world, seed uint64) *past {
	p := &past{w: w, rng: rand.New(rand.NewPCG(seed, 0x70617374)), runs: map[jobs.RunID]written{}}
	p.awayFrom = time.Duration(p.rng.Int64N(int64(troubled)))
	p.awayUntil = p.awayFrom + time.Duration(p.rng.Int64N(int64(20*time.Second)))
	return p
}

func (p *past) delay() time.Duration {
	return time.Duration(p.rng.Int64N(int64(40 * time.Millisecond)))
}

// record writes runs for a leader, all or some of them, and tells it.
func (l *leader) record(runs []jobs.RunView) {
	p := l.w.past
	if l.recording == 0 {
		l.recording = l.w.now
	}
	l.w.after(p.delay(), func() {
		done := scheduler.Recorded{}
		if l.w.now >= p.awayFrom && l.w.now < p.awayUntil {
			done.Err = errAway
		}
		for _, v := range runs {
			done.Runs = append(done.Runs, v.ID)
			if done.Err == nil || p.rng.IntN(4) == 0 {
				p.write(v)
			}
		}
		if done.Err == nil && l.w.now < troubled && p.rng.IntN(10) == 0 {
			done.Err = errNoAnswer
		}
		if l.w.bug == FailureIsHistory {
			done.Err = nil
		}
		l.receive(p.delay(), func() {
			if done.Err == nil {
				l.recording = 0
			}
			l.step(done)
		})
	})
}

// write keeps a run, as Cassandra does: the later time wins.
func (p *past) write(v jobs.RunView) {
	at := v.Ended
	if v.Marked.After(at) {
		at = v.Marked
	}
	there, ok := p.runs[v.ID]
	if ok && at.Equal(there.at) && v.State != there.state {
		p.w.model.violate("run %s is written to history as %s and as %s, at one time", v.ID, there.state, v.State)
	}
	if !ok || at.After(there.at) {
		p.runs[v.ID] = written{state: v.State, at: at}
	}
}

// checkLeft: a run's record goes when history has the run, as it ended; or,
// unwritten, when more wait for it than may.
func (m *model) checkLeft(id jobs.RunID, x *runAccount) {
	backlog := m.w.core.HistoryBacklog
	if backlog == 0 || x == nil {
		return
	}
	there, ok := m.w.past.runs[id]
	switch {
	case ok && there.state != x.rec.State && !x.ends:
		m.violate("run %s is deleted as %s, and history has it as %s", id, x.rec.State, there.state)
	case !ok && m.storedFinal() <= backlog:
		m.violate("run %s is deleted, and history has not got it", id)
	}
}

// storedFinal counts the final runs of the store.
func (m *model) storedFinal() int {
	n := 0
	for id, x := range m.runs {
		if _, ok := m.w.store.records["runs/"+string(id)]; ok && x.finished {
			n++
		}
	}
	return n
}

// Bounds of what may wait for history, and for how long, while it is there.
const (
	patientRuns = 20
	patientPast = 15 * time.Second
)

// settlePast: what waited for history is there, once that is.
func (m *model) settlePast() {
	for _, p := range m.w.processes {
		l := p.leader
		if l == nil || l.term != m.w.store.term {
			continue
		}
		if n := l.engine.Core().Status().HistoryBacklog; n > patientRuns || l.recording > 0 && m.w.now-l.recording > patientPast {
			m.violate("%d runs still wait to be written to history", n)
		}
	}
}
