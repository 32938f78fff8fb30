package sim

import (
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// limits is what keeps tasks from being launched, as the records say.
type limits struct {
	pools    map[jobs.Name]*poolAccount
	hold     *jobs.Hold
	clock    time.Time // the core's, as it was written with the hold
	held     bool      // it was, before the write that is looked at and after it
	launched []*attemptAccount
	blind    map[jobs.Name]bool // jobs of which a leader could not count all attempts
}

// poolAccount is a pool as its record says.
type poolAccount struct {
	slots int
	limit int // the most that the write which is looked at allows
	most  int // there ever were
}

func (l *limits) putPool(name jobs.Name, ch scheduler.Change) {
	p, ok := l.pools[name]
	if !ok {
		p = &poolAccount{}
		l.pools[name] = p
	}
	var rec jobs.Pool
	decode(ch, &rec)
	p.limit, p.slots = max(p.slots, rec.Slots), rec.Slots
	p.most = max(p.most, rec.Slots)
}

func (l *limits) putMeta(ch scheduler.Change) {
	before := l.hold
	var rec metaRecord
	decode(ch, &rec)
	l.hold, l.clock = rec.Hold, rec.Clock
	l.held = before != nil && rec.Hold != nil && before.Since.Equal(rec.Hold.Since)
}

// holds says whether an attempt holds slots: it may be at work and was not
// given up.
func (a *attemptAccount) holds() bool {
	return a.recorded && !a.rec.State.Final() && !a.rec.Superseded && !a.run.finished
}

// checkLimits sees that what a write launches is within its limits: beside
// those that held slots before and still do. Those that come back after they
// were given up may exceed them.
func (m *model) checkLimits() {
	l := &m.limits
	if m.by.blind != "" {
		l.blind[m.by.blind] = true
	}
	counts := func(other *attemptAccount) bool {
		came := other.launched == m.commits || other.held && (!other.doubtful || other.rec.State == jobs.AttemptUnknown)
		return came && other.holds() && !l.blind[other.run.rec.Job]
	}
	for _, a := range l.launched {
		if l.held {
			m.violate("attempt %s is launched while launches are held", a.rec.ID)
		}
		p := a.run.rec.Pinned
		if p == nil || !a.holds() {
			continue
		}
		if p.Pool.Name != "" && p.Pool.Name == m.by.blind {
			m.violate("attempt %s is launched by a leader that cannot read its pool", a.rec.ID)
		}
		busy, slots := 0, 0
		for _, other := range m.attempts {
			if other.recorded && counts(other) {
				if other.launched < m.commits || !other.mayBeLater(p.Concurrency) {
					busy += other.takes(a.run.rec.Job)
				}
				slots += other.slotsOf(p.Pool.Name)
			}
		}
		if p.Concurrency > 0 && busy > p.Concurrency {
			m.violate("attempt %s is launched, the job's number %d, and its concurrency is %d", a.rec.ID, busy, p.Concurrency)
		}
		if pool := l.pools[p.Pool.Name]; pool != nil && slots > pool.limit {
			m.violate("attempt %s is launched, and %d slots of pool %s are held, of %d", a.rec.ID, slots, p.Pool.Name, pool.limit)
		}
	}
	l.launched = l.launched[:0]
	for _, a := range m.attempts {
		a.held, a.doubtful = a.holds(), a.rec.State == jobs.AttemptUnknown
	}
	for _, p := range l.pools {
		p.limit = p.slots
	}
	l.held = l.hold != nil
}

// mayBeLater: of what one write launches, that with the narrower limit may have come first.
func (a *attemptAccount) mayBeLater(concurrency int) bool {
	p := a.run.rec.Pinned
	return p == nil || p.Concurrency == 0 || p.Concurrency > concurrency
}

// takes is one where the attempt is of a job.
func (a *attemptAccount) takes(name jobs.Name) int {
	if a.run.rec.Job == name {
		return 1
	}
	return 0
}

// slotsOf is how many slots of a pool the attempt takes.
func (a *attemptAccount) slotsOf(pool jobs.Name) int {
	if a.pool.Name == pool {
		return a.pool.Slots
	}
	return 0
}

// checkCrowd: what truly works is within the limits too, whatever the records
// say, but for what was recorded unknown in time.
func (m *model) checkCrowd(a *attemptAccount) {
	busy, slots := 0, 0
	for _, other := range m.attempts {
		if !other.working || !other.recorded || a.excused(other) || m.limits.blind[other.run.rec.Job] {
			continue
		}
		busy += other.takes(a.run.rec.Job)
		slots += other.slotsOf(a.pool.Name)
	}
	if most := m.job(a.run.rec.Job).concurrency; most > 0 && busy > most {
		m.violate("attempt %s begins, the job's number %d, and its concurrency is %d", a.rec.ID, busy, most)
	}
	if pool := m.limits.pools[a.pool.Name]; pool != nil && slots > pool.most {
		m.violate("attempt %s begins, and %d slots of pool %s are taken, of %d", a.rec.ID, slots, a.pool.Name, pool.most)
	}
}

// allow notes the most tasks that a job ever allowed at once.
func (j *jobAccount) allow(concurrency int) {
	if concurrency == 0 {
		concurrency = unlimited
	}
	j.concurrency = max(j.concurrency, concurrency)
}

const unlimited = 1 << 20

// checkOrder: of what one ACCEPT launches the higher priorities come first.
func (m *model) checkOrder(c scheduler.Accept) {
	first := slices.IndexFunc(c.Launches, func(l scheduler.Launch) bool { return m.priority(l.Task) != nil })
	if first < 0 {
		return
	}
	last := *m.priority(c.Launches[first].Task)
	for _, l := range c.Launches[first:] {
		p := m.priority(l.Task)
		if p == nil {
			continue
		}
		if *p > last {
			m.violate("attempt %s of priority %d is launched after what has %d", l.Task, *p, last)
		}
		last = *p
	}
}

// priority is an attempt's; nil where it may have changed meanwhile.
func (m *model) priority(id jobs.TaskID) *int {
	a := m.attempt(id)
	if a.run == nil || a.run.rec.Pinned == nil || a.run.rec.Trigger == jobs.ByService {
		return nil
	}
	return &a.run.rec.Pinned.Priority
}
