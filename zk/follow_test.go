package zk

import (
	"context"
	"maps"
	"sync"
	"testing"

	gozk "github.com/go-zookeeper/zk"
	"github.com/google/go-cmp/cmp"

	"tidemill/scheduler"
)

// standby is a candidate in the background, and its copy.
type standby struct {
	mu      sync.Mutex
	records map[string]string
	won     chan *Leadership
}

func (s *standby) tell(ch scheduler.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch.Value == nil {
		delete(s.records, ch.Key)
	} else {
		s.records[ch.Key] = string(ch.Value)
	}
}

func (s *standby) copied() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.records)
}

func (s *standby) has(want map[string]string) func() bool {
	return func() bool { return maps.Equal(s.copied(), want) }
}

func standBy(t testing.TB, c *Client) *standby {
	t.Helper()
	s := &standby{records: map[string]string{}, won: make(chan *Leadership, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if l, err := c.Campaign(ctx, s.tell); err == nil {
			s.won <- l.(*Leadership)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

// leads waits until it does, and has caught up to what is wanted.
func (s *standby) leads(t testing.TB, want map[string]string) *Leadership {
	t.Helper()
	select {
	case l := <-s.won:
		if err := l.CatchUp(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.copied()); diff != "" {
			t.Fatalf("the copy (-want +got):\n%s", diff)
		}
		wantRecords(t, l, want)
		return l
	case <-bounded(t).Done():
		t.Fatal("it does not lead")
		return nil
	}
}

// What is written without a word in the journal is found all the same: an older program leads for a
// while, between two looks or for the rest of its term, or the term's znode is made anew.
func TestWritesOutsideTheJournalAreFound(t *testing.T) {
	t.Parallel()
	older := func(t *testing.T, l *Leadership, record string) {
		t.Helper()
		term, _, err := l.client.conn.Get(l.client.term())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = l.client.conn.Multi(
			&gozk.SetDataRequest{Path: l.client.term(), Data: term, Version: -1},
			&gozk.SetDataRequest{Path: l.client.record(record), Data: []byte("older"), Version: -1},
		); err != nil {
			t.Fatal(err)
		}
	}
	anew := func(t *testing.T, l *Leadership) {
		t.Helper()
		term, _, err := l.client.conn.Get(l.client.term())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = l.client.conn.Multi(
			&gozk.DeleteRequest{Path: l.client.term(), Version: -1},
			&gozk.CreateRequest{Path: l.client.term(), Data: term, Acl: l.client.acl},
			&gozk.SetDataRequest{Path: l.client.record("b"), Data: []byte("anew"), Version: -1},
		); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		write func(t *testing.T, l *Leadership)
		want  map[string]string
	}{
		"all in the journal": {
			write: func(t *testing.T, l *Leadership) { commit(t, l, batch(2, put("a", "2"), scheduler.Change{Key: "b"})) },
			want:  map[string]string{"a": "2"},
		},
		"an older program last": {
			write: func(t *testing.T, l *Leadership) { older(t, l, "a") },
			want:  map[string]string{"a": "older", "b": "1"},
		},
		"an older program in between": {
			write: func(t *testing.T, l *Leadership) {
				older(t, l, "a")
				commit(t, l, batch(2, put("b", "2")))
			},
			want: map[string]string{"a": "older", "b": "2"},
		},
		"the term made anew": {
			write: func(t *testing.T, l *Leadership) {
				anew(t, l)
				commit(t, l, batch(2, put("a", "2")))
			},
			want: map[string]string{"a": "2", "b": "anew"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			l := campaign(t, c.join(t, "http://127.0.0.1:1").Client)
			commit(t, l, batch(1, put("a", "1"), put("b", "1")))
			next := standBy(t, c.join(t, "http://127.0.0.1:2").Client)
			eventually(t, "the store is copied", next.has(map[string]string{"a": "1", "b": "1"}))
			tt.write(t, l)
			if err := l.Resign(bounded(t)); err != nil {
				t.Fatal(err)
			}
			l = next.leads(t, tt.want)
			third := standBy(t, c.join(t, "http://127.0.0.1:3").Client)
			eventually(t, "the store is copied", third.has(tt.want))
			commit(t, l, batch(1, put("a", "3"), put("b", "3"), put("c", "3")))
			if err := l.Resign(bounded(t)); err != nil {
				t.Fatal(err)
			}
			third.leads(t, map[string]string{"a": "3", "b": "3", "c": "3"})
		})
	}
}

func TestFollowerReadsAllAgainAfterAGap(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.join(t, "http://127.0.0.1:1"), c.join(t, "http://127.0.0.1:2")
	l := campaign(t, a.Client)
	commit(t, l, batch(1, put("a", "1"), put("b", "1")))
	s := &standby{records: map[string]string{}}
	f := newFollower(b.Client, s.tell)
	if err := f.catchUp(bounded(t)); err != nil {
		t.Fatal(err)
	}
	at := f.at
	for i := range int64(3) {
		commit(t, l, batch(i+2, put("a", "2")))
	}
	// As where more was written than the journal holds.
	if _, err := b.conn.Set(b.entry(at.version+2), entry{}.encode(), -1); err != nil {
		t.Fatal(err)
	}
	if whole, err := f.advance(bounded(t)); whole || err != nil {
		t.Fatalf("got %v, %v: want a gap", whole, err)
	}
	if err := f.catchUp(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"a": "2", "b": "1"}; !s.has(want)() {
		t.Errorf("got %v, want %v", s.copied(), want)
	}
}
