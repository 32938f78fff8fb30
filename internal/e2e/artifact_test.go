package e2e

import (
	"context"
	"testing"
	"time"

	"tidemill/jobs"
)

// TestAgentsFetchTheExecutor serves the program to an agent that has none,
// and runs one task in a shared executor and one in an executor of its own.
func TestAgentsFetchTheExecutor(t *testing.T) {
	w := newWorld(t, 1, 1)
	leader := w.leader()
	api := leader.client()
	defer api.Close()
	own := jobs.Job{Name: "own", Kind: "command", Spec: []byte(`{"command": "test -x ../../tidemill"}`)}
	w.apply(leader, jobs.Job{Name: "shared", Kind: "noop", Spec: []byte(`{}`)}, own)
	for _, name := range []jobs.Name{"shared", "own"} {
		if _, err := api.StartRun(t.Context(), jobs.RunRequest{Job: name, RequestID: "once"}); err != nil {
			t.Fatal(err)
		}
	}
	w.await("end of both runs", 60*time.Second, func(ctx context.Context) bool {
		live, err := api.Runs(ctx, jobs.RunQuery{Live: true, Limit: 10})
		return err == nil && len(live.Runs) == 0
	})
	page, err := api.Runs(t.Context(), jobs.RunQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Runs {
		if r.State != jobs.RunSucceeded {
			t.Errorf("run %s ended %s: %s", r.ID, r.State, r.Reason)
		}
	}
}
