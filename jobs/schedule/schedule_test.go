package schedule

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFaults checks that every fault is reported with its field, its place and
// what to do, all at once.
func TestFaults(t *testing.T) {
	at := func(text string) *time.Time { v := instant(t, text); return &v }
	for _, c := range []struct {
		spec Spec
		want []string
	}{
		{Spec{}, []string{`cron: no schedule; write cron or repeat`}},
		{Spec{Cron: Crons{"60 * * * *", "* 24 * * *"}, Zone: "Europe/Stokholm", Jitter: -1}, []string{
			`zone: "Europe/Stokholm" - unknown time zone; write an IANA name such as Europe/Stockholm or UTC`,
			`cron[0]: "60 * * * *" column 1 - minute 60 is out of 0-59; write a number from 0 to 59`,
			`cron[1]: "* 24 * * *" column 3 - hour 24 is out of 0-23; write a number from 0 to 23`,
			`jitter: "-1ns" - out of bounds; write a duration from 0s to 24h`}},
		{Spec{Cron: Crons{"0 0 30 2 *"}}, []string{`cron[0]: "0 0 30 2 *" - names no day that exists; February has at most 29 days; L is the last day of any month`}},
		{Spec{Cron: Crons{"0 0 31 2,4,6,9,11 *"}}, []string{`cron[0]: "0 0 31 2,4,6,9,11 *" - names no day that exists; compare the days with the months`}},
		{Spec{Cron: Crons{"0 0 * * mon"}, Exclude: []string{"Monday"}}, []string{`cron[0]: "0 0 * * mon" - every day it names is excluded; compare it with exclude`}},
		{Spec{Cron: Crons{"0  0 1 foo *"}}, []string{`cron[0]: "0  0 1 foo *" column 8 - month "foo" is no number; write a number from 1 to 12 or a name from JAN to DEC`}},
		{Spec{Cron: Crons{"0 22-2 * * *"}}, []string{`cron[0]: "0 22-2 * * *" column 6 - hour range 22-2 runs backwards; write 22-23,0-2`}},
		{Spec{Cron: Crons{"*/90 * * * *"}}, []string{`cron[0]: "*/90 * * * *" column 3 - minute step "90" is out of 1-60; write a step from 1 to 60; fields are counted afresh in each hour`}},
		{Spec{Cron: Crons{"*/0 * * * *"}}, []string{`cron[0]: "*/0 * * * *" column 3 - minute step "0" is out of 1-60; write a step from 1 to 60; fields are counted afresh in each hour`}},
		{Spec{Cron: Crons{"1,,2 * * * *"}}, []string{`cron[0]: "1,,2 * * * *" column 3 - an empty item; write a list as 1,15,30`}},
		{Spec{Cron: Crons{"0 0 15W * *"}}, []string{`cron[0]: "0 0 15W * *" column 5 - day of month "15W": the nearest weekday is not supported; list the days, or run each day and exclude weekends`}},
		{Spec{Cron: Crons{"0 0 L3 * *"}}, []string{`cron[0]: "0 0 L3 * *" column 5 - "L3" is no day of month; write L for the last day of the month, L-3 for three days before it`}},
		{Spec{Cron: Crons{"0 0 * * L"}}, []string{`cron[0]: "0 0 * * L" column 9 - L without a weekday; write 5L for the last Friday of the month`}},
		{Spec{Cron: Crons{"0 0 * * 5#6"}}, []string{`cron[0]: "0 0 * * 5#6" column 11 - "6" is out of 1-5; write 5#2 for the second Friday of the month`}},
		{Spec{Cron: Crons{"@every 5m"}}, []string{`cron[0]: "@every 5m" column 1 - unknown macro; known are @annually @daily @hourly @midnight @monthly @weekly @yearly; for an interval write a repeat, as R//PT90M`}},
		{Spec{Cron: Crons{"@reboot"}}, []string{`cron[0]: "@reboot" column 1 - unknown macro; known are @annually @daily @hourly @midnight @monthly @weekly @yearly; for an interval write a repeat, as R//PT90M`}},
		{Spec{Cron: Crons{"@daily"}, Repeat: "R/2026-01-01/P1D"}, []string{`repeat: "R/2026-01-01/P1D" - cron and repeat exclude each other; write one of them`}},
		{Spec{Repeat: "R//P1D"}, []string{`repeat: "R//P1D" column 3 - the start is open; fix the start before compiling (Spec.WithStart)`}},
		{Spec{Repeat: "Rx/tomorrow/P1D"}, []string{`repeat: "Rx/tomorrow/P1D" column 2 - "x" is no count; write R for ever, R0 for never, R5 for five times`}},
		{Spec{Repeat: "R/tomorrow/P1D"}, []string{`repeat: "R/tomorrow/P1D" column 3 - "tomorrow" is no time; write it as 2026-03-01T06:00:00Z, or without Z for the schedule's zone`}},
		{Spec{Repeat: "R/1970-01-01T00:00:00Z/P1D"}, []string{`repeat: "R/1970-01-01T00:00:00Z/P1D" column 3 - 1970-01-01T00:00:00Z is too early; write a start from 1970-01-01T00:00:01Z on`}},
		{Spec{Repeat: "R/2026-01-01/P1H"}, []string{`repeat: "R/2026-01-01/P1H" column 16 - unit "H" is unknown or out of order; write a period as P1D, PT90M, P1M or P1DT12H`}},
		{Spec{Repeat: "R/2026-01-01/PT0S"}, []string{`repeat: "R/2026-01-01/PT0S" column 14 - "PT0S" is no time at all; write a period as P1D, PT90M, P1M or P1DT12H`}},
		{Spec{Repeat: "R/2026-01-01/PT1.5S"}, []string{`repeat: "R/2026-01-01/PT1.5S" column 17 - unit "." is unknown or out of order; write a period as P1D, PT90M, P1M or P1DT12H`}},
		{Spec{Repeat: "R/2026-01-01/P101Y"}, []string{`repeat: "R/2026-01-01/P101Y" column 14 - P101Y is too long; write a period of at most 100 years`}},
		{Spec{Repeat: "R/2026-01-04/P1W", Exclude: []string{"sun"}}, []string{`end: no instant between start and end; change the bounds, exclude or the schedule`}},
		{Spec{Repeat: "R/2026-01-04/P1D", Exclude: []string{"01-01/12-31"}}, []string{`repeat: "R/2026-01-04/P1D" - every day it names is excluded; compare it with exclude`}},
		{Spec{Cron: Crons{"@yearly"}, Start: at("2026-02-01T00:00:00Z"), End: at("2026-12-01T00:00:00Z")}, []string{`end: no instant between start and end; change the bounds, exclude or the schedule`}},
		{Spec{Cron: Crons{"@yearly"}, Start: at("2026-02-01T00:00:00Z"), End: at("2026-02-01T00:00:00Z")}, []string{`end: no time between start and end; write an end after the start`}},
		{Spec{Cron: Crons{"@daily"}, Exclude: []string{"2026-02-30", "2026-02-03/2026-02-01", "funday"}}, []string{
			`exclude[0]: "2026-02-30" - no day; ` + calendarHint,
			`exclude[1]: "2026-02-03/2026-02-01" column 12 - the range runs backwards; write the earlier date first`,
			`exclude[2]: "funday" - no day; ` + calendarHint}},
	} {
		_, err := Compile(c.spec, "job")
		var list Errors
		if !errors.As(err, &list) {
			t.Errorf("%+v: error %v is no Errors", c.spec, err)
			continue
		}
		var got []string
		for _, fault := range list {
			got = append(got, fault.Error())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.spec, diff)
		}
	}
}

func TestBounds(t *testing.T) {
	start, end := instant(t, "2026-01-01T12:00:00Z"), instant(t, "2026-01-01T15:00:00Z")
	s := mustCompile(t, Spec{Cron: Crons{"@hourly"}, Start: &start, End: &end})
	want := []string{"2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z", "2026-01-01T14:00:00Z"}
	checkInstants(t, s, "2020-01-01T00:00:00Z", want...)
	if due, ok := s.Next(instant(t, want[2])); ok {
		t.Errorf("an instant at or after the end: %v", due.Nominal)
	}
	if due, ok := s.Previous(instant(t, want[0])); ok {
		t.Errorf("an instant before the start: %v", due.Nominal)
	}
	if last, _ := s.Previous(instant(t, "2027-01-01T00:00:00Z")); !last.Nominal.Equal(instant(t, want[2])) {
		t.Errorf("the last instant: %v, want %s", last.Nominal, want[2])
	}
}

func TestInterval(t *testing.T) {
	start := instant(t, "2026-01-05T00:00:00Z")
	for _, c := range []struct {
		name, nominal, from string
		spec                Spec
	}{
		{"daily", "2026-01-07T00:00:00Z", "2026-01-06T00:00:00Z", Spec{Cron: Crons{"@daily"}}},
		{"the first one", "2026-01-05T00:00:00Z", "2026-01-04T00:00:00Z", Spec{Cron: Crons{"@daily"}, Start: &start}},
		{"after a weekend", "2026-01-05T00:00:00Z", "2026-01-02T00:00:00Z", Spec{Cron: Crons{"@daily"}, Exclude: []string{"sat", "sun"}}},
		{"across the gap", "2026-03-30T00:30:00Z", "2026-03-29T01:00:00Z", Spec{Cron: Crons{"30 2 * * *"}, Zone: "Europe/Stockholm"}},
		{"a repeat", "2026-01-07T00:00:00Z", "2026-01-06T00:00:00Z", Spec{Repeat: "R/2026-01-05/P1D"}},
		{"a repeat's first", "2026-03-31T00:00:00Z", "2026-02-28T00:00:00Z", Spec{Repeat: "R/2026-03-31/P1M"}},
		{"a repeat with a fraction", "2026-03-31T00:00:00.5Z", "2026-03-30T00:00:00.5Z", Spec{Repeat: "R1/2026-03-31T00:00:00.5Z/P1D"}},
		{"a leap day's", "2028-02-29T00:00:00Z", "2024-02-29T00:00:00Z", Spec{Cron: Crons{"0 0 29 2 *"}}},
	} {
		from, to := mustCompile(t, c.spec).Interval(instant(t, c.nominal))
		if !from.Equal(instant(t, c.from)) || !to.Equal(instant(t, c.nominal)) {
			t.Errorf("%s: [%v, %v), want [%s, %s)", c.name, from, to, c.from, c.nominal)
		}
	}
}

func TestExclude(t *testing.T) {
	s := mustCompile(t, Spec{Cron: Crons{"0 0 * * *"}, Zone: "Europe/Stockholm",
		Exclude: []string{"12-24/12-26", "2026-12-28/2026-12-30", "2026-12-30/2027-01-02", "sunday", "2026-01-01"}})
	// 2026-12-27 and 2027-01-03 are Sundays.
	checkInstants(t, s, "2026-12-22T12:00:00Z", "2026-12-22T23:00:00Z", "2027-01-03T23:00:00Z", "2027-01-04T23:00:00Z")

	every := mustCompile(t, Spec{Repeat: "R/2026-01-02T23:59:58/PT1S", Zone: "America/Sao_Paulo", Exclude: []string{"sat", "sun"}})
	checkInstants(t, every, "2026-01-01T00:00:00Z", "2026-01-03T02:59:58Z", "2026-01-03T02:59:59Z", "2026-01-05T03:00:00Z")
}

// TestJitterSpreads checks that jobs differ, that a job does not, and that the
// nominal time is kept.
func TestJitterSpreads(t *testing.T) {
	const jobs, parts = 1000, 10
	var histogram [parts]int
	for i := range jobs {
		spec := Spec{Cron: Crons{"@hourly"}, Jitter: Duration(10 * time.Minute)}
		s, err := Compile(spec, fmt.Sprintf("job-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		first, _ := s.Next(instant(t, "2026-01-01T00:00:00Z"))
		second, _ := s.Next(first.Nominal)
		delay := first.Actual.Sub(first.Nominal)
		if delay < 0 || delay >= 10*time.Minute || second.Actual.Sub(second.Nominal) != delay {
			t.Fatalf("delays %v and %v", delay, second.Actual.Sub(second.Nominal))
		}
		if first.Nominal.Minute() != 0 {
			t.Fatalf("the nominal time moved to %v", first.Nominal)
		}
		histogram[int(delay/time.Minute)]++
	}
	for _, count := range histogram {
		if count < jobs/parts/2 || count > jobs/parts*2 {
			t.Fatalf("jobs are not spread: %v", histogram)
		}
	}
}

func TestSpecJSON(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{`{"cron":"@daily"}`, `{"cron":"@daily"}`},
		{`{"cron":["@daily"]}`, `{"cron":"@daily"}`},
		{`{"cron":["@daily","5 * * * *"],"jitter":"60m"}`, `{"cron":["@daily","5 * * * *"],"jitter":"1h"}`},
		{`{"repeat":"R//P1D","zone":"UTC","start":"2026-01-01T00:00:00Z","jitter":"90s","exclude":["sat"]}`,
			`{"repeat":"R//P1D","zone":"UTC","start":"2026-01-01T00:00:00Z","jitter":"1m30s","exclude":["sat"]}`},
	} {
		var spec Spec
		if err := json.Unmarshal([]byte(c.in), &spec); err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		out, err := json.Marshal(spec)
		if err != nil || string(out) != c.out {
			t.Errorf("%s becomes %s (%v), want %s", c.in, out, err, c.out)
		}
	}
	for _, wrong := range []string{`{"cron":5}`, `{"jitter":"soon"}`, `{"jitter":5}`} {
		var spec Spec
		if err := json.Unmarshal([]byte(wrong), &spec); err == nil {
			t.Errorf("%s is accepted as %+v", wrong, spec)
		}
	}
}
