package schedule

import (
	"testing"
	"time"
)

// FuzzCompile feeds the parsers, and checks of whatever compiles that Next and
// Previous move, agree, and stay within a year's RFC 3339.
func FuzzCompile(f *testing.F) {
	for _, seed := range []struct{ cron, repeat, zone, exclude string }{
		{"10 * * * *", "", "Europe/Stockholm", "sunday"},
		{"0 30 2 L-3 jan-mar/2 ?", "", "Australia/Lord_Howe", "12-24/01-06"},
		{"0 0 29 2 mon#1,5L", "", "Pacific/Apia", "2026-01-01/2026-12-31"},
		{"@hourly", "", "Africa/Casablanca", "2026-01-01"},
		{"", "R5/2026-01-31T02:30:00/P1M", "America/Sao_Paulo", "02-29"},
		{"", "R/2026-01-31T00:00:00.5+01:00/P1Y2M3W4DT5H6M7S", "", "sat"},
		{"", "R//PT1S", "", ""},
	} {
		f.Add(seed.cron, seed.repeat, seed.zone, seed.exclude, int64(1_774_000_000))
	}
	f.Fuzz(func(t *testing.T, cron, repeat, zone, exclude string, unix int64) {
		spec := Spec{Repeat: repeat, Zone: zone}
		if cron != "" {
			spec.Cron = Crons{cron}
		}
		if exclude != "" {
			spec.Exclude = []string{exclude}
		}
		s, err := Compile(spec.WithStart(time.Unix(1_700_000_000, 0)), "job")
		if err != nil {
			if err.Error() == "" {
				t.Error("an error that says nothing")
			}
			return
		}
		after := time.Unix(unix%endOfTime, 0)
		next, ok := s.Next(after)
		if !ok {
			return
		}
		if !next.Nominal.After(after) || next.Nominal.Year() > 9999 {
			t.Fatalf("Next(%v) = %v", after, next.Nominal)
		}
		if again, _ := s.Next(next.Nominal.Add(-time.Nanosecond)); again != next {
			t.Fatalf("Next just before %v = %v", next.Nominal, again.Nominal)
		}
		if back, ok := s.Previous(next.Nominal.Add(time.Nanosecond)); !ok || back != next {
			t.Fatalf("Previous just after %v = %v, %v", next.Nominal, back.Nominal, ok)
		}
	})
}
