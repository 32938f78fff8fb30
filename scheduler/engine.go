package scheduler

import (
	"time"

	"tidemill/jobs"
)

// Engine is a term's core and its commit protocol: as pure as both are. A
// term drives it with goroutines and the clock, the simulation with neither.
type Engine struct {
	core   *Core
	pipe   pipeline
	stored stored
}

// stored counts what the store holds.
type stored struct {
	sizes map[string]int // in bytes, by key
	bytes int
}

func (s *stored) put(key string, size int) {
	s.bytes += size - s.sizes[key]
	s.sizes[key] = size
}

func (s *stored) remove(key string) {
	s.bytes -= s.sizes[key]
	delete(s.sizes, key)
}

// Output is what an Engine asks for, to be done in this order.
type Output struct {
	Free    []Call    // calls that rest on no write
	Stream  int64     // the subscription that Free was decided under
	Durable []Effects // whose writes are durable: do their Calls, Reads, Answers and Notices
	Commit  *Batch    // to be written now; Committed is called when it is durable
}

// NewEngine makes one with an empty core.
func NewEngine(cfg Config, kinds *jobs.Registry) *Engine {
	return &Engine{core: New(cfg, kinds), stored: stored{sizes: map[string]int{}}}
}

// Load takes in the records of a store, once, before the first Step.
func (e *Engine) Load(records []Record) error {
	copied := newReplica(e.core.kinds)
	for _, r := range records {
		copied.tell(Change(r))
	}
	return e.load(copied)
}

// load takes a copy of a store over, once, before the first Step. Nothing is left of the copy.
func (e *Engine) load(r *replica) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*parsed, 0, len(r.records))
	for _, p := range r.records {
		e.stored.put(p.key, p.size)
		list = append(list, p)
	}
	r.records = map[string]*parsed{}
	return e.core.load(list)
}

// Core is for looking between steps.
func (e *Engine) Core() *Core { return e.core }

// Framework is the framework's id, where one is known.
func (e *Engine) Framework() string { return e.core.meta.Framework }

// Backlog is how many pieces wait for the store.
func (e *Engine) Backlog() int { return e.pipe.backlog() }

// Unsent counts what waits for the store before Mesos is told.
func (e *Engine) Unsent() Unsent { return e.pipe.unsent() }

// Step gives the core an event; wake is when it wants a Tick at the latest,
// zero where nothing is due.
func (e *Engine) Step(now time.Time, ev Event) (out Output, wake time.Time) {
	fx := e.core.Step(now, ev)
	out = e.output(e.pipe.add(fx))
	out.Free, out.Stream = fx.Free, fx.Stream
	return out, fx.Wake
}

// Fence writes nothing, under the term: the Answer with the id comes when a
// write has succeeded.
func (e *Engine) Fence(id int64) Output {
	return e.output(e.pipe.add(Effects{Persist: []Group{{}}, Answers: []Answer{{ID: id}}, Stream: e.core.stream}))
}

// Committed says that the batch to be written is durable.
func (e *Engine) Committed() Output { return e.output(e.pipe.committed()) }

func (e *Engine) output(durable []Effects) Output {
	out := Output{Durable: durable}
	if b, ok := e.pipe.next(); ok {
		out.Commit = &b
		for _, c := range b.Changes {
			if c.Value == nil {
				e.stored.remove(c.Key)
			} else {
				e.stored.put(c.Key, len(c.Key)+len(c.Value))
			}
		}
	}
	return out
}

// Stored is how many records the store has, and the bytes of their keys and
// values, when what is being written is.
func (e *Engine) Stored() (records, bytes int) { return len(e.stored.sizes), e.stored.bytes }
