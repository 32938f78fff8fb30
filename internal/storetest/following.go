package storetest

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tidemill/scheduler"
)

// copied is a copy of the records that a candidate keeps.
type copied struct {
	mu      sync.Mutex
	records map[string]string
}

func newCopied() *copied { return &copied{records: map[string]string{}} }

func (c *copied) tell(ch scheduler.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.Value == nil {
		delete(c.records, ch.Key)
	} else {
		c.records[ch.Key] = string(ch.Value)
	}
}

func (c *copied) now() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.records)
}

// candidacy is a campaign in the background, whose copy follows the records meanwhile.
type candidacy struct {
	copied *copied
	won    <-chan scheduler.Leadership
}

func stand(t *testing.T, e scheduler.Elector) candidacy {
	t.Helper()
	c := newCopied()
	return candidacy{c, campaignWith(t, e, c.tell)}
}

// wantCaughtUp ends the waiting, and holds what the copy is then against a load.
func (c candidacy) wantCaughtUp(t *testing.T, want map[string]string) scheduler.Leadership {
	t.Helper()
	l := await(t, c.won)
	if err := l.CatchUp(bounded(t)); err != nil {
		t.Fatalf("catch up: %v", err)
	}
	if diff := cmp.Diff(want, c.copied.now()); diff != "" {
		t.Fatalf("the copy differs from what was committed (-want +got):\n%s", diff)
	}
	wantRecords(t, l, want)
	return l
}

// follow hands over again and again, between random writes, with connections lost; whoever comes
// next must have copied what there is.
func follow(t *testing.T, c Cluster) {
	members := []Member{c.Join(t, "http://127.0.0.1:1"), c.Join(t, "http://127.0.0.1:2")}
	current, next := lead(t, members[0]), stand(t, members[1])
	want, random := map[string]string{}, rapid.Custom(history)
	for round := range 12 {
		sequence := int64(0)
		for i, batch := range random.Example(round) {
			if i == round {
				members[1].Disconnect()
			}
			for _, ch := range batch {
				if ch.Value == nil {
					delete(want, ch.Key)
				} else {
					want[ch.Key] = string(ch.Value)
				}
			}
			sequence++
			settle(t, current, scheduler.Batch{Sequence: sequence, Changes: batch})
			if i == round*2 {
				members[0].Disconnect()
			}
		}
		resign(t, current)
		current = next.wantCaughtUp(t, want)
		members[0], members[1] = members[1], members[0]
		next = stand(t, members[1])
	}
}

// history draws batches of changes to some keys.
func history(r *rapid.T) (batches [][]scheduler.Change) {
	keys := append([]string{"jobs/b", "runs/c"}, strange...)
	for range rapid.IntRange(0, 40).Draw(r, "batches") {
		var batch []scheduler.Change
		for range rapid.IntRange(0, 5).Draw(r, "changes") {
			key := rapid.SampledFrom(keys).Draw(r, "key")
			if rapid.IntRange(0, 2).Draw(r, "remove") > 0 {
				batch = append(batch, put(key, rapid.StringN(0, 8, -1).Draw(r, "value")))
			} else {
				batch = append(batch, remove(key))
			}
		}
		batches = append(batches, batch)
	}
	return batches
}

// followClosely waits for the copy of one that stands by to be what was committed, more than once.
func followClosely(t *testing.T, c Cluster) {
	l := lead(t, c.Join(t, "http://127.0.0.1:1"))
	other := c.Join(t, "http://127.0.0.1:2")
	if !other.Follows() {
		t.Skip("nobody else writes to this store: nothing is copied before a term")
	}
	standby := stand(t, other)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	want := map[string]string{}
	for n := range 3 {
		var batch []scheduler.Change
		for i := range 50 {
			key := fmt.Sprintf("runs/%d", i)
			if i%3 == n {
				delete(want, key)
				batch = append(batch, remove(key))
			} else {
				want[key] = fmt.Sprint(n)
				batch = append(batch, put(key, want[key]))
			}
		}
		commit(t, l, int64(n+1), batch...)
		for ctx := bounded(t); !maps.Equal(standby.copied.now(), want); {
			select {
			case <-ctx.Done():
				t.Fatalf("the copy never became what was committed (-want +got):\n%s", cmp.Diff(want, standby.copied.now()))
			case <-tick.C:
			}
		}
	}
	resign(t, l)
	standby.wantCaughtUp(t, want)
}
