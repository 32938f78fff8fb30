package chronos

import (
	"testing"

	"tidemill/jobs"
)

// A priority of our own outlives an edit through this door that leaves
// highPriority as it is shown.
func TestPriority(t *testing.T) {
	for _, c := range []struct {
		stored int
		high   flag
		want   int
	}{
		{0, true, highPriority}, {7, true, 7}, {7, false, 0}, {-3, false, -3}, {-3, true, highPriority},
	} {
		stored := jobs.JobView{Job: jobs.Job{Name: "a", Kind: Kind, Priority: c.stored}}
		edited := FromView(stored)
		if edited.HighPriority != flag(c.stored > 0) {
			t.Errorf("priority %d is shown as highPriority %v", c.stored, edited.HighPriority)
		}
		edited.HighPriority = c.high
		if out, _, err := (Translation{}).Job(edited, &stored); err != nil || out.Priority != c.want {
			t.Errorf("priority %d edited with highPriority %v is %d, %v; want %d", c.stored, c.high, out.Priority, err, c.want)
		}
	}
}
