package scheduler

import (
	"fmt"
	"strings"
	"sync"

	"tidemill/jobs"
)

// replica is a copy of a store's records, each taken apart: a core is made of
// it without looking at a document again. A scheduler that stands by keeps one.
type replica struct {
	kinds *jobs.Registry

	mu      sync.Mutex
	records map[string]*parsed // by key
}

func newReplica(kinds *jobs.Registry) *replica {
	return &replica{kinds: kinds, records: map[string]*parsed{}}
}

// tell is its Copy.
func (r *replica) tell(ch Change) {
	var p *parsed
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
	size int // of key and value, in bytes
	// value is what the core keeps: a *job without its state, a *stateRecord, a
	// *run, a *task; else the record's []byte.
	value any
	extra unknown
	err   error
	wrong bool // err says that its job cannot be what it says; else, that it cannot be read
}

func parse(kinds *jobs.Registry, r Record) *parsed {
	p := &parsed{key: r.Key, size: len(r.Key) + len(r.Value)}
	name := strings.TrimPrefix(r.Key, family(r.Key))
	switch family(r.Key) {
	case keyJob:
		j := &job{name: jobs.Name(name)}
		j.recExtra, p.err = decode(r.Value, &j.rec)
		if p.value = j; p.err == nil {
			p.err = compile(kinds, j)
			p.wrong = p.err != nil
		}
	case keyState:
		state := &stateRecord{}
		p.extra, p.err = decode(r.Value, state)
		p.value = state
	case keyRun:
		x := &run{tasks: map[jobs.TaskID]*task{}}
		x.extra, p.err = decode(r.Value, &x.rec)
		if p.value = x; p.err == nil && x.rec.Pinned != nil && !x.rec.State.Final() {
			p.err = x.check(kinds)
			p.wrong = p.err != nil
		}
	case keyTask:
		t := &task{}
		t.extra, p.err = decode(r.Value, &t.rec)
		p.value = t
	default:
		p.value = r.Value
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

// raw is the value of a record that is not taken apart by itself.
func (p *parsed) raw() []byte {
	doc, _ := p.value.([]byte)
	return doc
}

// unreadable says whether, and why, a record cannot be read.
func (p *parsed) unreadable() (why string, ok bool) {
	if p.err == nil || p.wrong {
		return "", false
	}
	return fmt.Sprintf("record %s cannot be read: %v", p.key, p.err), true
}
