package scheduler

import "time"

// timekeeper reads a term's clock, and is pure. Clocks are set while leaders work, and what the core
// has once taken for the time is stored and never goes back. So a leap is believed only when a write,
// which the store stamps, has measured the clock: then the core knows what to make of it.
type timekeeper struct{ last time.Time }

// read is what to take the clock for when it says this. After a leap that is its last word before,
// and the clock is to be measured.
func (k *timekeeper) read(clock time.Time) (now time.Time, leapt bool) {
	if by := clock.Sub(k.last); !k.last.IsZero() && (by > skewStop || by < -skewAlarm) {
		return k.last, true
	}
	k.last = clock
	return clock, false
}

// measured takes note that the clock, which says this now, was measured.
func (k *timekeeper) measured(clock time.Time) { k.last = clock }
