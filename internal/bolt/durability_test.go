package bolt

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tidemill/internal/lifeline"
	"tidemill/scheduler"
)

// writerVariable makes this test binary commit to the file it names until it is killed.
const writerVariable = "BOLT_TEST_WRITER"

func TestMain(m *testing.M) {
	path := os.Getenv(writerVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := lifeline.Watch(func() { os.Exit(0) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, writeForEver(path))
	os.Exit(1)
}

// writeForEver prints the number of each batch once it is committed.
func writeForEver(path string) error {
	f, err := Open(Options{Path: path})
	if err != nil {
		return err
	}
	ctx := context.Background()
	l, err := f.Campaign(ctx, nil)
	if err != nil {
		return err
	}
	for n := int64(1); ; n++ {
		b := scheduler.Batch{Sequence: n, Changes: []scheduler.Change{
			{Key: fmt.Sprintf("runs/%d", n), Value: fmt.Append(nil, n)},
			{Key: "last", Value: fmt.Append(nil, n)},
		}}
		if err := l.Commit(ctx, b); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func TestKilledSchedulerKeepsWhatItAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tidemill.db")
	const rounds, commits = 3, 40
	for round := range rounds {
		acknowledged := killWriter(t, path, commits)
		f := open(t, path)
		l, err := f.Campaign(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(2 * (round + 1)); l.Term() != want {
			t.Errorf("round %d: term %d, want %d: each open raises it once", round, l.Term(), want)
		}
		found := map[string]string{}
		err = l.Load(t.Context(), func(r scheduler.Record) error { found[r.Key] = string(r.Value); return nil })
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= acknowledged; n++ {
			if found[fmt.Sprintf("runs/%d", n)] != fmt.Sprint(n) {
				t.Fatalf("round %d: batch %d of %d acknowledged ones is lost", round, n, acknowledged)
			}
		}
		if _, half := found["runs/"+found["last"]]; !half {
			t.Errorf("round %d: batch %s was applied by half", round, found["last"])
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killWriter lets a process commit at least so many batches, kills it, and gives the number of
// the last batch that it knew to be committed.
func killWriter(t *testing.T, path string, commits int) int {
	t.Helper()
	line, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerVariable+"="+path)
	cmd.Stderr = os.Stderr
	if err := line.Attach(cmd); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Errorf("the writer said %q", lines.Text())
		}
		if last == commits {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if last < commits {
		t.Fatalf("the writer ended after %d batches", last)
	}
	return last
}
