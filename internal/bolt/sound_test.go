package bolt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// TestDamagedFileIsNamed: whichever page is damaged, or missing, opening the
// file ends with an error that says what to do, or finds the file as it was
// where nothing pointed to that page.
func TestDamagedFileIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tidemill.db")
	f := open(t, path)
	l, err := f.Campaign(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(12) {
		var batch scheduler.Batch
		batch.Sequence = n + 1
		for i := range 12 {
			batch.Changes = append(batch.Changes, scheduler.Change{Key: fmt.Sprintf("runs/%d", (int(n)*7+i)%60), Value: bytes.Repeat([]byte("x"), 900)})
		}
		if err := l.Commit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	try := func(name string, content []byte) {
		damaged := filepath.Join(t.TempDir(), "tidemill.db")
		if err := os.WriteFile(damaged, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(Options{Path: damaged, LockWait: time.Millisecond})
		if err == nil {
			if err := f.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return
		}
		refused++
		if code, _ := jobs.CodeOf(err); code != jobs.Conflict || !strings.Contains(err.Error(), "restore a copy") {
			t.Errorf("%s: %v", name, err)
		}
	}
	const page, header = 4096, 16
	noise := rand.New(rand.NewPCG(1, 2))
	for at := 2 * page; at < len(whole); at += page {
		for _, part := range [][2]int{{0, page}, {header, header + 100}, {header, page}} {
			content := bytes.Clone(whole)
			for i := at + part[0]; i < at+part[1]; i++ {
				content[i] = byte(noise.Uint32())
			}
			try(fmt.Sprintf("page %d, %v", at/page, part), content)
		}
	}
	for _, size := range []int{100, page, 3 * page, len(whole) / 2, len(whole) - page} {
		try(fmt.Sprintf("cut to %d", size), whole[:size])
	}
	if refused < 10 {
		t.Errorf("only %d damaged files are refused", refused)
	}
}
