package scheduler

import (
	"context"
	"sync"

	"tidemill/jobs"
)

// hub hands notices to those who watch.
type hub struct {
	mu       sync.Mutex
	watchers map[chan jobs.Notice]bool
}

// watchQueue is how far a watcher may fall behind.
const watchQueue = 1024

func newHub() *hub { return &hub{watchers: map[chan jobs.Notice]bool{}} }

func (h *hub) publish(n jobs.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case w <- n:
		default:
			h.drop(w)
		}
	}
}

// drop is called with the lock held.
func (h *hub) drop(w chan jobs.Notice) {
	if h.watchers[w] {
		delete(h.watchers, w)
		close(w)
	}
}

func (h *hub) watch(ctx context.Context) <-chan jobs.Notice {
	w := make(chan jobs.Notice, watchQueue)
	h.mu.Lock()
	h.watchers[w] = true
	h.mu.Unlock()
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.drop(w)
	})
	return w
}
