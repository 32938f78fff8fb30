package zk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// connection is a connection to an ensemble that outlives its sessions, and the owner of all that
// runs on it.
type connection struct {
	conn *gozk.Conn
	acl  []gozk.ACL
	log  zerolog.Logger

	ctx    context.Context // ends when it is closed
	cancel context.CancelFunc
	work   sync.WaitGroup
	close  func()

	mu       sync.Mutex
	closed   bool
	session  *session      // nil before the first, and between an expired one and the next
	attached bool          // to a server, under the session
	changed  chan struct{} // closed when one of the two above changes
}

// session is one session; what is ephemeral lives as long as it.
type session struct {
	id      int64
	expired chan struct{} // closed when the ensemble has said that it is over
}

func (s *session) over() bool {
	select {
	case <-s.expired:
		return true
	default:
		return false
	}
}

// reportFirst and reportLast bound how often the log says that the ensemble is away: the pause
// doubles from one to the other.
const (
	reportFirst = 2 * time.Second
	reportLast  = time.Minute
)

// connect waits for a session, however long the ensemble is away, until ctx ends.
func connect(ctx context.Context, a Address, timeout time.Duration, log zerolog.Logger) (*connection, error) {
	own, cancel := context.WithCancel(context.Background())
	c := &connection{
		acl: gozk.WorldACL(gozk.PermAll), log: log, ctx: own, cancel: cancel, changed: make(chan struct{}),
	}
	assigned := make(chan struct{})
	conn, events, err := gozk.Connect(a.Servers, timeout,
		gozk.WithHostProvider(&hosts{}),
		gozk.WithDialer(dialer(timeout*2/3)),
		gozk.WithLogger(printer{log}), gozk.WithLogInfo(false),
		gozk.WithEventCallback(func(e gozk.Event) { <-assigned; c.observe(e) }))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("connect to ZooKeeper %s: %w", a, err)
	}
	c.conn = conn
	close(assigned)
	c.close = sync.OnceFunc(c.shut)
	c.work.Go(func() {
		for range events { // closed when go-zookeeper's own goroutines have ended
		}
	})
	c.work.Go(func() { c.report(a) })
	if err := c.enter(ctx, a); err != nil {
		c.close()
		return nil, &jobs.Error{
			Code: jobs.Unavailable, Op: "connect to ZooKeeper", Subject: a.String(), Err: err,
			Hint: "check that it runs and is reachable; tidemill stack up starts one",
		}
	}
	return c, nil
}

func (c *connection) enter(ctx context.Context, a Address) error {
	if _, err := c.await(ctx); err != nil || a.Auth == "" {
		return err
	}
	c.acl = gozk.AuthACL(gozk.PermAll)
	_, err := retry(ctx, c, func() (struct{}, error) {
		return struct{}{}, c.conn.AddAuth("digest", []byte(a.Auth))
	})
	return err
}

// shut ends the session, and with it all that is ephemeral, and waits for all that runs.
func (c *connection) shut() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.conn.Close()
	c.work.Wait()
}

// observe is called by go-zookeeper, one event after the other.
func (c *connection) observe(e gozk.Event) {
	if e.Type != gozk.EventSession {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, attached := c.session, c.attached
	switch e.State {
	case gozk.StateHasSession:
		if id := c.conn.SessionID(); c.session == nil || c.session.id != id {
			c.expire()
			c.session = &session{id: id, expired: make(chan struct{})}
		}
		c.attached = true
		c.log.Info().Str("server", e.Server).Str("session", fmt.Sprintf("%x", c.session.id)).Msg("connected to ZooKeeper")
	case gozk.StateExpired:
		c.log.Warn().Msg("the ZooKeeper session has expired")
		c.expire()
		c.attached = false
	case gozk.StateDisconnected:
		if c.attached && !c.closed {
			c.log.Warn().Str("server", e.Server).Msg("lost the connection to ZooKeeper")
		}
		c.attached = false
	}
	if c.session != before || c.attached != attached {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

func (c *connection) expire() {
	if c.session != nil {
		close(c.session.expired)
		c.session = nil
	}
}

func (c *connection) state() (s *session, attached bool, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.attached, c.changed
}

// await waits for a session that a server has confirmed.
func (c *connection) await(ctx context.Context) (*session, error) {
	for {
		s, attached, changed := c.state()
		if attached && s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
			return nil, gozk.ErrClosing
		}
	}
}

// report says that the ensemble is away, ever less often.
func (c *connection) report(a Address) {
	pause := reportFirst
	var since time.Time
	for {
		_, attached, changed := c.state()
		var due <-chan time.Time
		switch {
		case attached:
			pause, since = reportFirst, time.Time{}
		default:
			if since.IsZero() {
				since = time.Now()
			}
			due = time.After(pause)
		}
		select {
		case <-changed:
		case <-due:
			c.log.Warn().Stringer("zookeeper", a).Dur("away_ms", time.Since(since)).Msg("waiting for ZooKeeper")
			pause = min(2*pause, reportLast)
		case <-c.ctx.Done():
			return
		}
	}
}

// start runs work that the connection's close waits for; false once it is closed.
func (c *connection) start(work func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(work)
	return true
}

// do makes one request. go-zookeeper cannot cancel it: when ctx ends first, it runs on, owned by
// the connection, and its outcome is not known. So what it finds is returned and not captured.
func do[T any](ctx context.Context, c *connection, request func() (T, error)) (T, error) {
	type answer struct {
		found T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	answers := make(chan answer, 1)
	if !c.start(func() { found, err := request(); answers <- answer{found, err} }) {
		return none, gozk.ErrClosing
	}
	select {
	case a := <-answers:
		return a.found, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// retry makes a request that may be made twice until it is answered. go-zookeeper sets the pace:
// it holds requests back until it is connected, or has tried all servers.
func retry[T any](ctx context.Context, c *connection, request func() (T, error)) (T, error) {
	for {
		found, err := do(ctx, c, request)
		if !unanswered(err) || ctx.Err() != nil || c.ctx.Err() != nil {
			return found, err
		}
	}
}

// sync makes what is read next at least as new as anything acknowledged before.
func (c *connection) sync(ctx context.Context, path string) error {
	_, err := retry(ctx, c, func() (string, error) { return c.conn.Sync(path) })
	return err
}

// unanswered says that a request may or may not have been applied: the connection or the session
// ended under it. Any other error is ZooKeeper's answer, or this side's refusal to ask.
func unanswered(err error) bool {
	for _, lost := range []error{
		gozk.ErrConnectionClosed, gozk.ErrNoServer, gozk.ErrClosing, gozk.ErrSessionExpired, gozk.ErrSessionMoved,
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, lost) {
			return true
		}
	}
	var network net.Error
	return errors.As(err, &network)
}

// printer takes go-zookeeper's own messages, which repeat with every try: they are for debugging.
type printer struct{ log zerolog.Logger }

func (p printer) Printf(format string, args ...any) {
	p.log.Debug().Msg(strings.TrimPrefix(fmt.Sprintf(format, args...), "zk: "))
}
