package match

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tidemill/jobs"
)

// Constraints are a job's, compiled once a run. Fixed ones hold or not by the
// agent alone; counted ones by where the run's other tasks are, as Marathon
// defines them. A nil one allows everything.
type Constraints struct {
	key            string // the same for the same constraints
	fixed, counted []rule
}

type rule struct {
	jobs.Constraint
	pattern *regexp.Regexp // of the whole value: LIKE and UNLIKE
	number  int            // of MAX_PER, and the least number of groups of GROUP_BY
}

// Compile makes constraints ready that were validated at the door. One that
// cannot be read all the same allows no agent.
func Compile(list []jobs.Constraint) *Constraints {
	if len(list) == 0 {
		return nil
	}
	c := &Constraints{key: fmt.Sprintf("%q", list)}
	for _, constraint := range list {
		r := rule{Constraint: constraint}
		switch constraint.Operator {
		case jobs.Like, jobs.Unlike:
			r.pattern, _ = regexp.Compile(`^(?:` + constraint.Value + `)$`)
		case jobs.MaxPer, jobs.GroupBy:
			r.number, _ = strconv.Atoi(constraint.Value)
		}
		if constraint.Counted() {
			c.counted = append(c.counted, r)
		} else {
			c.fixed = append(c.fixed, r)
		}
	}
	return c
}

// Counted says whether where the run's tasks are matters.
func (c *Constraints) Counted() bool { return c != nil && len(c.counted) > 0 }

// Shown is what an offer's agent shows of the fields that are counted by; it
// is remembered with the task, since later offers may be of other agents.
func (c *Constraints) Shown(o *jobs.Offer) map[string]string {
	if !c.Counted() {
		return nil
	}
	shown := map[string]string{}
	for i := range c.counted {
		if v, ok := o.Attribute(c.counted[i].Field); ok {
			shown[c.counted[i].Field] = v
		}
	}
	return shown
}

// Tally counts a run's tasks by field and value. A nil one is of none.
type Tally struct{ counts map[string]map[string]int }

// Add counts a task in.
func (t *Tally) Add(shown map[string]string) {
	for field, value := range shown {
		if t.counts == nil {
			t.counts = map[string]map[string]int{}
		}
		if t.counts[field] == nil {
			t.counts[field] = map[string]int{}
		}
		t.counts[field][value]++
	}
}

func (t *Tally) of(field string) map[string]int {
	if t == nil {
		return nil
	}
	return t.counts[field]
}

// Suits says whether the fixed constraints hold for an offer's agent.
func (c *Constraints) Suits(o *jobs.Offer) bool {
	if c == nil {
		return true
	}
	for i := range c.fixed {
		if !c.fixed[i].suits(o) {
			return false
		}
	}
	return true
}

// spreads says whether the counted constraints hold with one task more there.
func (c *Constraints) spreads(o *jobs.Offer, placed *Tally) bool {
	if c == nil {
		return true
	}
	for i := range c.counted {
		if !c.counted[i].spreads(o, placed) {
			return false
		}
	}
	return true
}

func (r *rule) suits(o *jobs.Offer) bool {
	v, ok := o.Attribute(r.Field)
	switch r.Operator {
	case jobs.Equals:
		return ok && v == r.Value
	case jobs.Like:
		return ok && r.pattern != nil && r.pattern.MatchString(v)
	case jobs.Unlike:
		return r.pattern != nil && (!ok || !r.pattern.MatchString(v))
	}
	return false
}

func (r *rule) spreads(o *jobs.Offer, placed *Tally) bool {
	v, ok := o.Attribute(r.Field)
	if !ok {
		return false
	}
	counts := placed.of(r.Field)
	switch r.Operator {
	case jobs.Unique:
		return counts[v] == 0
	case jobs.MaxPer:
		return counts[v] < r.number
	case jobs.Cluster:
		return (r.Value == "" || r.Value == v) && len(counts) == 0 || len(counts) == 1 && counts[v] > 0
	case jobs.GroupBy: // into a group of its own, or the smallest where there are enough
		return counts[v] == 0 || len(counts) >= r.number && counts[v] == slices.Min(slices.Collect(maps.Values(counts)))
	}
	return false
}

// violated is the first constraint that an offer does not meet, and in which way.
func (c *Constraints) violated(o *jobs.Offer, placed *Tally) (text string, ok bool) {
	if c == nil {
		return "", false
	}
	for i := range c.fixed {
		if r := &c.fixed[i]; !r.suits(o) {
			return fmt.Sprintf("constraint %s (the agent has %s)", r, shown(o, r.Field)), true
		}
	}
	for i := range c.counted {
		if r := &c.counted[i]; !r.spreads(o, placed) {
			return fmt.Sprintf("constraint %s (the agent has %s; the run's tasks: %s)", r, shown(o, r.Field), spreadOf(placed.of(r.Field))), true
		}
	}
	return "", false
}

func shown(o *jobs.Offer, field string) string {
	if v, ok := o.Attribute(field); ok {
		return v
	}
	return "nothing"
}

// maxShown bounds how many values a reason names.
const maxShown = 5

// spreadOf writes counts as "a 2, b 1".
func spreadOf(counts map[string]int) string {
	var parts []string
	for _, v := range slices.Sorted(maps.Keys(counts)) {
		if len(parts) == maxShown {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, fmt.Sprintf("%s %d", v, counts[v]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
