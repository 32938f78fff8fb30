package zk

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestHostsPauseOnlyWhenAllWereTried(t *testing.T) {
	h := &hosts{}
	if err := h.Init([]string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
	round := map[string]bool{}
	for range h.Len() {
		server, all := h.Next()
		if all {
			t.Errorf("a pause before %s although not all were tried", server)
		}
		round[server] = true
	}
	if len(round) != 3 {
		t.Errorf("a round tries %v", round)
	}
	if _, all := h.Next(); !all {
		t.Error("no pause after a round")
	}
	h.Connected()
	if _, all := h.Next(); all {
		t.Error("a pause right after a success")
	}
}

func TestSilentServerCostsNoMoreThanTheHandshake(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	conn, err := dialer(time.Millisecond)("tcp", silent.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, deadline := range []time.Time{time.Now().Add(time.Hour), {}} { // as go-zookeeper sets them
		if err := conn.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 4)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want the handshake's end", err)
		}
	}
	// From then on the deadlines are go-zookeeper's own.
	if err := conn.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	go func() { // answers late
		server, err := silent.Accept()
		if err == nil {
			_, _ = server.Write([]byte("late"))
			_ = server.Close()
		}
	}()
	if n, err := conn.Read(make([]byte, 4)); n != 4 || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
}
