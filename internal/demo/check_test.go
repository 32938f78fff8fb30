package demo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"tidemill/internal/events"
	"tidemill/internal/stack"
	"tidemill/jobs/event"
)

var (
	campaignA, campaignB = event.UUID{1}, event.UUID{2}
	monday, tuesday      = event.Day(19000), event.Day(19001)
)

func TestCompareDays(t *testing.T) {
	truth := dayCounts{campaignA: {monday: {Views: 3, Clicks: 1}, tuesday: {Views: 5}}}
	tests := map[string]struct {
		got  dayCounts
		want int // differences
	}{
		"the same":           {dayCounts{campaignA: {monday: {Views: 3, Clicks: 1}, tuesday: {Views: 5}}}, 0},
		"zeros for nothing":  {dayCounts{campaignA: {monday: {Views: 3, Clicks: 1}, tuesday: {Views: 5}}, campaignB: {monday: {}}}, 0},
		"a view too few":     {dayCounts{campaignA: {monday: {Views: 2, Clicks: 1}, tuesday: {Views: 5}}}, 1},
		"a click too many":   {dayCounts{campaignA: {monday: {Views: 3, Clicks: 2}, tuesday: {Views: 5}}}, 1},
		"a day missing":      {dayCounts{campaignA: {monday: {Views: 3, Clicks: 1}}}, 1},
		"a campaign of none": {dayCounts{campaignA: {monday: {Views: 3, Clicks: 1}, tuesday: {Views: 5}}, campaignB: {monday: {Views: 1}}}, 1},
		"nothing":            {dayCounts{}, 2},
	}
	for name, tt := range tests {
		var diff Differences
		compareDays(&diff, "campaign", truth, tt.got)
		if len(diff) != tt.want {
			t.Errorf("%s: %d differences, want %d: %v", name, len(diff), tt.want, diff)
		}
	}
}

func TestCompareCounts(t *testing.T) {
	truth := map[event.UUID]events.Counts{campaignA: {Views: 8, Clicks: 1}}
	for want, got := range []map[event.UUID]events.Counts{
		{campaignA: {Views: 8, Clicks: 1}},
		{campaignA: {Views: 9, Clicks: 1}},
		{campaignA: {Views: 9, Clicks: 1}, campaignB: {Views: 1}},
	} {
		var diff Differences
		compareCounts(&diff, "campaign_report", truth, got)
		if len(diff) != want {
			t.Errorf("%v: differences %v, want %d", got, diff, want)
		}
	}
}

func TestCompareRecords(t *testing.T) {
	log := [][]byte{[]byte("a"), []byte("b")}
	for text, want := range map[string]int{"a b": 0, "b a": 1, "a": 1, "a b b": 1} {
		var diff Differences
		compareRecords(&diff, 0, log, bytes.Fields([]byte(text)))
		if len(diff) != want {
			t.Errorf("%s: differences %v, want %d", text, diff, want)
		}
	}
}

func TestDifferencesAreToldInBounds(t *testing.T) {
	var diff Differences
	if diff.err() != nil {
		t.Error("no difference is an error")
	}
	for i := range 100 {
		diff.addf("difference %d", i)
	}
	text := diff.err().Error()
	if !strings.HasPrefix(text, "100 differences:") || !strings.Contains(text, "… and 80 more") || strings.Contains(text, "difference 20\n") {
		t.Errorf("got %s", text)
	}
}

// TestTruncated reads what a restore reads: every line, then an end that comes
// too early.
func TestTruncated(t *testing.T) {
	var lines [][]byte
	for i := range addedGood {
		lines = append(lines, fmt.Appendf(nil, `{"line":%d}`, i))
	}
	object, err := compressTruncated(lines)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	text := bufio.NewReader(plain)
	for i, want := range lines {
		got, err := text.ReadBytes('\n')
		if err != nil || !bytes.Equal(bytes.TrimSpace(got), want) {
			t.Fatalf("line %d: %q, %v", i+1, got, err)
		}
	}
	if rest, err := text.ReadBytes('\n'); len(rest) > 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the last line: %q, %v", rest, err)
	}
}

func TestJobsGetTheRunsOwnNames(t *testing.T) {
	d := &demo{
		Options: Options{Program: "/opt/tidemill"}, names: own(), schedulers: []*process{{url: "http://127.0.0.1:1234"}},
		at: stack.Addresses{Cassandra: []string{"127.1.2.3:9042", "127.1.2.4:9042"}},
	}
	got := d.replacer().Replace(`
topic: tidemill_demo_events, group: tidemill_demo_events-to-cassandra, keyspace: tidemill_demo, to: s3://tidemill-demo/20*
argv: [tidemill, data, truncate, --api, "http://127.0.0.1:8470", --cassandra, "127.0.0.1:9042"]`)
	want := fmt.Sprintf(`
topic: %s, group: %s, keyspace: %s, to: s3://%s/20*
argv: [/opt/tidemill, data, truncate, --api, "http://127.0.0.1:1234", --cassandra, "127.1.2.3:9042,127.1.2.4:9042"]`,
		d.names.topic, d.names.group(), d.names.keyspace, d.names.bucket)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again := own(); again == d.names {
		t.Error("two runs have the same names")
	}
}

func TestProgressIsToldOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newScreen(&out)
		for i := range 100 {
			s.progress("%d done", i)
			<-time.After(progressEvery / 10) // by the clock of the bubble
		}
		if lines := strings.Count(out.String(), "done"); lines != 10 {
			t.Errorf("%d lines of progress, want 10:\n%s", lines, out.String())
		}
	})
}
