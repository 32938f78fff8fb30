package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
)

// pool is a declared pool and who holds its slots.
type pool struct {
	extra   unknown
	rec     jobs.Pool
	used    int
	holders map[jobs.Name]int // slots by job
	full    gate              // shut while no slot is free

	unreadable string // why its record is; it gives no slots, and stays as it is
}

func (p *pool) key() string             { return keyPool + string(p.rec.Name) }
func (p *pool) encode(time.Time) []byte { return encode(p.rec, p.extra) }

// poolGone deletes a pool's record.
type poolGone struct{ *pool }

func (poolGone) encode(time.Time) []byte { return nil }

func (c *Core) loadPools(records []*parsed) {
	for _, r := range records {
		p := &pool{holders: map[jobs.Name]int{}}
		name := jobs.Name(strings.TrimPrefix(r.key, keyPool))
		var err error
		if p.extra, err = decode(r.raw(), &p.rec); err != nil {
			p.rec = jobs.Pool{Name: name}
			p.unreadable = fmt.Sprintf("record %s cannot be read: %v", r.key, err)
			c.problems["pool "+string(name)] = p.unreadable
		}
		c.pools[name] = p
	}
}

// frozen refuses to change a pool whose record cannot be read.
func (p *pool) frozen(op string) error {
	if p.unreadable == "" {
		return nil
	}
	return &jobs.Error{
		Code: jobs.Conflict, Op: op, Subject: "pool " + string(p.rec.Name), Message: p.unreadable,
		Hint: "a newer tidemill may read it; what takes slots of it waits",
	}
}

// gate measures for how long something was shut, so that what waits before it
// is not held to have waited for an offer.
type gate struct {
	since time.Time // shut since then; zero: open
	total time.Duration
}

// set shuts or opens it, and says whether it was opened.
func (g *gate) set(now time.Time, shut bool) (opened bool) {
	switch {
	case shut && g.since.IsZero():
		g.since = now
	case !shut && !g.since.IsZero():
		g.total += now.Sub(g.since)
		g.since = time.Time{}
		return true
	}
	return false
}

func (g *gate) shutFor(now time.Time) time.Duration {
	if g.since.IsZero() {
		return g.total
	}
	return g.total + now.Sub(g.since)
}

// shutTimes is for how long the gates before a split had been shut at some time.
type shutTimes struct{ hold, job, pool time.Duration }

func (c *Core) shutTimes(s *split) shutTimes {
	out := shutTimes{hold: c.holding.shutFor(c.now)}
	if s.run.pinned().Concurrency > 0 {
		out.job = s.run.job.full.shutFor(c.now)
	}
	if p := c.pools[s.run.pinned().Pool.Name]; p != nil {
		out.pool = p.full.shutFor(c.now)
	}
	return out
}

// patientSince is since when a split waits for a near offer: the time in
// which a limit or a hold kept it from taking any does not count, or it would
// take the first and farthest when they let it go.
func (c *Core) patientSince(s *split) time.Time {
	if s.since.IsZero() {
		return s.since
	}
	now, then := c.shutTimes(s), s.shut
	return s.since.Add(max(now.hold-then.hold, now.job-then.job, now.pool-then.pool))
}

// account keeps count of the attempts that may be at work: launched, not
// final and not given up. Every change of an attempt passes here.
func (c *Core) account(t *task) {
	busy := c.tasks[t.rec.ID] == t && !t.rec.State.Final() && !t.rec.Superseded
	if busy == t.counted {
		return
	}
	t.counted = busy
	j, by := t.run.job, -1
	if busy {
		by = 1
		use := t.run.pinned().Pool
		t.pool, t.slots = c.pools[use.Name], use.Slots
	}
	j.busy += by
	limit := j.rec.Job.Concurrency
	opened := j.full.set(c.now, limit > 0 && j.busy >= limit)
	if t.pool != nil {
		opened = t.pool.take(j.name, by*t.slots, c.now) || opened
	}
	if opened {
		c.wantRevive = true
	}
}

// take gives slots to a job, or takes them back, and says whether one became free.
func (p *pool) take(name jobs.Name, slots int, now time.Time) (opened bool) {
	p.used += slots
	if p.holders[name] += slots; p.holders[name] == 0 {
		delete(p.holders, name)
	}
	return p.full.set(now, p.used >= p.rec.Slots)
}

// limits says which of its job's limits keeps a split from being launched now.
func (c *Core) limits(s *split) []jobs.Refusal {
	job := s.run.pinned()
	if busy := s.run.job.busy; job.Concurrency > 0 && busy >= job.Concurrency {
		return []jobs.Refusal{{Code: "concurrency", Message: fmt.Sprintf("%d tasks of the job are at work: its concurrency is %d", busy, job.Concurrency)}}
	}
	if job.Pool.Name == "" {
		return nil
	}
	p, ok := c.pools[job.Pool.Name]
	if !ok {
		return []jobs.Refusal{{Code: "pool", Message: fmt.Sprintf("pool %s does not exist; \"tidemill pool set\" creates it", job.Pool.Name)}}
	}
	if p.unreadable != "" {
		return []jobs.Refusal{{Code: "pool", Message: p.unreadable}}
	}
	if p.used+job.Pool.Slots <= p.rec.Slots {
		return nil
	}
	return []jobs.Refusal{{Code: "pool", Message: p.explain(job.Pool.Slots)}}
}

// explain says why so many slots are not to be had.
func (p *pool) explain(slots int) string {
	text := fmt.Sprintf("pool %s is full: %d of %d slots", p.rec.Name, p.used, p.rec.Slots)
	if p.used < p.rec.Slots {
		text = fmt.Sprintf("pool %s has %d of %d slots free, and the task takes %d", p.rec.Name, p.rec.Slots-p.used, p.rec.Slots, slots)
	}
	if len(p.holders) == 0 {
		return text
	}
	return text + ", held by " + p.heldBy()
}

func (p *pool) behind(first *split) string {
	return fmt.Sprintf("pool %s gives its slots to run %s first: %s", p.rec.Name, first.run.rec.ID, p.explain(first.run.pinned().Pool.Slots))
}

// maxHolders bounds the jobs that a reason names.
const maxHolders = 5

func (p *pool) heldBy() string {
	list := p.heldSlots()
	var names []string
	for _, h := range list[:min(len(list), maxHolders)] {
		names = append(names, fmt.Sprintf("%s (%d)", h.Job, h.Slots))
	}
	if n := len(list) - maxHolders; n > 0 {
		names = append(names, fmt.Sprintf("%d more jobs", n))
	}
	return strings.Join(names, ", ")
}

// heldSlots lists who holds slots, those with most first.
func (p *pool) heldSlots() []jobs.PoolHolder {
	var list []jobs.PoolHolder
	for name, slots := range p.holders {
		list = append(list, jobs.PoolHolder{Job: name, Slots: slots})
	}
	slices.SortFunc(list, func(a, b jobs.PoolHolder) int {
		return cmp.Or(cmp.Compare(b.Slots, a.Slots), cmp.Compare(a.Job, b.Job))
	})
	return list
}

// checkPool says what is wrong with the pool that a job names.
func (c *Core) checkPool(use jobs.PoolUse) error {
	var e jobs.FieldErrors
	if use.Name == "" {
		return nil
	}
	if p, ok := c.pools[use.Name]; !ok {
		e.Addf("pool.name", "there is no pool %q; create it first: tidemill pool set %[1]s --slots N", use.Name)
	} else if p.unreadable == "" && use.Slots > p.rec.Slots {
		e.Addf("pool.slots", "each task takes %d, and pool %s has %d", use.Slots, use.Name, p.rec.Slots)
	}
	return e.Err()
}

// usersOf lists the jobs that name a pool and how many slots their tasks
// take, those with live runs under an earlier version included.
func (c *Core) usersOf(name jobs.Name) map[jobs.Name]int {
	users := map[jobs.Name]int{}
	note := func(job jobs.Name, use jobs.PoolUse) {
		if use.Name == name {
			users[job] = max(users[job], use.Slots)
		}
	}
	for _, j := range c.jobs {
		if j.declared() {
			note(j.name, j.rec.Job.Pool)
		}
		for _, x := range j.live {
			if pinned := x.pinned(); pinned != nil {
				note(j.name, pinned.Pool)
			}
		}
	}
	return users
}

// setPool creates a pool or changes it. More slots count at once; of fewer,
// what is held stays held.
func (c *Core) setPool(rec jobs.Pool) (jobs.PoolView, error) {
	if err := rec.Validate(); err != nil {
		return jobs.PoolView{}, err
	}
	users := c.usersOf(rec.Name)
	for _, job := range slices.Sorted(maps.Keys(users)) {
		if users[job] > rec.Slots {
			return jobs.PoolView{}, &jobs.Error{
				Code: jobs.Conflict, Op: "set", Subject: "pool " + string(rec.Name),
				Message: fmt.Sprintf("each task of %s takes %d slots, and could never run with %d", job, users[job], rec.Slots),
				Hint:    "change that job first",
			}
		}
	}
	p, ok := c.pools[rec.Name]
	if !ok {
		p = &pool{holders: map[jobs.Name]int{}}
		c.pools[rec.Name] = p
	}
	if err := p.frozen("set"); err != nil {
		return jobs.PoolView{}, err
	}
	p.rec = rec
	p.full.set(c.now, p.used >= p.rec.Slots)
	c.wantRevive = true
	c.touch(p)
	c.notify(jobs.Notice{Type: "pool", State: "set", Reason: fmt.Sprintf("pool %s has %d slots", rec.Name, rec.Slots)})
	return c.poolView(p), nil
}

func (c *Core) deletePool(name jobs.Name) error {
	p, ok := c.pools[name]
	if !ok {
		return &jobs.Error{Code: jobs.NotFound, Op: "delete", Subject: "pool " + string(name), Message: "there is no such pool", Hint: "tidemill pool list shows them"}
	}
	if err := p.frozen("delete"); err != nil {
		return err
	}
	if users := c.usersOf(name); len(users) > 0 {
		return &jobs.Error{
			Code: jobs.Conflict, Op: "delete", Subject: "pool " + string(name),
			Message: fmt.Sprintf("jobs take slots of it: %v", slices.Sorted(maps.Keys(users))), Hint: "change them first",
		}
	}
	delete(c.pools, name)
	c.touch(poolGone{p})
	c.notify(jobs.Notice{Type: "pool", State: "deleted", Reason: "pool " + string(name) + " was deleted"})
	return nil
}

// Pools lists the pools by name.
func (c *Core) Pools() []jobs.PoolView {
	out := make([]jobs.PoolView, 0, len(c.pools))
	for _, name := range slices.Sorted(maps.Keys(c.pools)) {
		out = append(out, c.poolView(c.pools[name]))
	}
	return out
}

func (c *Core) poolView(p *pool) jobs.PoolView {
	v := jobs.PoolView{Pool: p.rec, Used: p.used, Holders: p.heldSlots()}
	for _, j := range c.jobs {
		for _, x := range j.live {
			if pinned := x.pinned(); pinned == nil || pinned.Pool.Name != p.rec.Name {
				continue
			}
			for _, s := range x.splits {
				if s.seq != 0 {
					v.Waiting++
				}
			}
		}
	}
	return v
}
