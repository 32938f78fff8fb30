package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// scheduleNext runs the command as its user calls it, and gives what it prints.
func scheduleNext(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var cli struct {
		globals
		Schedule scheduleCmd `cmd:""`
	}
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(append([]string{"schedule", "next"}, args...))
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = parsed.Run(&cli.globals, console{Out: &out})
	return out.String(), err
}

func TestScheduleNext(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"json", []string{"10 * * * *", "--zone", "Europe/Stockholm", "--from", "2026-03-29T00:00:00Z", "-n", "5", "--output", "json"},
			"[\n" +
				`  "2026-03-29T00:10:00Z"` + ",\n" +
				`  "2026-03-29T01:10:00Z"` + ",\n" +
				`  "2026-03-29T02:10:00Z"` + ",\n" +
				`  "2026-03-29T03:10:00Z"` + ",\n" +
				`  "2026-03-29T04:10:00Z"` + "\n" +
				"]\n"},
		{"strictly after", []string{"R/2026-03-28T02:30:00/P1D", "--zone", "Europe/Stockholm", "--from", "2026-03-28T01:30:00Z", "-n2", "--output=json"},
			"[\n" +
				`  "2026-03-29T01:00:00Z"` + ",\n" +
				`  "2026-03-30T00:30:00Z"` + "\n" +
				"]\n"},
		{"an open start is from", []string{"R3//PT1H", "--from", "2026-03-28T00:00:00Z", "--output=json"},
			"[\n" +
				`  "2026-03-28T01:00:00Z"` + ",\n" +
				`  "2026-03-28T02:00:00Z"` + "\n" +
				"]\n"},
		{"nothing left", []string{"R0//PT1H", "--output=json"}, "[]\n"},
		{"several", []string{"0 6 * * *", "0 18 * * *", "--from", "2026-03-28T00:00:00Z", "-n3", "--exclude=sunday", "--output=json"},
			"[\n" +
				`  "2026-03-28T06:00:00Z"` + ",\n" +
				`  "2026-03-28T18:00:00Z"` + ",\n" +
				`  "2026-03-30T06:00:00Z"` + "\n" +
				"]\n"},
		{"yaml", []string{"@daily", "--from", "2026-03-28T00:00:00Z", "-n2", "--output=yaml"},
			"- \"2026-03-29T00:00:00Z\"\n- \"2026-03-30T00:00:00Z\"\n"},
		{"table", []string{"@daily", "--zone=Europe/Stockholm", "--from", "2026-03-28T00:00:00Z", "-n2"},
			"INSTANT               IN EUROPE/STOCKHOLM\n" +
				"2026-03-28T23:00:00Z  Sun 2026-03-29 00:00:00 +0100\n" +
				"2026-03-29T22:00:00Z  Mon 2026-03-30 00:00:00 +0200\n"},
		{"no zone is UTC", []string{"@daily", "--zone=", "--from", "2026-03-28T00:00:00Z", "-n1"},
			"INSTANT               IN UTC\n2026-03-29T00:00:00Z  Sun 2026-03-29 00:00:00 +0000\n"},
		{"a date that few months have", []string{"R5/2026-01-31T00:00:00Z/P1M", "--from", "2026-02-01T00:00:00Z", "-n2", "--output=yaml"},
			"- \"2026-02-28T00:00:00Z\"\n- \"2026-03-31T00:00:00Z\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := scheduleNext(t, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestScheduleNextRefuses(t *testing.T) {
	for _, args := range [][]string{{"60 * * * *"}, {"0 0 30 2 *"}, {"@daily", "--zone=Mars/Olympus"}, {"@daily", "-n0"}, {"R/x/P1D"}, {"10", "README.md", "go.mod"}, {"@every 5m"}, {"@daily", "-n10001"}} {
		_, err := scheduleNext(t, args...)
		var exit *exitError
		if !errors.As(err, &exit) || exit.Code != exitUsage {
			t.Errorf("%v: error %v, want exit code %d", args, err, exitUsage)
		}
	}
}

// A job that is to run once, now, runs in the second after it is applied.
func TestScheduleNextFromNow(t *testing.T) {
	got, err := scheduleNext(t, "R1//PT24H", "--output=json")
	var instants []time.Time
	if err := errors.Join(err, json.Unmarshal([]byte(got), &instants)); err != nil || len(instants) != 1 {
		t.Fatalf("%s, %v; want one instant", got, err)
	}
	if at := instants[0]; at.Nanosecond() != 0 || time.Until(at) > time.Second {
		t.Errorf("it is due at %s, want the second after now", at)
	}
}
