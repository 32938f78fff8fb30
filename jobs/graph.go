package jobs

import (
	"fmt"
	"slices"
	"strings"
)

// Graph is jobs and their "after" edges.
type Graph struct {
	parents  map[Name][]Name
	children map[Name][]Name
	root     map[Name]*Schedule // of scheduled jobs; nobody changes one in place
}

// NewGraph makes an empty graph.
func NewGraph() *Graph {
	return &Graph{parents: map[Name][]Name{}, children: map[Name][]Name{}, root: map[Name]*Schedule{}}
}

// Has says whether the job is in the graph.
func (g *Graph) Has(n Name) bool { _, ok := g.parents[n]; return ok }

// Parents are a job's parents, as it names them.
func (g *Graph) Parents(n Name) []Name { return g.parents[n] }

// Children are the jobs that come after n, sorted.
func (g *Graph) Children(n Name) []Name { return g.children[n] }

// Check says why the job cannot be put: an unknown parent, or a cycle.
func (g *Graph) Check(j Job) error {
	var e FieldErrors
	for i, p := range j.After {
		if !g.Has(p) && p != j.Name {
			e.Addf(fmt.Sprintf("after[%d]", i), "no job is named %q; apply the parent first, or both together", p)
		}
	}
	if len(e) == 0 {
		if path := g.pathUp(j.After, j.Name); path != nil {
			e.Addf("after", "makes a cycle: %s", strings.Join(asStrings(append(path, path[0])), " -> "))
		}
	}
	return e.Err()
}

// pathUp finds a way from the given parents up to the goal, as a chain of
// jobs that starts at the goal and in which each comes before the next.
func (g *Graph) pathUp(from []Name, goal Name) []Name {
	seen := map[Name]bool{}
	var up func(n Name) []Name
	up = func(n Name) []Name {
		if n == goal {
			return []Name{goal}
		}
		if seen[n] {
			return nil
		}
		seen[n] = true
		for _, p := range g.parents[n] {
			if path := up(p); path != nil {
				return append(path, n)
			}
		}
		return nil
	}
	for _, p := range from {
		if path := up(p); path != nil {
			return path
		}
	}
	return nil
}

// Put adds a job or replaces its edges.
func (g *Graph) Put(j Job) {
	g.unlink(j.Name)
	g.parents[j.Name] = slices.Clone(j.After)
	for _, p := range j.After {
		kids := append(g.children[p], j.Name)
		slices.Sort(kids)
		g.children[p] = slices.Compact(kids)
	}
	delete(g.root, j.Name)
	if j.Schedule != nil {
		g.root[j.Name] = j.Schedule
	}
}

// Remove takes a job out. Its children keep naming it.
func (g *Graph) Remove(n Name) {
	g.unlink(n)
	delete(g.parents, n)
	delete(g.root, n)
}

func (g *Graph) unlink(n Name) {
	for _, p := range g.parents[n] {
		if i := slices.Index(g.children[p], n); i >= 0 {
			g.children[p] = slices.Delete(slices.Clone(g.children[p]), i, i+1)
		}
	}
}

// SameInstants says whether all parents of a job follow one schedule, so that
// a child's run is for one nominal instant of all of them. Otherwise
// Chronos's rule holds: all parents since the child's last run.
func (g *Graph) SameInstants(n Name) bool {
	ps := g.parents[n]
	for _, p := range ps[min(1, len(ps)):] {
		if g.Root(p) != g.Root(ps[0]) {
			return false
		}
	}
	return true
}

// Root is what a job's instants come from: its own schedule, its parents'
// where they share one, else itself.
func (g *Graph) Root(n Name) string {
	if s, ok := g.root[n]; ok {
		return s.Fingerprint()
	}
	ps := g.parents[n]
	if len(ps) == 0 || !g.SameInstants(n) {
		return "job " + string(n)
	}
	return g.Root(ps[0])
}

// Ordered sorts jobs so that parents come before children; jobs on a cycle
// come last, in no order.
func Ordered(list []Job) []Job {
	byName := map[Name]Job{}
	for _, j := range list {
		byName[j.Name] = j
	}
	state := map[Name]int{}
	out := make([]Job, 0, len(list))
	var visit func(j Job)
	visit = func(j Job) {
		if state[j.Name] != 0 {
			return
		}
		state[j.Name] = 1
		for _, p := range j.After {
			if parent, ok := byName[p]; ok {
				visit(parent)
			}
		}
		out = append(out, j)
	}
	for _, j := range list {
		visit(j)
	}
	return out
}

func asStrings[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = string(v)
	}
	return out
}
