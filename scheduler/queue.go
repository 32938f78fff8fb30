package scheduler

import (
	"container/heap"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler/match"
)

// readyQueue holds the splits that wait for an offer, first come first
// served. They lie by class: when the first of a class finds no place in a
// round, none of the class does, so that a round costs what it places and
// not what waits.
type readyQueue struct {
	classes map[match.Class]*class
	count   int
	seq     int64
}

// class is the waiting splits of one match.Class, oldest first. Entries of
// splits that wait no more are dropped when they come up.
type class struct {
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

func newReadyQueue() readyQueue { return readyQueue{classes: map[match.Class]*class{}} }

// add puts a split at the end of its class.
func (q *readyQueue) add(s *split, key match.Class) {
	q.remove(s)
	cl, ok := q.classes[key]
	if !ok {
		cl = &class{}
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

// heads orders the classes of one round by their oldest split.
type heads []*class

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return h[i].entries[0].seq < h[j].entries[0].seq }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)        { *h = append(*h, x.(*class)) }
func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// serve offers the round's places to what waits, oldest first, until nothing
// finds one. It says when the first of those left will take a worse place.
func (c *Core) serve(round *match.Round, place func(*split, match.Placement)) (widens time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (widens.IsZero() || t.Before(widens)) {
			widens = t
		}
	}
	var order heads
	for key, cl := range c.ready.classes {
		if _, ok := cl.head(); !ok {
			delete(c.ready.classes, key)
			continue
		}
		if key.Individual {
			sooner(c.serveEach(round, cl, place))
			continue
		}
		order = append(order, cl)
	}
	heap.Init(&order)
	for len(order) > 0 {
		cl := order[0]
		s, ok := cl.head()
		if !ok {
			heap.Pop(&order)
			continue
		}
		t := c.waitingTask(s)
		p, ok := round.Place(&t)
		if !ok {
			sooner(round.Widens(&t))
			if c.now.Sub(cl.explained) >= explainEvery {
				cl.refusals, cl.explained = round.Explain(&t), c.now
			}
			heap.Pop(&order)
			continue
		}
		place(s, p)
		if _, ok := cl.head(); ok {
			heap.Fix(&order, 0)
		} else {
			heap.Pop(&order)
		}
	}
	return widens
}

// serveEach tries every split of a class whose members want different places.
func (c *Core) serveEach(round *match.Round, cl *class, place func(*split, match.Placement)) (widens time.Time) {
	cl.drop()
	for _, e := range cl.entries {
		t := c.waitingTask(e.split)
		p, ok := round.Place(&t)
		if ok {
			place(e.split, p)
			continue
		}
		if w := round.Widens(&t); !w.IsZero() && (widens.IsZero() || w.Before(widens)) {
			widens = w
		}
		e.split.refusals = round.Explain(&t)
	}
	return widens
}
