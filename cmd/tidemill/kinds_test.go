package main

import (
	"encoding/json"
	"strings"
	"testing"

	"tidemill/jobs"
)

// TestKindsFindAllThatIsWrong: a spec with a field that nobody knows, one of another type and a
// wrong value is said to be wrong in all three.
func TestKindsFindAllThatIsWrong(t *testing.T) {
	registry, err := kinds()
	if err != nil {
		t.Fatal(err)
	}
	for kind, wrong := range map[string]struct {
		spec   string
		fields []string
	}{
		"archive": {`{"bogus":1,"max_records":"x","to":"ftp://x"}`, []string{"bogus", "max_records", "to"}},
		"command": {`{"bogus":1,"env":[],"command":"a","argv":["b"]}`, []string{"bogus", "env", "argv"}},
		"service": {`{"bogus":1,"env":[],"dir":"a\u0000b","command":"a"}`, []string{"bogus", "env", "dir"}},
		"ingest":  {`{"bogus":1,"from":"http","to":"kafka","topic":"a b","http":{"newest":"x","max_events":-1}}`, []string{"bogus", "http.newest", "topic", "http.max_events"}},
		"noop":    {`{"bogus":1,"splits":"x","duration":"-1s"}`, []string{"bogus", "splits", "duration"}},
		"report":  {`{"bogus":1,"splits":"x","keyspace":"A"}`, []string{"bogus", "splits", "keyspace"}},
		"restore": {`{"bogus":1,"max_errors":"x","from":"/a/*","quarantine":"b","batch":-1}`, []string{"bogus", "max_errors", "quarantine", "batch"}},
		"rollup":  {`{"bogus":1,"reports":"x","mode":"some"}`, []string{"bogus", "reports", "mode"}},
	} {
		_, _, err := registry.Check(jobs.Job{Name: "j", Kind: kind, Spec: json.RawMessage(wrong.spec)})
		for _, field := range wrong.fields {
			if err == nil || !strings.Contains(err.Error(), "spec."+field+": ") {
				t.Errorf("%s %s: nothing is said of %s: %v", kind, wrong.spec, field, err)
			}
		}
		if err != nil && strings.Count(err.Error(), "; spec.")+1 != len(wrong.fields) {
			t.Errorf("%s: %v, want findings on %v alone", kind, err, wrong.fields)
		}
	}
}
