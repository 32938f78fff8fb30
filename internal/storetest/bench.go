package storetest

import (
	"bytes"
	"fmt"
	"testing"

	"tidemill/scheduler"
)

// recordSize is about what a live run or task takes, in bytes.
const recordSize = 300

// BenchCommit measures commits of so many changes each, to runs that come and change.
func BenchCommit(b *testing.B, l scheduler.Leadership, changes int) {
	b.Helper()
	value := bytes.Repeat([]byte("r"), recordSize)
	batch := make([]scheduler.Change, changes)
	sequence := int64(0)
	for b.Loop() {
		for i := range batch {
			batch[i] = scheduler.Change{Key: fmt.Sprintf("runs/%d", (int(sequence)*changes+i)%20_000), Value: value}
		}
		sequence++
		if err := l.Commit(b.Context(), scheduler.Batch{Sequence: sequence, Changes: batch}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*changes)/b.Elapsed().Seconds(), "changes/s")
}

// BenchLoad measures loading what so many jobs have in a store: each its
// document, its state, and a run.
func BenchLoad(b *testing.B, l scheduler.Leadership, jobs int) {
	b.Helper()
	value := bytes.Repeat([]byte("r"), 2*recordSize)
	var groups []scheduler.Group
	for i := range jobs {
		for _, family := range []string{"jobs", "state", "runs"} {
			groups = append(groups, scheduler.Group{{Key: fmt.Sprintf("%s/job-%05d", family, i), Value: value}})
		}
	}
	if err := scheduler.Write(b.Context(), l, groups); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		found := 0
		if err := l.Load(b.Context(), func(scheduler.Record) error { found++; return nil }); err != nil {
			b.Fatal(err)
		}
		if found != len(groups) {
			b.Fatalf("loaded %d records of %d", found, len(groups))
		}
	}
	b.ReportMetric(float64(len(groups)*b.N)/b.Elapsed().Seconds(), "records/s")
}
