package schedule

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentedExamples checks the tables of examples in the reference.
func TestDocumentedExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/schedules.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, isTable := 0, false
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 4 {
			isTable = isTable && strings.HasPrefix(line, "|---")
			continue
		}
		if isTable {
			examples++
			checkExample(t, strings.Trim(cells[0], "| `"), cells[1], cells[2], strings.TrimSuffix(cells[3], " |"))
		}
		isTable = isTable || cells[0] == "| Schedule"
	}
	if examples < 20 {
		t.Errorf("found only %d examples: has the form of the tables changed?", examples)
	}
}

func checkExample(t *testing.T, text, zone, after, instants string) {
	t.Helper()
	spec := Spec{Cron: Crons{text}, Zone: zone}
	if strings.HasPrefix(text, "R") {
		spec = Spec{Repeat: text, Zone: zone}
	}
	s := mustCompile(t, spec)
	want := strings.Split(instants, ", ")
	var got []string
	for at := instant(t, after); len(got) < len(want); {
		due, ok := s.Next(at)
		if !ok {
			got = append(got, "end")
			break
		}
		got, at = append(got, due.Nominal.Format(time.RFC3339)), due.Nominal
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s in %s after %s (-documented +real):\n%s", text, zone, after, diff)
	}
}
