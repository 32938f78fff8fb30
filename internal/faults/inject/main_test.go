package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemill/internal/faults"
	"tidemill/jobs"
)

// kept writes a history to a file: one target, of a cluster that was whole, and its run if it ran.
func kept(t *testing.T, ran bool) string {
	t.Helper()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := &faults.History{
		Pass: faults.Pass{Policy: jobs.UnknownRetry, Hosts: faults.Hosts(), Times: faults.DefaultTimes()},
		Read: noon.Add(time.Hour),
	}
	for _, host := range h.Pass.Hosts {
		h.Events = append(h.Events, faults.Event{At: noon, Kind: faults.Up, Host: host.Name})
	}
	due := noon.Add(time.Minute)
	h.Targets = []faults.Target{{Job: "j", At: due, Epsilon: 20 * time.Second}}
	if ran {
		run := jobs.NewRunID("j", 1, jobs.InstantKey(due), 0)
		task := jobs.NewTaskID(run, 1, 0, 1)
		h.Attempts = []faults.Attempt{{Task: task, Run: run, Job: "j", Nominal: due, Start: due, Seen: due.Add(time.Second), End: due.Add(time.Second)}}
		record := jobs.RunView{Run: jobs.Run{ID: run, Nominal: due, State: jobs.RunSucceeded, Attempts: []jobs.Task{{ID: task, State: jobs.AttemptSucceeded}}}}
		h.Records = map[jobs.Name]*faults.Record{"j": {Runs: []jobs.RunView{record}}}
	}
	path := filepath.Join(t.TempDir(), "history.json")
	if err := save(h, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAKeptHistoryIsJudgedAgain(t *testing.T) {
	for ran, want := range map[bool]struct {
		code int
		last string
	}{
		true:  {0, "faults: missed 0, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets"},
		false: {1, "faults: missed 1, doubled 0, overlaps 0, early 0, orphans 0, lost 0 of 1 targets"},
	} {
		var out, log bytes.Buffer
		code, err := run(t.Context(), []string{"-check", kept(t, ran)}, &out, &log)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if err != nil || code != want.code || lines[len(lines)-1] != want.last {
			t.Errorf("ran %v: code %d, %v:\n%s", ran, code, err, out.String())
		}
	}
}

func TestWhatAKilledRunLeftIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	const nobody = 1 << 30 // no process has such an id
	gone, alive := filepath.Join(os.TempDir(), dirPrefix+strconv.Itoa(nobody)), filepath.Join(os.TempDir(), dirPrefix+strconv.Itoa(os.Getpid()))
	for _, dir := range []string{gone, alive} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := clean(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(gone); !os.IsNotExist(err) {
		t.Errorf("the directory of a run that is over is there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("the directory of a run under way is gone: %v", err)
	}
}
