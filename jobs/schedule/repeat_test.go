package schedule

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRepeat(t *testing.T) {
	for _, c := range []struct {
		name, repeat, zone, after string
		want                      []string
	}{
		{"the start itself", "R3/2026-03-01T06:00:00Z/PT90M", "", "2026-02-01T00:00:00Z",
			[]string{"2026-03-01T06:00:00Z", "2026-03-01T07:30:00Z", "2026-03-01T09:00:00Z"}},
		{"three times", "R3/2026-03-01T06:00:00Z/PT1H", "", "2026-03-01T06:00:00Z",
			[]string{"2026-03-01T07:00:00Z", "2026-03-01T08:00:00Z"}},
		{"never", "R0/2026-03-01T06:00:00Z/PT1H", "", "2026-02-01T00:00:00Z", nil},
		{"months are clamped from the start, not from each other", "R5/2026-01-31T00:00:00Z/P1M", "", "2026-01-01T00:00:00Z",
			[]string{"2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z"}},
		{"a leap day", "R3/2024-02-29T12:00:00Z/P1Y", "", "2024-01-01T00:00:00Z",
			[]string{"2024-02-29T12:00:00Z", "2025-02-28T12:00:00Z", "2026-02-28T12:00:00Z"}},
		{"P1D keeps the wall clock", "R3/2026-03-28T12:00:00/P1D", "Europe/Stockholm", "2026-03-01T00:00:00Z",
			[]string{"2026-03-28T11:00:00Z", "2026-03-29T10:00:00Z", "2026-03-30T10:00:00Z"}},
		{"PT24H does not", "R3/2026-03-28T12:00:00/PT24H", "Europe/Stockholm", "2026-03-01T00:00:00Z",
			[]string{"2026-03-28T11:00:00Z", "2026-03-29T11:00:00Z", "2026-03-30T11:00:00Z"}},
		{"a start in UTC and another zone", "R2/2026-03-28T11:00:00Z/P1D", "Europe/Stockholm", "2026-03-01T00:00:00Z",
			[]string{"2026-03-28T11:00:00Z", "2026-03-29T10:00:00Z"}},
		{"into the gap", "R3/2026-03-28T02:30:00/P1D", "Europe/Stockholm", "2026-03-01T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"into the repeated hour", "R3/2026-10-24T02:30:00/P1D", "Europe/Stockholm", "2026-03-01T00:00:00Z",
			[]string{"2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"a date that does not exist is not made up for", "R3/2011-12-29T09:00:00/P1D", "Pacific/Apia", "2011-12-01T00:00:00Z",
			[]string{"2011-12-29T19:00:00Z", "2011-12-30T19:00:00Z"}},
		{"all parts", "R2/2026-01-31T00:00:00Z/P1Y1M1W1DT1H1M1S", "", "2026-01-31T00:00:00Z",
			[]string{"2027-03-08T01:01:01Z"}},
		{"fractions of the start", "R2/2026-01-31T00:00:00.25Z/PT1S", "", "2026-01-31T00:00:00.2Z",
			[]string{"2026-01-31T00:00:00.25Z", "2026-01-31T00:00:01.25Z"}},
		{"offsets of the start", "R1/2026-01-31T00:00:00+0130/P1D", "", "2026-01-01T00:00:00Z",
			[]string{"2026-01-30T22:30:00Z"}},
		{"Chronos's milliseconds", "R1/2026-01-31T00:00:00.000Z/PT24H", "", "2026-01-01T00:00:00Z",
			[]string{"2026-01-31T00:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mustCompile(t, Spec{Repeat: c.repeat, Zone: c.zone})
			var got []string
			for due := range s.All(instant(t, c.after)) {
				if got = append(got, due.Nominal.Format(time.RFC3339Nano)); len(got) == 5 {
					break
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRepeatAgainstCron compares repeats with crons that name the same wall
// clock, which are tested against a model of their own.
func TestRepeatAgainstCron(t *testing.T) {
	zones := []string{"UTC", "Europe/Stockholm", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca",
		"America/Sao_Paulo", "Pacific/Apia"}
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		first := time.Date(rapid.IntRange(1975, 2060).Draw(t, "year"), time.Month(rapid.IntRange(1, 12).Draw(t, "month")),
			rapid.IntRange(1, 28).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"),
			rapid.SampledFrom([]int{0, 15, 30, 59}).Draw(t, "minute"), 0, 0, time.UTC)
		clock := fmt.Sprintf("%d %d", first.Minute(), first.Hour())
		period, cron := "P1D", clock+" * * *"
		switch rapid.IntRange(0, 3).Draw(t, "period") {
		case 0:
			period, cron = "P1W", fmt.Sprintf("%s * * %d", clock, first.Weekday())
		case 1:
			period, cron = "P1M", fmt.Sprintf("%s %d * *", clock, first.Day())
		case 2:
			period, cron = "P1Y", fmt.Sprintf("%s %d %d *", clock, first.Day(), first.Month())
		}
		text := "R/" + first.Format("2006-01-02T15:04:05") + "/" + period
		repeat, err := Compile(Spec{Repeat: text, Zone: zone}, "job")
		if err != nil {
			t.Fatal(err)
		}
		crons, err := Compile(Spec{Cron: Crons{cron}, Zone: zone}, "job")
		if err != nil {
			t.Fatal(err)
		}
		after := first.AddDate(0, 0, rapid.IntRange(2, 20000).Draw(t, "days later"))
		for range 400 {
			want, _ := crons.Next(after)
			got, ok := repeat.Next(after)
			if !ok || !got.Nominal.Equal(want.Nominal) {
				t.Fatalf("%s in %s after %v: %v, want %v as %q has", text, zone, after, got.Nominal, want.Nominal, cron)
			}
			after = want.Nominal
		}
		back, ok := repeat.Previous(after)
		want, _ := crons.Previous(after)
		if !ok || !back.Nominal.Equal(want.Nominal) {
			t.Fatalf("%s in %s before %v: %v, want %v", text, zone, after, back.Nominal, want.Nominal)
		}
	})
}

// TestRepeatElapsed compares an elapsed period with plain arithmetic.
func TestRepeatElapsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.Int64Range(1, 1_000_000).Draw(t, "seconds")
		start := time.Unix(rapid.Int64Range(1, 4e9).Draw(t, "start"), 0).UTC()
		k := rapid.Int64Range(0, 100_000).Draw(t, "k")
		s, err := Compile(Spec{Repeat: fmt.Sprintf("R/%s/PT%dS", start.Format(time.RFC3339), seconds), Zone: "Europe/Stockholm"}, "job")
		if err != nil {
			t.Fatal(err)
		}
		want := time.Unix(start.Unix()+k*seconds, 0).UTC()
		if got, _ := s.Next(want.Add(-time.Nanosecond)); !got.Nominal.Equal(want) {
			t.Fatalf("instant %d: %v, want %v", k, got.Nominal, want)
		}
	})
}

func TestWithStart(t *testing.T) {
	open := Spec{Repeat: "R5//PT1H"}
	if !open.NeedsStart() {
		t.Error("an open start is not seen")
	}
	fixed := open.WithStart(time.Date(2026, 3, 1, 8, 0, 0, 500_000_000, time.FixedZone("", 3600)))
	if want := "R5/2026-03-01T07:00:00.5Z/PT1H"; fixed.Repeat != want || fixed.NeedsStart() {
		t.Errorf("fixed start: %q, want %q", fixed.Repeat, want)
	}
	if again := fixed.WithStart(time.Now()); again.Repeat != fixed.Repeat {
		t.Errorf("a fixed start was moved: %q", again.Repeat)
	}
	if mustCompile(t, fixed) == nil {
		t.Error("does not compile")
	}
}

// TestFaultsAreOfWhatIsWritten: a start that was left open is not in them.
func TestFaultsAreOfWhatIsWritten(t *testing.T) {
	start := time.Date(2026, 3, 1, 7, 0, 0, 0, time.UTC)
	for _, c := range []struct{ repeat, want string }{
		{"R5//PT0S", `repeat: "R5//PT0S" column 5 - "PT0S" is no time at all; write a period as P1D, PT90M, P1M or P1DT12H`},
		{"R5//P1DT", `repeat: "R5//P1DT" column 8 - no whole number with its unit; write a period as P1D, PT90M, P1M or P1DT12H`},
		{"Rx//P1D", `repeat: "Rx//P1D" column 2 - "x" is no count; write R for ever, R0 for never, R5 for five times`},
		{"R5/1/PT0S", `repeat: "R5/1/PT0S" column 4 - "1" is no time; write it as 2026-03-01T06:00:00Z, or without Z for the schedule's zone`},
	} {
		if _, err := CompileFrom(Spec{Repeat: c.repeat}, start, "job"); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.repeat, err, c.want)
		}
	}
	s, err := CompileFrom(Spec{Repeat: "R//PT1H"}, start, "job")
	if err != nil {
		t.Fatal(err)
	}
	if next, ok := s.Next(start); !ok || !next.Nominal.Equal(start.Add(time.Hour)) {
		t.Errorf("the next instant is %v", next)
	}
}
