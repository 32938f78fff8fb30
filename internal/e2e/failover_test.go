package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemill/internal/client"
	"tidemill/jobs"
)

// TestNothingIsLostOrDoubled runs a job every second and a child after it,
// kills the leading scheduler, an agent and the executors under it, and then
// asks the tasks' own word, on disk, what ran.
func TestNothingIsLostOrDoubled(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 2, 2, "--artifact-url", path)
	leader := w.leader()
	file := filepath.Join(w.dir, "ran")
	w.apply(leader, every("beat", file), after("echo", "beat", file))
	w.awaitLines(file, "beat", 4)

	leader.kill()
	w.awaitLines(file, "beat", 8)
	w.mesos.Agents[0].Kill()
	w.awaitLines(file, "beat", 12)
	if err = w.mesos.Agents[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	leader.start()
	w.awaitLines(file, "beat", 16)

	api := w.leader().client()
	defer api.Close()
	if _, err := api.SetPaused(t.Context(), "beat", true); err != nil {
		t.Fatal(err)
	}
	w.await("end of all runs", 90*time.Second, func(ctx context.Context) bool {
		live, err := api.Runs(ctx, jobs.RunQuery{Live: true, Limit: 1000})
		return err == nil && len(live.Runs) == 0
	})
	w.check(api, readRan(t, file))
}

// every is a job that writes, each second, when it began and ended.
func every(name jobs.Name, file string) jobs.Job {
	j := command(name, file)
	j.Schedule = &jobs.Schedule{CatchUp: jobs.CatchUp{Mode: jobs.CatchUpAll}}
	j.Schedule.Cron = []string{"* * * * * *"}
	return j
}

func after(name, parent jobs.Name, file string) jobs.Job {
	j := command(name, file)
	j.After = []jobs.Name{parent}
	return j
}

func command(name jobs.Name, file string) jobs.Job {
	wait := jobs.Duration(time.Second)
	return jobs.Job{
		Name: name, Kind: "command", Overlap: jobs.OverlapAllow, UnknownWait: &wait,
		Resources: jobs.Resources{CPUs: 0.01, Mem: 1},
		Retry:     jobs.Retry{Attempts: 5, Backoff: jobs.Duration(200 * time.Millisecond)},
		Spec:      fmt.Appendf(nil, `{"command": "echo $TIDEMILL_JOB $TIDEMILL_NOMINAL $TIDEMILL_ATTEMPT begin >> %[1]s; sleep 0.2; echo $TIDEMILL_JOB $TIDEMILL_NOMINAL $TIDEMILL_ATTEMPT end >> %[1]s"}`, file),
	}
}

func (w *world) apply(p *process, list ...jobs.Job) {
	w.t.Helper()
	api := p.client()
	defer api.Close()
	if _, err := api.Apply(w.t.Context(), list); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) awaitLines(file, job string, n int) {
	w.t.Helper()
	w.await(fmt.Sprintf("%d runs of %s", n, job), 60*time.Second, func(context.Context) bool {
		ends := 0
		for _, r := range readRan(w.t, file) {
			if r.job == job && r.what == "end" {
				ends++
			}
		}
		return ends >= n
	})
}

// ran is a line that a task wrote.
type ran struct{ job, nominal, attempt, what string }

func readRan(t testing.TB, file string) []ran {
	f, err := os.Open(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []ran
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if p := strings.Fields(lines.Text()); len(p) == 4 {
			out = append(out, ran{p[0], p[1], p[2], p[3]})
		}
	}
	return out
}

// check compares what the tasks wrote with what was due.
func (w *world) check(api *client.Client, wrote []ran) {
	w.t.Helper()
	first, last := w.checkOrder(wrote)
	ends := map[string]int{}
	for _, r := range wrote {
		if r.what == "end" {
			ends[r.job+" "+r.nominal]++
		}
	}
	for at := first; !at.After(last); at = at.Add(time.Second) {
		for _, job := range []string{"beat", "echo"} {
			if key := job + " " + at.Format(time.RFC3339); ends[key] == 0 {
				w.t.Errorf("%s is lost: it never ended", key)
			}
		}
	}
	page, err := api.Runs(w.t.Context(), jobs.RunQuery{Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range page.Runs {
		if r.State != jobs.RunSucceeded {
			w.t.Errorf("run %s ended %s: %s", r.ID, r.State, r.Reason)
		}
		key := string(r.Job) + " " + r.Nominal.Format(time.RFC3339)
		if unknown := w.unknownAttempts(api, r.ID); ends[key] > 1+unknown {
			w.t.Errorf("%s ended %d times, and only %d attempts were recorded as unknown", key, ends[key], unknown)
		}
	}
	w.t.Logf("%d instants from %s, none lost, none doubled", int(last.Sub(first).Seconds())+1, first.Format(time.RFC3339))
}

// checkOrder: no attempt begins twice, and no child before its parent ended.
func (w *world) checkOrder(wrote []ran) (first, last time.Time) {
	begun, parentEnded := map[ran]bool{}, map[string]bool{}
	for _, r := range wrote {
		if begun[r] {
			w.t.Errorf("attempt %s of %s for %s: %s twice", r.attempt, r.job, r.nominal, r.what)
		}
		begun[r] = true
		if r.job == "echo" && r.what == "begin" && !parentEnded[r.nominal] {
			w.t.Errorf("echo for %s began before its parent had ended", r.nominal)
		}
		if r.job == "beat" && r.what == "end" {
			parentEnded[r.nominal] = true
		}
		at, err := time.Parse(time.RFC3339, r.nominal)
		if err != nil {
			w.t.Fatal(err)
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last
}

// unknownAttempts counts the attempts that were given up as unknown before
// another was launched.
func (w *world) unknownAttempts(api *client.Client, id jobs.RunID) int {
	v, err := api.RunView(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, t := range v.Tasks {
		if !t.UnknownSince.IsZero() {
			n++
		}
	}
	return n
}
