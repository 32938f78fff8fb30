package match

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
)

// shape is what tasks have in common that fit the same offers: thousands of
// waiting tasks are of a few shapes, so that a round costs what it places.
type shape struct {
	need        jobs.Resources
	shared      bool
	share       jobs.Resources
	near        bool
	constraints string
	run         string
	lasts       time.Duration
}

func shapeKey(t *Task) shape {
	key := shape{
		need: t.Need, shared: t.Executor.Shared, share: t.Executor.Resources, near: t.Near == jobs.NearCassandra, run: t.Run, lasts: t.Lasts,
	}
	if t.Constraints != nil {
		key.constraints = t.Constraints.key
	}
	return key
}

// tiers of a shape's candidates, in the order they are taken.
const (
	besideWarm = iota
	besideCold
	elsewhereWarm
	elsewhereCold
	tierCount
)

// candidates are the offers that may still take a task of one shape. Each
// tier is gone through in turn, so that work is spread.
type candidates struct {
	tiers [tierCount][]int
	turn  [tierCount]int
}

func (r *Round) shapeOf(t *Task) *candidates {
	key := shapeKey(t)
	c, ok := r.shapes[key]
	if ok {
		return c
	}
	c = &candidates{}
	for i := range r.offers {
		if !r.suits(t, i) {
			continue
		}
		tier := elsewhereWarm
		if _, beside := cassandraOf(&r.offers[i]); beside && key.near {
			tier = besideWarm
		}
		if !t.Executor.Shared || !r.warm[i] {
			tier++
		}
		c.tiers[tier] = append(c.tiers[tier], i)
	}
	r.shapes[key] = c
	return c
}

// next is the candidate whose turn it is, or -1. Offers only shrink during a
// round: one that no longer fits is dropped for good.
func (c *candidates) next(r *Round, t *Task, besideOnly, avoiding bool) int {
	last := tierCount
	if besideOnly {
		last = elsewhereWarm
	}
	for tier := range last {
		passed := 0
		for len(c.tiers[tier]) > passed {
			list := c.tiers[tier]
			at := c.turn[tier] % len(list)
			i := list[at]
			switch {
			case !r.fits(t, i):
				c.tiers[tier], c.turn[tier] = slices.Delete(list, at, at+1), at
			case avoiding && r.offers[i].AgentID == t.Avoid, !t.Constraints.spreads(&r.offers[i], t.Placed):
				passed++
				c.turn[tier] = at + 1
			default:
				c.turn[tier] = at + 1
				return i
			}
		}
	}
	return -1
}

// Class is what tasks have in common of which, in one round, the younger
// finds no place where the older found none. Tasks that want places of their
// own are Individual.
type Class struct {
	shape
	Individual bool
	wait       time.Duration
}

// ClassOf is a task's class.
func ClassOf(t *Task) Class {
	if len(t.Hosts) > 0 || t.Avoid != "" {
		return Class{Individual: true}
	}
	return Class{shape: shapeKey(t), wait: t.Wait}
}

// Widens is when a task that was not placed will take a worse place than
// now; zero where it would already take any.
func (r *Round) Widens(t *Task) time.Time {
	_, at := widest(t, levels(t), r.now)
	if until, ok := r.avoids(t); ok && (at.IsZero() || until.Before(at)) {
		at = until
	}
	return at
}

// avoids says until when the agent of the last failure is not taken.
func (r *Round) avoids(t *Task) (time.Time, bool) {
	until := t.Since.Add(t.Wait)
	return until, t.Avoid != "" && r.now.Before(until)
}

// Explain says why a task was not placed.
func (r *Round) Explain(t *Task) []jobs.Refusal {
	out := slices.Clone(r.shapeRefusals(t))
	all := levels(t)
	if allowed, widens := widest(t, all, r.now); !widens.IsZero() {
		out = append(out, jobs.Refusal{
			Code:    "locality",
			Message: fmt.Sprintf("waiting %s more for an offer nearer than %s (%s)", seconds(widens.Sub(r.now)), all[allowed+1], wanted(t)),
			Until:   widens,
		})
	}
	if until, ok := r.avoids(t); ok {
		out = append(out, jobs.Refusal{Code: "avoided", Message: "another agent than the one it failed on is preferred", Until: until})
	}
	return out
}

func wanted(t *Task) string {
	if len(t.Hosts) > 0 {
		return "replicas on " + strings.Join(t.Hosts, ", ")
	}
	return "an agent beside " + t.Near
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// maxReasons bounds in how many ways a reason says that constraints were not met.
const maxReasons = 10

// shapeRefusals counts, once a shape and round, what stood against it in how
// many offers.
func (r *Round) shapeRefusals(t *Task) []jobs.Refusal {
	key := shapeKey(t)
	if why, ok := r.why[key]; ok {
		return why
	}
	counts := map[string]int{}
	var order []string
	say := func(text string) {
		if counts[text] == 0 && len(order) >= maxReasons {
			text = "constraints, in other ways"
		}
		if counts[text] == 0 {
			order = append(order, text)
		}
		counts[text]++
	}
	var nearest []string // the smallest shortage
	short := 0
	var why []jobs.Refusal
	for i := range r.offers {
		if closed, ok := r.closed[i]; ok {
			if len(why) < maxReasons {
				why = append(why, closed)
			}
			continue
		}
		if away := r.offers[i].Away; !away.Allows(r.now, t.Lasts) {
			if len(why) < maxReasons {
				why = append(why, jobs.Refusal{Code: "maintenance", Message: fmt.Sprintf("agent %s is unavailable %s, and it may not end before", r.offers[i].Hostname, away)})
			}
			continue
		}
		if text, ok := t.Constraints.violated(&r.offers[i], t.Placed); ok {
			say(text)
			continue
		}
		if lack := r.need(t, i).Short(r.free[i]); len(lack) > 0 {
			short++
			if nearest == nil || len(lack) < len(nearest) {
				nearest = lack
			}
		}
	}
	if short > 0 {
		why = append(why, jobs.Refusal{Code: "resources", Message: strings.Join(nearest, ", "), Count: short})
	}
	for _, text := range order {
		why = append(why, jobs.Refusal{Code: "constraint", Message: text, Count: counts[text]})
	}
	r.why[key] = why
	return why
}
