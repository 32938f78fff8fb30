package faults

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const taskID = "job-01.1.20260301T120140Z.0.1.0.2"

func environment(name string) string {
	return map[string]string{"TIDEMILL_TASK": taskID, "TIDEMILL_NOMINAL": "2026-03-01T12:01:40Z", "TIDEMILL_HOST": "agent-1"}[name]
}

func TestWorkIsReadBack(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	if err := Work(t.Context(), dir, beat+beat/2, environment); err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	list, err := ReadAttempts(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("read %d attempts, %v; want 1", len(list), err)
	}
	a := list[0]
	if a.Task != taskID || a.Job != "job-01" || !a.Nominal.Equal(at(100)) || a.Host != "agent-1" || !a.Complete() {
		t.Errorf("read %+v", a)
	}
	if a.Start.Before(began.Add(-time.Millisecond)) || a.End.After(ended) || a.End.Sub(a.Start) < beat {
		t.Errorf("it worked from %s to %s; it was asked to from %s, for %s", a.Start, a.End, began, beat+beat/2)
	}
}

func TestWorkThatIsEndedHasNoEnd(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Work(ctx, dir, time.Hour, environment); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled work says %v", err)
	}
	if list, err := ReadAttempts(dir); err != nil || len(list) != 1 || list[0].Complete() {
		t.Errorf("read %+v, %v; want one attempt without an end", list, err)
	}
}

// One attempt that two processes work at is two attempts to the checker.
func TestProcessesOfOneTaskAreToldApart(t *testing.T) {
	dir := t.TempDir()
	text := "start 2026-03-01T12:01:40.1Z 10 agent-1 2026-03-01T12:01:40Z\n" +
		"start 2026-03-01T12:01:40.2Z 11 agent-2 2026-03-01T12:01:40Z\n" +
		"beat 2026-03-01T12:01:40.4Z 11\nbeat 2026-03-01T12:01:40.5Z 10\nend 2026-03-01T12:01:41Z 11\nbeat 2026-0"
	if err := os.WriteFile(filepath.Join(dir, taskID), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := ReadAttempts(dir)
	if err != nil || len(list) != 2 {
		t.Fatalf("read %d attempts, %v; want 2", len(list), err)
	}
	if a := list[0]; a.Host != "agent-1" || a.Complete() || !a.Last().Equal(at(100.5)) {
		t.Errorf("the first: %+v", a)
	}
	if a := list[1]; a.Host != "agent-2" || !a.Complete() || !a.Last().Equal(at(101)) {
		t.Errorf("the second: %+v", a)
	}
}

func TestReadAttemptsRefusesStrangeFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAttempts(dir); err == nil {
		t.Error("a file that is no task's was read")
	}
}
