package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// BenchmarkFailover measures from the end of the leading scheduler to the
// first launch by the next one, with a job that is due each second: after
// SIGKILL, when its session of 4 s must run out first, and after SIGTERM, when
// it hands over.
func BenchmarkFailover(b *testing.B) {
	for _, others := range []int{0, 50_000} {
		b.Run(fmt.Sprintf("jobs=%d", others+1), func(b *testing.B) {
			path, err := program()
			if err != nil {
				b.Fatal(err)
			}
			w := prepareWorld(b, bigZooKeeper(b), 1)
			if others > 0 {
				w.fill(others)
			}
			w.addSchedulers(2, "--artifact-url", path, "--session-timeout", "4s", "--log-level", "error")
			w.apply(w.leader(), every("beat", filepath.Join(w.dir, "ran")))
			for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
				b.Run(end.String(), func(b *testing.B) { w.benchFailover(b, end) })
			}
		})
	}
}

// rounds is how often each end is tried.
const rounds = 3

func (w *world) benchFailover(b *testing.B, end syscall.Signal) {
	var took []time.Duration
	for b.Loop() {
		for range rounds {
			w.standingBy()
			leader := w.launching()
			began := time.Now()
			if err := leader.cmd.Process.Signal(end); err != nil {
				b.Fatal(err)
			}
			<-leader.done
			w.launching()
			took = append(took, time.Since(began))
			leader.start()
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "max-ms")
}

// standingBy waits until the other schedulers have copied what the leader has in the store.
func (w *world) standingBy() {
	w.t.Helper()
	leader := w.launching()
	w.await("copies of the store", 60*time.Second, func(ctx context.Context) bool {
		all := leader.records(ctx)
		return all > 0 && !slices.ContainsFunc(w.schedulers, func(s *process) bool {
			return s.records(ctx) < all-10 // runs come and go
		})
	})
}

// records is how many records of the store a scheduler knows of.
func (p *process) records(ctx context.Context) int {
	return p.metrics(ctx)["tidemill_scheduler_store_records"]
}

// launching waits until one of the schedulers leads and has launched something.
func (w *world) launching() *process {
	w.t.Helper()
	var found *process
	w.await("a launch by the leader", 60*time.Second, func(ctx context.Context) bool {
		for _, s := range w.schedulers {
			if !s.running() {
				continue
			}
			api := s.client()
			st, err := api.Status(ctx)
			api.Close()
			if err == nil && st.Leading && st.Leader == s.url && st.Launches > 0 {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// fill puts jobs into the store that are due once a year, by importing them.
func (w *world) fill(count int) {
	w.t.Helper()
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	put := func(v any) {
		if err := out.Encode(v); err != nil {
			w.t.Fatal(err)
		}
	}
	began := time.Now().UTC()
	put(map[string]any{"tidemill": "state", "version": 1, "format": 1, "at": began, "records": 2 * count})
	for i := range count {
		name := fmt.Sprintf("job-%05d", i)
		put(map[string]any{"key": "jobs/" + name, "record": map[string]any{"first_applied": began, "rescheduled": began, "job": map[string]any{
			"name": name, "kind": "command", "version": 1, "schedule": map[string]any{"cron": "0 0 29 2 *"}, "spec": map[string]any{"command": "true"},
		}}})
		put(map[string]any{"key": "state/" + name, "record": map[string]any{"incarnation": 1, "mark": began}})
	}
	cmd := exec.CommandContext(w.t.Context(), w.program, "state", "import", "-", "--zk", w.zk+"/"+w.name)
	cmd.Stdin = &lines
	if said, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("import %d jobs: %v\n%s", count, err, said)
	}
}
