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

// BenchLoad measures loading so many records.
func BenchLoad(b *testing.B, l scheduler.Leadership, records int) {
	b.Helper()
	value := bytes.Repeat([]byte("r"), recordSize)
	batch := scheduler.Batch{}
	for i := range records {
		batch.Changes = append(batch.Changes, scheduler.Change{Key: fmt.Sprintf("runs/%d", i), Value: value})
		if len(batch.Changes) == scheduler.MaxBatchChanges || i == records-1 {
			batch.Sequence++
			if err := l.Commit(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch.Changes = nil
		}
	}
	for b.Loop() {
		found := 0
		if err := l.Load(b.Context(), func(scheduler.Record) error { found++; return nil }); err != nil {
			b.Fatal(err)
		}
		if found != records {
			b.Fatalf("loaded %d records of %d", found, records)
		}
	}
	b.ReportMetric(float64(records*b.N)/b.Elapsed().Seconds(), "records/s")
}
