package sim

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// epoch is when every history begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is everything there is in one history, and its time, which passes
// only from event to event.
type world struct {
	rng    *rand.Rand
	now    time.Duration // since epoch, as no clock shows it
	queue  eventHeap
	seq    int64
	events int
	trace  io.Writer // nil: none
	bug    Bug

	core      scheduler.Config
	store     *store
	processes []*process
	master    *master
	agents    []*agent
	client    *client
	past      *past
	model     *model
	faults    []Fault

	flakyUntil, slowUntil time.Duration // the store's
	silentUntil           time.Duration // the master's answers are lost
	slowBy                time.Duration
	killed                map[jobs.TaskID]bool // by a planted bug
	unreadable            string               // a record that leaders cannot load; empty: none
}

// event is something that happens at a time.
type event struct {
	at  time.Duration
	seq int64
	do  func()
}

// after arranges for do to happen in a while.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + max(d, 0), w.seq, do})
}

// play runs a history; a panic is a violation, too.
func (w *world) play(end time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			w.model.violate("panic: %v\n%s", p, debug.Stack())
		}
	}()
	w.run(end)
}

// run lets events happen until the end of the history, or until something is
// wrong with it.
func (w *world) run(end time.Duration) {
	for len(w.queue) > 0 && len(w.model.violations) == 0 {
		e := heap.Pop(&w.queue).(event)
		if e.at > end {
			w.now = end
			return
		}
		w.now = e.at
		w.events++
		e.do()
	}
}

// between is a random duration.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)+1))
}

// hop is how long a message takes.
func (w *world) hop() time.Duration { return w.between(time.Millisecond, 12*time.Millisecond) }

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *world) logf(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%10.3f %s\n", w.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

// eventHeap orders events by time, then by when they were arranged.
type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = event{}
	*h = (*h)[:len(*h)-1]
	return last
}
