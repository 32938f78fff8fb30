package schedule

import (
	"testing"
	"time"
)

// TestSpansCoverTime walks through the spans of zones, beyond the end of their
// tables, where package time's own bounds go wrong in leap years.
func TestSpansCoverTime(t *testing.T) {
	for _, change := range hostile {
		z, fault := loadZone(change.zone)
		if fault != nil {
			t.Fatal(fault)
		}
		end := time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		for at := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).Unix(); at < end; {
			s := z.at(at)
			if s.start > at || s.end <= at {
				t.Fatalf("%s at %d: span %+v", change.zone, at, s)
			}
			for _, inside := range []int64{at, at + (min(s.end, end)-at)/2, min(s.end, end) - 1} {
				if _, offset := time.Unix(inside, 0).In(locationOf(z)).Zone(); int64(offset) != s.offset {
					t.Fatalf("%s at %d: offset %d in span %+v", change.zone, inside, offset, s)
				}
			}
			at = s.end
		}
	}
}

func locationOf(z zone) *time.Location {
	if z.location == nil {
		return time.UTC
	}
	return z.location
}

// TestLastDayOfLeapYear crosses the day on which that fault would stop a search.
func TestLastDayOfLeapYear(t *testing.T) {
	s := mustCompile(t, Spec{Cron: Crons{"0 12 * * *"}, Zone: "Europe/Stockholm"})
	checkInstants(t, s, "2040-12-30T11:00:00Z", "2040-12-31T11:00:00Z", "2041-01-01T11:00:00Z")
	elapsed := mustCompile(t, Spec{Cron: Crons{"0 */12 * * *"}, Zone: "Australia/Lord_Howe"})
	checkInstants(t, elapsed, "2040-12-30T14:00:00Z", "2040-12-31T01:00:00Z", "2040-12-31T13:00:00Z", "2041-01-01T01:00:00Z")
}
