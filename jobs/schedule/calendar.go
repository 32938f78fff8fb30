package schedule

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// dayRange is a range of days since 1970-01-01, both ends included.
type dayRange struct{ first, last int64 }

// calendar holds excluded days.
type calendar struct {
	weekdays uint8      // bit 0 is Sunday
	annual   [13]uint32 // by month, bit 1 is the first
	ranges   []dayRange // ascending, apart
}

// parseCalendar reads the entries and adds each fault to errs.
func parseCalendar(entries []string, errs *Errors) calendar {
	var c calendar
	for i, entry := range entries {
		errs.add(indexed("exclude", i), entry, c.add(strings.TrimSpace(entry)))
	}
	c.merge()
	return c
}

const calendarHint = "write a date (2026-12-24), a range (2026-12-24/2027-01-06), " +
	"a day of every year (12-25, 12-24/01-06) or a weekday (sunday)"

func (c *calendar) add(entry string) *Error {
	if weekday, ok := weekdayNamed(entry); ok {
		c.weekdays |= 1 << weekday
		return nil
	}
	from, to, isRange := strings.Cut(entry, "/")
	if !isRange {
		to = from
	}
	if first, err := time.Parse(time.DateOnly, from); err == nil {
		last, err := time.Parse(time.DateOnly, to)
		if err != nil {
			return faultAt(len(from)+2, calendarHint, "%q is no date", to)
		}
		if last.Before(first) {
			return faultAt(len(from)+2, "write the earlier date first", "the range runs backwards")
		}
		c.ranges = append(c.ranges, dayRange{dayOf(first.Unix()), dayOf(last.Unix())})
		return nil
	}
	// A leap year, so that 02-29 is a day of the year.
	first, err := time.Parse(time.DateOnly, "2000-"+from)
	if err != nil {
		return faultAt(0, calendarHint, "no day")
	}
	last, err := time.Parse(time.DateOnly, "2000-"+to)
	if err != nil {
		return faultAt(len(from)+2, calendarHint, "%q is no day of the year", to)
	}
	if last.Before(first) {
		last = last.AddDate(1, 0, 0)
	}
	for day := first; !day.After(last); day = day.AddDate(0, 0, 1) {
		c.annual[day.Month()] |= 1 << day.Day()
	}
	return nil
}

// weekdayNamed knows English names, whole or of three letters, in any case.
func weekdayNamed(name string) (time.Weekday, bool) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if full := day.String(); strings.EqualFold(name, full) || strings.EqualFold(name, full[:3]) {
			return day, true
		}
	}
	return 0, false
}

// merge sorts the ranges and joins those that touch, so that one search finds
// where an excluded stretch ends.
func (c *calendar) merge() {
	slices.SortFunc(c.ranges, func(a, b dayRange) int { return cmp.Compare(a.first, b.first) })
	joined := c.ranges[:0]
	for _, r := range c.ranges {
		if n := len(joined); n > 0 && r.first <= joined[n-1].last+1 {
			joined[n-1].last = max(joined[n-1].last, r.last)
			continue
		}
		joined = append(joined, r)
	}
	c.ranges = joined
}

// excludedUntil gives the last day of the range that holds the day.
func (c *calendar) excludedUntil(day int64) (int64, bool) {
	if len(c.ranges) == 0 {
		return 0, false
	}
	i, _ := slices.BinarySearchFunc(c.ranges, day, func(r dayRange, day int64) int { return cmp.Compare(r.last, day) })
	if i < len(c.ranges) && c.ranges[i].first <= day {
		return c.ranges[i].last, true
	}
	return 0, false
}

// recurring gives the days of a month that the weekdays and the days of every
// year exclude, bit 1 the first; weekday is that of the first day.
func (c *calendar) recurring(month time.Month, weekday int) uint32 {
	return c.annual[month] | weekdayBits(c.weekdays, weekday)
}

// excludes reports whether the day is excluded, and the last day up to which
// it is known that all are.
func (c *calendar) excludes(day int64) (until int64, yes bool) {
	if until, yes := c.excludedUntil(day); yes {
		return until, true
	}
	date := time.Unix(day*daySeconds, 0).UTC()
	return day, c.annual[date.Month()]&(1<<date.Day()) != 0 || c.weekdays&(1<<date.Weekday()) != 0
}

// weekdayBits spreads a set of weekdays over the days of a month, bit 1 the
// first, whose weekday is given. Bits beyond the month's end are not cleared.
func weekdayBits(weekdays uint8, first int) uint32 {
	const weeks = 1 | 1<<7 | 1<<14 | 1<<21 | 1<<28 | 1<<35
	return uint32(uint64(weekdays)*weeks>>first) << 1
}
