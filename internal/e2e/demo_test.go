package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemill/internal/stack/stacktest"
)

// demoOf is the demo with few events, on the run's servers as on a user's.
func demoOf(t *testing.T) *exec.Cmd {
	t.Helper()
	at := stacktest.Shared(t)
	if len(at.Kafka) == 0 || len(at.Cassandra) == 0 || at.S3.Endpoint == "" {
		t.Skip("this run was told to leave servers out (see tidemill stack run --help)")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "demo", "--events", "1000", "--zk", at.ZooKeeper, "--kafka", strings.Join(at.Kafka, ","),
		"--cassandra", strings.Join(at.Cassandra, ","), "--s3", at.S3.URL())
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	cmd.Stderr = testLog{t}
	return cmd
}

func TestDemo(t *testing.T) {
	cmd := demoOf(t)
	out, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || lines[len(lines)-1] != "demo: ok" {
		t.Fatalf("the demo ended with %v:\n%s", err, out)
	}
	for _, want := range []string{"KILL -9 the leading scheduler", "KILL -9 the executor", "KILL -9 the agent", "every total is absent"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not tell of %q:\n%s", want, out)
		}
	}
	if left := running(t, cmd.Path); len(left) > 0 {
		t.Errorf("these outlive the demo: %v", left)
	}
	if own, err := filepath.Glob(filepath.Join(tempOf(cmd), "*")); err != nil || len(own) > 0 {
		t.Errorf("the demo left %v (%v)", own, err)
	}
}

// TestNothingOutlivesTheDemo kills it when its services run.
func TestNothingOutlivesTheDemo(t *testing.T) {
	cmd := demoOf(t)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "events acknowledged") {
		t.Log(lines.Text())
	}
	if n := len(running(t, cmd.Path)); n < 8 { // the demo, 2 schedulers, a master, 3 agents and an executor at least
		t.Errorf("only %d processes run while it sends", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var killed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &killed) {
		t.Fatalf("the demo ended with %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for left := running(t, cmd.Path); len(left) > 0; left = running(t, cmd.Path) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("these outlive the demo: %v", left)
		}
	}
}

func tempOf(cmd *exec.Cmd) string {
	for _, entry := range cmd.Env {
		if dir, ok := strings.CutPrefix(entry, "TMPDIR="); ok {
			return dir // the last one wins, and there is one of ours
		}
	}
	return ""
}

// running lists the processes of a program.
func running(t *testing.T, path string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range all {
		target, err := os.Readlink(link)
		if err != nil || target != path { // gone, or not ours to see
			continue
		}
		arguments, err := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		if err != nil || len(arguments) == 0 { // gone, or a zombie
			continue
		}
		found = append(found, fmt.Sprintf("%s %q", filepath.Base(filepath.Dir(link)), strings.ReplaceAll(string(arguments), "\x00", " ")))
	}
	return found
}
