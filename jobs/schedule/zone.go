package schedule

import (
	"sync"
	"time"
)

const daySeconds = 24 * 60 * 60

// Instants far outside any calendar, with room to add offsets to them.
const (
	distantPast   = -1 << 60
	distantFuture = 1 << 60
)

// maxOffset bounds the distance of any zone's local time from UTC: the
// extremes of the tz database are -15:13:42 and +15:13:42 (Manila, Juneau).
const maxOffset = 16 * 60 * 60

// locations shares zones between the schedules of a process: each holds some
// kilobytes, and they never change. Only valid names are kept, so it is bounded.
var locations sync.Map // string -> *time.Location

func loadZone(name string) (zone, *Error) {
	if name == "" || name == "UTC" {
		return zone{}, nil
	}
	if shared, ok := locations.Load(name); ok {
		return zone{shared.(*time.Location)}, nil
	}
	const hint = "write an IANA name such as Europe/Stockholm or UTC"
	if name == "Local" {
		return zone{}, faultAt(0, hint, "the zone of whichever machine leads is no zone")
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return zone{}, faultAt(0, hint, "unknown time zone")
	}
	shared, _ := locations.LoadOrStore(name, location)
	return zone{shared.(*time.Location)}, nil
}

// zone is a location seen as a sequence of spans; the zero value is UTC.
//
// Instants are Unix seconds. Local times are seconds too: those of the instant
// at which a clock in UTC shows the same date and time.
type zone struct{ location *time.Location }

// span is a stretch of time, [start, end), with one offset from UTC. Adjoining
// spans may have the same offset.
type span struct{ start, end, offset int64 }

func (s span) localStart() int64 { return s.start + s.offset }
func (s span) localEnd() int64   { return s.end + s.offset }

func (z zone) at(instant int64) span {
	if z.location == nil {
		return span{distantPast, distantFuture, 0}
	}
	t := time.Unix(instant, 0).In(z.location)
	_, offset := t.Zone()
	start, end := t.ZoneBounds()
	s := span{distantPast, distantFuture, int64(offset)}
	if !start.IsZero() {
		s.start = start.Unix()
	}
	if !end.IsZero() {
		s.end = end.Unix()
	}
	if s.end <= instant {
		// Beyond a zone's table, package time takes every year for one of 365
		// days: what it gives on the last day of a leap year has ended before.
		// The offset holds until the year ends.
		s.end = time.Date(time.Unix(instant, 0).UTC().Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()
	}
	return s
}

// shown is the end of the local times that clocks showed before the span
// began. It lies after the span's first local time where clocks were put
// back, before it where they were put forward.
func (z zone) shown(s span) int64 {
	latest := int64(distantPast)
	for before := s; before.start > s.start-2*maxOffset; {
		before = z.at(before.start - 1)
		latest = max(latest, before.localEnd())
	}
	return latest
}

// resolve gives the first instant at which clocks show the local time; the
// first instant after the gap, where they jump over it; and false where they
// jump over the whole of its date.
func (z zone) resolve(local int64) (int64, bool) {
	s := z.at(local - maxOffset)
	for local >= s.localEnd() {
		shown := s.localEnd()
		s = z.at(s.end)
		if gap := (gap{shown, s.localStart()}); gap.covers(local) {
			return s.start, !gap.coversDate(local)
		}
	}
	return local - s.offset, true
}

// gap is a stretch of local times, [start, end), which no clock shows.
type gap struct{ start, end int64 }

func (g gap) covers(local int64) bool { return g.start <= local && local < g.end }

func (g gap) coversDate(local int64) bool {
	midnight := dayOf(local) * daySeconds
	return g.start <= midnight && midnight+daySeconds <= g.end
}

// dayOf counts the days from 1970-01-01 to a local time, rounding down.
func dayOf(local int64) int64 {
	day := local / daySeconds
	if local%daySeconds < 0 {
		day--
	}
	return day
}
