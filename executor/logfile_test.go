package executor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestLogKeepsItsBeginningAndItsEnd(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(8, 400).Draw(rt, "limit")
		sizes := rapid.SliceOf(rapid.IntRange(0, 300)).Draw(rt, "sizes")
		path := filepath.Join(t.TempDir(), "stdout")
		l, err := createLog(path, int64(limit))
		if err != nil {
			rt.Fatal(err)
		}
		noise := rand.New(rand.NewPCG(1, 2))
		var all []byte
		for _, n := range sizes {
			p := make([]byte, n)
			for i := range p {
				p[i] = 'A' + byte(noise.IntN(26))
			}
			all = append(all, p...)
			if got, err := l.Write(p); got != n || err != nil {
				rt.Fatalf("wrote %d of %d: %v", got, n, err)
			}
		}
		if err := l.Close(); err != nil {
			rt.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		room, keep := limit-limit/4, limit/4
		if len(all) <= room {
			if !bytes.Equal(got, all) {
				rt.Fatalf("got %q, want %q", got, all)
			}
			return
		}
		last := all[max(room, len(all)-keep):]
		note := fmt.Sprintf("[tidemill: %d bytes are left out here]\n", len(all)-room-len(last))
		if !bytes.HasPrefix(got, all[:room]) || !bytes.HasSuffix(got, append([]byte(note), last...)) {
			rt.Fatalf("got %q\nof %q", got, all)
		}
		if n := len(got); n > limit+400 {
			rt.Fatalf("%d bytes where %d are the limit", n, limit)
		}
	})
}

func TestAClosedLogTakesNothing(t *testing.T) {
	l, err := createLog(filepath.Join(t.TempDir(), "stderr"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if _, err := l.Write([]byte("late")); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("write after close: %v", err)
	}
}
