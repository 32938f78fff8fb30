package schedule

import (
	"testing"
	"time"
)

var benchmarks = []struct {
	name string
	spec Spec
}{
	{"cron_utc", Spec{Cron: Crons{"10 * * * *"}}},
	{"cron_elapsed", Spec{Cron: Crons{"*/5 * * * *"}, Zone: "Europe/Stockholm"}},
	{"cron_daily", Spec{Cron: Crons{"30 2 * * *"}, Zone: "America/New_York"}},
	{"cron_last_friday", Spec{Cron: Crons{"0 18 * * 5L"}, Zone: "Europe/Stockholm"}},
	{"cron_leap_day", Spec{Cron: Crons{"0 0 29 2 *"}, Zone: "Europe/Stockholm"}},
	{"repeat_hours", Spec{Repeat: "R/2020-01-01T00:00:00Z/PT6H"}},
	{"repeat_days", Spec{Repeat: "R/2020-01-01T00:00:00/P1D", Zone: "Europe/Stockholm"}},
}

func BenchmarkNext(b *testing.B) {
	for _, c := range benchmarks {
		b.Run(c.name, func(b *testing.B) {
			s := mustCompile(b, c.spec)
			after := instant(b, "2026-03-10T08:15:00Z")
			b.ReportAllocs()
			for b.Loop() {
				if due, ok := s.Next(after); ok {
					after = due.Nominal
				}
				if after.Year() > 2030 {
					after = time.Unix(1_773_130_500, 0)
				}
			}
		})
	}
}

func BenchmarkInterval(b *testing.B) {
	s := mustCompile(b, Spec{Cron: Crons{"30 2 * * *"}, Zone: "America/New_York"})
	nominal, _ := s.Next(instant(b, "2026-03-10T08:15:00Z"))
	b.ReportAllocs()
	for b.Loop() {
		s.Interval(nominal.Nominal)
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustCompile(b, Spec{Cron: Crons{"30 2 * * mon-fri"}, Zone: "America/New_York"})
	}
}

// TestNextDoesNotAllocate guards the path that every due job takes.
func TestNextDoesNotAllocate(t *testing.T) {
	for _, c := range benchmarks {
		s := mustCompile(t, c.spec)
		after := instant(t, "2026-03-10T08:15:00Z")
		if allocations := testing.AllocsPerRun(100, func() { s.Next(after) }); allocations != 0 {
			t.Errorf("%s: %v allocations", c.name, allocations)
		}
	}
}
