package archive

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"tidemill/jobs"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestCut(t *testing.T) {
	cuts := Cuts{MaxRecords: 4, MaxBytes: 10, Span: jobs.Duration(time.Hour)}
	type record struct {
		at   string
		size int
	}
	tests := []struct {
		name     string
		records  []record
		n        int
		complete bool
	}{
		{"nothing", nil, 0, false},
		{"more may come", []record{{"2015-03-01T10:00:00Z", 1}, {"2015-03-01T10:59:59Z", 1}}, 2, false},
		{"count", []record{{"2015-03-01T10:00:00Z", 1}, {"2015-03-01T10:00:00Z", 1}, {"2015-03-01T10:00:00Z", 1}, {"2015-03-01T10:00:00Z", 1}}, 4, true},
		{"bytes", []record{{"2015-03-01T10:00:00Z", 6}, {"2015-03-01T10:00:00Z", 5}}, 1, true},
		{"one that is too large goes alone", []record{{"2015-03-01T10:00:00Z", 60}, {"2015-03-01T10:00:00Z", 1}}, 1, true},
		{"span", []record{{"2015-03-01T10:00:00Z", 1}, {"2015-03-01T11:00:00Z", 1}}, 1, true},
		{"month", []record{{"2015-12-31T23:59:00Z", 1}, {"2016-01-01T00:00:00Z", 1}}, 1, true},
		{"month of UTC", []record{{"2015-12-31T23:59:00-01:00", 1}, {"2016-01-01T01:00:00Z", 1}}, 2, false},
		{"late ones go along", []record{{"2015-03-01T10:00:00Z", 1}, {"2014-01-01T00:00:00Z", 1}}, 2, false},
	}
	for _, tt := range tests {
		var records []*kgo.Record
		for _, r := range tt.records {
			records = append(records, &kgo.Record{Timestamp: at(r.at), Value: make([]byte, r.size)})
		}
		if n, complete := cuts.cut(records); n != tt.n || complete != tt.complete {
			t.Errorf("%s: %d, %t", tt.name, n, complete)
		}
	}
}

// Whoever reads the same records in other portions cuts them alike.
func TestCutLooksAtRecordsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cuts := Cuts{MaxRecords: rapid.IntRange(1, 8).Draw(t, "records"), MaxBytes: rapid.Int64Range(1, 30).Draw(t, "bytes"),
			Span: jobs.Duration(time.Duration(rapid.IntRange(1, 60).Draw(t, "minutes")) * time.Minute)}
		var all []*kgo.Record
		for range rapid.IntRange(1, 40).Draw(t, "count") {
			all = append(all, &kgo.Record{
				Timestamp: time.UnixMilli(0).Add(time.Duration(rapid.IntRange(0, 60*24*40).Draw(t, "minute")) * time.Minute),
				Value:     make([]byte, rapid.IntRange(0, 9).Draw(t, "size")),
			})
		}
		want, complete := cuts.cut(all)
		for seen := range len(all) {
			n, done := cuts.cut(all[:seen])
			if done && (n != want || !complete) {
				t.Fatalf("after %d records it cuts at %d, after all at %d (%t)", seen, n, want, complete)
			}
			if !done && n != seen {
				t.Fatalf("not complete, and yet it leaves %d of %d out", seen-n, seen)
			}
		}
	})
}

func TestKey(t *testing.T) {
	r := &kgo.Record{Topic: "raw_events", Partition: 3, Offset: 1234, Timestamp: at("2015-03-01T00:30:00+01:00")}
	if got := key("a/b", r); got != "a/b/2015/02/raw_events-3-00000000000000001234.json.gz" {
		t.Error(got)
	}
	if got := key("", r); got != "2015/02/raw_events-3-00000000000000001234.json.gz" {
		t.Error(got)
	}
}

func TestParse(t *testing.T) {
	s, err := Parse(json.RawMessage(`{"to":"s3://bucket/a","max_records":7}`))
	want := Spec{Topic: "raw_events", To: "s3://bucket/a", Kafka: "default", S3: "default", Until: "end",
		Cuts: Cuts{MaxRecords: 7, MaxBytes: 16 << 20, Span: jobs.Duration(24 * time.Hour)}}
	if diff := cmp.Diff(want, s); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for doc, field := range map[string]string{
		`{}`:                               "to",
		`{"to":"bucket"}`:                  "to",
		`{"to":"s3://bucket/*/"}`:          "to",
		`{"to":"/a","topic":"a b"}`:        "topic",
		`{"to":"/a","group":"a/b"}`:        "group",
		`{"to":"/a","until":"noon"}`:       "until",
		`{"to":"/a","max_records":-1}`:     "max_records",
		`{"to":"/a","max_bytes":-1}`:       "max_bytes",
		`{"to":"/a","span":"1s"}`:          "span",
		`{"to":"/a","keyspace":"a"}`:       "keyspace",
		`{"to":"/a","max_records":"many"}`: "max_records",
	} {
		_, err := Parse(json.RawMessage(doc))
		if err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestTraits(t *testing.T) {
	for doc, want := range map[string][]string{
		`{"to":"/a"}`:                     {"default"},
		`{"to":"s3://b"}`:                 {"default"},
		`{"to":"s3://b","s3":"cold"}`:     {"default", "cold"},
		`{"to":"/a","kafka":"k"}`:         {"k"},
		`{"to":"s3://b/c","kafka":"log"}`: {"log", "default"},
	} {
		traits, err := Kind{}.Check(json.RawMessage(doc))
		if diff := cmp.Diff(want, traits.Connections); diff != "" || err != nil || !traits.Planned || !traits.Idempotent {
			t.Errorf("%s: %v, %+v\n%s", doc, err, traits, diff)
		}
	}
}
