package jobs

import "time"

// Stop is the cause with which an executor cancels a work's context
// (context.Cause): why the work is to end, and how long it may take.
type Stop struct {
	Reason string
	Grace  time.Duration // after which the work is given up
}

func (s Stop) Error() string { return s.Reason }
