package executor

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	firstBackoff = 50 * time.Millisecond
	// answerWithin bounds a try, and then the wait for SUBSCRIBED: an agent
	// that hangs must not be waited for longer than one that is down.
	answerWithin = 10 * time.Second
)

// link is the connection to the agent: at most one subscription under way, and
// at most one stream. The loop owns it; only message is called from elsewhere.
type link struct {
	agent      Agent
	now        func() time.Time
	backoffMax time.Duration
	backoff    time.Duration
	asking     bool
	subscribed chan subscription
	retry      <-chan time.Time // until the next try
	events     <-chan Event     // of the stream; nil: there is none
	silent     <-chan time.Time // speaks when SUBSCRIBED is overdue
	sender     *sender
	current    atomic.Pointer[sender] // for message
	cancelAsk  context.CancelFunc
}

// subscription is the answer to a try.
type subscription struct {
	stream Stream
	err    error
}

func newLink(o Options) *link {
	return &link{
		agent: o.Agent, now: o.Now, backoffMax: o.BackoffMax, backoff: firstBackoff,
		subscribed: make(chan subscription, 1),
	}
}

// connect asks for a stream, if there is none and nothing hinders.
func (l *link) connect(ctx context.Context, m *machine) {
	if l.asking || l.events != nil || l.retry != nil {
		return
	}
	l.asking = true
	ctx, l.cancelAsk = context.WithTimeout(ctx, answerWithin)
	tasks, updates := m.unacknowledged(l.now())
	go func() {
		s, err := l.agent.Subscribe(ctx, tasks, updates)
		l.subscribed <- subscription{s, err}
	}()
}

// open takes the answer to a try.
func (l *link) open(ctx context.Context, s subscription) error {
	l.asking = false
	l.cancelAsk() // it bounded the try only
	if s.err != nil {
		l.pause()
		return s.err
	}
	l.sender = newSender(ctx, s.stream)
	l.current.Store(l.sender)
	l.events = s.stream.Events()
	l.silent = time.After(answerWithin)
	return nil
}

// settle says that the stream is good.
func (l *link) settle() { l.backoff, l.silent = firstBackoff, nil }

// pause waits before the next try: longer each time, and at random, so that
// the executors of an agent that returns do not all come at once. An agent that
// has restarted kills those that do not come within backoffMax, so half of it
// is the longest: the other half is for the try itself.
func (l *link) pause() {
	l.retry = time.After(l.backoff/2 + rand.N(l.backoff/2))
	l.backoff = min(2*l.backoff, l.backoffMax/2)
}

// lose gives the stream up, and tries again after a pause.
func (l *link) lose() {
	l.hangUp()
	l.pause()
}

func (l *link) hangUp() {
	if l.sender == nil {
		return
	}
	l.current.Store(nil)
	l.sender.close()
	l.sender, l.events, l.silent = nil, nil, nil
}

// close ends everything and waits for it.
func (l *link) close() {
	l.hangUp()
	if !l.asking {
		return
	}
	l.cancelAsk()
	if s := <-l.subscribed; s.err == nil {
		s.stream.Close()
	}
}

func (l *link) send(u Update) {
	if l.sender != nil {
		l.sender.send(u)
	}
}

func (l *link) failed() <-chan error {
	if l.sender == nil {
		return nil
	}
	return l.sender.failed
}

func (l *link) err() error { return l.sender.stream.Err() }

// message sends progress, if there is a stream; losing it does no harm.
func (l *link) message(ctx context.Context, data []byte) {
	if s := l.current.Load(); s != nil {
		_ = s.stream.Message(ctx, data)
	}
}
