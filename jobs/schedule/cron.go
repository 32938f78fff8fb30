package schedule

import (
	"math/bits"
	"time"
)

// cron is a compiled expression: sets of bits, searched field by field.
type cron struct {
	seconds, minutes, hours, months uint64
	days                            days

	// elapsed: the hour field holds a star or a step, so the expression
	// matches whatever clocks show, as time goes by. Otherwise it names local
	// times, each of which comes once.
	elapsed bool
}

// everyDay stands for a schedule that may fall on any day.
var everyDay = cron{months: 1<<13 - 2, days: days{month: 1<<32 - 2}}

// days is the day of month and the day of week of an expression.
type days struct {
	month     uint32   // bit 1 is the first day
	fromEnd   uint32   // bit 0 is the last day of the month (L), bit 3 is L-3
	week      uint8    // bit 0 is Sunday
	nth       [6]uint8 // nth[2] holds the weekdays of x#2
	last      uint8    // the weekdays of xL
	monthStar bool     // the field begins with a star, in the manner of Vixie's cron
	weekStar  bool
}

// in gives the matching days of a month, bit 1 the first, whose weekday is
// given. Vixie's rule: a field that begins with a star narrows the other one;
// two without are alternatives.
func (d *days) in(length, weekday int) uint32 {
	byMonth, byWeek := d.month, weekdayBits(d.week, weekday)
	for rest := d.fromEnd; rest != 0; rest &= rest - 1 {
		if back := bits.TrailingZeros32(rest); back < length {
			byMonth |= 1 << (length - back)
		}
	}
	const week = 0x7f
	for n := 1; n < len(d.nth); n++ {
		if d.nth[n] != 0 {
			byWeek |= weekdayBits(d.nth[n], weekday) & (week << (7*n - 6))
		}
	}
	byWeek |= weekdayBits(d.last, weekday) & (week << (length - 6))
	within := uint32(1)<<(length+1) - 2
	if d.monthStar || d.weekStar {
		return byMonth & byWeek & within
	}
	return (byMonth | byWeek) & within
}

// next gives the first instant from from on and before limit.
func (c *cron) next(z zone, cal *calendar, from, limit int64) (int64, bool) {
	s := z.at(from)
	shown := int64(distantPast)
	if !c.elapsed && from-s.start < 2*maxOffset {
		shown = z.shown(s)
	}
	for from < limit {
		local := from + s.offset
		if !c.elapsed && local < shown {
			local = shown // shown before: those local times have had their run
		}
		if !c.elapsed && from == s.start && c.inGap(cal, gap{shown, local}) {
			return from, true
		}
		if found, ok := c.search(cal, local, min(s.end, limit)+s.offset); ok {
			return found - s.offset, true
		}
		from, shown = s.end, max(shown, s.localEnd())
		s = z.at(from)
	}
	return 0, false
}

// inGap reports whether the expression names a local time in the gap, on a
// date that is not wholly in it.
func (c *cron) inGap(cal *calendar, g gap) bool {
	for local := g.start; local < g.end; {
		found, ok := c.search(cal, local, g.end)
		if !ok {
			return false
		}
		if !g.coversDate(found) {
			return true
		}
		local = (dayOf(found) + 1) * daySeconds
	}
	return false
}

// search gives the first local time named from local on and before limit.
func (c *cron) search(cal *calendar, local, limit int64) (int64, bool) {
	today := dayOf(local)
	second := int(local - today*daySeconds)
	for day := today; day*daySeconds < limit; day++ {
		found, ok := c.searchDay(cal, day, dayOf(limit-1))
		if !ok {
			return 0, false
		}
		if found != today {
			second = 0
		}
		if clock := c.searchClock(second); clock >= 0 {
			named := found*daySeconds + int64(clock)
			return named, named < limit
		}
		day = found
	}
	return 0, false
}

// searchDay gives the first day named and not excluded from day on, up to and
// including last.
func (c *cron) searchDay(cal *calendar, day, last int64) (int64, bool) {
	year, month, dayOfMonth := time.Unix(day*daySeconds, 0).UTC().Date()
	first := day - int64(dayOfMonth) + 1
	for first <= last {
		length := daysIn(year, month)
		if c.months>>month&1 == 1 {
			named := c.in(cal, month, length, weekdayOf(first)) >> dayOfMonth << dayOfMonth
			for named != 0 {
				found := first + int64(bits.TrailingZeros32(named)) - 1
				until, excluded := cal.excludedUntil(found)
				if !excluded {
					return found, found <= last
				}
				after := min(until-first+2, 32)
				named = named >> after << after
			}
		}
		first += int64(length)
		dayOfMonth = 1
		if month++; month > time.December {
			year, month = year+1, time.January
		}
	}
	return 0, false
}

// in gives the days of a month that are named and not excluded each year.
func (c *cron) in(cal *calendar, month time.Month, length, weekday int) uint32 {
	return c.days.in(length, weekday) &^ cal.recurring(month, weekday)
}

// searchClock gives the first second of the day named from second on, or -1.
func (c *cron) searchClock(second int) int {
	hour, minute, second := second/3600, second/60%60, second%60
	if c.hours>>hour&1 == 1 {
		if c.minutes>>minute&1 == 1 {
			if s := nextBit(c.seconds, second); s >= 0 {
				return hour*3600 + minute*60 + s
			}
		}
		if m := nextBit(c.minutes, minute+1); m >= 0 {
			return hour*3600 + m*60 + nextBit(c.seconds, 0)
		}
	}
	if h := nextBit(c.hours, hour+1); h >= 0 {
		return h*3600 + nextBit(c.minutes, 0)*60 + nextBit(c.seconds, 0)
	}
	return -1
}

// possible reports whether any day is ever named and not excluded each year.
// The Gregorian calendar, weekdays included, repeats after 400 years.
func (c *cron) possible(cal *calendar) bool {
	first := dayOf(time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).Unix())
	for year := 2000; year < 2400; year++ {
		for month := time.January; month <= time.December; month++ {
			length := daysIn(year, month)
			if c.months>>month&1 == 1 && c.in(cal, month, length, weekdayOf(first)) != 0 {
				return true
			}
			first += int64(length)
		}
	}
	return false
}

// nextBit gives the lowest bit set from from on, or -1.
func nextBit(set uint64, from int) int {
	if set >>= from; set == 0 {
		return -1
	}
	return from + bits.TrailingZeros64(set)
}

// weekdayOf gives the weekday of a day since 1970-01-01, a Thursday.
func weekdayOf(day int64) int {
	return int(((day+4)%7 + 7) % 7)
}

func daysIn(year int, month time.Month) int {
	switch month {
	case time.February:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case time.April, time.June, time.September, time.November:
		return 30
	default:
		return 31
	}
}
