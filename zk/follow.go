package zk

import (
	"context"
	"errors"
	"sync"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"tidemill/scheduler"
)

// How a follower goes on.
const (
	followPause = 100 * time.Millisecond // between looks at the term, with nothing left to read
	followChunk = 500                    // records read between two looks
	// anewPause is from one reading of all records to the next: a leader that keeps no journal, as
	// programs before it did, must not have its servers read out without end.
	anewPause = 30 * time.Second
)

// follower keeps a candidate's copy of the records close to the store, and makes it equal to the
// store once the candidate leads.
//
// What holds at any time: the copy has each record as it was at the position, or later, but for
// those that are stale.
type follower struct {
	client *Client
	copy   scheduler.Copy
	at     position            // none: the records are yet to be listed
	began  time.Time           // when they were listed
	known  map[string]struct{} // keys that the copy was told of
	stale  map[string]struct{} // keys to be read

	stop context.CancelFunc
	done chan struct{} // closed when nothing goes on in the background; nil where nothing was started
}

func newFollower(c *Client, copy scheduler.Copy) *follower {
	return &follower{client: c, copy: copy, known: map[string]struct{}{}, stale: map[string]struct{}{}}
}

// start follows in the background, until it is told to end; more than one start is one. What goes
// on is the connection's: a request under way cannot be given up, and is not waited for where
// nobody needs the copy any more.
func (f *follower) start(ctx context.Context) {
	if f.done != nil || f.copy == nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	if f.client.start(func() { defer close(done); f.run(ctx) }) {
		f.stop, f.done = stop, done
	} else {
		stop()
	}
}

// end tells the background to end.
func (f *follower) end() {
	if f.done != nil {
		f.stop()
	}
}

// ended waits until nothing goes on in the background.
func (f *follower) ended(ctx context.Context) error {
	if f.done == nil {
		return nil
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *follower) run(ctx context.Context) {
	log, told := f.client.log, false
	for ctx.Err() == nil && f.client.ctx.Err() == nil {
		pause := time.Duration(0)
		whole, err := f.advance(ctx)
		if err == nil && !whole {
			if pause = anewPause - time.Since(f.began); pause <= 0 {
				told, err = false, f.list(ctx)
			}
		}
		if err == nil && f.at.zxid != 0 {
			err = f.read(ctx, followChunk, aside)
		}
		switch {
		case ctx.Err() != nil, f.client.ctx.Err() != nil:
			return
		case err != nil:
			log.Warn().Err(err).Msg("cannot follow the leader's records; trying again")
			pause = max(pause, retryPause)
		case f.at.zxid != 0 && len(f.stale) == 0:
			if !told {
				log.Info().Int("records", len(f.known)).Dur("took", time.Since(f.began)).Msg("standing by: the store is copied")
			}
			pause, told = followPause, true
		}
		rest(ctx, pause)
	}
}

func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// catchUp makes the copy equal to the store, which nobody else may change meanwhile.
func (f *follower) catchUp(ctx context.Context) error {
	whole, err := f.advance(ctx)
	if err == nil && !whole {
		err = f.list(ctx)
	}
	if err != nil {
		return err
	}
	return f.read(ctx, len(f.stale), inFlight)
}

// advance goes on to where the term is, and takes note of what was changed up to there. It is not
// whole where the journal does not tell: then the records must be listed.
func (f *follower) advance(ctx context.Context) (whole bool, err error) {
	if f.at.zxid == 0 {
		return false, nil
	}
	_, now, err := f.client.getTerm(ctx)
	if err != nil || now == f.at {
		return err == nil, err
	}
	if ahead := int64(now.version) - int64(f.at.version); ahead > 0 && ahead <= journalSize {
		entries, err := f.client.entries(ctx, f.at.version+1, int(ahead))
		if err != nil {
			return false, err
		}
		if changed, whole := between(f.at, now, entries); whole {
			for _, key := range changed {
				f.stale[key] = struct{}{}
			}
			f.at = now
			return true, nil
		}
	}
	f.client.log.Info().Int64("from", f.at.zxid).Int64("to", now.zxid).Msg("the journal has a gap: all records must be read again")
	f.at = position{}
	return false, nil
}

// list begins anew: all that there is, and all that the copy was told of, is stale.
func (f *follower) list(ctx context.Context) error {
	f.began = time.Now()
	_, now, err := f.client.getTerm(ctx)
	if err != nil {
		return err
	}
	keys, err := f.client.keys(ctx)
	if err != nil {
		return err
	}
	for key := range f.known {
		f.stale[key] = struct{}{}
	}
	for key := range keys {
		f.stale[key] = struct{}{}
	}
	f.at = now
	return nil
}

// read tells the copy of some of what is stale, with so many requests at once.
func (f *follower) read(ctx context.Context, limit, atOnce int) error {
	keys := make([]string, 0, min(limit, len(f.stale)))
	for key := range f.stale {
		if len(keys) == limit {
			break
		}
		keys = append(keys, key)
	}
	var one sync.Mutex
	err := parallel(ctx, atOnce, len(keys), func(i int) error {
		change := scheduler.Change{Key: keys[i]}
		value, err := f.client.value(ctx, keys[i])
		if err != nil && !errors.Is(err, gozk.ErrNoNode) {
			return err
		}
		change.Value = value // nil: it is gone
		f.copy(change)
		one.Lock()
		defer one.Unlock()
		delete(f.stale, change.Key)
		if value == nil {
			delete(f.known, change.Key)
		} else {
			f.known[change.Key] = struct{}{}
		}
		return nil
	})
	if len(f.stale) == 0 {
		f.stale = map[string]struct{}{} // a map keeps the room it once took
	}
	return err
}
