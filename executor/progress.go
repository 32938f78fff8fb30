package executor

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"tidemill/jobs"
)

const (
	progressEvery = 500 * time.Millisecond
	progressMax   = 1000 // entries of one message
)

// progress gathers the latest word of each task and passes it on now and then.
// What is superseded before it was sent is dropped.
type progress struct {
	mu     sync.Mutex
	latest map[jobs.TaskID]jobs.Progress
	news   chan struct{}
}

func newProgress() *progress {
	return &progress{latest: map[jobs.TaskID]jobs.Progress{}, news: make(chan struct{}, 1)}
}

func (p *progress) report(w jobs.Progress) {
	p.mu.Lock()
	p.latest[w.Task] = w
	p.mu.Unlock()
	p.wake()
}

func (p *progress) wake() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// drop forgets a task that ended: its outcome says more.
func (p *progress) drop(id jobs.TaskID) {
	p.mu.Lock()
	delete(p.latest, id)
	p.mu.Unlock()
}

func (p *progress) take() []jobs.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []jobs.Progress
	for id, w := range p.latest {
		if len(out) == progressMax {
			p.wake()
			break
		}
		out = append(out, w)
		delete(p.latest, id)
	}
	return out
}

// serve sends what there is, at most once in progressEvery, until ctx ends.
func (p *progress) serve(ctx context.Context, send func(context.Context, []byte)) {
	pause := time.NewTicker(progressEvery)
	defer pause.Stop()
	for {
		select {
		case <-p.news:
		case <-ctx.Done():
			return
		}
		if list := p.take(); len(list) > 0 {
			// Text and finite numbers: this cannot fail.
			if data, err := json.Marshal(list); err == nil {
				send(ctx, data)
			}
		}
		pause.Reset(progressEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}
