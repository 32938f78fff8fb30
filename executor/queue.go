package executor

import "sync"

// queue hands things from those who must not wait to one who takes them in
// batches. What bounds it is what is put: a few entries for each live task.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	ready chan struct{} // holds one token while there may be items
}

func newQueue[T any]() *queue[T] { return &queue[T]{ready: make(chan struct{}, 1)} }

func (q *queue[T]) put(items ...T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.mu.Unlock()
	q.wake()
}

func (q *queue[T]) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take gives at most n of the items, oldest first. Call it when ready spoke.
func (q *queue[T]) take(n int) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) <= n {
		items := q.items
		q.items = nil
		return items
	}
	items := q.items[:n:n]
	q.items = q.items[n:]
	q.wake()
	return items
}
