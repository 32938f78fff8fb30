package faults

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"tidemill/jobs"
)

// Verdict is what Check finds.
type Verdict struct {
	Total int // targets that were due before the end
	Owed  int
	Ran   int // matched with a complete run of their own
	// The counts of the promise: all must be zero.
	Missed, Doubled, Overlaps, Early, Orphans, Lost int
	// Excused are doubles and overlaps of attempts that were recorded unknown before the later one's
	// launch, or targets that wait behind an unknown run, as the pass's policy says.
	Excused int
	// Struck are targets whose run the faults themselves killed: they are not owed.
	Struck   int
	Findings []Finding
}

// Finding is one violation, or one excuse.
type Finding struct {
	Kind string // missed, doubled, …, excused
	Text string
}

// Good says whether the promise was kept, by a run that tried it: one with fewer than half of its
// targets owed proves little.
func (v *Verdict) Good() bool {
	return v.Missed+v.Doubled+v.Overlaps+v.Early+v.Orphans+v.Lost == 0 && v.Tried()
}

// Tried says whether at least half of the targets were owed.
func (v *Verdict) Tried() bool { return v.Total > 0 && 2*v.Owed >= v.Total }

// Add sums verdicts up.
func (v *Verdict) Add(w *Verdict) {
	v.Total, v.Owed, v.Ran, v.Struck, v.Excused = v.Total+w.Total, v.Owed+w.Owed, v.Ran+w.Ran, v.Struck+w.Struck, v.Excused+w.Excused
	v.Missed, v.Doubled, v.Overlaps = v.Missed+w.Missed, v.Doubled+w.Doubled, v.Overlaps+w.Overlaps
	v.Early, v.Orphans, v.Lost = v.Early+w.Early, v.Orphans+w.Orphans, v.Lost+w.Lost
	v.Findings = append(v.Findings, w.Findings...)
}

func (v *Verdict) String() string {
	return fmt.Sprintf("missed %d, doubled %d, overlaps %d, early %d, orphans %d, lost %d of %d targets",
		v.Missed, v.Doubled, v.Overlaps, v.Early, v.Orphans, v.Lost, v.Total)
}

func (v *Verdict) find(count *int, kind, format string, args ...any) {
	*count++
	v.Findings = append(v.Findings, Finding{kind, fmt.Sprintf(format, args...)})
}

// check is a history with what is derived from it.
type check struct {
	*History
	Verdict
	timeline *timeline
	byJob    map[jobs.Name][]*Attempt // by their starts
	known    map[jobs.TaskID]*known
}

// known is an attempt as the scheduler recorded it.
type known struct {
	task jobs.Task
	live bool // neither it nor its run is over
}

// Check judges a history.
func Check(h *History) Verdict {
	c := &check{
		History: h, timeline: newTimeline(h.Pass.Hosts, h.Events),
		byJob: map[jobs.Name][]*Attempt{}, known: map[jobs.TaskID]*known{},
	}
	for i := range h.Attempts {
		a := &h.Attempts[i]
		c.byJob[a.Job] = append(c.byJob[a.Job], a)
	}
	for _, list := range c.byJob {
		slices.SortFunc(list, func(a, b *Attempt) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Task, b.Task)) })
	}
	for _, r := range h.Records {
		c.learn(r)
	}
	c.targets()
	for _, job := range slices.Sorted(maps.Keys(c.byJob)) {
		c.pairs(job)
	}
	c.early()
	c.orphans()
	c.children()
	return c.Verdict
}

func (c *check) learn(r *Record) {
	for i := range r.Runs {
		run := &r.Runs[i]
		attempts := run.Attempts
		for _, t := range run.Tasks {
			attempts = append(attempts, t.Task)
		}
		for _, t := range attempts {
			c.known[t.ID] = &known{task: t, live: !run.State.Final() && !t.State.Final()}
		}
	}
}

// window is when a target may start; clocks that were off widen it.
type window struct {
	target   *Target
	from, to time.Time
	owed     bool
	run      *Attempt
}

// targets matches each target with a complete run of its own that started in its window.
func (c *check) targets() {
	byJob := map[jobs.Name][]*window{}
	for i := range c.Targets {
		t := &c.Targets[i]
		if t.Parent != "" || !t.At.Add(t.Epsilon+t.Duration+c.Pass.Slack).Before(c.Read) {
			continue
		}
		byJob[t.Job] = append(byJob[t.Job], c.windowOf(t))
	}
	for _, job := range slices.Sorted(maps.Keys(byJob)) {
		windows := byJob[job]
		assign(windows, c.byJob[job])
		for _, w := range windows {
			c.weigh(w)
		}
	}
}

func (c *check) windowOf(t *Target) *window {
	end := t.At.Add(t.Epsilon + c.Pass.Slack)
	by := c.timeline.offsetWithin(t.At, end)
	return &window{
		target: t, from: t.At.Add(-by), to: end.Add(by),
		owed: c.timeline.wholeFor(c.Pass.Times.Recovery(), t.At, end),
	}
}

// assign gives each run to the window that ends first of those it started in: no other assignment
// serves more windows. Windows of targets that are owed are served before the others, which clocks
// that were off let them overlap.
func assign(windows []*window, attempts []*Attempt) {
	taken := map[*Attempt]bool{}
	for _, owed := range []bool{true, false} {
		for _, a := range attempts {
			if !a.Complete() || taken[a] {
				continue
			}
			var best *window
			for _, w := range windows {
				if w.owed == owed && w.run == nil && !a.Start.Before(w.from) && !a.Start.After(w.to) && (best == nil || w.to.Before(best.to)) {
					best = w
				}
			}
			if best != nil {
				best.run, taken[a] = a, true
			}
		}
	}
}

// weigh judges one target.
func (c *check) weigh(w *window) {
	c.Total++
	struck := w.run == nil && c.struck(w)
	if struck {
		c.Struck++
	}
	if w.owed && !struck {
		c.Owed++
		switch {
		case w.run != nil:
			c.Ran++
		case c.Pass.Policy == jobs.UnknownWait && c.behindUnknown(w.target):
			c.find(&c.Excused, "excused", "%s waits behind a run of its job whose outcome is unknown", w.target)
		default:
			c.find(&c.Missed, "missed", "%s was owed and did not run in its window; %s", w.target, c.account(w.target))
		}
		return
	}
	if w.run != nil {
		c.Ran++
		return
	}
	if !c.ranEver(w.target.Job, w.target.At) && !c.recorded(w.target.Job, w.target.At) {
		c.find(&c.Lost, "lost", "%s neither ran nor is recorded", w.target)
	}
}

func (t *Target) String() string {
	return fmt.Sprintf("%s due at %s (epsilon %s, duration %s)", t.Job, clock(t.At), t.Epsilon, t.Duration)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// struck says whether the target's work began in time and was killed by a fault.
func (c *check) struck(w *window) bool {
	return slices.ContainsFunc(c.byJob[w.target.Job], func(a *Attempt) bool {
		return a.Nominal.Equal(w.target.At) && !a.Start.Before(w.from) && !a.Start.After(w.to) && !a.Complete() && c.killed(a)
	})
}

// killed says whether a fault killed the work on the attempt's host while it was at it.
func (c *check) killed(a *Attempt) bool {
	return slices.ContainsFunc(c.Events, func(e Event) bool {
		return e.Kind == Strike && e.Host == a.Host && !e.At.Before(a.Start) && e.At.Sub(a.Seen) < beatSlack
	})
}

// beatSlack is how far the last sign of life may lie behind what ended it.
const beatSlack = 5 * beat

func (c *check) ranEver(job jobs.Name, nominal time.Time) bool {
	return slices.ContainsFunc(c.byJob[job], func(a *Attempt) bool { return a.Nominal.Equal(nominal) && a.Complete() })
}

// recorded says whether the scheduler accounts for an instant.
func (c *check) recorded(job jobs.Name, nominal time.Time) bool {
	r := c.Records[job]
	if r == nil {
		return false
	}
	return slices.ContainsFunc(r.Runs, func(run jobs.RunView) bool { return run.Nominal.Equal(nominal) }) ||
		slices.ContainsFunc(r.Job.Skipped, func(s jobs.SkippedRange) bool { return !nominal.Before(s.From) && !nominal.After(s.To) })
}

// behindUnknown says whether a run of the job from before the target, or the target's own, is held
// open by an attempt that is unknown.
func (c *check) behindUnknown(t *Target) bool {
	r := c.Records[t.Job]
	return r != nil && slices.ContainsFunc(r.Runs, func(run jobs.RunView) bool {
		return !run.Nominal.After(t.At) && slices.ContainsFunc(run.Tasks, wasUnknown) ||
			!run.Nominal.After(t.At) && slices.ContainsFunc(run.Attempts, func(a jobs.Task) bool {
				return !a.UnknownSince.IsZero() && (a.Ended.IsZero() || a.Ended.After(t.At))
			})
	})
}

func wasUnknown(t jobs.TaskView) bool { return !t.UnknownSince.IsZero() }

// account says what is known of a target, for whoever looks for the mistake.
func (c *check) account(t *Target) string {
	text := "no run of it is recorded"
	if r := c.Records[t.Job]; r != nil {
		for _, run := range r.Runs {
			if run.Nominal.Equal(t.At) {
				text = fmt.Sprintf("run %s is %s", run.ID, run.State)
				if run.Reason != "" {
					text += ": " + run.Reason
				}
			}
		}
	}
	for _, a := range c.byJob[t.Job] {
		if a.Nominal.Equal(t.At) {
			text += "; " + a.String()
		}
	}
	return text
}

func (a *Attempt) String() string {
	end := "was last seen at work at " + clock(a.Seen)
	if a.Complete() {
		end = "ended at " + clock(a.End)
	}
	return fmt.Sprintf("%s on %s started at %s and %s", a.Task, a.Host, clock(a.Start), end)
}
