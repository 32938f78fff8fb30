package scheduler

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// TestPipelineReleasesInOrderAndOnlyWhatIsDurable: whatever groups come, the
// batches hold them in their order and within bounds, and a step's effects
// are released when everything up to it is durable, never sooner.
func TestPipelineReleasesInOrderAndOnlyWhatIsDurable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pipeline
		written, due := map[string]string{}, map[string]string{} // what the store holds, what it should
		var needs []map[string]string                            // by step: the state it rests on
		released, sequence := 0, int64(0)
		take := func(list []Effects) {
			for range list {
				for k, v := range needs[released] {
					if written[k] < v {
						t.Fatalf("step %d was released, and %s=%q is not durable", released, k, v)
					}
				}
				released++
			}
		}
		commit := func() bool {
			b, ok := p.next()
			if !ok {
				return false
			}
			if sequence++; b.Sequence != sequence {
				t.Fatalf("batch %d follows %d", b.Sequence, sequence-1)
			}
			if len(b.Changes) > MaxBatchChanges || sizeOf(b.Changes) > MaxBatchBytes {
				t.Fatalf("a batch of %d changes, %d bytes", len(b.Changes), sizeOf(b.Changes))
			}
			if _, again := p.next(); again {
				t.Fatal("two batches are in flight")
			}
			for _, ch := range b.Changes {
				written[ch.Key] = string(bytes.TrimRight(ch.Value, "x"))
			}
			take(p.committed())
			return true
		}
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			var fx Effects
			for range rapid.IntRange(0, 4).Draw(t, "groups") {
				var g Group
				for range rapid.IntRange(1, 5).Draw(t, "changes") {
					key, value := fmt.Sprint("k", rapid.IntRange(0, 9).Draw(t, "key")), fmt.Sprintf("%06d", i)
					pad := bytes.Repeat([]byte("x"), rapid.SampledFrom([]int{0, 10, 300_000}).Draw(t, "size"))
					g = append(g, Change{Key: key, Value: append([]byte(value), pad...)})
					due[key] = value
				}
				fx.Persist = append(fx.Persist, g)
			}
			state := map[string]string{}
			maps.Copy(state, due)
			needs = append(needs, state)
			take(p.add(fx))
			if rapid.Bool().Draw(t, "commit") {
				commit()
			}
		}
		for commit() {
		}
		if released != len(needs) || p.backlog() != 0 {
			t.Fatalf("%d of %d steps were released, %d pieces left", released, len(needs), p.backlog())
		}
	})
}
