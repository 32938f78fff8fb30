package zk

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
	"tidemill/internal/storetest"
)

// patience bounds what takes no time of its own on a machine that is not loaded.
const patience = 30 * time.Second

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// servers are those of the run's ZooKeeper.
func servers(t testing.TB) []string {
	t.Helper()
	return strings.Split(stacktest.Shared(t).ZooKeeper, ",")
}

func options(t testing.TB, root string, servers ...string) Options {
	return Options{
		Address:   Address{Servers: servers, Path: root},
		Advertise: "http://127.0.0.1:8080",
		Log:       zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.InfoLevel),
	}
}

func newRoot() string { return "/test/" + rand.Text() }

func join(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := Connect(bounded(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// cluster is a root of its own in the run's ZooKeeper; each that joins has a proxy of its own.
type cluster struct{ root, server string }

type memberOf struct {
	*Client
	proxy *proxy
}

func (c cluster) Join(t *testing.T, url string) storetest.Member { return c.join(t, url) }

func (c cluster) join(t *testing.T, url string) memberOf {
	t.Helper()
	p := newProxy(t, c.server)
	o := options(t, c.root, p.address())
	o.Advertise = url
	return memberOf{join(t, o), p}
}

func (m memberOf) Crash() { m.proxy.setCut(true) }

func (m memberOf) LoseAnswer() bool {
	m.proxy.next(loseAnswer)
	return true
}

func newCluster(t testing.TB) cluster {
	t.Helper()
	return cluster{newRoot(), servers(t)[0]}
}

func (m memberOf) Disconnect() {
	m.proxy.setCut(true)
	m.proxy.setCut(false)
}

func (m memberOf) Follows() bool { return true }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Cluster { return newCluster(t) })
}

// BenchmarkCommit has a server of its own, with the memory that its last 500 transactions take.
func BenchmarkCommit(b *testing.B) {
	own := stacktest.Own(b, stack.Options{ZooKeeper: 1, ZooKeeperHeap: "1g"}).Addresses().ZooKeeper
	for _, changes := range []int{1, 100, 1500} {
		b.Run(fmt.Sprintf("changes=%d", changes), func(b *testing.B) {
			l, err := join(b, options(b, newRoot(), own)).Campaign(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			storetest.BenchCommit(b, l, changes)
		})
	}
}

// BenchmarkLoad has one with the memory that so many records take.
func BenchmarkLoad(b *testing.B) {
	own := stacktest.Own(b, stack.Options{ZooKeeper: 1, ZooKeeperHeap: "1g"})
	o := options(b, newRoot(), own.Addresses().ZooKeeper)
	o.SessionTimeout = 20 * time.Second // outlasts the filling on a loaded machine
	l, err := join(b, o).Campaign(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	storetest.BenchLoad(b, l, 50_000)
}
