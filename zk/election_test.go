package zk

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// eventually polls what another session has yet to hear of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx := bounded(t); !ok(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func leads(c *Client, url string) func() bool {
	return func() bool {
		got, ok := c.Leader()
		return ok && got == url
	}
}

func TestAllHearWhoLeadsAndWhoIsUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	urls := []string{"http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"}
	a, b, d := c.join(t, urls[0]), c.join(t, urls[1]), c.join(t, urls[2])
	l := campaign(t, a.Client)
	inBackground(t, b.Client)
	eventually(t, "the second stands", func() bool { return len(a.Schedulers()) == 2 })
	inBackground(t, d.Client)
	for _, m := range []memberOf{a, b, d} {
		eventually(t, "all are known", func() bool { return slices.Equal(m.Schedulers(), urls) })
		eventually(t, "the first leads", leads(m.Client, urls[0]))
	}
	if err := l.Resign(bounded(t)); err != nil {
		t.Fatal(err)
	}
	for _, m := range []memberOf{a, b, d} {
		eventually(t, "the second leads", leads(m.Client, urls[1]))
	}
	b.Close()
	eventually(t, "the third leads", leads(a.Client, urls[2]))
}

// inBackground campaigns until the test ends.
func inBackground(t testing.TB, c *Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.Campaign(ctx, nil) // ends with ctx, or leads
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func TestLeaderWhoseCandidacyIsRemovedStepsDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.join(t, "http://127.0.0.1:1"), c.join(t, "http://127.0.0.1:2")
	l := campaign(t, a.Client)
	names, err := b.candidates(bounded(t))
	if err != nil || len(names) != 1 {
		t.Fatalf("got %v, %v: want one candidate", names, err)
	}
	if err := b.conn.Delete(b.candidate(names[0]), -1); err != nil {
		t.Fatal(err)
	}
	wantLost(t, l)
	wantFenced(t, l, batch(1))
	campaign(t, a.Client) // and may lead again
}

func TestCandidateOutlivesItsSession(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.join(t, "http://127.0.0.1:1"), c.join(t, "http://127.0.0.1:2")
	l := campaign(t, a.Client)
	won := make(chan *Leadership, 1)
	done := make(chan struct{})
	ctx := bounded(t)
	go func() {
		defer close(done)
		if next, err := b.Campaign(ctx, nil); err == nil {
			won <- next.(*Leadership)
		}
	}()
	eventually(t, "the candidate stands", func() bool { return len(a.Schedulers()) == 2 })
	b.proxy.setCut(true)
	eventually(t, "its session ends", func() bool { return len(a.Schedulers()) == 1 })
	b.proxy.setCut(false)
	eventually(t, "it stands again", func() bool { return len(a.Schedulers()) == 2 })
	if err := l.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	<-done
	select {
	case next := <-won:
		commit(t, next, batch(1))
	default:
		t.Fatal("it did not lead")
	}
}

// The answer to the creation of the candidate's znode is lost again and again: none may be left
// behind that nobody knows to be its own.
func TestLostAnswerToACandidacyLeavesOneCandidate(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, watcher := c.join(t, "http://127.0.0.1:1"), c.join(t, "http://127.0.0.1:2")
	for range 3 {
		a.proxy.loseCreate()
		l := campaign(t, a.Client)
		if names, err := watcher.candidates(bounded(t)); err != nil || len(names) != 1 {
			t.Fatalf("got %v, %v: want one candidate", names, err)
		}
		if err := l.Resign(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if names, err := watcher.candidates(bounded(t)); err != nil || len(names) != 0 {
			t.Fatalf("got %v, %v: want none after resigning", names, err)
		}
	}
}

func TestCloseHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.join(t, "http://127.0.0.1:1"), c.join(t, "http://127.0.0.1:2")
	l := campaign(t, a.Client)
	began := time.Now()
	a.Close()
	a.Close()
	wantLost(t, l)
	campaign(t, b.Client)
	if took := time.Since(began); took > DefaultSessionTimeout-time.Second {
		t.Errorf("handing over took %v", took)
	}
	wantFenced(t, l, batch(1))
	if _, err := a.Campaign(bounded(t), nil); err == nil {
		t.Error("a closed client leads")
	}
}

func TestConnectWaitsForZooKeeperAndSaysSo(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := newProxy(t, c.server)
	p.setCut(true)
	o := options(t, c.root, p.address())
	log := &lines{wanted: "waiting for ZooKeeper", seen: make(chan struct{})}
	o.Log = o.Log.Output(log)
	type result struct {
		client *Client
		err    error
	}
	connected := make(chan result, 1)
	go func() {
		client, err := Connect(bounded(t), o)
		connected <- result{client, err}
	}()
	<-log.seen
	p.setCut(false)
	r := <-connected
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.client.Close()

	p.setCut(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, o); err == nil || !strings.Contains(err.Error(), p.address()) {
		t.Errorf("got %v, want an error that names the server", err)
	}
}

// lines closes seen when a wanted line is logged.
type lines struct {
	wanted string
	seen   chan struct{}
	once   bool
}

func (l *lines) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.wanted) && !l.once {
		l.once = true
		close(l.seen)
	}
	return len(p), nil
}

func TestConnectNeedsAPath(t *testing.T) {
	t.Parallel()
	if _, err := Connect(t.Context(), Options{Address: Address{Servers: []string{"127.0.0.1:1"}}}); err == nil {
		t.Error("connected without a path")
	}
}

func TestZnodesOfAUserAreClosedToOthers(t *testing.T) {
	t.Parallel()
	o := options(t, newRoot(), servers(t)...)
	o.Auth = "tide:mill"
	l := campaign(t, join(t, o))
	commit(t, l, batch(1, put("a", "1")))
	wantRecords(t, l, map[string]string{"a": "1"})
	o.Auth = ""
	_, err := Connect(bounded(t), o)
	if err == nil || !strings.Contains(err.Error(), "user:password") {
		t.Errorf("got %v, want an error with a hint about the user", err)
	}
}

func TestTermIsRaisedOnlyByOneThatStands(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.join(t, "http://127.0.0.1:1")
	l := campaign(t, a.Client)
	s, err := a.await(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.raise(bounded(t), s, "n-gone-0000000000"); !errors.Is(err, errDisplaced) {
		t.Errorf("got %v, want errDisplaced", err)
	}
	commit(t, l, batch(1)) // not deposed
}
