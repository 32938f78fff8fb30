package bolt

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"tidemill/scheduler"
)

func TestMostlyFreeFileIsCompactedWhenItIsOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tidemill.db")
	f := open(t, path)
	l, err := f.Campaign(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const records = 32
	large := bytes.Repeat([]byte("x"), 2*compactAbove/records)
	for n := int64(1); n <= 2*records; n++ {
		c := scheduler.Change{Key: fmt.Sprint((n - 1) % records), Value: large}
		if n > records {
			c.Value = fmt.Append(nil, n)
		}
		if err := l.Commit(t.Context(), scheduler.Batch{Sequence: n, Changes: []scheduler.Change{c}}); err != nil {
			t.Fatal(err)
		}
	}
	before, free, err := f.Size()
	if err != nil || before < 2*compactAbove || free < compactAbove {
		t.Fatalf("size %d, free %d, %v: nothing to compact", before, free, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = open(t, path)
	after, _, err := f.Size()
	if err != nil || after > before/10 {
		t.Errorf("%d bytes became %d, %v", before, after, err)
	}
	if l, err = f.Campaign(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if l.Term() != 2 {
		t.Errorf("the term is %d after compaction, want 2", l.Term())
	}
	found := 0
	err = l.Load(t.Context(), func(r scheduler.Record) error {
		found++
		if bytes.Equal(r.Value, large) {
			t.Errorf("record %s has its former value", r.Key)
		}
		return nil
	})
	if err != nil || found != records {
		t.Errorf("found %d records of %d, %v", found, records, err)
	}
}
