package s3

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Of many writers of one name, one wins, and its metadata lie beside its object.
func TestOneOfManyWritersWins(t *testing.T) {
	files := NewFiles(t.TempDir())
	for round := range 20 {
		key := fmt.Sprintf("a/%d", round)
		won := make(chan string, 8)
		var writers sync.WaitGroup
		for i := range 8 {
			writers.Go(func() {
				text := strings.Repeat("x", i+1)
				err := files.PutNew(t.Context(), key, []byte(text), map[string]string{"text": text})
				if err == nil {
					won <- text
				} else if !errors.Is(err, ErrExists) {
					t.Error(err)
				}
			})
		}
		writers.Wait()
		close(won)
		text := <-won
		object, meta, err := files.Stat(t.Context(), key)
		if len(won) > 0 || err != nil || meta["text"] != text || object.Size != int64(len(text)) {
			t.Errorf("%d others won, too; %+v with %v, %v", len(won), object, meta, err)
		}
	}
}

// A file that is written to while it is read is never read half old, half new.
func TestFileChangesUnderItsReader(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("old old")
	files := NewFiles(dir)
	o, _, err := files.Stat(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	r, err := files.Open(t.Context(), "a", o.ETag, 0)
	if err != nil {
		t.Fatal(err)
	}
	half := make([]byte, 3)
	if _, err := io.ReadFull(r, half); err != nil || string(half) != "old" {
		t.Fatalf("%q, %v", half, err)
	}
	write("new new new")
	rest, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); !errors.Is(err, ErrChanged) || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}
