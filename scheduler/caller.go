package scheduler

import (
	"context"
	"errors"
	"sync"

	"github.com/rs/zerolog"
)

// caller makes calls one at a time, in order, each under the stream it was
// decided under: those of a stream that is over are dropped, never sent under
// another. Acknowledgements go in parallel to them.
type caller struct {
	log  zerolog.Logger
	post func(Event)

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []streamCall
	acks   []streamCall
	stream int64
	sub    Subscription
	closed bool
}

type streamCall struct {
	stream int64
	call   Call
}

// ackers is how many acknowledgements may be under way at once.
const ackers = 4

func newCaller(log zerolog.Logger, post func(Event)) *caller {
	c := &caller{log: log, post: post}
	c.wake = sync.NewCond(&c.mu)
	return c
}

// push queues calls. It never blocks: the number of calls is bounded by the
// number of tasks and offers.
func (c *caller) push(stream int64, calls []Call) {
	if len(calls) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range calls {
		if _, ok := call.(Acknowledge); ok {
			c.acks = append(c.acks, streamCall{stream, call})
		} else {
			c.queue = append(c.queue, streamCall{stream, call})
		}
	}
	c.wake.Broadcast()
}

// use sets the subscription that calls of its stream go out on.
func (c *caller) use(stream int64, sub Subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream, c.sub = stream, sub
}

// run works until ctx ends.
func (c *caller) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.closed = true
		c.wake.Broadcast()
	})
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { c.work(ctx, &c.queue) })
	for range ackers {
		all.Go(func() { c.work(ctx, &c.acks) })
	}
	all.Wait()
}

func (c *caller) work(ctx context.Context, queue *[]streamCall) {
	for {
		next, sub, ok := c.take(queue)
		if !ok {
			return
		}
		if sub == nil {
			c.log.Debug().Type("call", next.call).Msg("call dropped: its subscription is over")
			continue
		}
		c.answered(next, sub, sub.Send(ctx, next.call))
	}
}

// take waits for a call; sub is nil where its stream is over.
func (c *caller) take(queue *[]streamCall) (next streamCall, sub Subscription, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(*queue) == 0 && !c.closed {
		c.wake.Wait()
	}
	if c.closed {
		return streamCall{}, nil, false
	}
	next = (*queue)[0]
	*queue = (*queue)[1:]
	if next.stream == c.stream {
		sub = c.sub
	}
	return next, sub, true
}

// answered deals with a call's end. Where nobody can know whether it arrived,
// and where Mesos says that we are not subscribed, a new subscription sorts it
// out; an update that was not acknowledged comes again.
func (c *caller) answered(sc streamCall, sub Subscription, err error) {
	_, isAck := sc.call.(Acknowledge)
	var refused *CallError
	switch {
	case err == nil:
	case isAck:
		c.log.Debug().Err(err).Msg("acknowledgement failed; the update will come again")
		return
	case errors.As(err, &refused):
		c.log.Warn().Type("call", sc.call).Int("status", refused.Status).Str("message", refused.Message).Msg("Mesos refused a call")
		if refused.Status == 403 || refused.Status >= 500 {
			sub.Close()
			if refused.Status >= 500 {
				return // it may have been taken
			}
		}
	default:
		c.log.Warn().Type("call", sc.call).Err(err).Msg("no answer to a call; subscribing again")
		sub.Close()
		return
	}
	if _, ok := sc.call.(Accept); ok {
		c.post(CallAnswered{Call: sc.call, Err: err})
	}
}
