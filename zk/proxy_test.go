package zk

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// Opcodes of ZooKeeper's protocol.
const (
	opCreate = 1
	opMulti  = 14
)

// proxy stands between a client and ZooKeeper, reads the frames of both, and breaks what goes by.
type proxy struct {
	target   string
	listener net.Listener
	work     sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	cut     bool
	stalled chan struct{}     // closed when traffic may go on; nil while it does
	coming  map[uint32]action // what to do with the next request of an opcode
	multis  []int             // sizes of the multis seen, without their length fields
	dropped chan frame
}

// frame is one request: header and body.
type frame struct{ bytes []byte }

func (f frame) xid() uint32 { return binary.BigEndian.Uint32(f.bytes) }

func (f frame) opcode() uint32 {
	if len(f.bytes) < 8 {
		return 0
	}
	return binary.BigEndian.Uint32(f.bytes[4:])
}

type action int

const (
	pass       action = iota
	loseAnswer        // the server gets the request, and its answer does not come back
	drop              // the request does not get to the server, but is kept
)

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		target: target, listener: listener, conns: map[net.Conn]bool{},
		dropped: make(chan frame, 1), coming: map[uint32]action{},
	}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.resume()
		p.setCut(true)
		p.work.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil || !p.admit(client, server) {
			_ = client.Close()
			if err == nil {
				_ = server.Close()
			}
			continue
		}
		// Requests whose answers must be lost are known by their xid.
		lost := make(chan uint32, 1)
		p.work.Go(func() { p.requests(client, server, lost) })
		p.work.Go(func() { p.answers(client, server, lost) })
	}
}

func (p *proxy) admit(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	for _, c := range conns {
		p.conns[c] = true
	}
	return true
}

func (p *proxy) requests(client, server net.Conn, lost chan<- uint32) {
	defer client.Close()
	for first := true; ; first = false {
		f, err := readFrame(client)
		if err != nil {
			_ = server.Close()
			return
		}
		p.awaitTraffic()
		todo := pass
		if !first { // the first frame is the handshake
			todo = p.decide(f)
		}
		switch todo {
		case loseAnswer:
			lost <- f.xid()
		case drop:
			p.dropped <- f
			_ = server.Close()
			return
		}
		if writeFrame(server, f) != nil {
			return
		}
	}
}

func (p *proxy) answers(client, server net.Conn, lost <-chan uint32) {
	defer server.Close()
	defer client.Close()
	var losing uint32
	for {
		f, err := readFrame(server)
		p.awaitTraffic()
		select {
		case losing = <-lost:
		default:
		}
		if err != nil || losing != 0 && f.xid() == losing {
			return // applied and answered, and the answer is lost
		}
		if writeFrame(client, f) != nil {
			return
		}
	}
}

func (p *proxy) decide(f frame) action {
	p.mu.Lock()
	defer p.mu.Unlock()
	opcode := f.opcode()
	if opcode == opMulti {
		p.multis = append(p.multis, len(f.bytes))
	}
	now := p.coming[opcode]
	delete(p.coming, opcode)
	return now
}

// next says what happens to the next multi.
func (p *proxy) next(a action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming[opMulti] = a
}

// loseCreate loses the answer to the next create.
func (p *proxy) loseCreate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming[opCreate] = loseAnswer
}

func (p *proxy) lastMulti() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.multis) == 0 {
		return 0
	}
	return p.multis[len(p.multis)-1]
}

// setCut ends all connections, and lets no new ones through, or lets them through again.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			_ = c.Close()
		}
		clear(p.conns)
	}
}

// stall stops all traffic without ending a connection, as a stopped process does.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = make(chan struct{})
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

func (p *proxy) awaitTraffic() {
	p.mu.Lock()
	stalled := p.stalled
	p.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
}

// replay sends a request that was dropped earlier, in a session of its own, and waits for the
// answer. A request that waits in a server arrives like this, late and once more; on the session
// of its sender ZooKeeper itself would mostly refuse it, which the fence must not lean on.
func replay(t testing.TB, server string, f frame) {
	t.Helper()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The handshake: protocol version, last zxid, timeout in ms, session, and its empty password.
	hello := binary.BigEndian.AppendUint64(nil, 0)
	hello = binary.BigEndian.AppendUint64(hello, 4000)
	hello = binary.BigEndian.AppendUint64(hello, 0)
	hello = append(binary.BigEndian.AppendUint32(hello, 16), make([]byte, 16)...)
	for _, request := range []frame{{hello}, f} {
		if err := writeFrame(conn, request); err != nil {
			t.Fatal(err)
		}
		if _, err := readFrame(conn); err != nil {
			t.Fatal(err)
		}
	}
}

func readFrame(r io.Reader) (frame, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return frame{}, err
	}
	f := frame{make([]byte, binary.BigEndian.Uint32(length[:]))}
	_, err := io.ReadFull(r, f.bytes)
	return f, err
}

func writeFrame(w io.Writer, f frame) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(f.bytes))), f.bytes...))
	return err
}
