package mesos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// errClosed is the reason of a stream that its user closed.
var errClosed = errors.New("closed")

// feedDepth is how many events wait for a slow reader before the stream does.
const feedDepth = 256

// feed turns a subscription's stream into events.
type feed[E any] struct {
	events chan E
	cancel context.CancelCauseFunc
	owned  sync.WaitGroup // the goroutines that Close waits for

	mu  sync.Mutex
	err error // set before events is closed

	// limit is how long the other end may be silent; zero: for ever. Only
	// decode changes it once the feed runs.
	limit time.Duration
}

// run reads body until it ends, decode refuses, or ctx does. ctx must be the
// one of the request that brought the body, and cancel its.
func (f *feed[E]) run(ctx context.Context, body io.ReadCloser, decode func([]byte) ([]E, error)) {
	defer close(f.events)
	defer body.Close()
	in := newFrames(body)
	for {
		frame, err := f.read(ctx, in)
		if err != nil {
			f.fail(err)
			return
		}
		list, err := decode(frame)
		for _, e := range list {
			select {
			case f.events <- e:
			case <-ctx.Done():
				f.fail(context.Cause(ctx))
				return
			}
		}
		if err != nil {
			f.fail(err)
			return
		}
	}
}

func (f *feed[E]) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.cancel(err)
}

// read waits for one frame, and not for longer than the limit. The clock
// stands still while events are delivered: a slow reader is not a dead master.
func (f *feed[E]) read(ctx context.Context, in *frames) ([]byte, error) {
	if f.limit > 0 {
		silent := fmt.Errorf("nothing was heard for %v, heartbeats included", f.limit)
		watch := time.AfterFunc(f.limit, func() { f.cancel(silent) })
		defer watch.Stop()
	}
	frame, err := in.next()
	switch {
	case err == nil:
		return frame, nil
	case context.Cause(ctx) != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return nil, errors.New("the other end closed the stream")
	}
	return nil, fmt.Errorf("the stream broke: %w", err)
}

// Events delivers in order and is closed at the end.
func (f *feed[E]) Events() <-chan E { return f.events }

// Err is why the feed ended; nil while it has not.
func (f *feed[E]) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Close ends the feed and waits for it. It is idempotent.
func (f *feed[E]) Close() {
	f.cancel(errClosed)
	f.owned.Wait()
}
