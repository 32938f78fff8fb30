package zk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	gozk "github.com/go-zookeeper/zk"

	"tidemill/scheduler"
)

// How many requests are under way at once where many are made: by who leads, or is about to, and by
// who stands by and must not slow down the former.
const (
	inFlight = 64
	aside    = 8
)

// Load reads all records, many at once, after a sync and a look whether the term is still ours.
// Commits wait meanwhile, so that what is read is of one instant.
func (l *Leadership) Load(ctx context.Context, each func(scheduler.Record) error) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.release()
	if l.over() {
		return scheduler.ErrFenced
	}
	if err := l.settle(ctx); err != nil {
		return l.loading(err)
	}
	if u := l.unsettled; u != nil { // it may yet be applied, between two of the reads
		return fmt.Errorf("load the records: the outcome of batch %d is open: %w", u.Sequence, scheduler.ErrUncertain)
	}
	if err := l.list(ctx); err != nil {
		return l.loading(err)
	}
	keys := slices.Collect(maps.Keys(l.known))
	var one sync.Mutex // each is called by one at a time
	var refused error
	err := parallel(ctx, inFlight, len(keys), func(i int) error {
		value, err := l.client.value(ctx, keys[i])
		if err != nil {
			return err
		}
		one.Lock()
		defer one.Unlock()
		if refused == nil {
			refused = each(scheduler.Record{Key: keys[i], Value: value})
		}
		return refused
	})
	if refused != nil {
		return refused
	}
	return l.loading(err)
}

func (l *Leadership) loading(err error) error {
	switch {
	case err == nil:
		return nil
	case l.over():
		return scheduler.ErrFenced
	}
	return l.client.explain("load the records of", err)
}

// CatchUp tells the copy of what it lacks. Commits wait meanwhile.
func (l *Leadership) CatchUp(ctx context.Context) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.release()
	if l.over() {
		return scheduler.ErrFenced
	}
	if err := l.settle(ctx); err != nil {
		return l.loading(err)
	}
	if err := l.follower.catchUp(ctx); err != nil {
		return l.loading(err)
	}
	l.known = l.follower.known
	return nil
}

// list finds out which records there are.
func (l *Leadership) list(ctx context.Context) error {
	if err := l.client.sync(ctx, l.client.records()); err != nil {
		return err
	}
	known, err := l.client.keys(ctx)
	if err == nil {
		l.known = known
	}
	return err
}

// keys are those of the records there are.
func (c *Client) keys(ctx context.Context) (map[string]struct{}, error) {
	keys := map[string]struct{}{}
	var one sync.Mutex
	err := parallel(ctx, inFlight, buckets, func(n int) error {
		names, err := retryHere(ctx, c.connection, func() ([]string, error) { return c.names(c.bucket(n)) })
		if err != nil {
			return fmt.Errorf("list %s: %w", c.bucket(n), err)
		}
		one.Lock()
		defer one.Unlock()
		for _, name := range names {
			key, err := unescape(name)
			if err != nil {
				return fmt.Errorf("%s/%s is no record of Tidemill's: %w", c.bucket(n), name, err)
			}
			keys[key] = struct{}{}
		}
		return nil
	})
	return keys, err
}

// entries are so many entries of the journal, from the one of a version on, as they are by now.
func (c *Client) entries(ctx context.Context, from int32, count int) ([]found, error) {
	entries := make([]found, count)
	err := parallel(ctx, inFlight, count, func(i int) error {
		path := c.entry(from + int32(i))
		e, err := retryHere(ctx, c.connection, func() (found, error) {
			doc, stat, err := c.conn.Get(path)
			if errors.Is(err, gozk.ErrNoNode) { // written by a program that keeps no journal
				return found{}, nil
			}
			if err != nil {
				return found{}, err
			}
			return found{parseEntry(doc), stat.Mzxid}, nil
		})
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		entries[i] = e
		return nil
	})
	return entries, err
}

func (c *Client) value(ctx context.Context, key string) ([]byte, error) {
	value, err := retryHere(ctx, c.connection, func() ([]byte, error) {
		value, _, err := c.conn.Get(c.record(key))
		return value, err
	})
	if err != nil {
		return nil, fmt.Errorf("read record %q: %w", key, err)
	}
	if value == nil {
		value = []byte{}
	}
	return value, nil
}

// retryHere is retry without a goroutine for each request: for many small ones, whose caller may
// wait until the one under way is answered or its connection is given up.
func retryHere[T any](ctx context.Context, c *connection, request func() (T, error)) (T, error) {
	for {
		found, err := request()
		if !unanswered(err) || c.ctx.Err() != nil {
			return found, err
		}
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
	}
}

// parallel calls work with 0 to n-1, so many at once, until one fails or ctx ends, and waits for
// those under way.
func parallel(ctx context.Context, atOnce, n int, work func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(n, atOnce) {
		workers.Go(func() {
			for i := range next {
				if err := work(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}
