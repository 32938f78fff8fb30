package restore

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"tidemill/internal/s3"
	"tidemill/jobs"
)

const (
	// splitBytes is what a split should hold, as it is stored: some seconds of
	// work, so that even a small restore spreads over the agents.
	splitBytes = 1 << 20
	// maxGroups leaves room for the split that adds up.
	maxGroups = jobs.MaxSplits - 1
)

// shared is what every task of a run is told. The files themselves are in the
// manifest: a plan has no room for any number of them.
type shared struct {
	Manifest string     `json:"manifest"`
	Run      jobs.RunID `json:"run"` // that planned: the folder in the quarantine
	Splits   int        `json:"splits"`
}

// Plan implements jobs.Planner: it lists the objects and groups them by size.
// After the splits that restore, a last one adds up.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Plan, error) {
	w, err := prepare(ctx, a, rt)
	if err != nil {
		return jobs.Plan{}, err
	}
	defer w.session.Close()
	objects, err := w.from.List(ctx, w.pattern.Path)
	if err != nil {
		return jobs.Plan{}, err
	}
	if len(objects) == 0 {
		return jobs.Plan{}, jobs.Permanent(&jobs.Error{
			Code: jobs.NotFound, Op: "plan restore", Subject: w.spec.From, Message: "no object matches",
			Hint: "* and ? match within one folder's name; write one for each folder, like s3://bucket/2015/*/*.gz",
		})
	}
	groups := group(objects, splitBytes, maxGroups)
	sh := shared{Manifest: string(a.Task), Run: a.Run, Splits: len(groups)}
	m := manifest{w.session, sh.Manifest}
	for i, g := range groups {
		files := make([]file, len(g.objects))
		for k, o := range g.objects {
			files[k] = file{key: o.Key, etag: o.ETag, state: planned}
		}
		for chunk := range slices.Chunk(files, planRows) {
			if err := m.put(ctx, i, chunk...); err != nil {
				return jobs.Plan{}, err
			}
		}
	}
	return planOf(groups, sh)
}

func planOf(groups []objectGroup, sh shared) (jobs.Plan, error) {
	told, err := json.Marshal(sh)
	if err != nil {
		return jobs.Plan{}, fmt.Errorf("write plan: %w", err)
	}
	plan := jobs.Plan{Shared: told}
	for i, g := range groups {
		plan.Splits = append(plan.Splits, jobs.Split{Stage: stageRestore, Number: i, Size: g.size})
	}
	plan.Splits = append(plan.Splits, jobs.Split{Stage: stageTally, Number: 0})
	return plan, nil
}

// objectGroup is the objects of one split.
type objectGroup struct {
	objects []s3.Object
	size    int64
}

// group deals objects out, the largest first and each to the group that has
// least, to as many groups as their size asks for.
func group(objects []s3.Object, target int64, most int) []objectGroup {
	var total int64
	for _, o := range objects {
		total += o.Size
	}
	n := min(int((total+target-1)/target), len(objects), most)
	groups := make(smallest, max(n, 1))
	sorted := slices.SortedStableFunc(slices.Values(objects), func(a, b s3.Object) int { return cmp.Compare(b.Size, a.Size) })
	for _, o := range sorted {
		g := &groups[0]
		g.objects = append(g.objects, o)
		g.size += o.Size
		heap.Fix(&groups, 0)
	}
	slices.SortFunc(groups, func(a, b objectGroup) int { return cmp.Compare(b.size, a.size) })
	return groups
}

// smallest is a heap of groups, that with the least on top; of equal ones,
// that with the fewest objects.
type smallest []objectGroup

func (s smallest) Len() int { return len(s) }
func (s smallest) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(s[i].size, s[j].size), cmp.Compare(len(s[i].objects), len(s[j].objects))) < 0
}
func (s smallest) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *smallest) Push(x any)   { *s = append(*s, x.(objectGroup)) }
func (s *smallest) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}
