package scheduler

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler/match"
)

// readyQueue holds the splits that wait for an offer: higher priorities first,
// then first come first served. They lie by lane: when the first of a lane
// finds no place in a round, none of the lane does, so that a round costs
// what it places and not what waits.
type readyQueue struct {
	classes map[lane]*class
	count   int
	seq     int64
}

// lane is what splits have in common that wait for the same.
type lane struct {
	match.Class
	priority int
	// Limits besides the offers; those of individual splits are looked at one by one.
	pool jobs.PoolUse
	job  jobs.Name // of a job with a limit of its own
}

func laneOf(s *split, key match.Class) lane {
	job := s.run.pinned()
	l := lane{Class: key, priority: job.Priority}
	if key.Individual {
		return l
	}
	l.pool = job.Pool
	if job.Concurrency > 0 {
		l.job = job.Name
	}
	return l
}

// class is the waiting splits of one lane, oldest first. Entries of splits
// that wait no more are dropped when they come up.
type class struct {
	lane      lane
	entries   []entry
	refusals  []jobs.Refusal // why none of them was placed
	explained time.Time
}

type entry struct {
	split *split
	seq   int64
}

// explainEvery bounds how often the reasons of what waits are worked out.
const explainEvery = 500 * time.Millisecond

func newReadyQueue() readyQueue { return readyQueue{classes: map[lane]*class{}} }

// add puts a split at the end of its lane.
func (q *readyQueue) add(s *split, key lane) {
	q.remove(s)
	cl, ok := q.classes[key]
	if !ok {
		cl = &class{lane: key}
		q.classes[key] = cl
	}
	q.seq++
	q.count++
	s.seq, s.class = q.seq, cl
	cl.entries = append(cl.entries, entry{s, q.seq})
}

// remove takes a split out; it is no matter whether it waits.
func (q *readyQueue) remove(s *split) {
	if s.seq != 0 {
		s.seq, s.class = 0, nil
		q.count--
	}
}

// head drops what waits no more, and gives the oldest that does.
func (cl *class) head() (*split, bool) {
	for len(cl.entries) > 0 {
		if e := cl.entries[0]; e.split.seq == e.seq {
			return e.split, true
		}
		cl.entries[0] = entry{}
		cl.entries = cl.entries[1:]
	}
	return nil, false
}

// drop forgets the entries of splits that wait no more.
func (cl *class) drop() {
	kept := cl.entries[:0]
	for _, e := range cl.entries {
		if e.split.seq == e.seq {
			kept = append(kept, e)
		}
	}
	clear(cl.entries[len(kept):])
	cl.entries = kept
}

// heads orders the lanes of one round: by priority, those whose splits want
// places of their own first, then by their oldest split.
type heads []*class

func (h heads) Len() int { return len(h) }
func (h heads) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch {
	case a.lane.priority != b.lane.priority:
		return a.lane.priority > b.lane.priority
	case a.lane.Individual != b.lane.Individual:
		return a.lane.Individual
	}
	return a.entries[0].seq < b.entries[0].seq
}
func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)   { *h = append(*h, x.(*class)) }
func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// service is one round of serving what waits.
type service struct {
	core   *Core
	round  *match.Round
	place  func(*split, match.Placement)
	widens time.Time            // when the first of those left will take a worse place
	behind map[jobs.Name]*split // by pool: the split that waits for its slots; later ones stand behind it
}

// serve offers the round's places to what waits, in its order, until nothing
// finds one. It says when the first of those left will take a worse place.
func (c *Core) serve(round *match.Round, place func(*split, match.Placement)) (widens time.Time) {
	v := &service{core: c, round: round, place: place, behind: map[jobs.Name]*split{}}
	var order heads
	for key, cl := range c.ready.classes {
		if _, ok := cl.head(); ok {
			order = append(order, cl)
		} else {
			delete(c.ready.classes, key)
		}
	}
	heap.Init(&order)
	for len(order) > 0 {
		if v.serveHead(order[0]) {
			heap.Fix(&order, 0)
		} else {
			heap.Pop(&order)
		}
	}
	return v.widens
}

// serveHead tries the first of a lane, and says whether the lane may go on.
func (v *service) serveHead(cl *class) (more bool) {
	if cl.lane.Individual {
		v.serveEach(cl)
		return false
	}
	s, ok := cl.head()
	if !ok {
		return false
	}
	why, ok := v.try(s, v.core.now.Sub(cl.explained) >= explainEvery)
	if !ok {
		if why != nil {
			cl.refusals, cl.explained = why, v.core.now
		}
		return false
	}
	_, more = cl.head()
	return more
}

// serveEach tries every split of a lane whose members want different places:
// first those that have waited for near ones long enough, then those with the
// fewest near places, while there are some.
func (v *service) serveEach(cl *class) {
	cl.drop()
	type choosy struct {
		split *split
		near  int
	}
	list := make([]choosy, len(cl.entries))
	for i, e := range cl.entries {
		t := v.core.waitingTask(e.split)
		list[i] = choosy{e.split, v.round.Near(&t)}
	}
	slices.SortStableFunc(list, func(a, b choosy) int { return cmp.Compare(a.near, b.near) })
	explain := v.core.now.Sub(cl.explained) >= explainEvery
	if explain {
		cl.explained = v.core.now
	}
	for _, one := range list {
		if why, ok := v.try(one.split, explain || one.split.refusals == nil); !ok && why != nil {
			one.split.refusals = why
		}
	}
}

// try places a split, or says why not, where that is asked for.
func (v *service) try(s *split, explain bool) (why []jobs.Refusal, placed bool) {
	if why := v.limited(s); why != nil {
		return why, false
	}
	t := v.core.waitingTask(s)
	if p, ok := v.round.Place(&t); ok {
		v.place(s, p)
		return nil, true
	}
	if at := v.round.Widens(&t); !at.IsZero() && (v.widens.IsZero() || at.Before(v.widens)) {
		v.widens = at
	}
	if explain {
		why = v.round.Explain(&t)
	}
	return why, false
}

// limited says what of the split's limits keeps it waiting. The slots of a
// pool are given in the order of the queue: one that needs many is not passed
// for ever by those that need few.
func (v *service) limited(s *split) []jobs.Refusal {
	use := s.run.pinned().Pool
	if first := v.behind[use.Name]; first != nil {
		return []jobs.Refusal{{Code: "pool", Message: v.core.pools[use.Name].behind(first)}}
	}
	why := v.core.limits(s)
	if why != nil && why[0].Code == "pool" && v.core.pools[use.Name] != nil {
		v.behind[use.Name] = s
	}
	return why
}
