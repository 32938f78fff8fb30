package wire

import "time"

// Clock runs the protocol's intervals faster than the wall clock, for tests: Scale 10
// makes a heartbeat of 15 s come every 1.5 s. The zero Clock does not scale.
type Clock struct {
	Scale float64
}

// Real returns how long the scaled clock needs for a duration of the protocol.
func (c Clock) Real(d time.Duration) time.Duration {
	if c.Scale <= 0 {
		return d
	}
	return time.Duration(float64(d) / c.Scale)
}

// AfterFunc is time.AfterFunc on the scaled clock.
func (c Clock) AfterFunc(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(c.Real(d), f)
}

// Unix returns a time as Mesos writes it: seconds, with fractions.
func Unix(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
