package sim

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// plantedHistories bounds the search for a planted bug.
const plantedHistories = 600

// TestEveryRuleIsPlanted: docs/promise.md names the bugs that break each of
// its rules, and there is one for each.
func TestEveryRuleIsPlanted(t *testing.T) {
	doc, err := os.ReadFile("../../docs/promise.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[Planted]bool{}
	for _, line := range regexp.MustCompile(`(?m)^\| (\w+) \| .* \| (.*) \|$`).FindAllStringSubmatch(string(doc), -1) {
		if line[1] == "Rule" {
			continue
		}
		for bug := range strings.SplitSeq(line[2], "; ") {
			told[Planted{Rule: line[1], Bug: Bug(bug)}] = true
		}
	}
	for _, row := range Table() {
		row.Finds = ""
		if !told[row] {
			t.Errorf("docs/promise.md does not name %q at rule %s", row.Bug, row.Rule)
		}
		delete(told, row)
	}
	for row := range told {
		t.Errorf("docs/promise.md names %q at rule %s, which the table of planted bugs has not", row.Bug, row.Rule)
	}
}

// TestPlantedBugs plants the breach of each rule: the simulation must find it.
func TestPlantedBugs(t *testing.T) {
	for _, row := range Table() {
		t.Run(string(row.Bug), func(t *testing.T) {
			t.Parallel()
			others := 0
			for seed := range uint64(plantedHistories) {
				r := Run(Options{Seed: seed, Bug: row.Bug})
				switch {
				case len(r.Violations) == 0:
					continue
				case !strings.Contains(r.Violations[0], row.Finds):
					others++
					continue
				}
				t.Logf("history %d, after %d others: %s", seed, others, r.Violations[0])
				if r := Run(Options{Seed: seed}); len(r.Violations) > 0 {
					t.Errorf("history %d violates without the bug, too: %s", seed, r.Violations[0])
				}
				return
			}
			t.Errorf("not found in %d histories, %d of which find something else", plantedHistories, others)
		})
	}
}
