package zk

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
	"tidemill/scheduler"
)

// TestLeaderGoesOnThroughTheLossOfServers kills the ensemble's leader, and then a second server,
// so that there is no quorum, under a scheduler that commits all the time.
func TestLeaderGoesOnThroughTheLossOfServers(t *testing.T) {
	t.Parallel()
	ensemble := stacktest.Own(t, stack.Options{ZooKeeper: 3})
	o := options(t, newRoot(), strings.Split(ensemble.Addresses().ZooKeeper, ",")...)
	o.SessionTimeout = 20 * time.Second // outlasts the tests' restarts on a loaded machine
	l := campaign(t, join(t, o))
	rival := join(t, o)
	want := map[string]string{}
	sequence := int64(0)
	commitNext := func() {
		t.Helper()
		sequence++
		key := fmt.Sprintf("runs/%d", sequence)
		want[key] = fmt.Sprint(sequence)
		ctx := bounded(t)
		for {
			err := l.Commit(ctx, batch(sequence, put(key, want[key]), put("last", want[key])))
			if err == nil {
				break
			}
			if !errors.Is(err, scheduler.ErrUncertain) || ctx.Err() != nil {
				t.Fatalf("batch %d: %v", sequence, err)
			}
		}
		want["last"] = want[key]
	}
	commitNext()

	first := leaderOf(t, ensemble)
	began := time.Now()
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		commitNext()
	}
	t.Logf("writes went on %v after the leader's death", time.Since(began))

	second := leaderOf(t, ensemble)
	if err := second.Kill(); err != nil {
		t.Fatal(err)
	}
	restarted := make(chan error, 1)
	go func() { restarted <- first.Restart(t.Context()) }()
	for range 20 {
		commitNext()
	}
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	wantRecords(t, l, want)

	if err := l.Resign(bounded(t)); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, campaign(t, rival), want)
}

// leaderOf asks each server until one says that it leads.
func leaderOf(t *testing.T, ensemble *stack.Stack) *stack.Server {
	t.Helper()
	var leader *stack.Server
	eventually(t, "a server leads the ensemble", func() bool {
		for _, server := range ensemble.Servers() {
			if strings.Contains(srvr(server.Address()), "Mode: leader") {
				leader = server
			}
		}
		return leader != nil
	})
	return leader
}

// srvr is a server's word on itself, "" while it is down. (go-zookeeper's own FLWSrvr cannot read
// what ZooKeeper 3.9 says.)
func srvr(address string) string {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("srvr")); err != nil {
		return ""
	}
	text, _ := io.ReadAll(conn)
	return string(text)
}
