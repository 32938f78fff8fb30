package wire

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxQueued bounds the events that wait for a slow reader; beyond it the stream ends,
// and the reader must subscribe again.
const maxQueued = 1 << 17

// Stream is one subscription: events in RecordIO over a chunked HTTP response. Events
// are queued by Send and written by Serve, so that no sender waits for a socket.
type Stream struct {
	media string

	mu     sync.Mutex
	queue  []Message
	closed bool
	wake   chan struct{}
}

// NewStream returns a stream of events in a media type.
func NewStream(media string) *Stream {
	return &Stream{media: media, wake: make(chan struct{}, 1)}
}

// Send queues an event. The event must not be changed afterwards.
func (s *Stream) Send(event Message) {
	s.mu.Lock()
	if !s.closed {
		s.queue = append(s.queue, event)
		s.closed = len(s.queue) > maxQueued
	}
	s.mu.Unlock()
	s.notify()
}

// Close ends the stream once what is queued has been written.
func (s *Stream) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.notify()
}

func (s *Stream) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Stream) take() (events []Message, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, s.queue = s.queue, nil
	return events, s.closed
}

// Heartbeat is an event that is sent at an interval as long as a stream lives.
type Heartbeat struct {
	Event    Message
	Interval time.Duration
	Clock    Clock
}

// Serve writes the stream's events until it is closed, the client goes, or the context
// ends; it reports whether it was closed from this side.
func (s *Stream) Serve(ctx context.Context, w http.ResponseWriter, beat Heartbeat) bool {
	w.Header().Set("Content-Type", s.media)
	w.WriteHeader(http.StatusOK)
	controller := http.NewResponseController(w)
	if controller.Flush() != nil {
		return false
	}
	if beat.Interval > 0 {
		defer Repeat(beat.Clock, beat.Interval, func() { s.Send(beat.Event) })()
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.wake:
			events, closed := s.take()
			if s.write(w, controller, events) != nil {
				return false
			}
			if closed {
				return true
			}
		}
	}
}

// write sends each event in an HTTP chunk of its own, as Mesos does, unless so many wait
// that fewer, larger writes are what the reader needs.
func (s *Stream) write(w http.ResponseWriter, controller *http.ResponseController, events []Message) error {
	const crowded = 8
	for i, event := range events {
		payload, err := Encode(event, s.media)
		if err != nil {
			return err
		}
		frame := strconv.AppendInt(make([]byte, 0, len(payload)+12), int64(len(payload)), 10)
		frame = append(append(frame, '\n'), payload...)
		if _, err := w.Write(frame); err != nil {
			return err
		}
		if len(events) < crowded || i == len(events)-1 {
			if err := controller.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}
