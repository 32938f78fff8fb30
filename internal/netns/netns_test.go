package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays three parts: the tests, which run in namespaces of their own, and the two
// ends of a conversation on the hosts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "listen" {
		os.Exit(listen(os.Args[2]))
	}
	inside, code, err := Isolate(context.Background())
	switch {
	case errors.Is(err, ErrNotAllowed):
		fmt.Println("skipped:", err)
	case err != nil:
		fmt.Println(err)
		code = 1
	case inside:
		code = m.Run()
	}
	os.Exit(code)
}

// listen says what it hears.
func listen(address string) int {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	for {
		conn, err := l.Accept()
		if err != nil {
			return 1
		}
		go func() { _, _ = io.Copy(os.Stdout, conn) }()
	}
}

// listener is what a process on a host hears.
func listener(t *testing.T, h *Host) *bufio.Reader {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "listen", h.Addr.String()+":7000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	heard := bufio.NewReader(out)
	if line, err := heard.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the listener says %q, %v", line, err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return heard
}

func network(t *testing.T, names ...string) (*Network, []*Host) {
	t.Helper()
	n, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if len(n.hosts) == 0 {
			return // closed by the test
		}
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	var hosts []*Host
	for _, name := range names {
		h, err := n.AddHost(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	return n, hosts
}

// TestDropIsSilentAndHealable cuts a conversation that is under way: what is sent meanwhile is
// heard after the cut is healed, and not before.
func TestDropIsSilentAndHealable(t *testing.T) {
	n, hosts := network(t, "a", "b")
	heard := listener(t, hosts[0])
	conn, err := net.Dial("tcp", hosts[0].Addr.String()+":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	say := func(word string) {
		t.Helper()
		if _, err := fmt.Fprintln(conn, word); err != nil {
			t.Fatal(err)
		}
	}
	say("before")
	if word, err := heard.ReadString('\n'); word != "before\n" {
		t.Fatalf("heard %q, %v", word, err)
	}
	gateway := &Host{Name: "this process", Addr: address(254)}
	if err := hosts[0].Drop(t.Context(), gateway, hosts[1]); err != nil {
		t.Fatal(err)
	}
	say("during")
	if conn, err := net.DialTimeout("tcp", hosts[0].Addr.String()+":7000", 300*time.Millisecond); err == nil {
		conn.Close()
		t.Error("a new connection gets through the cut")
	} else if !errors.Is(err, os.ErrDeadlineExceeded) && !strings.Contains(err.Error(), "timeout") {
		t.Errorf("the cut is not silent: %v", err)
	}
	if heard.Buffered() > 0 {
		t.Error("words get through the cut on a connection that stood before it")
	}
	if err := n.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if word, err := heard.ReadString('\n'); word != "during\n" {
		t.Fatalf("after the healing, heard %q, %v", word, err)
	}
}

func TestProcessesEndWithTheirHost(t *testing.T) {
	n, hosts := network(t, "a")
	cmd := exec.Command("sleep", "1000")
	if err := hosts[0].Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended well; want it killed")
	}
	if err := hosts[0].Start(exec.Command("true")); !errors.Is(err, errClosed) {
		t.Errorf("a closed host starts a command: %v", err)
	}
}

// TestMainThreadIsNoHost: the main thread does not end with its goroutine, so nothing may be tied to
// it. Goroutines that are all locked to threads at once come to have the main thread among them.
func TestMainThreadIsNoHost(t *testing.T) {
	const threads = 64
	inside, leave := make(chan int), make(chan struct{})
	defer close(leave)
	for range threads {
		go onOwnThread(func() { inside <- unix.Gettid(); <-leave })
	}
	for range threads {
		if thread := <-inside; thread == os.Getpid() {
			t.Error("something is tied to the main thread")
		}
	}
}
