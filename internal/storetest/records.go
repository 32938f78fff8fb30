package storetest

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tidemill/scheduler"
)

// strange are keys that a store's own syntax could trip over.
var strange = []string{
	"jobs/a", "jobs", "/", "//", ".", "..", "a/../b", "a%2Fb", "a/b", "%", "zookeeper", " ", "\t\x01\x7f",
	"åäö/日本", "\U0001F600", "\uE000\uFFFD", "A", "a", "runs/" + strings.Repeat("x", 200), strings.Repeat("é", 100),
}

func records(t *testing.T, c Cluster) {
	m := c.Join(t, "http://127.0.0.1:1")
	l := lead(t, m)
	wantRecords(t, l, map[string]string{})

	want := map[string]string{}
	var all []scheduler.Change
	for i, key := range strange {
		want[key] = fmt.Sprintf("value %d\x00\xff", i)
		all = append(all, put(key, want[key]))
	}
	commit(t, l, 1, all...)
	wantRecords(t, l, want)

	commit(t, l, 2, remove("jobs/a"), remove("never there"), put("a/b", "2"), put("empty", ""), put("a", "1"), remove("a"),
		put("both", "1"), put("both", "2"), remove("."), put(".", "back"))
	delete(want, "jobs/a")
	delete(want, "a")
	want["a/b"], want["empty"], want["both"], want["."] = "2", "", "2", "back"
	wantRecords(t, l, want)

	refused := errors.New("refused")
	if err := l.Load(bounded(t), func(scheduler.Record) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Load gave %v for the error of its callee", err)
	}
}

// model commits random batches and expects what a map holds after the same changes.
func model(t *testing.T, c Cluster) {
	m := c.Join(t, "http://127.0.0.1:1")
	l := lead(t, m)
	sequence, want := int64(0), map[string]string{}
	rapid.Check(t, func(r *rapid.T) {
		// What an earlier history left is removed, so that each stands for itself.
		var batch []scheduler.Change
		for key := range want {
			batch = append(batch, remove(key))
		}
		clear(want)
		for range rapid.IntRange(1, 4).Draw(r, "batches") {
			for range rapid.IntRange(0, 6).Draw(r, "changes") {
				key := rapid.SampledFrom(strange).Draw(r, "key")
				if rapid.Bool().Draw(r, "put") {
					want[key] = rapid.StringN(0, 8, -1).Draw(r, "value")
					batch = append(batch, put(key, want[key]))
				} else {
					delete(want, key)
					batch = append(batch, remove(key))
				}
			}
			sequence++
			commit(t, l, sequence, batch...)
			batch = nil
		}
		if got := load(t, l); !maps.Equal(want, got) {
			r.Fatalf("got %q, want %q", got, want)
		}
	})
}

func again(t *testing.T, c Cluster) {
	m := c.Join(t, "http://127.0.0.1:1")
	l := lead(t, m)
	commit(t, l, 1, put("a", "1"))
	commit(t, l, 2, put("a", "2"), put("b", "2"))
	commit(t, l, 2, put("a", "2"), put("b", "2"))
	commit(t, l, 3, put("a", "3"), remove("b"))
	commit(t, l, 1, put("a", "1"))
	commit(t, l, 3, put("a", "3"), remove("b"))
	wantRecords(t, l, map[string]string{"a": "3"})

	// The numbers are the term's own: the next term begins again.
	resign(t, l)
	next := lead(t, m)
	commit(t, next, 1, put("a", "4"))
	wantRecords(t, next, map[string]string{"a": "4"})
}

// instant loads while batches change all records together.
func instant(t *testing.T, c Cluster) {
	const records, batches = 50, 20
	l := lead(t, c.Join(t, "http://127.0.0.1:1"))
	all := func(value string) (changes []scheduler.Change) {
		for i := range records {
			changes = append(changes, put(fmt.Sprintf("runs/%d", i), value))
		}
		return changes
	}
	commit(t, l, 1, all("0")...)
	var failed error
	done, ctx := make(chan struct{}), bounded(t)
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		for n := 1; n <= batches && failed == nil; n++ {
			failed = l.Commit(ctx, scheduler.Batch{Sequence: int64(n + 1), Changes: all(fmt.Sprint(n))})
		}
	}()
	for ended := false; !ended; {
		select {
		case <-done: // and load once more
			ended = true
		default:
		}
		found := load(t, l)
		for key, value := range found {
			if value != found["runs/0"] || len(found) != records {
				t.Fatalf("%s is %s, runs/0 is %s, of %d records", key, value, found["runs/0"], len(found))
			}
		}
	}
	if failed != nil {
		t.Fatal(failed)
	}
}

func check(t *testing.T, c Cluster) {
	m := c.Join(t, "http://127.0.0.1:1")
	l := lead(t, m)
	commit(t, l, 1)
	commit(t, l, 2)
	wantRecords(t, l, map[string]string{})
	resign(t, l)
	if err := l.Commit(bounded(t), scheduler.Batch{Sequence: 3}); !errors.Is(err, scheduler.ErrFenced) {
		t.Fatalf("got %v, want ErrFenced", err)
	}
}

func largest(t *testing.T, c Cluster) {
	m := c.Join(t, "http://127.0.0.1:1")
	l := lead(t, m)
	want := map[string]string{}
	one := strings.Repeat("v", scheduler.MaxBatchBytes-len("plans/one"))
	commit(t, l, 1, put("plans/one", one))
	want["plans/one"] = one

	// As many changes as a batch may have, together as large as it may be, under keys of the
	// longest kind: created, then set, then deleted.
	for sequence, fill := range []string{"c", "s"} {
		var many []scheduler.Change
		for i := range scheduler.MaxBatchChanges {
			key := fmt.Sprintf("tasks/%s/%s/%04d", strings.Repeat("j", 100), strings.Repeat("r", 60), i)
			want[key] = strings.Repeat(fill, scheduler.MaxBatchBytes/scheduler.MaxBatchChanges-len(key))
			many = append(many, put(key, want[key]))
		}
		commit(t, l, int64(sequence+2), many...)
	}
	wantRecords(t, l, want)
	var none []scheduler.Change
	for key := range want {
		if len(none) < scheduler.MaxBatchChanges {
			none = append(none, remove(key))
			delete(want, key)
		}
	}
	commit(t, l, 4, none...)
	wantRecords(t, l, want)
}
