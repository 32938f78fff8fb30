package zk

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// ring is a model of the term's znode and of the journal: what was written when.
type ring struct {
	at      position
	entries map[string]found
	history []written
}

// written is a change of the term's znode, and which records it changed.
type written struct {
	at      position
	changed []string
}

func newRing() *ring {
	return &ring{at: position{zxid: 1}, entries: map[string]found{}}
}

// write changes the term's znode; whoever keeps the journal says so in an entry.
func (r *ring) write(keeps bool, changed []string) {
	before := r.at
	r.at = position{zxid: before.zxid + 1, version: before.version + 1}
	r.history = append(r.history, written{r.at, changed})
	if keeps {
		e := parseEntry(entry{before.zxid, changed}.encode())
		r.entries[entryName(r.at.version)] = found{e, r.at.zxid}
	}
}

// anew makes the term's znode anew, as a term beyond its versions does.
func (r *ring) anew() {
	r.at = position{zxid: r.at.zxid + 1}
	r.history = append(r.history, written{at: r.at})
}

// read gives the entries as a follower reads them, between two positions.
func (r *ring) read(from position) (entries []found) {
	for v := from.version + 1; v <= r.at.version; v++ {
		entries = append(entries, r.entries[entryName(v)])
	}
	return entries
}

// since is what was changed after a position.
func (r *ring) since(from position) (changed []string) {
	for _, w := range r.history {
		if w.at.zxid > from.zxid {
			changed = append(changed, w.changed...)
		}
	}
	return changed
}

// Whatever writes to the term, between any two looks: what the journal tells is all that was
// changed, or it has a gap.
func TestJournalTellsAllOrHasAGap(t *testing.T) {
	t.Parallel()
	gaps, whole := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		ring := newRing()
		at := ring.at
		for range rapid.IntRange(1, 30).Draw(r, "writes") {
			switch rapid.IntRange(0, 19).Draw(r, "what") {
			case 0:
				ring.write(false, []string{"by an older program"})
			case 1:
				ring.anew()
			case 2:
				for i := range journalSize + rapid.IntRange(-1, 1).Draw(r, "more") {
					ring.write(true, []string{fmt.Sprint(i)})
				}
			default:
				ring.write(true, rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c/%\n"}), 0, 3).Draw(r, "changed"))
			}
			if rapid.IntRange(0, 3).Draw(r, "look") > 0 {
				continue
			}
			changed, ok := between(at, ring.at, ring.read(at))
			if ok && !slices.Equal(changed, ring.since(at)) {
				r.Fatalf("the journal tells of %q, and %q were changed", changed, ring.since(at))
			}
			if ok {
				whole++
			} else {
				gaps++
			}
			at = ring.at
		}
	})
	if gaps == 0 || whole == 0 {
		t.Errorf("%d gaps and %d without: it proves nothing", gaps, whole)
	}
}

func TestJournalWithoutOtherWritersHasNoGap(t *testing.T) {
	t.Parallel()
	ring := newRing()
	for n := 1; n <= journalSize; n += 31 {
		at := ring.at
		for i := range n {
			ring.write(true, []string{fmt.Sprint(i)})
		}
		if changed, ok := between(at, ring.at, ring.read(at)); !ok || !slices.Equal(changed, ring.since(at)) {
			t.Fatalf("after %d writes: whole %v, %q", n, ok, changed)
		}
	}
}

func TestEntryIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	many := make([]string, 2000)
	for i := range many {
		many[i] = fmt.Sprintf("tasks/%s/%04d", strings.Repeat("j", 100), i)
	}
	for _, want := range []entry{{}, {after: 1 << 40}, {after: 7, changed: []string{"a"}}, {after: 7, changed: []string{"jobs/a", ".", "\n\xff é"}}, {after: 1 << 40, changed: many}} {
		doc := want.encode()
		if diff := cmp.Diff(want, parseEntry(doc), cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(doc) > 40_000 {
			t.Errorf("%d names take %d bytes", len(want.changed), len(doc))
		}
	}
	for _, doc := range []string{"", "x", "7x", " deflated\n", "7 deflated\nnot so", "-", "7\na%2"} {
		if got := parseEntry([]byte(doc)); got.after != 0 || got.changed != nil {
			t.Errorf("%q is read as %+v", doc, got)
		}
	}
}
