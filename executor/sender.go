package executor

import (
	"context"
	"hash/maphash"
	"sync"
)

// sendParallel is how many updates are under way at once. Those of one task go
// in order.
const sendParallel = 4

// sender sends the updates of one stream. A failure ends the stream: the next
// subscription repeats what was not acknowledged.
type sender struct {
	stream Stream
	seed   maphash.Seed
	lanes  [sendParallel]*queue[Update]
	failed chan error // the first failure
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newSender(ctx context.Context, s Stream) *sender {
	ctx, cancel := context.WithCancel(ctx)
	out := &sender{stream: s, seed: maphash.MakeSeed(), failed: make(chan error, 1), cancel: cancel}
	for i := range out.lanes {
		lane := newQueue[Update]()
		out.lanes[i] = lane
		out.wg.Go(func() { out.serve(ctx, lane) })
	}
	return out
}

func (s *sender) send(u Update) {
	s.lanes[maphash.String(s.seed, string(u.Task))%sendParallel].put(u)
}

func (s *sender) serve(ctx context.Context, lane *queue[Update]) {
	for {
		select {
		case <-lane.ready:
		case <-ctx.Done():
			return
		}
		for _, u := range lane.take(storeBatch) {
			if err := s.stream.Update(ctx, u); err != nil {
				select {
				case s.failed <- err:
				default:
				}
				return // a later update of a task must not overtake this one
			}
		}
	}
}

// close ends the stream and waits for what is under way.
func (s *sender) close() {
	s.cancel()
	s.stream.Close()
	s.wg.Wait()
}
