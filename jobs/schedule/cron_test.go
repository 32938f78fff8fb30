package schedule

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestCronAtEveryChange names every hour, in all ways, around each hostile clock
// change: no gap, repeated hour or missing date goes without a run to judge.
func TestCronAtEveryChange(t *testing.T) {
	always := func(int) bool { return true }
	minutes := []struct {
		text  string
		names func(int) bool
	}{
		{"0", func(v int) bool { return v == 0 }},
		{"15,45", func(v int) bool { return v == 15 || v == 45 }},
		{"*", always},
	}
	hours := []struct {
		text    string
		names   func(int) bool
		elapsed bool
	}{
		{"0-23", always, false},
		{"1,3,5,7,9,11,13,15,17,19,21,23", func(v int) bool { return v%2 == 1 }, false},
		{"*/2", func(v int) bool { return v%2 == 0 }, true},
	}
	everyDay := func(time.Time) bool { return true }
	for _, w := range watchHostile(t) {
		for _, minute := range minutes {
			for _, hour := range hours {
				m := model{text: "20 " + minute.text + " " + hour.text + " * * *", elapsed: hour.elapsed,
					second: func(v int) bool { return v == 20 }, minute: minute.names, hour: hour.names, month: always,
					monthDay: everyDay, weekDay: everyDay, monthStar: true, weekdayAny: true}
				s := mustCompile(t, Spec{Cron: Crons{m.text}, Zone: w.zone})
				want := w.due(m)
				if diff := cmp.Diff(want, w.scheduled(s)); diff != "" {
					t.Errorf("%s: %q (-model +schedule):\n%s", w.zone, m.text, diff)
				}
				w.checkEntry(t, s, m.text, want)
			}
		}
	}
}

// checkEntry searches from between the instants as well, since a search that
// begins within a repeated hour has not seen the hour before.
func (w *wall) checkEntry(t *testing.T, s *Schedule, text string, all []int64) {
	t.Helper()
	for after := w.start; ; after += 1033 {
		i, _ := slices.BinarySearch(all, after+1)
		if i == len(all) {
			return
		}
		if got, _ := s.Next(time.Unix(after, 0)); got.Nominal.Unix() != all[i] {
			t.Errorf("%s: %q after %d: %d, want %d", w.zone, text, after, got.Nominal.Unix(), all[i])
			return
		}
	}
}

// scheduled gives the schedule's instants in the stretch.
func (w *wall) scheduled(s *Schedule) []int64 {
	var due []int64
	for instant := range s.All(time.Unix(w.start-1, 0)) {
		if instant.Nominal.Unix() >= w.start+int64(len(w.clock)) {
			break
		}
		due = append(due, instant.Nominal.Unix())
	}
	return due
}

// TestCronAgainstModel draws expressions and compares all their instants around
// hostile clock changes with a walk through every second.
func TestCronAgainstModel(t *testing.T) {
	walls := watchHostile(t)
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SampledFrom(walls).Draw(t, "around")
		m := drawModel(t)
		// Most expressions name other days; those that name these say more.
		if rapid.IntRange(0, 3).Draw(t, "every day") > 0 {
			m.text, m.monthDay, m.weekDay, m.month = everyDayOf(m)
		}
		s, err := Compile(Spec{Cron: Crons{m.text}, Zone: w.zone}, "job")
		if err != nil {
			t.Skip("impossible:", err)
		}
		want := w.due(m)
		if diff := cmp.Diff(want, w.scheduled(s)); diff != "" {
			t.Fatalf("%s: %q (-model +schedule):\n%s", w.zone, m.text, diff)
		}
		checkPrevious(t, s, want, rapid.Int64Range(w.start, w.start+int64(len(w.clock))).Draw(t, "before"))
	})
}

func everyDayOf(m model) (text string, monthDay, weekDay func(time.Time) bool, month func(int) bool) {
	list := words(m.text)
	always := func(time.Time) bool { return true }
	text = list[0].text + " " + list[1].text + " " + list[2].text + " 1-31 * *"
	return text, always, always, func(int) bool { return true }
}

// checkPrevious compares Previous with a list of all instants of a stretch.
func checkPrevious(t *rapid.T, s *Schedule, all []int64, before int64) {
	want := int64(-1)
	for _, instant := range all {
		if instant < before {
			want = instant
		}
	}
	if want < 0 {
		return // it lies before the stretch
	}
	got, ok := s.Previous(time.Unix(before, 0))
	if !ok || got.Nominal.Unix() != want {
		t.Fatalf("Previous(%d) = %d, %v; want %d", before, got.Nominal.Unix(), ok, want)
	}
}

// TestCronDaysAgainstModel compares the days named over years, day by day.
func TestCronDaysAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		list := words(m.text)
		text := "0 0 " + list[3].text + " " + list[4].text + " " + list[5].text
		s, err := Compile(Spec{Cron: Crons{text}}, "job")
		from := time.Date(rapid.IntRange(1890, 2110).Draw(t, "year"), 1, 1, 0, 0, 0, 0, time.UTC)
		var want, got []time.Time
		for day := from; day.Before(from.AddDate(9, 0, 0)); day = day.AddDate(0, 0, 1) {
			if m.namesDay(day) {
				want = append(want, day)
			}
		}
		if err != nil {
			if want != nil {
				t.Fatalf("%q is refused (%v), yet names %v", text, err, want[0])
			}
			return
		}
		for instant := range s.All(from.Add(-time.Second)) {
			if !instant.Nominal.Before(from.AddDate(9, 0, 0)) {
				break
			}
			got = append(got, instant.Nominal)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q (-model +schedule):\n%s", text, diff)
		}
	})
}

// TestSeveralCronsAreTheirUnion checks that equal instants are one.
func TestSeveralCronsAreTheirUnion(t *testing.T) {
	s := mustCompile(t, Spec{Cron: Crons{"0 */6 * * *", "0 12 * * *", "30 6 * * *"}})
	checkInstants(t, s, "2026-01-01T00:00:00Z",
		"2026-01-01T06:00:00Z", "2026-01-01T06:30:00Z", "2026-01-01T12:00:00Z", "2026-01-01T18:00:00Z", "2026-01-02T00:00:00Z")
}

// TestNextIsStrictlyAfter checks fractions of a second and instants themselves.
func TestNextIsStrictlyAfter(t *testing.T) {
	s := mustCompile(t, Spec{Cron: Crons{"* * * * * *"}})
	for after, want := range map[string]string{
		"2026-01-01T00:00:00Z":           "2026-01-01T00:00:01Z",
		"2026-01-01T00:00:00.5Z":         "2026-01-01T00:00:01Z",
		"2026-01-01T00:00:00.999999999Z": "2026-01-01T00:00:01Z",
		"1969-12-31T23:59:58.5Z":         "1969-12-31T23:59:59Z",
	} {
		checkInstants(t, s, after, want)
	}
}

func TestNextEndsWithTime(t *testing.T) {
	s := mustCompile(t, Spec{Cron: Crons{"@yearly"}})
	if got, ok := s.Next(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)); ok {
		t.Errorf("an instant after the year 9999: %v", got.Nominal)
	}
	if _, ok := s.Next(time.Time{}); !ok {
		t.Error("no instant after the zero time")
	}
}

func mustCompile(t testing.TB, spec Spec) *Schedule {
	t.Helper()
	s, err := Compile(spec, "job")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// checkInstants compares the instants after one with those wanted.
func checkInstants(t testing.TB, s *Schedule, after string, want ...string) {
	t.Helper()
	var got []string
	for due := range s.All(instant(t, after)) {
		got = append(got, due.Nominal.Format(time.RFC3339Nano))
		if len(got) == len(want) {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after %s (-want +got):\n%s", after, diff)
	}
}
