package wire

import (
	"bufio"
	"encoding/gob"
	"fmt"
	"net"
	"sync"
)

// Proto carries a protobuf message through encoding/gob and JSON documents of our own.
type Proto[T any, P interface {
	*T
	Message
}] struct {
	Value T
}

// GobEncode implements gob.GobEncoder.
func (p Proto[T, P]) GobEncode() ([]byte, error) { return P(&p.Value).Marshal() }

// GobDecode implements gob.GobDecoder.
func (p *Proto[T, P]) GobDecode(data []byte) error { return P(&p.Value).Unmarshal(data) }

// Link is one connection between a master and an agent: gob-encoded messages in both
// directions, Out from this side and In from the other.
type Link[Out, In any] struct {
	conn    net.Conn
	decoder *gob.Decoder

	mu     sync.Mutex
	queue  []Out
	closed bool
	wake   chan struct{}
	done   chan struct{}
}

// NewLink starts a link over a connection; reader holds what was already read of it.
func NewLink[Out, In any](conn net.Conn, reader *bufio.Reader) *Link[Out, In] {
	link := &Link[Out, In]{
		conn:    conn,
		decoder: gob.NewDecoder(reader),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	go link.write()
	return link
}

// Send queues a message; it is lost when the connection breaks first.
func (l *Link[Out, In]) Send(message Out) {
	l.mu.Lock()
	if !l.closed {
		l.queue = append(l.queue, message)
		if len(l.queue) > maxQueued {
			l.closed = true // the other side no longer reads
		}
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Receive waits for the next message of the other side.
func (l *Link[Out, In]) Receive() (In, error) {
	var message In
	if err := l.decoder.Decode(&message); err != nil {
		return message, fmt.Errorf("receive from %s: %w", l.conn.RemoteAddr(), err)
	}
	return message, nil
}

// Close ends the link once what is queued has been written, and waits for that.
func (l *Link[Out, In]) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	<-l.done
}

// Cut breaks the connection at once.
func (l *Link[Out, In]) Cut() {
	_ = l.conn.Close() // it is being given up
	l.Close()
}

func (l *Link[Out, In]) write() {
	defer close(l.done)
	defer l.conn.Close()
	buffer := bufio.NewWriterSize(l.conn, 64<<10)
	encoder := gob.NewEncoder(buffer)
	for range l.wake {
		l.mu.Lock()
		queue, closed := l.queue, l.closed
		l.queue = nil
		l.mu.Unlock()
		for i := range queue {
			if encoder.Encode(&queue[i]) != nil {
				return
			}
		}
		if buffer.Flush() != nil || closed {
			return
		}
	}
}
