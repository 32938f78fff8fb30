package scheduler

import (
	"strings"
	"sync"

	"tidemill/jobs"
)

// replica is a copy of a store's records, each taken apart: a core is made of
// it without looking at a document again. A scheduler that stands by keeps one.
type replica struct {
	kinds *jobs.Registry

	mu      sync.Mutex
	records map[string]parsed // by key
}

func newReplica(kinds *jobs.Registry) *replica {
	return &replica{kinds: kinds, records: map[string]parsed{}}
}

// tell is its Copy.
func (r *replica) tell(ch Change) {
	var p parsed
	if ch.Value != nil {
		p = parse(r.kinds, Record(ch))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if ch.Value == nil {
		delete(r.records, ch.Key)
	} else {
		r.records[ch.Key] = p
	}
}

// size is how many records it has.
func (r *replica) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.records)
}

// parsed is a record that was taken apart. That is most of the work of a
// load, and depends on nothing but the record and the kinds.
type parsed struct {
	key  string
	size int
	raw  []byte // of those that are taken apart together with others
	// value is what the core keeps: a *job without its state, a *run, a *task;
	// or a *stateRecord. It is nil where raw is not.
	value any
	extra unknown
	err   error // the record cannot be read
	wrong error // its job cannot be what it says
}

func parse(kinds *jobs.Registry, r Record) parsed {
	p := parsed{key: r.Key, size: len(r.Key) + len(r.Value)}
	name := strings.TrimPrefix(r.Key, family(r.Key))
	switch family(r.Key) {
	case keyJob:
		j := &job{name: jobs.Name(name)}
		j.recExtra, p.err = decode(r.Value, &j.rec)
		if p.value = j; p.err == nil {
			p.wrong = compile(kinds, j)
		}
	case keyState:
		state := &stateRecord{}
		p.extra, p.err = decode(r.Value, state)
		p.value = state
	case keyRun:
		x := &run{tasks: map[jobs.TaskID]*task{}}
		x.extra, p.err = decode(r.Value, &x.rec)
		if p.value = x; p.err == nil && x.rec.Pinned != nil && !x.rec.State.Final() {
			p.wrong = x.check(kinds)
		}
	case keyTask:
		t := &task{}
		t.extra, p.err = decode(r.Value, &t.rec)
		p.value = t
	default:
		p.raw = r.Value
	}
	return p
}

// family is the first part of a key, with its slash.
func family(key string) string {
	first, _, _ := strings.Cut(key, "/")
	return key[:min(len(first)+1, len(key))]
}

// compile prepares what is derived from a job's declaration.
func compile(kinds *jobs.Registry, j *job) error {
	full, traits, err := kinds.Check(j.rec.Job)
	if err != nil {
		return err
	}
	j.rec.Job, j.traits, j.sched = full, traits, nil // an older program left out what it did not know
	if j.rec.Job.Schedule != nil {
		j.sched, err = j.rec.Job.Schedule.Compile(j.name, j.rec.FirstApplied)
	}
	return err
}

// check prepares what is derived from the job that a live run goes by.
func (x *run) check(kinds *jobs.Registry) error {
	full, traits, err := kinds.Check(*x.rec.Pinned)
	if err == nil {
		x.rec.Pinned, x.traits = &full, traits
	}
	return err
}
