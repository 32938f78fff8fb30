// Package zk is a cluster's ZooKeeper: who leads, the leader's fenced store, and which Mesos
// master leads.
package zk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/rs/zerolog"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// DefaultSessionTimeout is how long a scheduler that is gone without a word is still taken to lead.
const DefaultSessionTimeout = 4 * time.Second

// Options say which ZooKeeper, and who we are.
type Options struct {
	Address                      // its Path is the root of all that is kept
	SessionTimeout time.Duration // DefaultSessionTimeout where it is 0
	Advertise      string        // base URL of this scheduler
	Log            zerolog.Logger
	Now            func() time.Time // time.Now where it is nil
}

// Client is a scheduler's way to ZooKeeper. It implements scheduler.Elector.
type Client struct {
	*connection
	layout
	url     string
	timeout time.Duration
	now     func() time.Time
	members atomic.Pointer[[]member]
}

var _ scheduler.Elector = (*Client)(nil)

// Connect connects, waiting while ZooKeeper is away until ctx ends, and makes the znodes that all
// else is kept under.
func Connect(ctx context.Context, o Options) (*Client, error) {
	if o.Path == "" || o.Path == "/" {
		return nil, &jobs.Error{
			Code: jobs.Invalid, Op: "connect to ZooKeeper", Subject: o.Address.String(), Message: "it names no path",
			Hint: "add one, as in zk://host:2181/tidemill",
		}
	}
	if o.SessionTimeout == 0 {
		o.SessionTimeout = DefaultSessionTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	conn, err := connect(ctx, o.Address, o.SessionTimeout, o.Log)
	if err != nil {
		return nil, err
	}
	c := &Client{connection: conn, layout: layout{o.Path}, url: o.Advertise, timeout: o.SessionTimeout, now: o.Now}
	if err := c.furnish(ctx); err != nil {
		c.Close()
		return nil, c.explain("prepare", err)
	}
	c.start(func() { c.watchChildren(c.election(), c.readMembers) })
	return c, nil
}

// Close ends the session: a term of this client ends with it, and another may lead at once. It is
// idempotent.
func (c *Client) Close() { c.connection.close() }

// furnish makes the permanent znodes, where they are missing.
func (c *Client) furnish(ctx context.Context) error {
	var path strings.Builder
	for part := range strings.SplitSeq(c.root[1:], "/") {
		path.WriteString("/" + part)
		if err := c.ensure(ctx, path.String(), nil); err != nil {
			return err
		}
	}
	zero, err := termState{}.encode()
	if err != nil {
		return err
	}
	for path, data := range map[string][]byte{c.term(): zero, c.election(): nil, c.records(): nil, c.journal(): nil} {
		if err := c.ensure(ctx, path, data); err != nil {
			return err
		}
	}
	made, err := retry(ctx, c.connection, func() ([]string, error) { return c.names(c.records()) })
	if err != nil || len(made) == buckets {
		return err
	}
	return parallel(ctx, inFlight, buckets, func(n int) error { return c.ensure(ctx, c.bucket(n), nil) })
}

func (c *Client) ensure(ctx context.Context, path string, data []byte) error {
	_, err := retry(ctx, c.connection, func() (string, error) {
		return c.conn.Create(path, data, gozk.FlagPersistent, c.acl)
	})
	if errors.Is(err, gozk.ErrNodeExists) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return nil
}

func (c *Client) explain(op string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, gozk.ErrNoAuth), errors.Is(err, gozk.ErrAuthFailed), errors.Is(err, gozk.ErrInvalidACL):
		hint = "these znodes belong to another user; give zk://user:password@hosts/path"
	case errors.Is(err, gozk.ErrNoNode):
		hint = "a znode of Tidemill's was removed by another program; start again to have it made"
	}
	return &jobs.Error{Code: jobs.Unavailable, Op: op, Subject: "ZooKeeper path " + c.root, Err: err, Hint: hint}
}
