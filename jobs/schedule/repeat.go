package schedule

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// repeat is a compiled R[n]/start/period: n instants, start + k periods.
type repeat struct {
	count  int64 // math.MaxInt64 for ever
	start  int64
	nanos  time.Duration // of the start below a second; every instant has them
	period period
}

// period has a calendar part, which keeps the wall clock, and an elapsed part
// of whole seconds.
type period struct{ months, days, seconds int64 }

const (
	meanMonth  = 2_629_746 // seconds: a 4,800th of the Gregorian calendar's 400 years
	maxPeriod  = 100 * 12 * meanMonth
	repeatHint = "write R[n]/start/period, as R/2026-03-01T06:00:00Z/P1D or R5//PT90M"
)

// splitRepeat splits an ISO 8601 repeat at its slashes.
func splitRepeat(text string) (count, start, period string, ok bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

func parseRepeat(text string, z zone) (*repeat, *Error) {
	countText, startText, periodText, ok := splitRepeat(text)
	if !ok {
		return nil, faultAt(0, repeatHint, "not three parts")
	}
	r := &repeat{count: math.MaxInt64}
	digits, isRepeat := strings.CutPrefix(countText, "R")
	if !isRepeat {
		return nil, faultAt(1, repeatHint, "no R before the count")
	}
	if digits != "" {
		count, err := strconv.ParseUint(digits, 10, 63)
		if err != nil {
			return nil, faultAt(2, "write R for ever, R0 for never, R5 for five times", "%q is no count", digits)
		}
		r.count = int64(count)
	}
	start, fault := parseStart(startText, z)
	if fault != nil {
		fault.Column += len(countText) + 2
		return nil, fault
	}
	r.start, r.nanos = start.Unix(), time.Duration(start.Nanosecond())
	if r.period, fault = parsePeriod(periodText); fault != nil {
		fault.Column += len(countText) + len(startText) + 3
		return nil, fault
	}
	return r, nil
}

// parseStart reads an instant, or a local time of the zone. Columns of its
// faults count from 0.
func parseStart(text string, z zone) (time.Time, *Error) {
	if text == "" {
		return time.Time{}, faultAt(0, "fix the start before compiling (Spec.WithStart)", "the start is open")
	}
	var start time.Time
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00"} {
		if instant, err := time.Parse(layout, text); err == nil {
			start = instant
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if local, err := time.Parse(layout, text); err == nil {
			instant, _ := z.resolve(local.Unix())
			start = time.Unix(instant, int64(local.Nanosecond()))
		}
	}
	switch {
	case start.IsZero():
		return start, faultAt(0, "write it as 2026-03-01T06:00:00Z, or without Z for the schedule's zone", "%q is no time", text)
	case start.Unix() < 1:
		return start, faultAt(0, "write a start from 1970-01-01T00:00:01Z on", "%s is too early", text)
	}
	return start, nil
}

// designators are the units of a period in the order they must have.
var dateDesignators, timeDesignators = "YMWD", "HMS"

// parsePeriod reads P[nY][nM][nW][nD][T[nH][nM][nS]]. Columns of its faults
// count from 0.
func parsePeriod(text string) (period, *Error) {
	const hint = "write a period as P1D, PT90M, P1M or P1DT12H"
	var p period
	rest, ok := strings.CutPrefix(text, "P")
	if !ok {
		return p, faultAt(0, hint, "%q does not begin with P", text)
	}
	for designators, isTime := dateDesignators, false; rest != ""; {
		column := len(text) - len(rest)
		if rest[0] == 'T' && !isTime && len(rest) > 1 {
			designators, isTime, rest = timeDesignators, true, rest[1:]
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 {
			return p, faultAt(column, hint, "no whole number with its unit")
		}
		place := strings.IndexByte(designators, rest[end])
		if place < 0 {
			return p, faultAt(column+end, hint, "unit %q is unknown or out of order", rest[end:end+1])
		}
		number, err := strconv.ParseInt(rest[:end], 10, 64)
		if err != nil || number > maxPeriod {
			return p, faultAt(column, "write a period of at most 100 years", "%s is too long", rest[:end+1])
		}
		p.add(rest[end], isTime, number)
		designators, rest = designators[place+1:], rest[end+1:]
	}
	switch mean := p.mean(); {
	case mean == 0:
		return p, faultAt(0, hint, "%q is no time at all", text)
	case mean > maxPeriod:
		return p, faultAt(0, "write a period of at most 100 years", "%s is too long", text)
	}
	return p, nil
}

func (p *period) add(designator byte, isTime bool, number int64) {
	switch {
	case designator == 'Y':
		p.months += 12 * number
	case designator == 'M' && !isTime:
		p.months += number
	case designator == 'W':
		p.days += 7 * number
	case designator == 'D':
		p.days += number
	case designator == 'H':
		p.seconds += 3600 * number
	case designator == 'M':
		p.seconds += 60 * number
	default:
		p.seconds += number
	}
}

// mean is the length of the period in seconds on average.
func (p period) mean() int64 {
	return p.months*meanMonth + p.days*daySeconds + p.seconds
}

// at gives the k-th instant, start + k periods, and false where its date does
// not exist. Months and days are added to the start's wall clock, all k of them
// at once: 31 January and k months is the 31st wherever there is one, else the
// month's last day. The elapsed part is added last.
func (r *repeat) at(z zone, k int64) (int64, bool) {
	instant, exists := r.start, true
	if k != 0 && (r.period.months != 0 || r.period.days != 0) {
		local := addMonths(r.start+z.at(r.start).offset, k*r.period.months) + k*r.period.days*daySeconds
		instant, exists = z.resolve(local)
	}
	return instant + k*r.period.seconds, exists
}

// addMonths adds months to a local time and stays within the month reached.
func addMonths(local, months int64) int64 {
	if months == 0 {
		return local
	}
	from := time.Unix(local, 0).UTC()
	year, month, day := from.Date()
	first := time.Date(year, month+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
	day = min(day, daysIn(first.Year(), first.Month()))
	return first.Unix() + int64(day-1)*daySeconds + local - dayOf(local)*daySeconds
}

// index gives the number of the first instant from from on. The mean period
// leads within a few days of it, since months and zones even out.
func (r *repeat) index(z zone, from int64) int64 {
	if from <= r.start {
		return 0
	}
	k := (from - r.start) / r.period.mean()
	for k > 0 {
		if instant, _ := r.at(z, k-1); instant < from {
			break
		}
		k--
	}
	for {
		if instant, _ := r.at(z, k); instant >= from {
			return k
		}
		k++
	}
}

// next gives the first instant from from on and before limit that is not
// excluded. Instants excluded or without a date count as given: they are not
// made up for.
func (r *repeat) next(z zone, cal *calendar, from, limit int64) (int64, bool) {
	for k := r.index(z, from); k < r.count; {
		instant, exists := r.at(z, k)
		if instant >= limit {
			return 0, false
		}
		k++
		until, excluded := cal.excludes(dayOf(instant + z.at(instant).offset))
		switch {
		case excluded: // skip the days at once: a period may be a second
			resume, _ := z.resolve((until + 1) * daySeconds)
			k = max(k, r.index(z, resume))
		case exists:
			return instant, true
		}
	}
	return 0, false
}
