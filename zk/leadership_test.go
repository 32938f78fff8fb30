package zk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/google/go-cmp/cmp"

	"tidemill/scheduler"
)

func campaign(t testing.TB, c *Client) *Leadership {
	t.Helper()
	l, err := c.Campaign(bounded(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return l.(*Leadership)
}

func put(key, value string) scheduler.Change {
	return scheduler.Change{Key: key, Value: []byte(value)}
}

func batch(sequence int64, changes ...scheduler.Change) scheduler.Batch {
	return scheduler.Batch{Sequence: sequence, Changes: changes}
}

func commit(t testing.TB, l *Leadership, b scheduler.Batch) {
	t.Helper()
	if err := l.Commit(bounded(t), b); err != nil {
		t.Fatal(err)
	}
}

func wantRecords(t testing.TB, l *Leadership, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	if err := l.Load(bounded(t), func(r scheduler.Record) error { got[r.Key] = string(r.Value); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
}

func wantLost(t testing.TB, l *Leadership) {
	t.Helper()
	select {
	case <-l.Lost():
	case <-bounded(t).Done():
		t.Fatal("Lost was not closed")
	}
}

// wantFenced commits until the outcome is known, and it must be that nothing is written any more.
func wantFenced(t testing.TB, l *Leadership, b scheduler.Batch) {
	t.Helper()
	ctx := bounded(t)
	for {
		err := l.Commit(ctx, b)
		if errors.Is(err, scheduler.ErrFenced) {
			return
		}
		if !errors.Is(err, scheduler.ErrUncertain) || ctx.Err() != nil {
			t.Fatalf("got %v, want ErrFenced", err)
		}
	}
}

// usurp raises the term past a leader that still has its session, as one does that took over
// while the leader was away.
func usurp(t testing.TB, c *Client) *Leadership {
	t.Helper()
	ctx := bounded(t)
	s, err := c.await(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id := rand.Text()
	name, err := c.enrol(ctx, s, id)
	if err != nil {
		t.Fatal(err)
	}
	term, err := c.raise(ctx, s, name)
	if err != nil {
		t.Fatal(err)
	}
	return newLeadership(c, s, id, term, newFollower(c, nil))
}

func TestTermRaisedBehindTheLeadersBackFencesIt(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	former := campaign(t, c.join(t, "http://127.0.0.1:1").Client)
	commit(t, former, batch(1, put("a", "1")))
	next := usurp(t, c.join(t, "http://127.0.0.1:2").Client)
	if err := former.Commit(bounded(t), batch(2, put("a", "former"))); !errors.Is(err, scheduler.ErrFenced) {
		t.Fatalf("got %v, want ErrFenced", err)
	}
	wantLost(t, former)
	commit(t, next, batch(1, put("a", "next")))
	wantRecords(t, next, map[string]string{"a": "next"})
}

func TestStalledLeaderWritesNothingWhenItWakes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.join(t, "http://127.0.0.1:1"), c.join(t, "http://127.0.0.1:2")
	former := campaign(t, a.Client)
	commit(t, former, batch(1, put("a", "1")))
	a.proxy.stall()
	// What it sends while it stalls is on its way until it wakes.
	sent := make(chan error, 1)
	go func() { sent <- former.Commit(t.Context(), batch(2, put("a", "stalled"))) }()
	next := campaign(t, b.Client) // once the session has expired
	commit(t, next, batch(1, put("a", "next")))
	a.proxy.resume()
	if err := <-sent; err == nil {
		t.Error("a commit of the stalled leader was acknowledged")
	}
	wantFenced(t, former, batch(2, put("a", "stalled")))
	wantLost(t, former)
	wantRecords(t, next, map[string]string{"a": "next"})
}

func TestRequestThatArrivesLateChangesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	commit(t, l, batch(1, put("a", "1"), put("b", "1")))
	a.proxy.next(drop)
	b := batch(2, put("a", "2"), put("b", "2")) // nothing but the version would have it refused
	if err := l.Commit(bounded(t), b); !errors.Is(err, scheduler.ErrUncertain) {
		t.Fatalf("got %v, want ErrUncertain", err)
	}
	commit(t, l, b)
	commit(t, l, batch(3, put("a", "3")))
	replay(t, c.server, <-a.proxy.dropped)
	wantRecords(t, l, map[string]string{"a": "3", "b": "2"})
	commit(t, l, batch(4, put("b", "4")))
	wantRecords(t, l, map[string]string{"a": "3", "b": "4"})
}

// The request that was given up for lost arrives right before the batch is committed again.
func TestRequestThatArrivesBeforeItsRepetitionIsRecognised(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	commit(t, l, batch(1, put("a", "1"), put("b", "1")))
	a.proxy.next(drop)
	b := batch(2, put("a", "2"), scheduler.Change{Key: "b"}, put("c", "2"))
	if err := l.Commit(bounded(t), b); !errors.Is(err, scheduler.ErrUncertain) {
		t.Fatalf("got %v, want ErrUncertain", err)
	}
	replay(t, c.server, <-a.proxy.dropped)
	commit(t, l, b)
	commit(t, l, batch(3, put("b", "3"), put("c", "3")))
	wantRecords(t, l, map[string]string{"a": "2", "b": "3", "c": "3"})
}

func TestLostRequestIsAppliedOnceWhenCommittedAgain(t *testing.T) {
	t.Parallel()
	a := newCluster(t).join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	commit(t, l, batch(1, put("a", "1")))
	a.proxy.next(drop)
	b := batch(2, put("a", "2"), put("b", "2"))
	if err := l.Commit(bounded(t), b); !errors.Is(err, scheduler.ErrUncertain) {
		t.Fatalf("got %v, want ErrUncertain", err)
	}
	if err := l.Commit(bounded(t), batch(3)); err == nil || errors.Is(err, scheduler.ErrUncertain) {
		t.Errorf("another batch before the open one is settled: got %v, want a refusal", err)
	}
	if err := l.Load(bounded(t), func(scheduler.Record) error { return nil }); !errors.Is(err, scheduler.ErrUncertain) {
		t.Errorf("loading beside the open one: got %v, want ErrUncertain", err)
	}
	commit(t, l, b)
	wantRecords(t, l, map[string]string{"a": "2", "b": "2"})
}

func TestCommitGivenUpIsSettledByTheNext(t *testing.T) {
	t.Parallel()
	a := newCluster(t).join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	commit(t, l, batch(1, put("a", "1")))
	a.proxy.stall()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	b := batch(2, put("a", "2"), put("b", "2"))
	if err := l.Commit(ctx, b); !errors.Is(err, scheduler.ErrUncertain) {
		t.Fatalf("got %v, want ErrUncertain", err)
	}
	a.proxy.resume()
	commit(t, l, b)
	commit(t, l, batch(3, put("b", "3")))
	wantRecords(t, l, map[string]string{"a": "2", "b": "3"})
}

func TestLeaderOutlastsAnOutageShorterThanItsSession(t *testing.T) {
	t.Parallel()
	a := newCluster(t).join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	commit(t, l, batch(1, put("a", "1")))
	for i := int64(2); i < 6; i++ {
		a.proxy.setCut(true)
		a.proxy.setCut(false)
		b := batch(i, put("a", fmt.Sprint(i)))
		err := l.Commit(bounded(t), b)
		for errors.Is(err, scheduler.ErrUncertain) {
			err = l.Commit(bounded(t), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	wantRecords(t, l, map[string]string{"a": "5"})
}

func TestTooLargeBatchIsRefusedByItself(t *testing.T) {
	t.Parallel()
	a := newCluster(t).join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	err := l.Commit(bounded(t), batch(1, put("a", strings.Repeat("x", 1<<20))))
	if err == nil || errors.Is(err, scheduler.ErrUncertain) || !strings.Contains(err.Error(), "larger than ZooKeeper takes") {
		t.Fatalf("got %v", err)
	}
	commit(t, l, batch(1, put("a", "1"))) // nothing was sent, and nothing is open
}

func TestRequestSizeIsWhatIsSent(t *testing.T) {
	t.Parallel()
	a := newCluster(t).join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	for i, changes := range [][]scheduler.Change{
		{}, {put("created", "1")}, {put("created", "set"), put("é/ü", "")}, {{Key: "created"}, put("long", strings.Repeat("x", 5000))},
	} {
		b := batch(int64(i+1), changes...)
		if l.known == nil { // a first commit lists the records
			if err := l.list(bounded(t)); err != nil {
				t.Fatal(err)
			}
		}
		ops, err := l.operations(b)
		if err != nil {
			t.Fatal(err)
		}
		commit(t, l, b)
		if got, want := requestSize(ops), a.proxy.lastMulti(); got != want {
			t.Errorf("batch %d: computed %d bytes, sent %d", b.Sequence, got, want)
		}
	}
}

func TestForeignChangeToTheRecordsIsNamed(t *testing.T) {
	t.Parallel()
	a := newCluster(t).join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	commit(t, l, batch(1, put("jobs/a", "1")))
	if err := a.conn.Delete(a.record("jobs/a"), -1); err != nil {
		t.Fatal(err)
	}
	err := l.Commit(bounded(t), batch(2, put("jobs/b", "1"), put("jobs/a", "2")))
	if !errors.Is(err, gozk.ErrNoNode) || !strings.Contains(err.Error(), "jobs%2Fa") {
		t.Errorf("got %v, want the record that is missing named", err)
	}
	wantRecords(t, l, map[string]string{})
}

func TestVersionsOfTheTermNeverRunOut(t *testing.T) {
	t.Parallel()
	c := &Client{connection: &connection{}, layout: layout{"/r"}}
	for _, version := range []int32{versionLimit, 1<<31 - 1, -1 << 31, -1} {
		ops, err := c.raising(raised{termState: termState{Term: 2}}, position{version: version}, "n")
		if err != nil {
			t.Fatal(err)
		}
		if _, anew := ops[len(ops)-1].(*gozk.CreateRequest); !anew {
			t.Errorf("version %d: the znode is not made anew", version)
		}
	}
	a := newCluster(t).join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	l.at.version = maxVersion
	if err := l.Commit(bounded(t), batch(1)); !errors.Is(err, scheduler.ErrFenced) {
		t.Errorf("got %v, want ErrFenced", err)
	}
	wantLost(t, l)
}

func TestClockSkewIsMeasured(t *testing.T) {
	t.Parallel()
	a := newCluster(t).join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	commit(t, l, batch(1))
	// The same machine: what is left is the way there and back, and whole milliseconds.
	if got := l.ClockSkew(); got.Abs() > 2*time.Second || got == 0 {
		t.Errorf("got %v", got)
	}
	asked := time.UnixMilli(10_000)
	if got := skew(asked, asked.Add(200*time.Millisecond), 7_100); got != 3*time.Second {
		t.Errorf("got %v, want 3s", got)
	}
}
