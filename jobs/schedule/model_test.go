package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is an expression and, beside its text, what it means: one plain
// predicate a field, built without the parser.
type model struct {
	text                           string
	second, minute, hour, month    func(int) bool
	monthDay, weekDay              func(time.Time) bool
	elapsed, monthStar, weekdayAny bool
}

// names reports whether the expression names the wall clock t, given in UTC.
func (m model) names(t time.Time) bool {
	if !m.second(t.Second()) || !m.minute(t.Minute()) || !m.hour(t.Hour()) {
		return false
	}
	return m.namesDay(t)
}

func (m model) namesDay(t time.Time) bool {
	if !m.month(int(t.Month())) {
		return false
	}
	if m.monthStar || m.weekdayAny {
		return m.monthDay(t) && m.weekDay(t)
	}
	return m.monthDay(t) || m.weekDay(t)
}

// wall is what clocks show at each second of a stretch of time.
type wall struct {
	zone  string
	start int64
	clock []time.Time // local times, written as if in UTC
}

// GoString keeps the seconds out of failure messages.
func (w *wall) GoString() string { return w.zone + " from " + time.Unix(w.start, 0).UTC().String() }

// watch reads the clocks of a zone for a day on either side of an instant.
func watch(t testing.TB, zone string, middle time.Time) *wall {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	w := &wall{zone: zone, start: middle.Add(-24 * time.Hour).Unix()}
	for i := range int64(48 * 60 * 60) {
		local := time.Unix(w.start+i, 0).In(location)
		year, month, day := local.Date()
		hour, minute, second := local.Clock()
		w.clock = append(w.clock, time.Date(year, month, day, hour, minute, second, 0, time.UTC))
	}
	return w
}

// due goes through the stretch second by second and applies the rules as they
// are written.
func (w *wall) due(m model) []int64 {
	var due []int64
	dates := map[string]bool{}
	for i := 0; i < len(w.clock); i += 60 {
		dates[w.clock[i].Format(time.DateOnly)] = true
	}
	shown := map[int64]bool{}
	for i, clock := range w.clock {
		if m.elapsed {
			if m.names(clock) {
				due = append(due, w.start+int64(i))
			}
			continue
		}
		runs := m.names(clock) && !shown[clock.Unix()]
		if i > 0 {
			for missing := w.clock[i-1].Add(time.Second); missing.Before(clock) && !runs; missing = missing.Add(time.Second) {
				runs = m.names(missing) && !shown[missing.Unix()] && dates[missing.Format(time.DateOnly)]
			}
		}
		if runs {
			due = append(due, w.start+int64(i))
		}
		if m.names(clock) {
			shown[clock.Unix()] = true
		}
	}
	return due
}

// hostile are clock changes of every unpleasant sort.
var hostile = []struct{ zone, around string }{
	{"Europe/Stockholm", "2026-03-29T01:00:00Z"},
	{"Europe/Stockholm", "2026-10-25T01:00:00Z"},
	{"Europe/Stockholm", "2045-03-26T01:00:00Z"}, // beyond the tables, by rule
	{"America/New_York", "2026-03-08T07:00:00Z"},
	{"America/New_York", "2026-11-01T06:00:00Z"},
	{"Australia/Lord_Howe", "2026-04-04T15:00:00Z"}, // half an hour
	{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
	{"Africa/Casablanca", "2026-02-15T02:00:00Z"}, // Ramadan
	{"Africa/Casablanca", "2026-03-22T02:00:00Z"},
	{"America/Sao_Paulo", "2018-02-18T02:00:00Z"}, // at midnight
	{"America/Sao_Paulo", "2018-11-04T03:00:00Z"},
	{"Pacific/Apia", "2011-12-30T10:00:00Z"}, // a date left out
	{"Pacific/Apia", "2011-09-24T14:00:00Z"},
	{"Pacific/Kwajalein", "1969-09-30T13:00:00Z"}, // a date twice
	{"Pacific/Kwajalein", "1993-08-21T12:00:00Z"},
	{"America/Toronto", "1919-03-31T04:30:00Z"},  // 23:30 to 0:30 of the next date
	{"Antarctica/Troll", "2026-03-29T01:00:00Z"}, // two hours
	{"Europe/Dublin", "2026-10-25T01:00:00Z"},    // summer is standard time
	{"Africa/Monrovia", "1972-01-07T00:44:30Z"},  // 44 minutes and a half
	{"UTC", "2026-03-29T01:00:00Z"},
}

func watchHostile(t testing.TB) []*wall {
	t.Helper()
	var walls []*wall
	for _, change := range hostile {
		around, err := time.Parse(time.RFC3339, change.around)
		if err != nil {
			t.Fatal(err)
		}
		walls = append(walls, watch(t, change.zone, around))
	}
	return walls
}

// drawList draws a list of numbers and ranges, and its meaning.
func drawList(t *rapid.T, label string, low, high int) (string, func(int) bool) {
	var texts []string
	var items []func(int) bool
	for range rapid.IntRange(1, 3).Draw(t, label+" items") {
		a := rapid.IntRange(low, high).Draw(t, label)
		switch rapid.IntRange(0, 2).Draw(t, label+" form") {
		case 0:
			texts = append(texts, fmt.Sprint(a))
			items = append(items, func(v int) bool { return v == a })
		case 1:
			b := rapid.IntRange(a, high).Draw(t, label+" to")
			texts = append(texts, fmt.Sprintf("%d-%d", a, b))
			items = append(items, func(v int) bool { return a <= v && v <= b })
		case 2:
			b := rapid.IntRange(a, high).Draw(t, label+" to")
			step := rapid.IntRange(1, 7).Draw(t, label+" step")
			texts = append(texts, fmt.Sprintf("%d-%d/%d", a, b, step))
			items = append(items, func(v int) bool { return a <= v && v <= b && (v-a)%step == 0 })
		}
	}
	return strings.Join(texts, ","), func(v int) bool {
		for _, item := range items {
			if item(v) {
				return true
			}
		}
		return false
	}
}

// drawField draws a list, a star or a star with a step.
func drawField(t *rapid.T, label string, low, high int) (string, func(int) bool) {
	switch rapid.IntRange(0, 3).Draw(t, label+" star") {
	case 0:
		return "*", func(int) bool { return true }
	case 1:
		step := rapid.IntRange(1, min(7, high-low)).Draw(t, label+" star step")
		return fmt.Sprintf("*/%d", step), func(v int) bool { return (v-low)%step == 0 }
	default:
		return drawList(t, label, low, high)
	}
}

func lastDay(t time.Time) int { return time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day() }

func drawMonthDay(t *rapid.T) (string, func(time.Time) bool) {
	switch rapid.IntRange(0, 4).Draw(t, "day form") {
	case 0:
		return "L", func(t time.Time) bool { return t.Day() == lastDay(t) }
	case 1:
		back := rapid.IntRange(1, 27).Draw(t, "back")
		return fmt.Sprintf("L-%d", back), func(t time.Time) bool { return t.Day() == lastDay(t)-back }
	default:
		text, names := drawField(t, "day", 1, 31)
		return text, func(t time.Time) bool { return names(t.Day()) }
	}
}

func drawWeekday(t *rapid.T) (string, func(time.Time) bool) {
	day := rapid.IntRange(0, 7).Draw(t, "weekday")
	is := func(t time.Time) bool { return int(t.Weekday()) == day%7 }
	switch rapid.IntRange(0, 4).Draw(t, "weekday form") {
	case 0:
		return fmt.Sprintf("%dL", day), func(t time.Time) bool { return is(t) && t.AddDate(0, 0, 7).Month() != t.Month() }
	case 1:
		nth := rapid.IntRange(1, 5).Draw(t, "nth")
		return fmt.Sprintf("%d#%d", day, nth), func(t time.Time) bool { return is(t) && (t.Day()-1)/7 == nth-1 }
	case 2:
		return "*", func(time.Time) bool { return true }
	case 3:
		text, names := drawList(t, "weekdays", 0, 7)
		return text, func(t time.Time) bool {
			return names(int(t.Weekday())) || t.Weekday() == time.Sunday && names(7)
		}
	default:
		name := strings.ToLower(time.Weekday(day % 7).String()[:3])
		return name, is
	}
}

func drawModel(t *rapid.T) model {
	var m model
	var second, minute, hour, day, month, weekday string
	second, m.second = drawField(t, "second", 0, 59)
	minute, m.minute = drawField(t, "minute", 0, 59)
	hour, m.hour = drawField(t, "hour", 0, 23)
	day, m.monthDay = drawMonthDay(t)
	month, m.month = drawField(t, "month", 1, 12)
	weekday, m.weekDay = drawWeekday(t)
	m.text = strings.Join([]string{second, minute, hour, day, month, weekday}, " ")
	m.elapsed = strings.ContainsAny(hour, "*/")
	m.monthStar = strings.HasPrefix(day, "*")
	m.weekdayAny = strings.HasPrefix(weekday, "*")
	return m
}
