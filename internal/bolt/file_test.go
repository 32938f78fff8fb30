package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidemill/internal/storetest"
	"tidemill/jobs"
	"tidemill/scheduler"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(Options{Path: path, Advertise: "http://127.0.0.1:8080", LockWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// cluster is a file that is opened again when it was closed; all that join it share it.
type cluster struct {
	path string
	file *File
}

type member struct {
	*File
	cluster *cluster
}

func (c *cluster) Join(t *testing.T, _ string) storetest.Member {
	if c.file == nil {
		c.file = open(t, c.path)
	}
	return member{c.file, c}
}

// Crash drops the lock and the mapping; that nothing more is written by Close is what
// TestKilledSchedulerKeepsWhatItAcknowledged shows with a real SIGKILL.
func (m member) Crash() {
	_ = m.Close()
	m.cluster.file = nil
}

func (m member) LoseAnswer() bool { return false }
func (m member) Disconnect()      {}
func (m member) Follows() bool    { return false }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Cluster {
		return &cluster{path: filepath.Join(t.TempDir(), "state", "tidemill.db")}
	})
}

func TestSecondProcessIsToldWhoHoldsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tidemill.db")
	first := open(t, path)
	_, err := Open(Options{Path: path, LockWait: time.Millisecond})
	if code, _ := jobs.CodeOf(err); code != jobs.Conflict {
		t.Fatalf("got %v, want a conflict", err)
	}
	for _, part := range []string{path, "http://127.0.0.1:8080", "process "} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	tests := []struct {
		cause error
		hint  string
	}{
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EROFS}, "read-only"},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, "writable"},
		{&fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, "full"},
	}
	for _, tt := range tests {
		err := explain("open", "/x/tidemill.db", tt.cause)
		if !strings.Contains(err.Error(), tt.hint) || !strings.Contains(err.Error(), "/x/tidemill.db") || !errors.Is(err, tt.cause) {
			t.Errorf("%v: got %q, which should name the file and contain %q", tt.cause, err, tt.hint)
		}
	}
}

func TestForeignFileIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tidemill.db")
	text := strings.Repeat("not a file of records\n", 1000)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Path: path})
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v, want that the file is damaged", err)
	}
	if kept, _ := os.ReadFile(path); string(kept) != text {
		t.Error("the file was changed")
	}
}

func TestLeaderIsKnownWhileItLeads(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "tidemill.db"))
	if url, leads := f.Leader(); leads {
		t.Errorf("%s leads before it campaigned", url)
	}
	l, err := f.Campaign(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if url, leads := f.Leader(); !leads || url != "http://127.0.0.1:8080" {
		t.Errorf("got %q, %v", url, leads)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	<-l.Lost()
	if err := l.Commit(t.Context(), scheduler.Batch{Sequence: 1}); !errors.Is(err, scheduler.ErrFenced) {
		t.Errorf("commit to a closed file: got %v, want ErrFenced", err)
	}
}
