package zk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	gozk "github.com/go-zookeeper/zk"

	"tidemill/scheduler"
)

// errDisplaced ends a try to lead that must begin anew: the session expired, or the candidate's
// znode was removed.
var errDisplaced = errors.New("no longer a candidate")

// Campaign stands for election until this scheduler leads, or ctx ends. While it waits for its
// turn the copy follows the records.
func (c *Client) Campaign(ctx context.Context, copy scheduler.Copy) (scheduler.Leadership, error) {
	f := newFollower(c, copy)
	defer f.end()
	for {
		l, err := c.stand(ctx, f)
		switch {
		case err == nil:
			return l, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case c.ctx.Err() != nil:
			return nil, c.explain("campaign in", gozk.ErrClosing)
		case !errors.Is(err, errDisplaced) && !unanswered(err):
			return nil, c.explain("campaign in", err)
		}
		c.log.Info().Err(err).Msg("standing for election again")
	}
}

// stand enters one election and waits to win it.
func (c *Client) stand(ctx context.Context, f *follower) (*Leadership, error) {
	s, err := c.await(ctx)
	if err != nil {
		return nil, err
	}
	// The id finds the znode again when the answer to its creation was lost.
	id := rand.Text()
	l, err := c.win(ctx, s, id, f)
	if err != nil {
		c.withdraw(id)
		return nil, err
	}
	return l, nil
}

func (c *Client) win(ctx context.Context, s *session, id string, f *follower) (*Leadership, error) {
	name, err := c.enrol(ctx, s, id)
	if err != nil {
		return nil, err
	}
	if err := c.awaitTurn(ctx, s, name, f); err != nil {
		return nil, err
	}
	term, err := c.raise(ctx, s, name)
	if err != nil {
		return nil, err
	}
	if err := c.sync(ctx, c.term()); err != nil {
		return nil, err
	}
	f.end()
	if err := f.ended(ctx); err != nil {
		return nil, err
	}
	l := newLeadership(c, s, id, term, f)
	if !c.start(func() { l.guard(c.candidate(name)) }) {
		return nil, gozk.ErrClosing
	}
	c.log.Info().Int64("term", term.Term).Str("url", c.url).Msg("leading")
	return l, nil
}

// enrol makes the candidate's znode, and gives its name.
func (c *Client) enrol(ctx context.Context, s *session, id string) (string, error) {
	data, err := member{URL: c.url}.encode()
	if err != nil {
		return "", err
	}
	for !s.over() {
		path, err := do(ctx, c.connection, func() (string, error) {
			return c.conn.Create(c.candidate("n-"+id+"-"), data, gozk.FlagEphemeral|gozk.FlagSequence, c.acl)
		})
		if err == nil {
			return path[strings.LastIndexByte(path, '/')+1:], nil
		}
		if !unanswered(err) || ctx.Err() != nil {
			return "", err
		}
		if name, err := c.enrolled(ctx, id); err != nil || name != "" {
			return name, err
		}
	}
	return "", errDisplaced
}

// enrolled is the name of the znode with this id, or "".
func (c *Client) enrolled(ctx context.Context, id string) (string, error) {
	if err := c.sync(ctx, c.election()); err != nil {
		return "", err
	}
	names, err := c.candidates(ctx)
	if i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "n-"+id+"-") }); i >= 0 {
		return names[i], err
	}
	return "", err
}

func (c *Client) candidates(ctx context.Context) ([]string, error) {
	names, err := retry(ctx, c.connection, func() ([]string, error) { return c.names(c.election()) })
	if err != nil {
		return nil, fmt.Errorf("list the candidates: %w", err)
	}
	return inOrder(names), nil
}

// awaitTurn waits until no candidate is before this one. It watches the one right before it only,
// so that an election wakes one scheduler and not all.
func (c *Client) awaitTurn(ctx context.Context, s *session, name string, f *follower) error {
	for {
		names, err := c.candidates(ctx)
		if err != nil {
			return err
		}
		place := slices.Index(names, name)
		switch {
		case place < 0 || s.over():
			return errDisplaced
		case place == 0:
			return nil
		}
		f.start(ctx)
		event, err := c.watchData(ctx, c.candidate(names[place-1]))
		if errors.Is(err, gozk.ErrNoNode) {
			continue
		}
		if err != nil {
			return err
		}
		select {
		case <-event:
		case <-s.expired:
			return errDisplaced
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watchData tells of the end of a znode (and of changes to it, which candidates have none of).
func (c *Client) watchData(ctx context.Context, path string) (<-chan gozk.Event, error) {
	return retry(ctx, c.connection, func() (<-chan gozk.Event, error) {
		_, _, event, err := c.conn.GetW(path)
		return event, err
	})
}

// withdraw removes the znode with this id, if there is one, so that it stands in nobody's way. It
// goes on after it has returned, until it is done or the connection is closed, which removes the
// znode as well; the channel is closed then.
func (c *Client) withdraw(id string) <-chan struct{} {
	done := make(chan struct{})
	if !c.start(func() { defer close(done); c.remove(id) }) {
		close(done)
	}
	return done
}

func (c *Client) remove(id string) {
	for c.ctx.Err() == nil {
		name, err := c.enrolled(c.ctx, id)
		if err == nil && name == "" {
			return
		}
		if err == nil {
			_, err = retry(c.ctx, c.connection, func() (struct{}, error) {
				return struct{}{}, c.conn.Delete(c.candidate(name), -1)
			})
		}
		if err != nil && !unanswered(err) && !errors.Is(err, gozk.ErrNoNode) {
			c.log.Error().Err(err).Str("candidate", name).Msg("cannot withdraw from the election; end this process to free the place")
			return
		}
	}
}
