package sim

import "testing"

// plantedHistories bounds the search for a planted bug.
const plantedHistories = 400

// TestPlantedBugs plants the breach of each rule: the simulation must find it.
func TestPlantedBugs(t *testing.T) {
	for _, bug := range Bugs() {
		t.Run(string(bug), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(plantedHistories) {
				if r := Run(Options{Seed: seed, Bug: bug}); len(r.Violations) > 0 {
					t.Logf("history %d: %s", seed, r.Violations[0])
					if r := Run(Options{Seed: seed}); len(r.Violations) > 0 {
						t.Errorf("history %d violates without the bug, too: %s", seed, r.Violations[0])
					}
					return
				}
			}
			t.Errorf("not found in %d histories", plantedHistories)
		})
	}
}
