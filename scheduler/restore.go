package scheduler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
)

// Import says how an export is to be written to a store.
type Import struct {
	Source  string // of the export, for the mark that is left when the import does not end
	Replace bool   // the store need not be empty: what it holds is removed
	// LiveAsUnknown takes the attempts that are live in the export as unknown:
	// the job's on_unknown decides on each, and so does "run resolve".
	LiveAsUnknown bool
}

// ImportReport says what an import does.
type ImportReport struct {
	Records int `json:"records"`
	Jobs    int `json:"jobs"`
	Runs    int `json:"runs"`
	Unknown int `json:"unknown,omitempty"` // attempts that were live in the export
	Removed int `json:"removed,omitempty"` // records that the store had, and the export has not
	// Kept are jobs whose mark or incarnation was further in the store: neither goes back.
	Kept []jobs.Name `json:"kept,omitempty"`
}

// Plan gives the changes that make the store's records those of the export,
// to be written in order. Until the last is written no scheduler leads with
// them. The framework's id, and the key that signs tokens, stay the store's.
func (o Import) Plan(e *Export, store []Record, now time.Time) ([]Group, ImportReport, error) {
	from, into := read(e.Records), read(store)
	if err := o.refuse(e, from, into, store); err != nil {
		return nil, ImportReport{}, err
	}
	records := map[string][]byte{}
	for _, r := range e.Records {
		records[r.Key] = r.Value
	}
	report := ImportReport{Jobs: len(from.jobs), Runs: len(from.runs)}
	report.Unknown = asUnknown(from, records, "its framework was another: it was imported", now)
	report.Kept = keepForward(into, store, records)
	meta := into.meta
	if _, there := findRecord(store, keyMeta); !there {
		meta = from.meta
		meta.Framework, meta.Secret = "", nil
	}
	meta.Format, meta.Clock, meta.Importing = e.Format, later(into.meta.Clock, from.meta.Clock), o.Source
	groups := []Group{{{Key: keyMeta, Value: encode(&meta, meta.extra)}}}
	delete(records, keyMeta)
	for _, r := range store {
		if _, kept := records[r.Key]; !kept && r.Key != keyMeta {
			groups = append(groups, Group{{Key: r.Key}})
			report.Removed++
		}
	}
	for _, key := range slices.Sorted(maps.Keys(records)) {
		groups = append(groups, Group{{Key: key, Value: records[key]}})
	}
	meta.Importing = ""
	groups = append(groups, Group{{Key: keyMeta, Value: encode(&meta, meta.extra)}})
	report.Records = len(records)
	return groups, report, nil
}

func (o Import) refuse(e *Export, from, into *contents, store []Record) error {
	refuse := func(message, hint string) error {
		return &jobs.Error{Code: jobs.Conflict, Op: "import", Subject: o.Source, Message: message, Hint: hint}
	}
	if e.Format > Format {
		return refuse(fmt.Sprintf("its records are of format %d, and this program knows formats up to %d", e.Format, Format), "run a newer tidemill")
	}
	if into.meta.Format > Format {
		return refuse(fmt.Sprintf("the store's format is %d, and this program knows formats up to %d", into.meta.Format, Format), "run a newer tidemill")
	}
	if into.broken[keyMeta] {
		return refuse("the store's record "+keyMeta+" cannot be read", "import into another, empty store")
	}
	held := slices.ContainsFunc(store, func(r Record) bool { return r.Key != keyMeta })
	if held && !o.Replace {
		return refuse("the store is not empty", "give an empty one, or replace what it holds with --replace")
	}
	if n := into.liveTasks(); n > 0 {
		return refuse(fmt.Sprintf("%d attempts may be at work for the store's own runs", n), "let them end first (tidemill run list --live), or end the framework with: tidemill framework teardown")
	}
	if n := from.liveTasks(); n > 0 && !o.LiveAsUnknown {
		return refuse(fmt.Sprintf("%d attempts were at work when it was written", n),
			"their framework is another, so nobody can learn how they went; with --live-as-unknown the on_unknown of their jobs decides")
	}
	return nil
}

// liveTasks counts the attempts that may be at work.
func (c *contents) liveTasks() int {
	n := 0
	for _, t := range c.tasks {
		if c.mayWork(t) {
			n++
		}
	}
	return n
}

// mayWork says whether an attempt of a live run may be at work.
func (c *contents) mayWork(t *jobs.Task) bool {
	x, ok := c.runs[t.Run]
	return !t.State.Final() && (!ok || !x.State.Final())
}

// asUnknown makes the live attempts unknown, and of work that may have begun:
// their framework is gone, and with it who could tell how they went.
func asUnknown(c *contents, records map[string][]byte, why string, now time.Time) int {
	n := 0
	for id, t := range c.tasks {
		if !c.mayWork(t) {
			continue
		}
		n++
		var full jobs.Task
		key := keyTask + string(id)
		extra, err := decode(records[key], &full)
		if err != nil {
			continue // read took it: it can be
		}
		if full.State != jobs.AttemptUnknown {
			full.State, full.UnknownSince, full.Message = jobs.AttemptUnknown, now, why
		}
		full.Seen, full.Ending = true, ""
		records[key] = encode(full, extra)
	}
	return n
}

// keepForward carries over what must not go back: of each job that the store
// knew its mark and incarnation, of each target its last version.
func keepForward(into *contents, store []Record, records map[string][]byte) []jobs.Name {
	var kept []jobs.Name
	for _, name := range slices.Sorted(maps.Keys(into.states)) {
		old, key := into.states[name], keyState+string(name)
		value, there := records[key]
		var state stateRecord
		var extra unknown
		var err error
		if there {
			extra, err = decode(value, &state)
		}
		if err != nil {
			continue // it holds its job
		}
		incarnation, mark := max(state.Incarnation, old.Incarnation), state.Mark
		if there {
			mark = later(mark, old.Mark)
		}
		if there && incarnation == state.Incarnation && mark.Equal(state.Mark) {
			continue
		}
		state.Incarnation, state.Mark, state.Clock = incarnation, mark, later(state.Clock, old.Clock)
		records[key] = encode(state, extra)
		kept = append(kept, name)
	}
	for _, r := range store {
		if !strings.HasPrefix(r.Key, keyTarget) {
			continue
		}
		name := strings.TrimPrefix(r.Key, keyTarget)
		t := targetRecord{name: name}
		if value, ok := records[r.Key]; !ok || (decodeTarget(value, &t) == nil && t.Version < into.targets[name]) {
			records[r.Key] = r.Value
		}
	}
	return kept
}

func decodeTarget(value []byte, t *targetRecord) error {
	_, err := decode(value, t)
	return err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func findRecord(records []Record, key string) (Record, bool) {
	i := slices.IndexFunc(records, func(r Record) bool { return r.Key == key })
	if i < 0 {
		return Record{}, false
	}
	return records[i], true
}

// ForgetFramework plans the changes that make the next leader register anew.
// Attempts that may be at work become unknown, where force allows that.
func ForgetFramework(store []Record, force bool, now time.Time) (g Group, framework string, unknown int, err error) {
	c := read(store)
	refuse := func(message, hint string) (Group, string, int, error) {
		return nil, "", 0, &jobs.Error{Code: jobs.Conflict, Op: "reset the framework", Subject: c.meta.Framework, Message: message, Hint: hint}
	}
	live := c.liveTasks()
	switch {
	case c.broken[keyMeta] || c.meta.Format > Format:
		return refuse("the store's record "+keyMeta+" cannot be read by this program", "run a newer tidemill")
	case c.meta.Framework == "":
		return refuse("none is registered", "the next leader registers one")
	case live > 0 && !force:
		return refuse(fmt.Sprintf("%d attempts may be at work", live), "let them end first (tidemill run list --live); with --force they go on without Tidemill, and are unknown to it")
	}
	records := map[string][]byte{}
	for _, r := range store {
		records[r.Key] = r.Value
	}
	unknown = asUnknown(c, records, "its framework "+c.meta.Framework+" was given up", now)
	for _, r := range store {
		if value := records[r.Key]; string(value) != string(r.Value) {
			g = append(g, Change{Key: r.Key, Value: value})
		}
	}
	meta := c.meta
	framework, meta.Framework = meta.Framework, ""
	return append(g, Change{Key: keyMeta, Value: encode(&meta, meta.extra)}), framework, unknown, nil
}

// Write commits groups in order, under a term, as many at once as a batch
// holds. Its first batch is the term's first.
func Write(ctx context.Context, l Leadership, groups []Group) error {
	var p pipeline
	p.add(Effects{Persist: groups})
	for {
		b, ok := p.next()
		if !ok {
			return nil
		}
		err := l.Commit(ctx, b)
		for errors.Is(err, ErrUncertain) && ctx.Err() == nil {
			err = l.Commit(ctx, b)
		}
		if err != nil {
			return err
		}
		p.committed()
	}
}
