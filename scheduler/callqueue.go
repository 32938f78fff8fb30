package scheduler

import (
	"errors"
	"strings"
)

// errUnsent: a call's subscription was over before it was sent.
var errUnsent = errors.New("its subscription was over before it was sent")

// CallQueue is the order of calls, and pure: one at a time, each under the
// stream it was decided under. Calls of a stream that is over are never sent
// under another. Acknowledgements have a line of their own.
type CallQueue struct {
	calls, acks []StreamCall
	stream      int64
}

// StreamCall is a call and the subscription it was decided under.
type StreamCall struct {
	Stream int64
	Call   Call
}

// Push queues calls that were decided under a stream.
func (q *CallQueue) Push(stream int64, calls []Call) {
	for _, call := range calls {
		if _, ok := call.(Acknowledge); ok {
			q.acks = append(q.acks, StreamCall{stream, call})
		} else {
			q.calls = append(q.calls, StreamCall{stream, call})
		}
	}
}

// Use sets the stream that is open; 0: none.
func (q *CallQueue) Use(stream int64) { q.stream = stream }

// Unsent counts what Mesos has not been told yet.
type Unsent struct {
	Offers  int // that were decided on, and are held until their answer leaves
	Updates int // that were taken, and are not acknowledged
}

func (u *Unsent) count(call Call) {
	switch c := call.(type) {
	case Accept:
		u.Offers += len(c.Offers)
	case Decline:
		u.Offers += len(c.Offers)
	case Acknowledge:
		u.Updates++
	}
}

// Unsent counts what is queued.
func (q *CallQueue) Unsent() (u Unsent) {
	for _, next := range q.calls {
		u.count(next.Call)
	}
	u.Updates += len(q.acks)
	return u
}

// Line is one of the queue's two.
type Line bool

// The lines: calls go one at a time, acknowledgements may go in parallel.
const (
	Ordered Line = false
	Acks    Line = true
)

// Next takes the next call of a line; it may be sent only if its stream is open.
func (q *CallQueue) Next(line Line) (next StreamCall, open, ok bool) {
	list := &q.calls
	if line == Acks {
		list = &q.acks
	}
	if len(*list) == 0 {
		return StreamCall{}, false, false
	}
	next = (*list)[0]
	(*list)[0] = StreamCall{}
	*list = (*list)[1:]
	return next, next.Stream == q.stream && q.stream != 0, true
}

// Dropped says what follows from a call that is not sent, for its stream is
// over: what it would have launched never starts.
func Dropped(call Call) *CallAnswered {
	if _, accept := call.(Accept); accept {
		return &CallAnswered{Call: call, Err: errUnsent}
	}
	return nil
}

// Verdict says what follows from a call's end. Where nobody can know whether
// it arrived, and where Mesos says that we are not subscribed, a new
// subscription sorts it out (resubscribe); an update that was not acknowledged
// comes again. The core is told how an ACCEPT was taken (tell).
func Verdict(call Call, err error) (tell *CallAnswered, resubscribe bool) {
	var refused *CallError
	_, accept := call.(Accept)
	_, ack := call.(Acknowledge)
	switch {
	case err == nil:
	case ack:
		return nil, false
	case !errors.As(err, &refused):
		return nil, true
	case refused.Status >= 500: // it may have been taken
		return nil, true
	case subscriptionOver(refused):
		resubscribe = true
	}
	if accept {
		tell = &CallAnswered{Call: call, Err: err}
	}
	return tell, resubscribe
}

// subscriptionOver tells a master's words for a stream that it does not serve:
// it was restarted, say, and the network has kept the end of the stream from us.
func subscriptionOver(e *CallError) bool {
	return e.Status == 403 || e.Status == 400 &&
		(strings.Contains(e.Message, "Framework cannot be found") || strings.Contains(e.Message, "didn't match the stream ID"))
}
