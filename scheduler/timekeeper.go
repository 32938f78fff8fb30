package scheduler

import "time"

// timekeeper reads a term's clock, and is pure. Clocks are set while leaders work, and what the core
// has once taken for the time is stored and never goes back. So a leap is believed only when a write,
// which the store stamps, has measured the clock: then the core knows what to make of it.
type timekeeper struct {
	last    time.Time
	elapsed time.Duration
}

// read is what to take the clock for when it says this, so long after the term began by a clock that
// nobody sets. After a leap it is what it would be without it, and the clock is to be measured.
func (k *timekeeper) read(clock time.Time, elapsed time.Duration) (now time.Time, leapt bool) {
	expected := k.last.Add(elapsed - k.elapsed)
	if by := clock.Sub(expected); !k.last.IsZero() && by.Abs() > skewAlarm {
		return expected, true
	}
	k.measured(clock, elapsed)
	return clock, false
}

// measured takes note that the clock, which says this now, was measured.
func (k *timekeeper) measured(clock time.Time, elapsed time.Duration) {
	k.last, k.elapsed = clock, elapsed
}
