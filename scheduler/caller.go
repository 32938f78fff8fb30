package scheduler

import (
	"context"
	"sync"

	"github.com/rs/zerolog"
)

// caller makes the calls of a CallQueue: one at a time, acknowledgements in
// parallel to them. Those of a stream that is over are dropped.
type caller struct {
	log  zerolog.Logger
	post func(Event)

	mu     sync.Mutex
	wake   *sync.Cond
	queue  CallQueue
	sub    Subscription
	closed bool
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
	c.queue.Push(stream, calls)
	c.wake.Broadcast()
}

// use sets the subscription that calls of its stream go out on.
func (c *caller) use(stream int64, sub Subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue.Use(stream)
	c.sub = sub
}

// unsent counts what is queued.
func (c *caller) unsent() Unsent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.Unsent()
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
	all.Go(func() { c.work(ctx, Ordered) })
	for range ackers {
		all.Go(func() { c.work(ctx, Acks) })
	}
	all.Wait()
}

func (c *caller) work(ctx context.Context, line Line) {
	for {
		next, sub, ok := c.take(line)
		if !ok {
			return
		}
		if sub == nil {
			c.log.Debug().Type("call", next.Call).Msg("call dropped: its subscription is over")
			if tell := Dropped(next.Call); tell != nil {
				c.post(*tell)
			}
			continue
		}
		c.answered(next.Call, sub, sub.Send(ctx, next.Call))
	}
}

// take waits for a call; sub is nil where its stream is over.
func (c *caller) take(line Line) (next StreamCall, sub Subscription, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed {
		next, open, ok := c.queue.Next(line)
		if ok && open {
			return next, c.sub, true
		}
		if ok {
			return next, nil, true
		}
		c.wake.Wait()
	}
	return StreamCall{}, nil, false
}

// answered deals with a call's end.
func (c *caller) answered(call Call, sub Subscription, err error) {
	if err != nil {
		c.log.Warn().Err(err).Type("call", call).Msg("a call failed")
	}
	tell, resubscribe := Verdict(call, err)
	if resubscribe {
		sub.Close()
	}
	if tell != nil {
		c.post(*tell)
	}
}
