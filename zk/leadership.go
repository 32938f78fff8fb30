package zk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// Leadership is one term of one leader, and the way to its records.
//
// A commit is one multi: the term's znode is set to the batch's number, under the version that
// this leader gave it last, and the records are changed with it. When the connection is lost under
// it, nobody knows whether it was applied; the same batch is then simply committed again. If the
// first was applied, or is yet to be, the versions differ, and the number in the znode tells.
type Leadership struct {
	client  *Client
	session *session
	id      string // of the candidate
	number  int64
	lost    chan struct{}
	once    sync.Once
	skew    atomic.Int64

	turn      chan struct{}       // holds a token while nobody uses what follows
	at        position            // of the term's znode; its transaction is 0 where it is not known
	sequence  int64               // of the last batch known to be applied
	known     map[string]struct{} // keys of the records there are; nil before they are listed
	unsettled *scheduler.Batch    // whose outcome is not known; its values are not kept
	follower  *follower
	journal   journal
}

func newLeadership(c *Client, s *session, id string, term raised, f *follower) *Leadership {
	l := &Leadership{
		client: c, session: s, id: id, number: term.Term, at: term.at, journal: term.journal, follower: f,
		lost: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	l.turn <- struct{}{}
	l.skew.Store(int64(term.skew))
	return l
}

// Term is the number of the term.
func (l *Leadership) Term() int64 { return l.number }

// Lost is closed when the term is known to be over: the session expired, another raised the term,
// the candidate's znode was removed, or this leader resigned. It is not closed while ZooKeeper is
// merely away: then nobody else leads either, or this leader is fenced and hears of it when it
// is back.
func (l *Leadership) Lost() <-chan struct{} { return l.lost }

// ClockSkew is by how much this machine's clock was ahead of ZooKeeper's at the last commit, or
// when the term was raised.
func (l *Leadership) ClockSkew() time.Duration { return time.Duration(l.skew.Load()) }

func (l *Leadership) over() bool {
	if l.session.over() {
		l.end("the session expired")
	}
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

// end closes Lost; the first who calls it says why.
func (l *Leadership) end(why string) {
	l.once.Do(func() {
		close(l.lost)
		l.client.log.Info().Int64("term", l.number).Str("why", why).Msg("the term is over")
	})
}

// Resign lets a commit under way end, and then lets another lead at once. When ctx ends first the
// term is over all the same, and the place is given up in the background.
func (l *Leadership) Resign(ctx context.Context) error {
	if err := l.take(ctx); err == nil {
		defer l.release()
	}
	l.end("resigned")
	select {
	case <-l.client.withdraw(l.id):
		return nil
	case <-ctx.Done():
		return l.client.explain("resign in", ctx.Err())
	}
}

// guard closes Lost when the session expires, or somebody removes the candidate's znode.
func (l *Leadership) guard(candidate string) {
	c := l.client
	for !l.over() {
		event, err := c.watchData(c.ctx, candidate)
		switch {
		case errors.Is(err, gozk.ErrNoNode):
			l.end("the candidate's znode was removed")
			return
		case c.ctx.Err() != nil:
			l.end("closed")
			return
		case err != nil:
			c.log.Warn().Err(err).Str("candidate", candidate).Msg("cannot watch the own candidacy")
			event = nil // the session's end will tell
		}
		select {
		case <-event:
		case <-l.session.expired:
			l.end("the session expired")
		case <-c.ctx.Done():
			l.end("closed")
		case <-l.lost:
		}
	}
}

func (l *Leadership) take(ctx context.Context) error {
	select {
	case <-l.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Leadership) release() { l.turn <- struct{}{} }

// Commit applies a batch in one multi, unless a batch with its number was applied before.
func (l *Leadership) Commit(ctx context.Context, b scheduler.Batch) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.release()
	if l.over() {
		return scheduler.ErrFenced
	}
	if u := l.unsettled; u != nil && u.Sequence != b.Sequence {
		return l.broken(b, fmt.Errorf("the outcome of batch %d is open: it must be committed again first", u.Sequence))
	}
	if l.known == nil {
		if err := l.list(ctx); err != nil {
			return l.outcome(b, err)
		}
	}
	for !l.over() {
		if b.Sequence <= l.sequence {
			return nil
		}
		err := l.try(ctx, b)
		if !errors.Is(err, gozk.ErrBadVersion) {
			return l.outcome(b, err)
		}
		// Either this batch was applied before, or the term is not ours any more.
		if err := l.settle(ctx); err != nil {
			return l.outcome(b, err)
		}
	}
	return scheduler.ErrFenced
}

// try makes the multi once.
func (l *Leadership) try(ctx context.Context, b scheduler.Batch) error {
	if l.at.version == maxVersion {
		l.end("the term's znode has no more versions")
		return scheduler.ErrFenced
	}
	ops, err := l.operations(b)
	if err != nil {
		return err
	}
	if size := requestSize(ops); size > maxRequest {
		return fmt.Errorf("its request of %d bytes is larger than ZooKeeper takes (%d)", size, maxRequest)
	}
	l.unsettled = touched(b)
	asked := l.client.now()
	results, err := l.client.multi(ctx, ops)
	if err != nil {
		return l.refused(ops, results, err)
	}
	l.skew.Store(int64(skew(asked, l.client.now(), results[0].Stat.Mtime)))
	l.at = positionOf(results[0].Stat)
	l.applied()
	return nil
}

// refused finds out which operation ZooKeeper refused.
func (l *Leadership) refused(ops []any, results []gozk.MultiResponse, err error) error {
	if unanswered(err) {
		return err
	}
	if errors.Is(err, gozk.ErrBadVersion) {
		return err // only the term is set by version
	}
	l.unsettled = nil
	for i, r := range results {
		if r.Error != nil && errors.Is(err, r.Error) && i < len(ops) {
			return fmt.Errorf("%s: %w", pathOf(ops[i]), err)
		}
	}
	return err
}

// outcome is what a failure means to the leader.
func (l *Leadership) outcome(b scheduler.Batch, err error) error {
	switch {
	case err == nil:
		return nil
	case l.over():
		return scheduler.ErrFenced
	case unanswered(err):
		return fmt.Errorf("commit batch %d of term %d: %w: %w", b.Sequence, l.number, scheduler.ErrUncertain, err)
	}
	return l.broken(b, err)
}

func (l *Leadership) broken(b scheduler.Batch, err error) error {
	return l.client.explain(fmt.Sprintf("commit batch %d of term %d to", b.Sequence, l.number), err)
}

// settle reads from the term's znode whether the term is still ours, and how far it got.
func (l *Leadership) settle(ctx context.Context) error {
	state, at, err := l.client.readTerm(ctx)
	if err != nil {
		return err
	}
	if state.Term != l.number {
		l.end(fmt.Sprintf("%s leads in term %d", state.Owner, state.Term))
		return scheduler.ErrFenced
	}
	l.at = at
	if u := l.unsettled; u != nil && u.Sequence <= state.Sequence {
		l.applied()
	}
	return nil
}

// applied takes note that the unsettled batch was applied.
func (l *Leadership) applied() {
	for _, c := range l.unsettled.Changes {
		if c.Value == nil {
			delete(l.known, c.Key)
		} else {
			l.known[c.Key] = struct{}{}
		}
	}
	l.sequence, l.unsettled = l.unsettled.Sequence, nil
}

// touched is a batch without its values: what must be remembered of it until it is settled.
func touched(b scheduler.Batch) *scheduler.Batch {
	t := &scheduler.Batch{Sequence: b.Sequence, Changes: make([]scheduler.Change, len(b.Changes))}
	for i, c := range b.Changes {
		t.Changes[i].Key = c.Key
		if c.Value != nil {
			t.Changes[i].Value = []byte{}
		}
	}
	return t
}

// operations are the batch as a multi, the term first. A record is created or set according to
// whether it is there by then. Values are copied: a request that was given up is sent later.
func (l *Leadership) operations(b scheduler.Batch) ([]any, error) {
	term, err := termState{Term: l.number, Sequence: b.Sequence, Owner: l.client.url}.encode()
	if err != nil {
		return nil, err
	}
	ops := make([]any, 0, len(b.Changes))
	changed := make([]string, 0, len(b.Changes))
	there := map[string]bool{} // by the changes before
	for _, c := range b.Changes {
		if c.Key == "" {
			return nil, &jobs.Error{Code: jobs.Invalid, Op: "commit", Message: "a record has no key"}
		}
		exists, changedBefore := there[c.Key]
		if !changedBefore {
			_, exists = l.known[c.Key]
		}
		path := l.client.record(c.Key)
		switch {
		case c.Value != nil && exists:
			ops = append(ops, &gozk.SetDataRequest{Path: path, Data: bytes.Clone(c.Value), Version: -1})
		case c.Value != nil:
			ops = append(ops, &gozk.CreateRequest{Path: path, Data: bytes.Clone(c.Value), Acl: l.client.acl})
		case exists:
			ops = append(ops, &gozk.DeleteRequest{Path: path, Version: -1})
		}
		there[c.Key] = c.Value != nil
		if !changedBefore {
			changed = append(changed, c.Key)
		}
	}
	all := append(l.client.setTerm(term, l.at, l.journal, entry{l.at.zxid, changed}), ops...)
	if requestSize(all) > maxRequest { // rather have followers read all records than write none
		all = append(l.client.setTerm(term, l.at, l.journal, entry{}), ops...)
	}
	return all, nil
}

func pathOf(op any) string {
	switch op := op.(type) {
	case *gozk.CreateRequest:
		return "create " + op.Path
	case *gozk.SetDataRequest:
		return "set " + op.Path
	case *gozk.DeleteRequest:
		return "delete " + op.Path
	}
	return fmt.Sprintf("%T", op)
}
