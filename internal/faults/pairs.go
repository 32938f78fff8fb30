package faults

import (
	"maps"
	"slices"
	"time"

	"tidemill/jobs"
)

// pairs judges each two attempts of a job: those of one instant must not double each other, those
// of several must not overlap.
func (c *check) pairs(job jobs.Name) {
	list := c.byJob[job]
	for i, former := range list {
		for _, later := range list[i+1:] {
			same := former.Nominal.Equal(later.Nominal)
			atOnce := later.Start.Before(former.Last())
			again := former.Complete() && !later.Start.Before(former.End)
			switch {
			case same && (atOnce || again) && c.excuses(former, later):
				c.find(&c.Excused, "excused", "doubled, after the former was recorded unknown: %s; %s", former, later)
			case same && (atOnce || again):
				c.find(&c.Doubled, "doubled", "%s; %s", former, later)
			case !same && atOnce && c.excuses(former, later):
				c.find(&c.Excused, "excused", "overlap, after the former was recorded unknown: %s; %s", former, later)
			case !same && atOnce:
				c.find(&c.Overlaps, "overlap", "%s; %s", former, later)
			}
		}
	}
}

// excuses says whether the former attempt was recorded unknown before the later one's launch,
// which only a job that does not wait allows.
func (c *check) excuses(former, later *Attempt) bool {
	if c.Pass.Policy != jobs.UnknownRetry {
		return false
	}
	f, l := c.known[former.Task], c.known[later.Task]
	return f != nil && l != nil && !f.task.UnknownSince.IsZero() && !f.task.UnknownSince.After(l.task.Launched)
}

// early finds work that began before its time.
func (c *check) early() {
	for _, a := range c.byStart() {
		if !a.Start.Before(a.Nominal) {
			continue
		}
		if by := c.timeline.offsetWithin(a.Start, a.Nominal); a.Start.Add(by).Before(a.Nominal) {
			c.find(&c.Early, "early", "%s, %s before its instant", a, a.Nominal.Sub(a.Start).Round(time.Millisecond))
		}
	}
}

func (c *check) byStart() []*Attempt {
	var all []*Attempt
	for _, job := range slices.Sorted(maps.Keys(c.byJob)) {
		all = append(all, c.byJob[job]...)
	}
	return all
}

// orphans finds work that the scheduler does not know, or does not know to be at work.
func (c *check) orphans() {
	for _, a := range c.byStart() {
		k := c.known[a.Task]
		switch {
		case k == nil && a.Start.After(c.Read.Add(-readWithin)): // it began while the records were read
		case k == nil:
			c.find(&c.Orphans, "orphan", "the scheduler has no record of %s", a)
		case !a.Complete() && a.Seen.After(c.Read) && !k.live:
			c.find(&c.Orphans, "orphan", "%s is still at work, and its record says %s", a, k.task.State)
		}
	}
}

// children judges the jobs that follow others: none before its parent, and none forgotten.
func (c *check) children() {
	for i := range c.Targets {
		t := &c.Targets[i]
		if t.Parent == "" {
			continue
		}
		for _, a := range c.byJob[t.Job] {
			if !slices.ContainsFunc(c.byJob[t.Parent], func(p *Attempt) bool {
				return p.Nominal.Equal(a.Nominal) && p.Complete() && !p.End.After(a.Start)
			}) {
				c.find(&c.Early, "early", "%s, before a run of its parent %s had succeeded", a, t.Parent)
			}
		}
		c.forgotten(t)
	}
}

// forgotten finds instants of a parent that ran long enough ago, and of which its child knows nothing.
func (c *check) forgotten(child *Target) {
	for _, p := range c.byJob[child.Parent] {
		if !p.Complete() || c.Read.Sub(p.End) < c.Pass.Times.Recovery() || !c.succeeded(p) {
			continue
		}
		if c.Pass.Policy == jobs.UnknownWait && c.behindUnknown(&Target{Job: child.Parent, At: p.Nominal}) {
			continue // the parent's run is open
		}
		if !c.ranEver(child.Job, p.Nominal) && !c.recorded(child.Job, p.Nominal) {
			c.find(&c.Lost, "lost", "%s of %s neither ran nor is recorded, although its parent did: %s", child.Job, clock(p.Nominal), p)
		}
	}
}

// succeeded says whether the scheduler knows of the attempt's success.
func (c *check) succeeded(a *Attempt) bool {
	k := c.known[a.Task]
	return k != nil && k.task.State == jobs.AttemptSucceeded
}
