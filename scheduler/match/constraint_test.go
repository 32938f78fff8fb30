package match

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tidemill/jobs"
)

func one(field, operator, value string) *Constraints {
	return Compile([]jobs.Constraint{{Field: field, Operator: operator, Value: value}})
}

func TestFixedConstraints(t *testing.T) {
	o := &jobs.Offer{Hostname: "agent-7", Region: "eu", Attributes: map[string]string{"rack": "r12"}}
	for _, c := range []struct {
		field, operator, value string
		want                   bool
	}{
		{"rack", jobs.Like, "r[12]+", true},
		{"rack", jobs.Like, "r1", false}, // not the whole value
		{"rack", jobs.Unlike, "r1", true},
		{"rack", jobs.Equals, "r12", true},
		{"hostname", jobs.Like, "agent-.*", true},
		{"@region", jobs.Equals, "eu", true},
		{"@zone", jobs.Equals, "a", false},
		{"gpu", jobs.Unlike, "yes", true},
		{"gpu", jobs.Equals, "yes", false},
		{"rack", jobs.Like, "(", false}, // the door would have refused it
	} {
		if got := one(c.field, c.operator, c.value).Suits(o); got != c.want {
			t.Errorf("%s %s %s allows the agent: %t, want %t", c.field, c.operator, c.value, got, c.want)
		}
	}
}

// TestCountedConstraints: each place is one of the run's tasks, in rack a, b
// or c; the offers are of the racks in turn, one with none.
func TestCountedConstraints(t *testing.T) {
	for _, c := range []struct {
		operator, value string
		placed          string
		want            string // the racks that may take another
	}{
		{jobs.Unique, "", "", "abc"},
		{jobs.Unique, "", "a", "bc"},
		{jobs.Unique, "", "abc", ""},
		{jobs.MaxPer, "2", "aab", "bc"},
		{jobs.MaxPer, "2", "aabbcc", ""},
		{jobs.Cluster, "", "", "abc"},
		{jobs.Cluster, "", "bb", "b"},
		{jobs.Cluster, "b", "", "b"},
		{jobs.GroupBy, "", "", "abc"},
		{jobs.GroupBy, "", "a", "abc"}, // one group is enough: only a is known of
		{jobs.GroupBy, "", "aab", "bc"},
		{jobs.GroupBy, "", "aabbc", "c"},
		{jobs.GroupBy, "3", "a", "bc"},
		{jobs.GroupBy, "3", "ab", "c"},
		{jobs.GroupBy, "3", "abc", "abc"},
		{jobs.GroupBy, "4", "abc", ""}, // a fourth is to be found first
	} {
		constraints, placed := one("rack", c.operator, c.value), &Tally{}
		for _, rack := range c.placed {
			placed.Add(map[string]string{"rack": string(rack)})
		}
		got := ""
		for _, rack := range "abc" {
			o := offer("h", 1, "rack:"+string(rack))
			if constraints.spreads(&o, placed) {
				got += string(rack)
			}
		}
		if got != c.want {
			t.Errorf("%s %s with tasks in %q: %q may take another, want %q", c.operator, c.value, c.placed, got, c.want)
		}
		if bare := offer("h", 1); constraints.spreads(&bare, placed) {
			t.Errorf("%s allows an agent that shows no rack", c.operator)
		}
	}
}

// TestCountedConstraintsHoldWithinARound: whatever is offered, the places of
// one round together meet the constraint, and none is left that would.
func TestCountedConstraintsHoldWithinARound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		operator := rapid.SampledFrom([]string{jobs.Unique, jobs.MaxPer, jobs.Cluster, jobs.GroupBy}).Draw(t, "operator")
		value := ""
		if operator == jobs.MaxPer {
			value = "2"
		}
		var offers []jobs.Offer
		for i := range rapid.IntRange(1, 8).Draw(t, "offers") {
			rack := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "rack")
			offers = append(offers, offer(fmt.Sprint("h", i), float64(rapid.IntRange(0, 3).Draw(t, "cpus")), "rack:"+rack))
		}
		constraints, placed := one("rack", operator, value), &Tally{}
		task := Task{Need: jobs.Resources{CPUs: 1}, Constraints: constraints, Run: "run", Placed: placed}
		if rapid.Bool().Draw(t, "hosts") {
			task.Hosts = []string{"h0", "h1"}
		}
		r := NewRound(start, offers)
		for range rapid.IntRange(1, 12).Draw(t, "tasks") {
			p, ok := r.Place(&task)
			if !ok {
				if text := fmt.Sprint(r.Explain(&task)); text == "[]" {
					t.Fatal("nothing is said of why it waits")
				}
				for i := range offers {
					if task.Hosts == nil && r.fits(&task, i) && r.allows(&task, i) {
						t.Fatalf("%s: offer %d would do, and is not taken", operator, i)
					}
				}
				break
			}
			placed.Add(constraints.Shown(&offers[p.Offer]))
			counts := placed.of("rack")
			highest := 0
			for _, n := range counts {
				highest = max(highest, n)
			}
			if operator == jobs.Unique && highest > 1 || operator == jobs.MaxPer && highest > 2 || operator == jobs.Cluster && len(counts) > 1 {
				t.Fatalf("%s: the tasks lie %v", operator, counts)
			}
		}
	})
}

func TestCountedConstraintsAreExplained(t *testing.T) {
	placed := &Tally{}
	placed.Add(map[string]string{"hostname": "h1"})
	task := Task{Need: jobs.Resources{CPUs: 1}, Constraints: one("hostname", jobs.Unique, ""), Run: "run", Placed: placed}
	r := NewRound(start, []jobs.Offer{offer("h1", 8)})
	if p, ok := r.Place(&task); ok {
		t.Fatalf("placed at %+v", p)
	}
	if text := fmt.Sprint(r.Explain(&task)); !strings.Contains(text, "hostname UNIQUE (the agent has h1; the run's tasks: h1 1)") {
		t.Errorf("the reasons are %s", text)
	}
}
