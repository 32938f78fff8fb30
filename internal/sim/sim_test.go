package sim

import (
	"bytes"
	"testing"
)

// shortHistories are as many as a test's few seconds allow; `make sim` plays
// a hundred thousand.
const shortHistories = 150

func TestSim(t *testing.T) {
	for seed := range uint64(shortHistories) {
		r := Run(Options{Seed: seed})
		for _, v := range r.Violations {
			t.Errorf("history %d: %s", seed, v)
		}
		if r.Events < 300 || r.Failovers < 2 || r.Jobs < 3 || r.Edges < 1 {
			t.Errorf("history %d is too thin: %+v", seed, r)
		}
	}
}

func TestHistoryIsReproduced(t *testing.T) {
	for seed := range uint64(5) {
		var first, second bytes.Buffer
		Run(Options{Seed: seed, Trace: &first})
		Run(Options{Seed: seed, Trace: &second})
		if first.Len() == 0 || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("history %d differs when it is played again", seed)
		}
	}
}

func TestCalm(t *testing.T) {
	r := Run(Options{Seed: 1, Faults: []Fault{}})
	if len(r.Violations) > 0 || r.Failovers != 0 || r.Runs == 0 {
		t.Errorf("without faults: %+v", r)
	}
}

// TestShrink: what is left still fails, and with anything less it does not.
func TestShrink(t *testing.T) {
	o := Options{Bug: LateStart}
	r := Run(o)
	for ; len(r.Violations) == 0 || len(r.Faults) < 4; r = Run(o) {
		if o.Seed++; o.Seed > plantedHistories {
			t.Fatal("the planted bug is not found")
		}
	}
	left := Shrink(o, r.Faults)
	if len(left) == 0 || len(left) >= len(r.Faults) {
		t.Errorf("%d faults of %d are left", len(left), len(r.Faults))
	}
	o.Faults = left
	if len(Run(o).Violations) == 0 {
		t.Error("what is left does not fail")
	}
}

// BenchmarkHistory is what one history costs.
func BenchmarkHistory(b *testing.B) {
	events := 0
	for seed := uint64(0); b.Loop(); seed++ {
		events += Run(Options{Seed: seed}).Events
	}
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
}
