package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tidemill/jobs"
)

// leaving are the final runs on their way from the store to history. Nothing
// is decided by them any more, so that decisions never depend on history; but
// each keeps its record until it is written, and the next leader finds it.
//
//	let go by trim ─► waits ─► Effects.History ─► Recorded ─► forgotten
//	                    └────► dropped, where too many wait
type leaving struct {
	runs      map[jobs.RunID]*run
	order     []*run // who waits longest comes first
	writing   bool   // some are being written
	failures  int    // since one was written last
	notBefore time.Time
	dropped   int64
}

// Bounds of what is written at once, and of the pause after a failure.
const (
	maxRecorded  = 50
	historyPause = time.Second
	historyRest  = time.Minute
)

// retire lets a final run go: to history, or, where there is none, for good.
func (c *Core) retire(x *run) {
	delete(c.runs, x.rec.ID)
	c.forgetPlan(x)
	if c.cfg.HistoryBacklog == 0 {
		c.discard(x.key())
		return
	}
	l := &c.leaving
	l.runs[x.rec.ID] = x
	l.order = append(l.order, x)
	if len(l.order) <= c.cfg.HistoryBacklog {
		return
	}
	c.dropLeaving(l.order[0])
	l.order = l.order[1:]
	l.dropped++
	c.problems["history"] = fmt.Sprintf("it takes nothing, and %d runs wait for it: the oldest are dropped, %d so far", len(l.order), l.dropped)
}

func (c *Core) dropLeaving(x *run) {
	delete(c.leaving.runs, x.rec.ID)
	c.discard(x.key())
}

// isStale says whether a final run is of a job that is not there any more. That
// may be a lost record's fault: then only history may have the run.
func (c *Core) isStale(x *run, incarnation int64) bool {
	return incarnation != x.job.state.Incarnation || x.job.rec.Deleted && c.cfg.HistoryBacklog > 0
}

// resumeLeaving finds again, when a term begins, what an earlier leader had
// let go and had not seen written: final runs beyond those that their job
// keeps, and stale ones, of a job that was deleted.
func (c *Core) resumeLeaving(stale []*run) {
	for _, x := range stale {
		if x.job.held == "" {
			c.retire(x)
		}
	}
	for _, j := range c.orderedJobs() {
		if j.held == "" && j.declared() && c.trim(j) {
			c.touch(stateChange{j})
		}
	}
	slices.SortFunc(c.leaving.order, func(a, b *run) int {
		return cmp.Or(a.rec.Ended.Compare(b.rec.Ended), cmp.Compare(a.rec.ID, b.rec.ID))
	})
	c.seal()
}

// record asks for the next runs to be written to history.
func (c *Core) record() {
	l := &c.leaving
	if l.writing || len(l.order) == 0 || c.now.Before(l.notBefore) {
		return
	}
	l.writing = true
	for _, x := range l.order[:min(len(l.order), maxRecorded)] {
		v := c.runSummary(x)
		v.Tasks = c.taskViews(x)
		c.fx.History = append(c.fx.History, v)
	}
}

// onRecorded hears how the writing went. After a failure it is tried again,
// with longer and longer pauses.
func (c *Core) onRecorded(e Recorded) {
	l := &c.leaving
	l.writing = false
	if e.Err != nil {
		pause := min(historyPause<<min(l.failures, 10), historyRest)
		l.failures++
		l.notBefore = c.now.Add(pause)
		c.at(l.notBefore, func() {}) // record does the rest
		c.problems["history"] = fmt.Sprintf("%d runs wait to be written to it: %v", len(l.order), e.Err)
		return
	}
	l.failures = 0
	delete(c.problems, "history")
	for _, id := range e.Runs {
		if x, ok := l.runs[id]; ok { // else it was dropped meanwhile
			c.dropLeaving(x)
		}
	}
	l.order = slices.DeleteFunc(l.order, func(x *run) bool { return l.runs[x.rec.ID] != x })
}

// lookUp finds a run that the store holds, be it about to leave.
func (c *Core) lookUp(id jobs.RunID) (*run, bool) {
	if x, ok := c.runs[id]; ok {
		return x, true
	}
	x, ok := c.leaving.runs[id]
	return x, ok
}

// LetGo is when the latest run was created that the store may no longer hold
// of a job: a list that ends with a later one has left none out.
func (c *Core) LetGo(name jobs.Name) time.Time {
	if j, ok := c.jobs[name]; ok {
		return j.state.Forgotten
	}
	return time.Time{}
}
