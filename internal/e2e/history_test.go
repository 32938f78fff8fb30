package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemill/internal/cassandra"
	"tidemill/internal/cassandra/cassandratest"
	"tidemill/jobs"
)

// TestRunsGoToCassandra lets a job run each second, of which the store keeps
// three runs: the others are listed and shown from Cassandra, by the next
// leader too, and when the job is gone.
func TestRunsGoToCassandra(t *testing.T) {
	past := cassandratest.KeyspaceOf(t, cassandra.RunHistory())
	nodes := strings.Join(cassandratest.Connection(t).Hosts, ",")
	w := newWorld(t, 1, 2, "--config", keepThree(t), "--cassandra", nodes, "--history-keyspace", past.Keyspace)
	leader := w.leader()
	w.apply(leader, beat())
	w.awaitRuns(leader, 8)
	leader.kill()
	leader = w.leader()
	w.awaitRuns(leader, 12)
	api := leader.client()
	defer api.Close()
	if _, err := api.SetPaused(t.Context(), "beat", true); err != nil {
		t.Fatal(err)
	}
	w.await("end of all runs", 60*time.Second, func(ctx context.Context) bool {
		live, err := api.Runs(ctx, jobs.RunQuery{Live: true, Limit: 10})
		status, other := api.Status(ctx)
		return errors.Join(err, other) == nil && len(live.Runs) == 0 && status.HistoryBacklog == 0
	})
	page, err := api.Runs(t.Context(), jobs.RunQuery{Job: "beat", Limit: 1})
	if err != nil || page.Total != 3 {
		t.Errorf("the store has %d runs, %v; want 3", page.Total, err)
	}
	before := w.walk(leader, "beat")
	oldest := before[len(before)-1]
	shown, err := api.RunView(t.Context(), oldest.ID)
	if err != nil || shown.State != oldest.State || shown.State == jobs.RunSucceeded && len(shown.Tasks) != 1 {
		t.Errorf("the oldest run is shown as %+v, %v", shown, err)
	}
	if err := api.Delete(t.Context(), "beat", jobs.DeleteRefuse); err != nil {
		t.Fatal(err)
	}
	w.await("all runs in Cassandra", 60*time.Second, func(ctx context.Context) bool {
		page, err := api.Runs(ctx, jobs.RunQuery{Job: "beat", Limit: 1})
		return err == nil && page.Total == 0
	})
	if after := w.walk(leader, "beat"); len(after) != len(before) {
		t.Errorf("%d runs are listed of the deleted job, %d of it before", len(after), len(before))
	}
}

// TestNoCassandraForHistory: a scheduler leads without it, keeps what it would
// have taken, and says so.
func TestNoCassandraForHistory(t *testing.T) {
	w := newWorld(t, 1, 1, "--config", keepThree(t), "--cassandra", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "--history-keyspace", "past")
	leader := w.leader()
	w.apply(leader, beat())
	api := leader.client()
	defer api.Close()
	w.await("runs that wait for Cassandra", 60*time.Second, func(ctx context.Context) bool {
		status, err := api.Status(ctx)
		return err == nil && status.HistoryBacklog >= 3 && len(status.Problems) == 1 && strings.HasPrefix(status.Problems[0], "history: ")
	})
	page, err := api.Runs(t.Context(), jobs.RunQuery{Job: "beat", Limit: 1000})
	if err != nil || len(page.Runs) < 6 || page.Incomplete == "" {
		t.Errorf("%d runs are listed, incomplete: %q, %v", len(page.Runs), page.Incomplete, err)
	}
	for _, r := range page.Runs {
		if _, err := api.RunView(t.Context(), r.ID); err != nil {
			t.Errorf("run %s is listed and cannot be shown: %v", r.ID, err)
		}
	}
}

// keepThree is a configuration that keeps three runs of each job in the store.
func keepThree(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "tidemill.yaml")
	if err := os.WriteFile(file, []byte("history: { keep: 3, ttl: 1h }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// beat runs each second.
func beat() jobs.Job {
	j := jobs.Job{Name: "beat", Kind: "noop", Spec: []byte(`{}`), Schedule: &jobs.Schedule{}}
	j.Schedule.Cron = []string{"* * * * * *"}
	return j
}

// awaitRuns waits until a job has had so many runs.
func (w *world) awaitRuns(leader *process, n int) {
	w.t.Helper()
	api := leader.client()
	defer api.Close()
	w.await("a list of its runs", 60*time.Second, func(ctx context.Context) bool {
		page, err := api.Runs(ctx, jobs.RunQuery{Job: "beat", Limit: 1000})
		return err == nil && page.Incomplete == "" && len(page.Runs) >= n
	})
}

// walk lists a job's runs in small pages: each second's, once, newest first.
func (w *world) walk(leader *process, job jobs.Name) (all []jobs.RunView) {
	w.t.Helper()
	api := leader.client()
	defer api.Close()
	for q := (jobs.RunQuery{Job: job, Limit: 4}); ; {
		page, err := api.Runs(w.t.Context(), q)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range page.Runs {
			if n := len(all); n > 0 && r.Cursor().Compare(all[n-1].Cursor()) <= 0 {
				w.t.Errorf("%s comes after %s", r.ID, all[n-1].ID)
			}
			all = append(all, r)
		}
		if q.Before = page.Next; q.Before.IsZero() {
			return all
		}
	}
}
