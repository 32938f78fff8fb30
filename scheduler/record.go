package scheduler

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"tidemill/jobs"
)

// Format is the newest version of the records that this program knows. A new
// store begins with it; an older one keeps its own, so that the program that
// wrote it can still lead, until "state upgrade" raises it.
const Format = 1

// record is a thing that lies in the store under a key of its own. encode
// gives nil for one that is to be deleted.
type record interface {
	key() string
	encode(now time.Time) []byte
}

// The families of keys.
const (
	keyMeta   = "meta/scheduler"
	keyJob    = "jobs/"
	keyState  = "state/"
	keyRun    = "runs/"
	keyTask   = "tasks/"
	keyPlan   = "plans/" // plans/<run>/<chunk>
	keyTarget = "targets/"
	keyPool   = "pools/"
)

// metaRecord is what belongs to the scheduler as a whole.
type metaRecord struct {
	Format    int    `json:"format"`
	Framework string `json:"framework,omitempty"`
	Secret    []byte `json:"secret,omitempty"`
	// Clock is the core's time when it was last written with this record.
	Clock time.Time `json:"clock,omitzero"`
	// Importing is what is being written to the store: it is not whole.
	Importing string `json:"importing,omitempty"`
	// Hold is set while nothing may be launched.
	Hold *jobs.Hold `json:"hold,omitempty"`

	extra unknown
}

func (m *metaRecord) key() string { return keyMeta }
func (m *metaRecord) encode(now time.Time) []byte {
	if m.Format == 0 {
		m.Format = Format
	}
	m.Clock = now
	return encode(m, m.extra)
}

// jobRecord is a declaration and when it was made and changed.
type jobRecord struct {
	Job          jobs.Job  `json:"job"`
	FirstApplied time.Time `json:"first_applied"` // start of a repeat that names none
	Rescheduled  time.Time `json:"rescheduled"`   // only instants after it are due
	Deleted      bool      `json:"deleted,omitempty"`
}

// stateRecord is what changes as a job's runs come and go. It outlives the
// job's deletion, for the incarnation's sake.
type stateRecord struct {
	Incarnation int64     `json:"incarnation"`
	Mark        time.Time `json:"mark,omitzero"` // every instant up to it was handled
	// Backlog is what catch-up still has to run, oldest first: the instants in
	// (After, Until] of each range. Those between two ranges were run in time.
	Backlog   []backlog           `json:"backlog,omitempty"`
	Backfills []backfill          `json:"backfills,omitempty"`
	Edges     map[jobs.Name]*edge `json:"edges,omitempty"` // by parent
	// Generations is the highest one that was given to a run which history
	// may have forgotten, Forgotten the latest creation of one of those.
	Generations int                 `json:"generations,omitempty"`
	Forgotten   time.Time           `json:"forgotten,omitzero"`
	Skipped     []jobs.SkippedRange `json:"skipped,omitempty"`
	Successes   int64               `json:"successes,omitempty"`
	Failures    int64               `json:"failures,omitempty"`
	Failing     int64               `json:"failing,omitempty"` // failures since the last success
	LastSuccess time.Time           `json:"last_success,omitzero"`
	LastFailure time.Time           `json:"last_failure,omitzero"`
	Clock       time.Time           `json:"clock,omitzero"`
}

// backfill is a range of instants to be run by request.
type backfill struct {
	backlog
	AtOnce int  `json:"at_once"`
	Force  bool `json:"force,omitempty"`
}

// backlog is a range of missed instants.
type backlog struct {
	After time.Time `json:"after"`
	Until time.Time `json:"until"`
}

// edge is what a child knows of one parent: the runs that ended since it
// consumed last. Those created before Since are not its concern.
type edge struct {
	Since   time.Time   `json:"since"`
	Pending []parentRun `json:"pending,omitempty"`
	// Latest is the parent's latest success, where latest_within asks for it.
	Latest *parentRun `json:"latest,omitempty"`
}

// parentRun is a parent's run that ended, as its children know it.
type parentRun struct {
	Run      jobs.RunID    `json:"run"`
	Key      jobs.Key      `json:"key"`
	Nominal  time.Time     `json:"nominal"`
	Interval jobs.Interval `json:"interval,omitzero"`
	State    jobs.RunState `json:"state"`
	Ended    time.Time     `json:"ended,omitzero"`
}

// keptRanges bounds the skipped ranges a job's state holds.
const keptRanges = 20

// raw is a record of bytes: a chunk of a plan, or a deletion.
type raw struct {
	name  string
	value []byte
}

func (r raw) key() string             { return r.name }
func (r raw) encode(time.Time) []byte { return r.value }

// targetRecord is the last version a target was written at.
type targetRecord struct {
	name    string
	Version int64 `json:"version"`
}

func (t targetRecord) key() string             { return keyTarget + t.name }
func (t targetRecord) encode(time.Time) []byte { return mustJSON(t) }

// mustJSON encodes our own records, which hold nothing JSON cannot carry.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err))
	}
	return b
}

// Load takes in the records of a store. It is called once, before the first
// Step. Records that cannot be read hold their job; an unknown format is an error.
func (c *Core) Load(records []Record) error {
	list := make([]*parsed, len(records))
	for i, r := range records {
		list[i] = parse(c.kinds, r)
	}
	return c.load(list)
}

func (c *Core) load(list []*parsed) error {
	byFamily := map[string][]*parsed{}
	for _, p := range list {
		f := family(p.key)
		byFamily[f] = append(byFamily[f], p)
		if p.key == keyMeta {
			if err := c.loadMeta(p); err != nil {
				return err
			}
		}
	}
	for _, p := range byFamily[keyTarget] {
		t := targetRecord{name: strings.TrimPrefix(p.key, keyTarget)}
		if err := json.Unmarshal(p.raw(), &t); err != nil {
			return fmt.Errorf("the store's record %s cannot be read: %w", p.key, err)
		}
		c.targets[t.name] = t.Version
	}
	c.loadPools(byFamily[keyPool])
	held := map[jobs.Name]string{}
	c.loadJobs(byFamily[keyJob], held)
	c.loadStates(byFamily[keyState], held)
	c.loadRuns(byFamily[keyRun], byFamily[keyPlan], held)
	c.loadTasks(byFamily[keyTask], held)
	for name, why := range held {
		if c.jobs[name] == nil {
			c.jobs[name] = &job{name: name, rec: jobRecord{Job: jobs.Job{Name: name}}}
		}
		c.jobs[name].unreadable = true
		c.hold(c.jobs[name], why)
	}
	c.resume()
	return nil
}

func (c *Core) loadMeta(p *parsed) error {
	var err error
	if c.meta.extra, err = decode(p.raw(), &c.meta); err != nil {
		return fmt.Errorf("the store's record %s cannot be read: %w", p.key, err)
	}
	if c.meta.Format > Format {
		return &jobs.Error{
			Code: jobs.Conflict, Op: "load", Subject: "the store",
			Message: fmt.Sprintf("its format is %d, and this program knows formats up to %d", c.meta.Format, Format),
			Hint:    "run a newer tidemill",
		}
	}
	if c.meta.Importing != "" {
		return &jobs.Error{
			Code: jobs.Conflict, Op: "load", Subject: "the store", Message: "an import of " + c.meta.Importing + " into it did not end",
			Hint: "do it again: tidemill state import --replace",
		}
	}
	c.advance(c.meta.Clock)
	return nil
}

// advance keeps the core's time from going back across leaders.
func (c *Core) advance(stored ...time.Time) {
	for _, t := range stored {
		if t.After(c.now) {
			c.now = t
		}
	}
}

func (c *Core) loadJobs(records []*parsed, held map[jobs.Name]string) {
	for _, r := range records {
		j := r.value.(*job)
		c.jobs[j.name] = j
		if why, ok := r.unreadable(); ok {
			j.rec, j.recExtra = jobRecord{}, nil
			held[j.name] = why
			continue
		}
		if r.wrong { // applying it anew may mend it
			c.hold(j, fmt.Sprintf("record %s: %v", r.key, r.err))
		}
		if j.declared() {
			c.graph.Put(j.rec.Job)
		}
	}
}

func (c *Core) loadStates(records []*parsed, held map[jobs.Name]string) {
	for _, r := range records {
		name := jobs.Name(strings.TrimPrefix(r.key, keyState))
		j, ok := c.jobs[name]
		if !ok { // of a job that was deleted: its incarnation lives on
			j = &job{name: name, rec: jobRecord{Deleted: true}}
			c.jobs[name] = j
		}
		if why, ok := r.unreadable(); ok {
			held[name] = why
			continue
		}
		j.state, j.stateExtra = *r.value.(*stateRecord), r.extra
		c.advance(j.state.Clock)
	}
}

func (c *Core) loadRuns(records, plans []*parsed, held map[jobs.Name]string) {
	chunks, byRun := storedChunks(plans)
	for _, r := range records {
		id := jobs.RunID(strings.TrimPrefix(r.key, keyRun))
		keys := byRun[id]
		delete(byRun, id)
		parts, err := jobs.ParseRunID(id)
		if err != nil {
			c.problems[r.key] = err.Error()
			continue
		}
		if why, ok := r.unreadable(); ok {
			held[parts.Job] = why
			continue
		}
		x := r.value.(*run)
		j, ok := c.jobs[x.rec.Job]
		if !ok {
			held[parts.Job] = fmt.Sprintf("record %s belongs to a job that is not there", r.key)
			continue
		}
		x.job, x.chunks = j, keys
		if x.rec.State.Final() && held[x.rec.Job] == "" && c.isStale(x, parts.Incarnation) {
			c.stale = append(c.stale, x)
			continue
		}
		c.runs[id] = x
		c.advance(x.rec.Created, x.rec.Started, x.rec.Ended)
		if x.rec.State.Final() {
			x.plan, _ = storedPlan(x, chunks) // for its failed splits, if somebody asks
			j.recent = append(j.recent, x)
			continue
		}
		j.live = append(j.live, x)
		if err := c.restoreRun(x, r.err, chunks); err != nil {
			held[parts.Job] = fmt.Sprintf("record %s: %v", r.key, err)
		}
	}
	c.orphans = byRun
	for _, j := range c.jobs {
		sortRuns(j.live)
		sortRuns(j.recent)
		if j.state.Forgotten.IsZero() && len(j.recent) >= c.cfg.History { // stored by a program that did not count
			j.state.Forgotten = j.recent[0].rec.Created
		}
		if j.state.Failing == 0 && j.state.LastFailure.After(j.state.LastSuccess) { // by one that did not count those
			j.state.Failing = j.failedLately()
		}
	}
}

// restoreRun rebuilds what a live run's record implies.
func (c *Core) restoreRun(x *run, wrong error, chunks map[string][]byte) (err error) {
	if x.rec.Pinned == nil {
		return fmt.Errorf("a live run without its job")
	}
	if wrong != nil {
		return wrong
	}
	if x.plan, err = storedPlan(x, chunks); err != nil {
		return err
	}
	if x.rec.State == jobs.RunPlanning || x.rec.State == jobs.RunRunning {
		c.openStage(x)
	}
	return nil
}

func (c *Core) loadTasks(records []*parsed, held map[jobs.Name]string) {
	for _, r := range records {
		id := jobs.TaskID(strings.TrimPrefix(r.key, keyTask))
		parts, err := jobs.ParseTaskID(id)
		if err != nil {
			c.problems[r.key] = err.Error()
			continue
		}
		if why, ok := r.unreadable(); ok {
			runParts, _ := jobs.ParseRunID(parts.Run)
			held[runParts.Job] = why
			continue
		}
		t := r.value.(*task)
		c.advance(t.rec.Launched, t.rec.Started, t.rec.UnknownSince, t.rec.EndingSince, t.rec.Ended)
		x, ok := c.runs[t.rec.Run]
		switch {
		case !ok: // its run is unreadable, and holds its job
			continue
		case x.rec.State.Final(): // and took it into its record: a crash came before it was deleted
			t.run = x
			c.strays = append(c.strays, t)
			continue
		}
		c.adopt(x, t)
	}
}

// hintHeld is what to do about a job that is held.
const hintHeld = "a newer tidemill may read it; tidemill state check names what cannot be read"

// hold keeps everything of a job from moving, and names the reason.
func (c *Core) hold(j *job, why string) {
	j.held = why
	c.problems["job "+string(j.name)] = why
}

// frozen refuses to change a job of which a record cannot be read.
func (j *job) frozen(op string) error {
	if !j.unreadable {
		return nil
	}
	return &jobs.Error{
		Code: jobs.Conflict, Op: op, Subject: "job " + string(j.name), Message: "it is held: " + j.held,
		Hint: hintHeld,
	}
}
