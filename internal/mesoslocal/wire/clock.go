package wire

import (
	"sync"
	"time"
)

// Clock tells the local Mesos what time it is and wakes it: the protocol's intervals run
// on it, so that tests can replay an hour in a second. Whether another process is alive is
// a question of real time, whatever the clock.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f after d, unless the timer is stopped before.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is what AfterFunc returns.
type Timer interface {
	Stop() bool
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now implements Clock.
func (SystemClock) Now() time.Time { return time.Now() }

// AfterFunc implements Clock.
func (SystemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// After is closed after d.
func After(clock Clock, d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	clock.AfterFunc(d, func() { close(over) })
	return over
}

// Repeat calls f at an interval until stop is called; a call that has begun goes on.
func Repeat(clock Clock, interval time.Duration, f func()) (stop func()) {
	var mu sync.Mutex
	var timer Timer
	stopped := false
	var arm func()
	arm = func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		timer = clock.AfterFunc(interval, func() {
			f()
			arm()
		})
	}
	arm()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// Unix returns a time as Mesos writes it: seconds, with fractions.
func Unix(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
