package sim

import (
	"slices"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// An offer is answered within promptly while nobody that its leader waits for
// takes longer than usual: the store, the master, or the leader's own machine.
const (
	promptly = time.Second
	usual    = 100 * time.Millisecond
)

// wait is one for an answer, which may be asked for again and again.
type wait struct {
	on    bool
	since time.Duration
}

func (d *wait) begin(w *world) { d.on, d.since = true, w.now }

func (d *wait) long(w *world) bool { return d.on && w.now-d.since > usual }

// waited ends a wait.
func (l *leader) waited(d *wait) {
	if d.long(l.w) {
		l.hindered = l.w.now
	}
	d.on = false
}

// offersOf are those that a call answers.
func offersOf(call scheduler.Call) []string {
	switch c := call.(type) {
	case scheduler.Accept:
		return c.Offers
	case scheduler.Decline:
		return c.Offers
	}
	return nil
}

// heard: what offers a leader hears of it answers soon.
func (m *model) heard(l *leader, s *stream, offers []jobs.Offer) {
	m.w.after(promptly, func() { m.checkPrompt(l, s, m.w.now-promptly, offers) })
}

// checkPrompt looks at offers that came at a time, as long as their
// subscription lasts and something is in the way of their answer.
func (m *model) checkPrompt(l *leader, s *stream, came time.Duration, offers []jobs.Offer) {
	late := slices.IndexFunc(offers, func(o jobs.Offer) bool { return !s.left[o.ID] })
	if l.over || l.open != s || late < 0 {
		return
	}
	free := max(came, l.hindered)
	if l.p.stalled || l.writing.long(m.w) || l.calling.long(m.w) {
		free = m.w.now
	}
	if rest := free + promptly - m.w.now; rest > 0 {
		m.w.after(rest, func() { m.checkPrompt(l, s, came, offers) })
		return
	}
	m.violate("offer %s came %s ago, and is not answered yet", offers[late].ID, m.w.now-came)
}
