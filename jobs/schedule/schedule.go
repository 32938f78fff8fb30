// Package schedule tells when a job is due: cron expressions and ISO 8601
// repeats in time zones, compiled and validated once.
package schedule

import (
	"errors"
	"hash/fnv"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Instant is one due time of a schedule.
type Instant struct {
	Nominal time.Time // what the schedule names; identifies the run
	Actual  time.Time // when it is due: Nominal, delayed by the jitter
}

// Schedule is a compiled Spec. It never changes and may be shared.
type Schedule struct {
	zone     zone
	crons    []cron
	repeat   *repeat // nil for a schedule of crons
	calendar calendar
	start    int64 // first second allowed
	end      int64 // first second no longer allowed
	delay    time.Duration
}

// Bounds of a Spec and of a search in it.
const (
	maxCrons   = 100
	maxExclude = 1000
	maxJitter  = 24 * time.Hour
	// The rarest expression that can match, 29 February on a given weekday,
	// waits 40 years around 2100.
	horizon = 100 * 366 * daySeconds
	// The first second of the year 10000, which RFC 3339 cannot write.
	endOfTime = 253402300800
)

// Compile validates a spec and prepares it for searching. Its error is of type
// Errors and names every fault at once. The key, the job's name, decides
// where within the jitter its runs fall.
func Compile(spec Spec, key string) (*Schedule, error) {
	var errs Errors
	s := &Schedule{start: distantPast, end: endOfTime}
	var fault *Error
	s.zone, fault = loadZone(spec.Zone)
	errs.add("zone", spec.Zone, fault)
	s.compileSize(spec, &errs)
	if len(spec.Exclude) <= maxExclude {
		s.calendar = parseCalendar(spec.Exclude, &errs)
	}
	s.compileCrons(spec.Cron, &errs)
	switch {
	case spec.IsZero():
		errs.add("cron", "", faultAt(0, "write cron or repeat", "no schedule"))
	case len(spec.Cron) > 0 && spec.Repeat != "":
		errs.add("repeat", spec.Repeat, faultAt(0, "write one of them", "cron and repeat exclude each other"))
	case spec.Repeat != "":
		s.repeat, fault = parseRepeat(spec.Repeat, s.zone)
		if fault == nil {
			fault = everyDay.checkPossible(&s.calendar)
		}
		errs.add("repeat", spec.Repeat, fault)
	}
	s.compileBounds(spec, &errs)
	s.compileJitter(spec.Jitter, key, &errs)
	if len(errs) == 0 {
		errs.add("end", "", s.checkWindow())
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return s, nil
}

// CompileFrom compiles a spec whose repeat may leave its start open: it is
// start then. Faults are those of the spec as it is written.
func CompileFrom(spec Spec, start time.Time, key string) (*Schedule, error) {
	filled := spec.WithStart(start)
	s, err := Compile(filled, key)
	var faults Errors
	if errors.As(err, &faults) {
		for _, fault := range faults {
			if fault.Field == "repeat" && fault.Column > strings.IndexByte(spec.Repeat, '/')+1 {
				fault.Column -= len(filled.Repeat) - len(spec.Repeat)
			}
			if fault.Field == "repeat" {
				fault.Value = spec.Repeat
			}
		}
	}
	return s, err
}

func (s *Schedule) compileSize(spec Spec, errs *Errors) {
	if len(spec.Cron) > maxCrons {
		errs.add("cron", "", faultAt(0, "make several jobs", "more than %d expressions", maxCrons))
	}
	if len(spec.Exclude) > maxExclude {
		errs.add("exclude", "", faultAt(0, "join days into ranges", "more than %d entries", maxExclude))
	}
}

func (s *Schedule) compileCrons(expressions []string, errs *Errors) {
	for i, expression := range expressions[:min(len(expressions), maxCrons)] {
		c, fault := parseCron(expression)
		if fault == nil {
			fault = c.checkPossible(&s.calendar)
		}
		errs.add(indexed("cron", i), expression, fault)
		s.crons = append(s.crons, c)
	}
}

func (s *Schedule) compileBounds(spec Spec, errs *Errors) {
	if spec.Start != nil {
		s.start = s.second(*spec.Start)
	}
	if spec.End != nil {
		s.end = min(s.end, s.second(*spec.End))
	}
	if s.start >= s.end {
		errs.add("end", "", faultAt(0, "write an end after the start", "no time between start and end"))
	}
}

// compileJitter fixes the delay: one part of the jitter for all runs of a job,
// so that jobs spread out while each keeps its rhythm and its order.
func (s *Schedule) compileJitter(jitter Duration, key string, errs *Errors) {
	switch j := time.Duration(jitter); {
	case j < 0 || j > maxJitter:
		errs.add("jitter", jitter.String(), faultAt(0, "write a duration from 0s to 24h", "out of bounds"))
	case j >= time.Millisecond:
		hash := fnv.New64a()
		hash.Write([]byte(key)) // never fails
		s.delay = time.Duration(hash.Sum64()%uint64(j.Milliseconds())) * time.Millisecond
	}
}

// checkWindow refuses a schedule with nothing between its start and its end,
// unless that is what it says: R0.
func (s *Schedule) checkWindow() *Error {
	first := s.start
	if s.repeat != nil {
		if s.repeat.count == 0 {
			return nil
		}
		first = max(first, s.repeat.start)
	}
	if first == distantPast {
		return nil // crons without a start have been found possible
	}
	if _, ok := s.next(first, min(s.end, first+horizon)); !ok {
		return faultAt(0, "change the bounds, exclude or the schedule", "no instant between start and end")
	}
	return nil
}

// Next gives the first instant with a nominal time strictly after after;
// false: there is none, or none within a hundred years.
func (s *Schedule) Next(after time.Time) (Instant, bool) {
	from := max(s.second(after.Add(time.Nanosecond)), s.start)
	nominal, ok := s.next(from, min(s.end, from+horizon))
	if !ok {
		return Instant{}, false
	}
	return s.instant(nominal), true
}

// Previous gives the last instant with a nominal time strictly before before.
func (s *Schedule) Previous(before time.Time) (Instant, bool) {
	nominal, ok := s.previous(s.second(before), s.start)
	if !ok {
		return Instant{}, false
	}
	return s.instant(nominal), true
}

// Interval gives the data interval [from, to) of an instant: since the previous
// instant of the schedule, or, of the first one, since a period earlier. A
// start bound does not shorten it.
func (s *Schedule) Interval(nominal time.Time) (from, to time.Time) {
	to = nominal.UTC()
	if previous, ok := s.previous(s.second(nominal), distantPast); ok {
		return s.instant(previous).Nominal, to
	}
	if s.repeat == nil {
		return to, to
	}
	earlier, _ := s.repeat.at(s.zone, s.repeat.index(s.zone, s.second(nominal))-1)
	return s.instant(earlier).Nominal, to
}

// All gives the instants after after, one by one.
func (s *Schedule) All(after time.Time) iter.Seq[Instant] {
	return func(yield func(Instant) bool) {
		for {
			instant, ok := s.Next(after)
			if !ok || !yield(instant) {
				return
			}
			after = instant.Nominal
		}
	}
}

// next gives the first nominal second from from on and before limit.
func (s *Schedule) next(from, limit int64) (int64, bool) {
	if s.repeat != nil {
		return s.repeat.next(s.zone, &s.calendar, from, limit)
	}
	found := false
	for i := range s.crons {
		// A later expression only has to beat the earlier ones: limit shrinks.
		if nominal, ok := s.crons[i].next(s.zone, &s.calendar, from, limit); ok {
			limit, found = nominal, true
		}
	}
	return limit, found
}

// previous gives the last nominal second from earliest on and before before. It
// looks from ever further back for any, and then, halving, for later ones.
func (s *Schedule) previous(before, earliest int64) (int64, bool) {
	before = min(before, s.end)
	earliest = max(earliest, before-horizon)
	last, found := int64(0), false
	for low, step := before, int64(60); !found; step *= 2 {
		if low <= earliest {
			return 0, false
		}
		low = max(earliest, low-step)
		last, found = s.next(low, before)
	}
	for low, high := last+1, before; low < high; {
		middle := low + (high-low)/2
		if later, ok := s.next(middle, high); ok {
			last, low = later, later+1
		} else {
			high = middle
		}
	}
	return last, true
}

// second gives the first whole second whose instant is not before t.
func (s *Schedule) second(t time.Time) int64 {
	if s.repeat != nil {
		t = t.Add(-s.repeat.nanos)
	}
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

func (s *Schedule) instant(nominal int64) Instant {
	t := time.Unix(nominal, 0).UTC()
	if s.repeat != nil {
		t = t.Add(s.repeat.nanos)
	}
	return Instant{Nominal: t, Actual: t.Add(s.delay)}
}

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
