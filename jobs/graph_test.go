package jobs

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func scheduled(name Name, cron string) Job {
	j := Job{Name: name, Schedule: &Schedule{}}
	j.Schedule.Cron = []string{cron}
	return j
}

func TestGraphRefusesUnknownParentsAndCycles(t *testing.T) {
	g := NewGraph()
	for _, j := range []Job{scheduled("a", "@daily"), {Name: "b", After: []Name{"a"}}, {Name: "c", After: []Name{"b"}}} {
		if err := g.Check(j); err != nil {
			t.Fatalf("%s: %v", j.Name, err)
		}
		g.Put(j)
	}
	for want, j := range map[string]Job{
		`after[1]: no job is named "x"`: {Name: "d", After: []Name{"a", "x"}},
		"after: makes a cycle: a -> b":  {Name: "a", After: []Name{"c"}},
	} {
		if err := g.Check(j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s after %v: %v, want %q", j.Name, j.After, err, want)
		}
	}
}

func TestSameInstants(t *testing.T) {
	g := NewGraph()
	for _, j := range []Job{
		scheduled("a", "@hourly"), scheduled("same", "@hourly"), scheduled("other", "@daily"),
		{Name: "b", After: []Name{"a"}}, {Name: "c", After: []Name{"a"}},
		{Name: "diamond", After: []Name{"b", "c"}}, {Name: "two", After: []Name{"a", "same"}},
		{Name: "mixed", After: []Name{"b", "other"}}, {Name: "below", After: []Name{"mixed", "a"}},
	} {
		g.Put(j)
	}
	for name, want := range map[Name]bool{"b": true, "diamond": true, "two": true, "mixed": false, "below": false} {
		if got := g.SameInstants(name); got != want {
			t.Errorf("SameInstants(%s) = %t, want %t", name, got, want)
		}
	}
}

// TestOrdered: whatever graph is drawn, parents come before children.
func TestOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		list := make([]Job, n)
		for i := range list {
			list[i].Name = Name(rune('a' + i))
			for p := range i {
				if rapid.Bool().Draw(t, "edge") {
					list[i].After = append(list[i].After, Name(rune('a'+p)))
				}
			}
		}
		shuffled := rapid.Permutation(list).Draw(t, "order")
		out := Ordered(shuffled)
		if len(out) != n {
			t.Fatalf("%d jobs became %d", n, len(out))
		}
		for i, j := range out {
			for _, p := range j.After {
				if at := slices.IndexFunc(out, func(o Job) bool { return o.Name == p }); at >= i {
					t.Fatalf("%s comes before its parent %s", j.Name, p)
				}
			}
		}
	})
}

func TestRemovedJobLeavesItsParents(t *testing.T) {
	g := NewGraph()
	g.Put(scheduled("a", "@daily"))
	g.Put(Job{Name: "b", After: []Name{"a"}})
	g.Remove("b")
	if kids := g.Children("a"); len(kids) != 0 {
		t.Errorf("children of a: %v", kids)
	}
	if g.Has("b") {
		t.Error("b is still there")
	}
}
