package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemill/jobs"
)

// began is the start of a task, and whose it was.
type began struct {
	framework string
	at        time.Time
}

// backlog starts n runs of a job, and a run that no agent has room for.
func (m *tidemill) backlog(n int) {
	m.t.Helper()
	job := jobs.Job{Name: "many", Kind: "command", Overlap: jobs.OverlapAllow, Resources: jobs.Resources{CPUs: 0.2, Mem: 32}, Spec: []byte(`{"command":"true"}`)}
	large := job
	large.Name, large.Resources.CPUs = "large", 64
	if _, err := m.Apply(m.t.Context(), []jobs.Job{job, large}); err != nil {
		m.t.Fatal(err)
	}
	start := func(name jobs.Name, id string) {
		if _, err := m.StartRun(m.t.Context(), jobs.RunRequest{Job: name, RequestID: id}); err != nil {
			m.t.Fatal(err)
		}
	}
	start("large", "never")
	for i := range n {
		start("many", fmt.Sprint(i))
	}
}

// starts waits until all runs of the backlog have succeeded, and says when they started.
func (m *tidemill) starts(framework string, n int) (list []began) {
	m.t.Helper()
	m.await("the end of the backlog of "+framework, func(ctx context.Context) bool {
		page, err := m.Runs(ctx, jobs.RunQuery{Job: "many", State: jobs.RunSucceeded, Limit: n})
		list = nil
		for _, r := range page.Runs {
			list = append(list, began{framework, r.Started})
		}
		return err == nil && len(list) == n
	})
	return list
}

// TestTwoFrameworksShareAMaster: with an agent that has room for two tasks at a time, and work for
// both from the beginning, neither has to wait until the other is through; nor does a task that
// finds no room keep what others could use.
func TestTwoFrameworksShareAMaster(t *testing.T) {
	t.Parallel()
	const n = 12
	s := newSite(t)
	both := map[string]*tidemill{"a": s.startTidemill("a", nil), "b": s.startTidemill("b", nil)}
	for _, m := range both {
		m.backlog(n)
	}
	s.startAgent("cpus:0.5;mem:4096;disk:4096")
	var all []began
	for name, m := range both {
		all = append(all, m.starts(name, n)...)
	}
	slices.SortFunc(all, func(x, y began) int { return x.at.Compare(y.at) })
	var order strings.Builder
	for _, b := range all {
		order.WriteString(b.framework)
	}
	t.Logf("in the order of their starts: %s", &order)
	for name := range both {
		if first := strings.Index(order.String(), name); first >= n { // how fairly they share is a matter of the load
			t.Errorf("framework %s started nothing before the other had started all %d tasks: %s", name, first, &order)
		}
	}
	// While both had work, each got about half of the places.
	half := order.String()[:n]
	for name := range both {
		if got := strings.Count(half, name); got < n/4 {
			t.Errorf("framework %s got %d of the first %d places: %s", name, got, n, &order)
		}
	}
}
