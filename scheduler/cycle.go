package scheduler

import (
	"errors"
	"time"
)

// Cycle is the order in which a leader subscribes, and pure: a fenced write
// under its term, SUBSCRIBE, the stream, a growing pause, and again.
//
//	fence ─► subscribe ─► stream ─► pause ─► fence …
type Cycle struct {
	stream int64
	began  time.Time
	alone  time.Time // since when there is no stream; zero while there is one
	pause  time.Duration
}

// Begin starts a round: the fenced write comes next.
func (c *Cycle) Begin(now time.Time) {
	c.began = now
	if c.alone.IsZero() {
		c.alone = now
	}
}

// Opened numbers the stream that SUBSCRIBE opened.
func (c *Cycle) Opened() int64 {
	c.stream++
	c.alone = time.Time{}
	return c.stream
}

// Alone is for how long the leader has tried in vain to subscribe.
func (c *Cycle) Alone(now time.Time) time.Duration {
	if c.alone.IsZero() {
		return 0
	}
	return now.Sub(c.alone)
}

// Ended says how long to wait before the next round: between half of it and
// all, as spread (0 to 1) says; fatal where there is no use in another one.
func (c *Cycle) Ended(now time.Time, err error, spread float64) (wait time.Duration, fatal bool) {
	if errors.Is(err, ErrFenced) || isRemoved(err) {
		return 0, true
	}
	if c.pause == 0 || now.Sub(c.began) > pauseMost {
		c.pause = pauseFirst
	}
	wait = c.pause/2 + time.Duration(spread*float64(c.pause/2))
	c.pause = min(2*c.pause, pauseMost)
	return wait, false
}
