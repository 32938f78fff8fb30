package jobs

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTaskIDsComeApartAsTheyWerePutTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := Name(rapid.StringMatching(`[A-Za-z0-9_-][A-Za-z0-9_.-]{0,98}`).Draw(t, "name"))
		key := InstantKey(time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 0))
		incarnation, generation := rapid.Int64Range(0, 1e6).Draw(t, "incarnation"), rapid.IntRange(0, 1e4).Draw(t, "generation")
		want := TaskParts{
			Run:   NewRunID(name, incarnation, key, generation),
			Stage: rapid.IntRange(0, 9).Draw(t, "stage"), Split: rapid.IntRange(0, 999).Draw(t, "split"), Attempt: rapid.IntRange(1, 1e5).Draw(t, "attempt"),
		}
		id := NewTaskID(want.Run, want.Stage, want.Split, want.Attempt)
		if len(id) > 200 {
			t.Fatalf("%s has %d bytes", id, len(id))
		}
		got, err := ParseTaskID(id)
		if err != nil || got != want {
			t.Fatalf("ParseTaskID(%q) = %+v, %v", id, got, err)
		}
		run, err := ParseRunID(got.Run)
		if err != nil || run != (RunParts{name, incarnation, key, generation}) {
			t.Fatalf("ParseRunID(%q) = %+v, %v", got.Run, run, err)
		}
	})
}

func TestForeignTaskIDsAreRefused(t *testing.T) {
	for _, id := range []TaskID{"", "task-1", "a.1.b.0.1.2", "a.1.20150901T001000Z.0.1.0.x", "a.1.20150901T001000Z.0.1.0.-1", "..1.k.0.1.0.1"} {
		if parts, err := ParseTaskID(id); err == nil {
			t.Errorf("ParseTaskID(%q) = %+v", id, parts)
		}
	}
}

func TestConsumedKeyIsOfTheSet(t *testing.T) {
	a, b := ConsumedKey([]RunID{"x.1.k.0", "y.1.k.0"}), ConsumedKey([]RunID{"y.1.k.0", "x.1.k.0"})
	if a != b {
		t.Errorf("the order counts: %s and %s", a, b)
	}
	if c := ConsumedKey([]RunID{"x.1.k.0"}); c == a {
		t.Errorf("another set has the same key %s", c)
	}
}

func TestNames(t *testing.T) {
	long := make([]byte, MaxName+1)
	for i := range long {
		long[i] = 'a'
	}
	for name, ok := range map[Name]bool{
		"a": true, "Campaign_daily.v2-x": true, Name(long[:MaxName]): true,
		"": false, "a b": false, "a/b": false, "å": false, "..": false, Name(long): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}
