package history_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/cassandra/cassandratest"
	"tidemill/internal/history"
	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
)

var epoch = time.Date(2026, 1, 30, 23, 0, 0, 123456789, time.UTC)

// finished is the n-th run of a job, made n times a length of time after the epoch.
func finished(job jobs.Name, n int, every time.Duration) jobs.RunView {
	created := epoch.Add(time.Duration(n) * every)
	v := jobs.RunView{
		Run: jobs.Run{
			ID: jobs.NewRunID(job, 1, jobs.InstantKey(epoch.Add(time.Duration(n)*time.Second)), 0), Job: job, State: jobs.RunSucceeded,
			Nominal: created, Created: created, Started: created.Add(time.Second), Ended: created.Add(time.Minute), Results: map[string]string{"rows": "7"},
		},
		Splits: jobs.SplitCounts{Total: 1, Done: 1},
	}
	if n%5 == 0 {
		v.State, v.Reason = jobs.RunFailed, "exit code 7"
	}
	v.Tasks = []jobs.TaskView{{Placement: "offer O1 of a", Task: jobs.Task{ID: jobs.NewTaskID(v.ID, 1, 0, 1), Run: v.ID, Job: job, State: jobs.AttemptSucceeded, Host: "a"}}}
	return v
}

func several(job jobs.Name, n int, every time.Duration) []jobs.RunView {
	list := make([]jobs.RunView, n)
	for i := range list {
		list[i] = finished(job, i, every)
	}
	return list
}

// newestFirst is how a list shows runs.
func newestFirst(list []jobs.RunView) []jobs.RunView {
	list = slices.Clone(list)
	for i := range list {
		list[i].Tasks = nil
	}
	slices.SortFunc(list, func(a, b jobs.RunView) int { return a.Cursor().Compare(b.Cursor()) })
	return list
}

// pages reads all there is, page by page.
func pages(t *testing.T, h *history.Cassandra, q jobs.RunQuery) []jobs.RunView {
	t.Helper()
	var all []jobs.RunView
	for {
		page, err := h.Runs(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Runs) > q.Limit {
			t.Fatalf("a page of %d runs, at most %d were asked for", len(page.Runs), q.Limit)
		}
		all = append(all, page.Runs...)
		if q.Before = page.Next; q.Before.IsZero() {
			return all
		}
	}
}

func TestHistory(t *testing.T) {
	s := cassandratest.KeyspaceOf(t, cassandra.RunHistory())
	h := history.New(history.Options{Connection: cassandratest.Connection(t), Keyspace: s.Keyspace, TTL: time.Hour, Log: zerolog.Nop()})
	t.Cleanup(h.Close)
	t.Run("months", func(t *testing.T) { testMonths(t, h) })
	t.Run("runs made at once", func(t *testing.T) { testAtOnce(t, h) })
	t.Run("written again", func(t *testing.T) { testAgain(t, h, s) })
	t.Run("no such run", func(t *testing.T) {
		_, err := h.Run(t.Context(), "none.1.x.0")
		if code, _ := jobs.CodeOf(err); code != jobs.NotFound {
			t.Errorf("a run that is not there: %v", err)
		}
		if page, err := h.Runs(t.Context(), jobs.RunQuery{Job: "none", Limit: 5}); err != nil || len(page.Runs) > 0 {
			t.Errorf("a job that is not there: %v, %v", page, err)
		}
	})
	t.Run("no tables", func(t *testing.T) {
		none := history.New(history.Options{Connection: cassandratest.Connection(t), Keyspace: "none_here", Log: zerolog.Nop()})
		defer none.Close()
		err := none.Write(t.Context(), several("j", 1, time.Hour))
		var e *jobs.Error
		if !errors.As(err, &e) || !strings.Contains(e.Hint, "schema apply --history-keyspace none_here") {
			t.Errorf("without its tables: %v", err)
		}
	})
}

// testMonths reads runs of several months, with a gap of one, in small pages.
func testMonths(t *testing.T, h *history.Cassandra) {
	list := append(several("months", 12, 5*24*time.Hour), finished("months", 20, 5*24*time.Hour))
	if err := h.Write(t.Context(), append(list, several("another", 3, time.Hour)...)); err != nil {
		t.Fatal(err)
	}
	want := newestFirst(list)
	for _, limit := range []int{1, 4, len(want), 1000} {
		if diff := cmp.Diff(want, pages(t, h, jobs.RunQuery{Job: "months", Limit: limit})); diff != "" {
			t.Errorf("pages of %d:\n%s", limit, diff)
		}
	}
	want = slices.DeleteFunc(want, func(v jobs.RunView) bool { return v.State != jobs.RunFailed })
	if diff := cmp.Diff(want, pages(t, h, jobs.RunQuery{Job: "months", State: jobs.RunFailed, Limit: 2})); diff != "" {
		t.Errorf("those that failed:\n%s", diff)
	}
	got, err := h.Run(t.Context(), list[3].ID)
	if diff := cmp.Diff(list[3], got); diff != "" || err != nil {
		t.Errorf("one run: %v\n%s", err, diff)
	}
}

// testAtOnce pages through runs that were made at one instant.
func testAtOnce(t *testing.T, h *history.Cassandra) {
	list := several("at-once", 9, 0)
	if err := h.Write(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newestFirst(list), pages(t, h, jobs.RunQuery{Job: "at-once", Limit: 2})); diff != "" {
		t.Error(diff)
	}
}

// testAgain: a run that another scheduler writes late, as it was before it was
// marked, changes nothing; nor does any clock.
func testAgain(t *testing.T, h *history.Cassandra, s *cassandra.Session) {
	before := finished("again", 1, time.Hour)
	marked := before
	marked.State, marked.Reason, marked.Marked = jobs.RunFailed, "marked failed by hand", before.Ended.Add(time.Minute)
	for _, v := range []jobs.RunView{before, marked, before} {
		if err := h.Write(t.Context(), []jobs.RunView{v}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := h.Run(t.Context(), before.ID)
	if diff := cmp.Diff(marked, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if diff := cmp.Diff(newestFirst([]jobs.RunView{marked}), pages(t, h, jobs.RunQuery{Job: "again", Limit: 5})); diff != "" {
		t.Error(diff)
	}
	var at int64
	var ttl int
	if err := s.Query(`SELECT WRITETIME(document), TTL(document) FROM run WHERE id = ?`, string(before.ID)).Scan(&at, &ttl); err != nil {
		t.Fatal(err)
	}
	if at != marked.Marked.UnixMicro() || ttl < 3000 || ttl > 3600 {
		t.Errorf("written at %d for %d s, want at %d for an hour", at, ttl, marked.Marked.UnixMicro())
	}
}

// TestAway: what cannot be written is said to be so within the caller's time,
// and is written when Cassandra is back, by who was connected before and by
// who was not.
func TestAway(t *testing.T) {
	servers := stacktest.Own(t, stack.Options{Cassandra: stack.Nodes(1, nil, nil)})
	conn := jobs.CassandraConnection{Hosts: servers.Addresses().Cassandra}
	schema := cassandra.Schema{Keyspace: "history", Replication: cassandra.Replication{Simple: 1}, Tables: cassandra.RunHistory()}
	if _, err := schema.Apply(t.Context(), conn, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	list := several("j", 3, time.Hour)
	stores := map[string]*history.Cassandra{}
	for _, name := range []string{"connected", "starting"} {
		h := history.New(history.Options{Connection: conn, Keyspace: "history", Log: zerolog.Nop()})
		t.Cleanup(h.Close)
		stores[name] = h
	}
	if err := stores["connected"].Write(t.Context(), list[:1]); err != nil {
		t.Fatal(err)
	}
	node := servers.Servers()[0]
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	for name, h := range stores {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		if err := h.Write(ctx, list[1:]); err == nil {
			t.Errorf("%s: written while Cassandra is away", name)
		}
		if _, err := h.Runs(ctx, jobs.RunQuery{Job: "j", Limit: 5}); err == nil {
			t.Errorf("%s: read while Cassandra is away", name)
		}
		cancel()
	}
	if err := node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, h := range stores {
		written := errors.New("not tried")
		for tries := 0; written != nil && tries < 30; tries++ {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if written = h.Write(ctx, list[1:]); written != nil {
				<-ctx.Done() // the session finds the node again by itself
			}
			cancel()
		}
		if written != nil {
			t.Errorf("%s: not written when Cassandra is back: %v", name, written)
		}
		if diff := cmp.Diff(newestFirst(list), pages(t, h, jobs.RunQuery{Job: "j", Limit: 2})); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// BenchmarkWrite measures how fast runs go to Cassandra, as many at once as a
// scheduler sends.
func BenchmarkWrite(b *testing.B) {
	s := cassandratest.KeyspaceOf(b, cassandra.RunHistory())
	h := history.New(history.Options{Connection: cassandratest.Connection(b), Keyspace: s.Keyspace, TTL: time.Hour, Log: zerolog.Nop()})
	b.Cleanup(h.Close)
	const atOnce = 50
	n := 0
	for b.Loop() {
		list := make([]jobs.RunView, atOnce)
		for i := range list {
			list[i] = finished("j", n, time.Second)
			n++
		}
		if err := h.Write(b.Context(), list); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "runs/s")
}
