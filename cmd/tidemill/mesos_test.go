package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMesosShowsItsMembers: what is printed is what the pid file holds, in the form that was asked
// for, and no member outlives the command.
func TestMesosShowsItsMembers(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	pidFile := filepath.Join(t.TempDir(), "pids")
	read, write := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		args := []string{"mesos", "--agents", "2", "--port", "0", "--agent-port", "0", "--pid-file", pidFile, "--work-dir", t.TempDir(), "-o", "json"}
		ended <- run(ctx, args, console{In: os.Stdin, Out: write, Err: io.Discard})
		write.Close()
	}()
	var shown, written []memberView
	shownErr := json.NewDecoder(read).Decode(&shown)
	go io.Copy(io.Discard, read) //nolint:errcheck // until the command ends
	interrupt()
	if code := <-ended; code != exitOK || shownErr != nil {
		t.Fatalf("exit code %d, %v", code, shownErr)
	}
	text, err := os.ReadFile(pidFile)
	if err == nil {
		err = json.Unmarshal(text, &written)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(written, shown); diff != "" || len(shown) != 3 {
		t.Errorf("shown %+v (-pid file +shown):\n%s", shown, diff)
	}
	for _, m := range shown {
		if err := syscall.Kill(m.PID, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s, process %d, is still there: %v", m.Name, m.PID, err)
		}
	}
}
