package scheduler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemill/jobs"
)

// Finding is something wrong with a stored record.
type Finding struct {
	Key     string `json:"key"`
	Fault   Fault  `json:"fault"`
	Message string `json:"message"`
	Hint    string `json:"hint"` // what to do about it
}

// Fault is a kind of finding.
type Fault string

// The faults.
const (
	Unreadable    Fault = "unreadable"    // it, or what it names, is not known to this program
	Dangling      Fault = "dangling"      // what it belongs to is not there
	Contradicting Fault = "contradicting" // it says something else than another record, or than its key
)

// contents are a store's records by what they are, and what was found wrong
// while they were read.
type contents struct {
	meta    metaRecord
	jobs    map[jobs.Name]*jobRecord
	states  map[jobs.Name]*stateRecord
	runs    map[jobs.RunID]*jobs.Run
	tasks   map[jobs.TaskID]*jobs.Task
	chunks  map[jobs.RunID]map[int][]byte
	targets map[string]int64
	pools   map[jobs.Name]*jobs.Pool
	broken  map[string]bool // keys of records that cannot be read
	found   []Finding
}

// Check reads every record of a store, and says what is wrong with them, by
// key. What it calls unreadable holds its job when a leader loads it.
func Check(kinds *jobs.Registry, records []Record, now time.Time) []Finding {
	c := read(records)
	c.checkMeta(now)
	c.checkJobs(kinds)
	c.checkStates(now)
	c.checkRuns(kinds)
	c.checkTasks()
	c.checkPlans()
	slices.SortStableFunc(c.found, func(a, b Finding) int { return cmp.Compare(a.Key, b.Key) })
	return c.found
}

func (c *contents) find(key string, fault Fault, hint, format string, args ...any) {
	c.found = append(c.found, Finding{Key: key, Fault: fault, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// What to do about a finding, where several have it in common.
const (
	hintNewer  = "if a newer tidemill wrote it, run that one; else mend its line in an export, and import that with --replace"
	hintRemove = "it is not used; to be rid of it remove its line from an export, and import that with --replace"
)

// read takes the records apart.
func read(records []Record) *contents {
	c := &contents{
		jobs: map[jobs.Name]*jobRecord{}, states: map[jobs.Name]*stateRecord{}, runs: map[jobs.RunID]*jobs.Run{},
		tasks: map[jobs.TaskID]*jobs.Task{}, chunks: map[jobs.RunID]map[int][]byte{}, targets: map[string]int64{},
		pools: map[jobs.Name]*jobs.Pool{}, broken: map[string]bool{},
	}
	for _, r := range records {
		if err := c.take(r); err != nil {
			c.broken[r.Key] = true
			c.find(r.Key, Unreadable, hintNewer, "%v", err)
		}
	}
	return c
}

func (c *contents) take(r Record) error {
	_, name, _ := strings.Cut(r.Key, "/")
	switch family(r.Key) {
	case keyJob:
		return takeInto(c.jobs, jobs.Name(name), r.Value)
	case keyState:
		return takeInto(c.states, jobs.Name(name), r.Value)
	case keyRun:
		if _, err := jobs.ParseRunID(jobs.RunID(name)); err != nil {
			return err
		}
		return takeInto(c.runs, jobs.RunID(name), r.Value)
	case keyTask:
		if _, err := jobs.ParseTaskID(jobs.TaskID(name)); err != nil {
			return err
		}
		return takeInto(c.tasks, jobs.TaskID(name), r.Value)
	case keyPool:
		return takeInto(c.pools, jobs.Name(name), r.Value)
	case keyPlan:
		return c.takeChunk(name, r.Value)
	case keyTarget:
		var t targetRecord
		err := json.Unmarshal(r.Value, &t)
		c.targets[name] = t.Version
		return err
	}
	if r.Key != keyMeta {
		return fmt.Errorf("a record of this kind is not known")
	}
	extra, err := decode(r.Value, &c.meta)
	c.meta.extra = extra
	return err
}

func takeInto[K comparable, V any](all map[K]*V, name K, value []byte) error {
	v := new(V)
	if err := json.Unmarshal(value, v); err != nil {
		return err
	}
	all[name] = v
	return nil
}

func (c *contents) takeChunk(name string, value []byte) error {
	slash := strings.LastIndexByte(name, '/')
	n, err := strconv.Atoi(name[slash+1:])
	if slash < 0 || err != nil {
		return fmt.Errorf("its key is not plans/RUN/NUMBER")
	}
	run := jobs.RunID(name[:slash])
	if _, err := jobs.ParseRunID(run); err != nil {
		return err
	}
	if c.chunks[run] == nil {
		c.chunks[run] = map[int][]byte{}
	}
	c.chunks[run][n] = value
	return nil
}

func (c *contents) checkMeta(now time.Time) {
	if c.meta.Format > Format {
		c.find(keyMeta, Unreadable, "run a newer tidemill", "the store's format is %d, and this program knows formats up to %d", c.meta.Format, Format)
	}
	c.checkClock(keyMeta, c.meta.Clock, now)
}

// checkClock: the core's time never goes back, so that nothing is due before
// a time from the future has come.
func (c *contents) checkClock(key string, clock, now time.Time) {
	if ahead := clock.Sub(now); ahead > skewStop {
		c.find(key, Contradicting, "mend this machine's clock; if that is right the record is wrong: correct \"clock\" in an export, and import that with --replace",
			"it was written at %s, %s from now: no run comes to be before that", clock.UTC().Format(time.RFC3339), ahead.Round(time.Second))
	}
}

func (c *contents) checkJobs(kinds *jobs.Registry) {
	for _, name := range slices.Sorted(maps.Keys(c.jobs)) {
		rec, key := c.jobs[name], keyJob+string(name)
		if rec.Job.Name != name {
			c.find(key, Contradicting, hintNewer, "it is of job %q", rec.Job.Name)
		}
		if rec.Deleted {
			continue
		}
		if err := compile(kinds, &job{name: name, rec: *rec}); err != nil {
			c.find(key, Unreadable, "run the tidemill that took it, or apply the job anew: tidemill job apply", "%v", err)
		}
		for _, parent := range rec.Job.After {
			if p, ok := c.jobs[parent]; (!ok && !c.broken[keyJob+string(parent)]) || (ok && p.Deleted) {
				c.find(key, Dangling, "apply the parent, or this job without it: tidemill job apply", "it comes after job %q, which is not there", parent)
			}
		}
		if pool := rec.Job.Pool.Name; pool != "" && c.pools[pool] == nil && !c.broken[keyPool+string(pool)] {
			c.find(key, Dangling, "create the pool: tidemill pool set", "its tasks take slots of pool %q, which is not there", pool)
		}
		if _, ok := c.states[name]; !ok && !c.broken[keyState+string(name)] {
			c.find(key, Dangling, "apply the job anew; its marks and counters begin again", "record %s is not there", keyState+string(name))
		}
	}
}

func (c *contents) checkStates(now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(c.states)) {
		state, key := c.states[name], keyState+string(name)
		c.checkClock(key, state.Clock, now)
		rec, ok := c.jobs[name]
		if !ok {
			continue // of a job that was deleted: its incarnation lives on
		}
		for _, parent := range slices.Sorted(maps.Keys(state.Edges)) {
			if !slices.Contains(rec.Job.After, parent) && !rec.Deleted {
				c.find(key, Contradicting, "apply the job anew", "it counts runs of %q, which the job does not come after", parent)
			}
		}
	}
}

func (c *contents) checkRuns(kinds *jobs.Registry) {
	for _, id := range slices.Sorted(maps.Keys(c.runs)) {
		x, key := c.runs[id], keyRun+string(id)
		parts, _ := jobs.ParseRunID(id) // take did
		if x.ID != id || x.Job != parts.Job {
			c.find(key, Contradicting, hintNewer, "it is of run %q of job %q", x.ID, x.Job)
			continue
		}
		_, known := c.jobs[x.Job]
		_, remembered := c.states[x.Job]
		if !known && !remembered && !c.broken[keyJob+string(x.Job)] && !c.broken[keyState+string(x.Job)] {
			c.find(key, Dangling, "apply its job again: tidemill job apply; or remove the line from an export, and import that with --replace", "its job %q is not there", x.Job)
		}
		if x.State.Final() {
			continue
		}
		if x.Pinned == nil {
			c.find(key, Contradicting, hintNewer, "it is %s, and does not say of which job's version", x.State)
			continue
		}
		if _, _, err := kinds.Check(*x.Pinned); err != nil {
			c.find(key, Unreadable, "run the tidemill that made it, until the run has ended", "its job: %v", err)
		}
	}
}

// splitOf names a split, to find the attempts that are at work on the same one.
type splitOf struct {
	run          jobs.RunID
	stage, split int
}

func (c *contents) checkTasks() {
	current := map[splitOf]jobs.TaskID{}
	for _, id := range slices.Sorted(maps.Keys(c.tasks)) {
		t, key := c.tasks[id], keyTask+string(id)
		parts, _ := jobs.ParseTaskID(id) // take did
		if t.ID != id || t.Run != parts.Run {
			c.find(key, Contradicting, hintNewer, "it is of attempt %q of run %q", t.ID, t.Run)
			continue
		}
		x, ok := c.runs[t.Run]
		switch {
		case !ok && c.broken[keyRun+string(t.Run)]:
		case !ok:
			c.find(key, Dangling, hintRemove, "its run %q is not there", t.Run)
		case x.State.Final():
			continue // its run has taken it in; the next write deletes it
		case t.Stage > x.Stage:
			c.find(key, Contradicting, hintNewer, "it is of stage %d, and its run of stage %d", t.Stage, x.Stage)
		}
		at := splitOf{t.Run, t.Stage, t.Split}
		if other, taken := current[at]; taken && !t.State.Final() && !t.Superseded {
			c.find(key, Contradicting, "kill the run and do it again: tidemill run kill, tidemill run rerun", "attempt %s of the same split is at work too", other)
		} else if !t.State.Final() && !t.Superseded {
			current[at] = id
		}
	}
}

func (c *contents) checkPlans() {
	for _, id := range slices.Sorted(maps.Keys(c.chunks)) {
		if _, ok := c.runs[id]; ok || c.broken[keyRun+string(id)] {
			continue // those that a live run does not count yet wait for their seal
		}
		for _, n := range slices.Sorted(maps.Keys(c.chunks[id])) {
			c.find(planKey(id, n), Dangling, "the next leader deletes it", "its run is not there")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.runs)) {
		x := c.runs[id]
		if x.State.Final() || x.PlanChunks == 0 {
			continue
		}
		var doc []byte
		for n := range x.PlanChunks {
			doc = append(doc, c.chunks[id][n]...)
		}
		if err := json.Unmarshal(doc, &jobs.Plan{}); err != nil {
			c.find(keyRun+string(id), Dangling, "kill the run and do it again: tidemill run kill, tidemill run rerun",
				"its plan of %d chunks, of which %d are there, cannot be read: %v", x.PlanChunks, len(c.chunks[id]), err)
		}
	}
}
