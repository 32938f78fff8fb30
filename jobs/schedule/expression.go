package schedule

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// field is one place of a cron expression.
type field struct {
	name, unit string // unit is what the field starts again in
	min, max   int
	names      []string // of min, min+1, …
}

// Tables, never written.
var (
	secondField  = field{name: "second", unit: "minute", max: 59}
	minuteField  = field{name: "minute", unit: "hour", max: 59}
	hourField    = field{name: "hour", unit: "day", max: 23}
	dayField     = field{name: "day of month", unit: "month", min: 1, max: 31}
	monthField   = field{name: "month", unit: "year", min: 1, max: 12, names: strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")}
	weekdayField = field{name: "day of week", unit: "week", max: 7, names: strings.Fields("SUN MON TUE WED THU FRI SAT")}

	macros = map[string]string{
		"@yearly":   "0 0 1 1 *",
		"@annually": "0 0 1 1 *",
		"@monthly":  "0 0 1 * *",
		"@weekly":   "0 0 * * 0",
		"@daily":    "0 0 * * *",
		"@midnight": "0 0 * * *",
		"@hourly":   "0 * * * *",
	}
)

const maxExpression = 1000 // bytes

// word is a part of an expression and its column, counted from 1.
type word struct {
	text   string
	column int
}

// cut splits a word as strings.Cut does.
func (w word) cut(separator string) (before, after word, found bool) {
	left, right, found := strings.Cut(w.text, separator)
	return word{left, w.column}, word{right, w.column + len(left) + len(separator)}, found
}

// words splits an expression at blanks.
func words(expression string) []word {
	var list []word
	for rest := (word{expression, 1}); ; {
		trimmed := strings.TrimLeft(rest.text, " \t")
		rest = word{trimmed, rest.column + len(rest.text) - len(trimmed)}
		if trimmed == "" {
			return list
		}
		end := strings.IndexAny(trimmed, " \t")
		if end < 0 {
			return append(list, rest)
		}
		list = append(list, word{trimmed[:end], rest.column})
		rest = word{trimmed[end:], rest.column + end}
	}
}

// parseCron compiles an expression of five or six fields, or a macro.
func parseCron(expression string) (cron, *Error) {
	if len(expression) > maxExpression {
		return cron{}, faultAt(maxExpression+1, "write several expressions", "longer than %d bytes", maxExpression)
	}
	list := words(expression)
	if len(list) > 0 && strings.HasPrefix(list[0].text, "@") {
		expansion, ok := macros[strings.ToLower(list[0].text)]
		if !ok || len(list) > 1 {
			known := strings.Join(slices.Sorted(maps.Keys(macros)), " ")
			return cron{}, faultAt(list[0].column, "known are "+known+"; for an interval write a repeat, as R//PT90M", "unknown macro")
		}
		list = words(expansion)
	}
	c := cron{seconds: 1}
	var fault *Error
	switch len(list) {
	case 6:
		if c.seconds, fault = secondField.parse(list[0]); fault != nil {
			return cron{}, fault
		}
		list = list[1:]
	case 5:
	default:
		return cron{}, faultAt(0, "write minute, hour, day of month, month and day of week, with seconds first if needed",
			"%d fields instead of 5 or 6", len(list))
	}
	return c, c.parse([5]word(list))
}

// parse fills in all fields but the seconds.
func (c *cron) parse(list [5]word) (fault *Error) {
	if c.minutes, fault = minuteField.parse(list[0]); fault != nil {
		return fault
	}
	if c.hours, fault = hourField.parse(list[1]); fault != nil {
		return fault
	}
	c.elapsed = strings.ContainsAny(list[1].text, "*?/")
	if fault = c.days.parseMonthDays(list[2]); fault != nil {
		return fault
	}
	if c.months, fault = monthField.parse(list[3]); fault != nil {
		return fault
	}
	return c.days.parseWeekdays(list[4])
}

func (d *days) parseMonthDays(w word) *Error {
	d.monthStar = hasStar(w)
	return eachItem(w, func(item word) *Error {
		back, isLast := strings.CutPrefix(strings.ToUpper(item.text), "L")
		if !isLast {
			set, fault := dayField.item(item)
			d.month |= uint32(set)
			return fault
		}
		days := 0
		if back != "" {
			number, err := strconv.ParseUint(strings.TrimPrefix(back, "-"), 10, 8)
			if err != nil || number < 1 || number > 30 || back[0] != '-' {
				return faultAt(item.column, "write L for the last day of the month, L-3 for three days before it",
					"%q is no day of month", item.text)
			}
			days = int(number)
		}
		d.fromEnd |= 1 << days
		return nil
	})
}

func (d *days) parseWeekdays(w word) *Error {
	d.weekStar = hasStar(w)
	return eachItem(w, func(item word) *Error {
		if day, nth, found := item.cut("#"); found {
			weekday, fault := weekdayField.number(day)
			if fault != nil {
				return fault
			}
			if len(nth.text) != 1 || nth.text[0] < '1' || nth.text[0] > '5' {
				return faultAt(nth.column, "write 5#2 for the second Friday of the month", "%q is out of 1-5", nth.text)
			}
			d.nth[nth.text[0]-'0'] |= 1 << (weekday % 7)
			return nil
		}
		if day, last := strings.CutSuffix(strings.ToUpper(item.text), "L"); last {
			if day == "" {
				return faultAt(item.column, "write 5L for the last Friday of the month", "L without a weekday")
			}
			weekday, fault := weekdayField.number(word{day, item.column})
			if fault == nil {
				d.last |= 1 << (weekday % 7)
			}
			return fault
		}
		set, fault := weekdayField.item(item)
		d.week |= uint8(set&0x7f | set>>7) // 7 is Sunday too
		return fault
	})
}

// hasStar is Vixie's test: only the first character counts, so */2 is a star
// and 1,* is none.
func hasStar(w word) bool { return w.text[0] == '*' || w.text[0] == '?' }

// parse reads a list of items into a set.
func (f field) parse(w word) (set uint64, fault *Error) {
	fault = eachItem(w, func(item word) *Error {
		more, fault := f.item(item)
		set |= more
		return fault
	})
	return set, fault
}

func eachItem(w word, use func(word) *Error) *Error {
	for more := true; more; {
		var item word
		if item, w, more = w.cut(","); item.text == "" {
			return faultAt(item.column, "write a list as 1,15,30", "an empty item")
		}
		if fault := use(item); fault != nil {
			return fault
		}
	}
	return nil
}

// item reads a star, a number or a range, each with or without a step.
func (f field) item(w word) (uint64, *Error) {
	values, stepText, stepped := w.cut("/")
	low, high := f.min, f.max
	if f.isWeekday() {
		high = 6 // a star with a step counts each day once
	}
	if values.text != "*" && values.text != "?" {
		from, to, ranged := values.cut("-")
		var fault *Error
		if low, fault = f.number(from); fault != nil {
			return 0, fault
		}
		switch {
		case ranged:
			if high, fault = f.rangeEnd(low, to); fault != nil {
				return 0, fault
			}
		case !stepped:
			high = low
		}
		if low > high { // only 7/n
			high = low
		}
	}
	step := 1
	if stepped {
		var fault *Error
		if step, fault = f.step(stepText); fault != nil {
			return 0, fault
		}
	}
	var set uint64
	for value := low; value <= high; value += step {
		set |= 1 << value
	}
	return set, nil
}

func (f field) rangeEnd(low int, w word) (int, *Error) {
	high, fault := f.number(w)
	if fault != nil {
		return 0, fault
	}
	if f.isWeekday() && high == 0 && low > 0 {
		high = 7 // fri-sun
	}
	if high < low {
		return 0, faultAt(w.column, fmt.Sprintf("write %d-%d,%d-%d", low, f.max, f.min, high),
			"%s range %d-%d runs backwards", f.name, low, high)
	}
	return high, nil
}

func (f field) step(w word) (int, *Error) {
	width := f.max - f.min + 1
	step, err := strconv.ParseUint(w.text, 10, 16)
	if err != nil || step < 1 || step > uint64(width) {
		return 0, faultAt(w.column, fmt.Sprintf("write a step from 1 to %d; fields are counted afresh in each %s", width, f.unit),
			"%s step %q is out of 1-%d", f.name, w.text, width)
	}
	return int(step), nil
}

// number reads a value by number or by name.
func (f field) number(w word) (int, *Error) {
	for i, name := range f.names {
		if strings.EqualFold(w.text, name) {
			return f.min + i, nil
		}
	}
	hint := fmt.Sprintf("write a number from %d to %d", f.min, f.max)
	if f.names != nil {
		hint += fmt.Sprintf(" or a name from %s to %s", f.names[0], f.names[len(f.names)-1])
	}
	number, err := strconv.ParseUint(w.text, 10, 16)
	switch {
	case err != nil && strings.HasSuffix(strings.ToUpper(w.text), "W"):
		return 0, faultAt(w.column, "list the days, or run each day and exclude weekends", "%s %q: the nearest weekday is not supported", f.name, w.text)
	case err != nil:
		return 0, faultAt(w.column, hint, "%s %q is no number", f.name, w.text)
	case int(number) < f.min || int(number) > f.max:
		return 0, faultAt(w.column, hint, "%s %s is out of %d-%d", f.name, w.text, f.min, f.max)
	}
	return int(number), nil
}

func (f field) isWeekday() bool { return f.max == 7 }

// checkPossible refuses an expression which no date can ever match, as 30
// February or the Mondays of a schedule that excludes Mondays.
func (c *cron) checkPossible(cal *calendar) *Error {
	if c.possible(cal) {
		return nil
	}
	month := time.Month(bits.TrailingZeros64(c.months))
	if bits.OnesCount64(c.months) == 1 && !c.possible(&calendar{}) {
		return faultAt(0, fmt.Sprintf("%s has at most %d days; L is the last day of any month", month, daysIn(2000, month)),
			"names no day that exists")
	}
	if !c.possible(&calendar{}) {
		return faultAt(0, "compare the days with the months", "names no day that exists")
	}
	return faultAt(0, "compare it with exclude", "every day it names is excluded")
}
