package kafka

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestPlanOf(t *testing.T) {
	plan, err := planOf(map[int32]Span{4: {Start: 5, End: 105}, 1: {Start: 7, End: 7}, 2: {Start: 0, End: 1}})
	want := jobs.Plan{Splits: []jobs.Split{
		{Stage: 1, Number: 0, Size: 1, Payload: json.RawMessage(`{"partition":2,"start":0,"end":1}`)},
		{Stage: 1, Number: 1, Size: 100, Payload: json.RawMessage(`{"partition":4,"start":5,"end":105}`)},
	}}
	if diff := cmp.Diff(want, plan); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	many := map[int32]Span{}
	for p := range int32(jobs.MaxSplits + 1) {
		many[p] = Span{End: 1}
	}
	if _, err := planOf(many); err == nil || !jobs.IsPermanent(err) || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a plan of too many splits: %v", err)
	}
}
