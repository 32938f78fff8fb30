package scheduler

import "tidemill/jobs"

// holdLaunches keeps everything from being launched until release; asked for again,
// it takes the new reason.
func (c *Core) holdLaunches(reason string) (jobs.Hold, error) {
	h := jobs.Hold{Since: c.now, Reason: reason}
	if c.meta.Hold != nil {
		h.Since = c.meta.Hold.Since
	}
	c.meta.Hold = &h
	c.holding.set(c.now, true)
	c.touch(&c.meta)
	c.notify(jobs.Notice{Type: "hold", State: "held", Reason: reason})
	return h, nil
}

func (c *Core) releaseLaunches(reason string) error {
	if c.meta.Hold == nil {
		return &jobs.Error{Code: jobs.Conflict, Op: "release", Subject: "launches", Message: "they are not held", Hint: "tidemill framework show says why else tasks wait"}
	}
	c.meta.Hold = nil
	c.holding.set(c.now, false)
	c.wantRevive = true
	c.touch(&c.meta)
	c.notify(jobs.Notice{Type: "hold", State: "released", Reason: reason})
	return nil
}
