package zk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	gozk "github.com/go-zookeeper/zk"
)

// termState is the data of the term's znode. That znode is the fence: each commit sets it with
// the version it must have, so that what a former leader sent, however late it arrives, and what
// the leader itself sent twice, is refused.
type termState struct {
	Term     int64  `json:"term"`
	Sequence int64  `json:"sequence"` // of the last batch applied in this term
	Owner    string `json:"owner"`    // base URL of the leader, for people who look
}

func (s termState) encode() ([]byte, error) { return json.Marshal(s) }

// A znode's version has 31 bits, and beyond them it passes -1, which a server takes for "any".
// A term that begins above versionLimit makes the znode anew; one that gets to maxVersion ends.
const (
	versionLimit = 1 << 30
	maxVersion   = 1<<31 - 2
)

// readTerm reads the term as it is now, not as a server that lags remembers it.
func (c *Client) readTerm(ctx context.Context) (termState, position, error) {
	if err := c.sync(ctx, c.term()); err != nil {
		return termState{}, position{}, err
	}
	return c.getTerm(ctx)
}

// getTerm reads the term as it is, or was a moment ago.
func (c *Client) getTerm(ctx context.Context) (termState, position, error) {
	type znode struct {
		data []byte
		at   position
	}
	found, err := retry(ctx, c.connection, func() (znode, error) {
		data, stat, err := c.conn.Get(c.term())
		if err != nil {
			return znode{}, err
		}
		return znode{data, positionOf(stat)}, nil
	})
	if err != nil {
		return termState{}, position{}, fmt.Errorf("read the term: %w", err)
	}
	var s termState
	if err := json.Unmarshal(found.data, &s); err != nil {
		return s, position{}, fmt.Errorf("read the term: %s holds %q: %w", c.term(), found.data, err)
	}
	return s, found.at, nil
}

// raised is a term that was begun: by which change of its znode, and by how much
// our clock was ahead of the one that stamped it.
type raised struct {
	termState
	at      position
	journal journal
	skew    time.Duration
}

// raise begins a new term. It does so only while the candidate's znode stands:
// one that stalled and lost its session must not depose the next.
func (c *Client) raise(ctx context.Context, s *session, candidate string) (raised, error) {
	for !s.over() {
		state, at, err := c.readTerm(ctx)
		if err != nil {
			return raised{}, err
		}
		r := raised{termState: termState{Term: state.Term + 1, Owner: c.url}}
		if r.journal, err = c.readJournal(ctx); err != nil {
			return raised{}, err
		}
		ops, err := c.raising(r, at, candidate)
		if err != nil {
			return raised{}, err
		}
		asked := c.now()
		results, err := c.multi(ctx, ops)
		switch {
		case err == nil:
			if stat := results[1].Stat; stat != nil { // or it is made anew
				r.at, r.skew = positionOf(stat), skew(asked, c.now(), stat.Mtime)
				r.journal.raised, r.journal.made[entryName(stat.Version)] = stat.Version, true
			}
			return r, nil
		case ctx.Err() != nil:
			return raised{}, ctx.Err()
		case errors.Is(err, gozk.ErrNoNode):
			return raised{}, errDisplaced
		case !unanswered(err) && !errors.Is(err, gozk.ErrBadVersion):
			return raised{}, fmt.Errorf("raise the term to %d: %w", r.Term, err)
		}
		// Raised by another, or nobody knows: a term that nobody uses does no harm.
	}
	return raised{}, errDisplaced
}

// readJournal finds out which entries there are.
func (c *Client) readJournal(ctx context.Context) (journal, error) {
	names, err := retry(ctx, c.connection, func() ([]string, error) { return c.names(c.journal()) })
	if err != nil {
		return journal{}, fmt.Errorf("list %s: %w", c.journal(), err)
	}
	j := journal{made: map[string]bool{}}
	for _, name := range names {
		j.made[name] = true
	}
	return j, nil
}

// raising are the operations that begin a term. One whose znode is made anew breaks the journal.
func (c *Client) raising(r raised, at position, candidate string) ([]any, error) {
	data, err := r.encode()
	if err != nil {
		return nil, err
	}
	standing := &gozk.CheckVersionRequest{Path: c.candidate(candidate), Version: -1}
	if at.version >= 0 && at.version < versionLimit {
		return append([]any{standing}, c.setTerm(data, at, r.journal, entry{after: at.zxid})...), nil
	}
	return []any{
		standing,
		&gozk.DeleteRequest{Path: c.term(), Version: at.version},
		&gozk.CreateRequest{Path: c.term(), Data: data, Acl: c.acl},
	}, nil
}

// setTerm are the operations that change the term's znode if it is as it was at a position, and
// tell the journal.
func (c *Client) setTerm(data []byte, at position, j journal, e entry) []any {
	version := at.version + 1
	tell := any(&gozk.CreateRequest{Path: c.entry(version), Data: e.encode(), Acl: c.acl})
	if j.has(version) {
		tell = &gozk.SetDataRequest{Path: c.entry(version), Data: e.encode(), Version: -1}
	}
	return []any{&gozk.SetDataRequest{Path: c.term(), Data: data, Version: at.version}, tell}
}

// multi applies all operations or none.
func (c *Client) multi(ctx context.Context, ops []any) ([]gozk.MultiResponse, error) {
	return do(ctx, c.connection, func() ([]gozk.MultiResponse, error) { return c.conn.Multi(ops...) })
}

// skew is by how much this machine's clock is ahead of ZooKeeper's, which stamped a change that
// was asked for at asked, in milliseconds.
func skew(asked, answered time.Time, stamped int64) time.Duration {
	middle := asked.Add(answered.Sub(asked) / 2)
	return middle.Sub(time.UnixMilli(stamped))
}
