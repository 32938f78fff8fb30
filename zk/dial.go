package zk

import (
	"bufio"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	gozk "github.com/go-zookeeper/zk"
)

// hosts gives go-zookeeper the servers in turn, by name: the dialer resolves a name each time, so
// that a server that comes back under another address is found. go-zookeeper's own provider
// resolves once, and fails where the names are not known yet.
type hosts struct {
	mu          sync.Mutex
	servers     []string
	next, tried int
}

func (h *hosts) Init(servers []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers = slices.Clone(servers)
	rand.Shuffle(len(servers), func(i, j int) { h.servers[i], h.servers[j] = h.servers[j], h.servers[i] })
	return nil
}

func (h *hosts) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.servers)
}

// Next also says when all servers were tried since the last success: go-zookeeper then pauses.
func (h *hosts) Next() (server string, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	server, all = h.servers[h.next], h.tried == len(h.servers)
	h.next = (h.next + 1) % len(h.servers)
	if all {
		h.tried = 0
	}
	h.tried++
	return server, all
}

func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = 0
}

// dialer connects with a bound on the handshake. go-zookeeper waits for its answer longer than a
// session lasts, so that one server which accepts and then is silent would cost the session
// although the others would have kept it.
func dialer(handshake time.Duration) gozk.Dialer {
	return func(network, address string, timeout time.Duration) (net.Conn, error) {
		conn, err := net.DialTimeout(network, address, timeout)
		if err != nil {
			return nil, err
		}
		return &serverConn{Conn: conn, buffered: bufio.NewReaderSize(conn, 64<<10), limit: time.Now().Add(handshake)}, nil
	}
}

// serverConn bounds what is read until go-zookeeper has set a deadline for the second time, which
// it does once the session stands. It also reads ahead: go-zookeeper reads each answer in two
// pieces, which are two system calls where many small answers come.
type serverConn struct {
	net.Conn
	buffered *bufio.Reader
	limit    time.Time
	calls    int
}

func (c *serverConn) Read(p []byte) (int, error) { return c.buffered.Read(p) }

func (c *serverConn) SetReadDeadline(t time.Time) error {
	// The handshake sets a deadline, and takes it away before it reads the answer's body.
	if c.calls < 2 {
		c.calls++
		return c.Conn.SetReadDeadline(c.limit)
	}
	return c.Conn.SetReadDeadline(t)
}
