package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
	"tidemill/scheduler"
)

// model is the plain account of what should have happened: it sees every
// write that became durable, every call that reached Mesos, and what truly
// ran, and compares.
type model struct {
	w          *world
	violations []string
	failovers  int
	commits    int

	jobs     map[jobs.Name]*jobAccount
	runs     map[jobs.RunID]*runAccount
	instants map[jobs.RunID]bool // runs, whatever their generation
	brief    map[jobs.RunID]bool // recorded, and forgotten by a short history in the same write
	attempts map[jobs.TaskID]*attemptAccount
	fired    map[jobs.TaskID]bool // launched: ids are never used again
	limits   limits
	asked    map[jobs.Key]bool                       // runs by hand: are their children to follow?
	chunks   map[jobs.RunID]map[string]time.Duration // of plans, by key: when they were stored
	clock    time.Time                               // the core's, as far as it is durable
	by       *leader                                 // whose batch is looked at
}

// jobAccount is a job as its records say.
type jobAccount struct {
	rec     jobRecord
	state   stateRecord
	sched   *schedule.Schedule
	present bool
	acked   bool
	deletes bool // somebody asked for it
	skipped []span

	concurrency int // the most that it ever allowed
}

// runAccount is a run: its record, and what truly was of it.
type runAccount struct {
	rec      runRecord
	finished bool // once recorded so
	told     bool // so were its children
	seen     bool // its creation was looked at
	ends     bool // its end and its being forgotten are one write
	sealed   bool // its plan was stored
	spec     []byte
	marked   bool // somebody asked to mark it by hand
	overlap  jobs.Overlap
	pool     jobs.Name
	wait     time.Duration // for an offer near its data
	attempts []*attemptAccount
}

func newModel(w *world) *model {
	return &model{
		w: w, jobs: map[jobs.Name]*jobAccount{}, runs: map[jobs.RunID]*runAccount{}, instants: map[jobs.RunID]bool{}, brief: map[jobs.RunID]bool{},
		attempts: map[jobs.TaskID]*attemptAccount{}, limits: limits{pools: map[jobs.Name]*poolAccount{}, blind: map[jobs.Name]bool{}}, fired: map[jobs.TaskID]bool{}, asked: map[jobs.Key]bool{},
		chunks: map[jobs.RunID]map[string]time.Duration{},
	}
}

func (m *model) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	m.w.logf("VIOLATION %s", text)
	m.violations = append(m.violations, fmt.Sprintf("at %.3f s: %s", m.w.now.Seconds(), text))
}

func (m *model) job(name jobs.Name) *jobAccount {
	j := m.jobs[name]
	if j == nil {
		j = &jobAccount{}
		m.jobs[name] = j
	}
	return j
}

func decode(ch scheduler.Change, into any) {
	if err := json.Unmarshal(ch.Value, into); err != nil {
		panic(fmt.Sprintf("record %s: %v", ch.Key, err))
	}
}

// commit sees a batch become durable.
func (m *model) commit(by *leader, changes []scheduler.Change) {
	m.commits++
	m.by = by
	if m.w.trace != nil {
		m.traceCommit(changes)
	}
	batch := make(map[string]bool, len(changes))
	for _, ch := range changes {
		batch[ch.Key] = true
		m.checkHeld(ch.Key)
		switch family, name, _ := strings.Cut(ch.Key, "/"); family {
		case "jobs":
			m.putJob(jobs.Name(name), ch)
		case "pools":
			m.limits.putPool(jobs.Name(name), ch)
		case "meta":
			m.limits.putMeta(ch)
		case "plans":
			m.putChunk(name, ch)
		}
	}
	for _, ch := range changes {
		if strings.HasPrefix(ch.Key, "runs/") {
			m.putRun(ch)
		}
	}
	for _, ch := range changes { // a batch is one write: its order says nothing
		family, name, _ := strings.Cut(ch.Key, "/")
		switch {
		case family == "tasks":
			m.putTask(jobs.TaskID(name), ch)
		case family == "state" && ch.Value == nil:
			m.violate("the state of job %s is deleted, and its incarnation forgotten", name)
		case family == "state":
			m.putState(jobs.Name(name), ch)
		}
	}
	for _, ch := range changes {
		family, name, _ := strings.Cut(ch.Key, "/")
		switch {
		case family == "jobs" && ch.Value == nil:
			m.checkTombstone(jobs.Name(name))
		case family == "jobs", family == "state":
			m.checkEdges(jobs.Name(name), m.job(jobs.Name(name)))
		case family == "runs" && ch.Value == nil:
			m.checkLeft(jobs.RunID(name), m.runs[jobs.RunID(name)])
			m.checkChunks(jobs.RunID(name))
			m.checkForgotten(m.runs[jobs.RunID(name)])
		case family == "runs":
			m.afterRun(m.runs[jobs.RunID(name)], batch)
		}
	}
	m.checkLimits()
	m.advance(changes)
}

func (m *model) traceCommit(changes []scheduler.Change) {
	for _, ch := range changes {
		var said struct{ State, Reason, Cancel string }
		if ch.Value != nil && !strings.HasPrefix(ch.Key, "state/") {
			decode(ch, &said)
		}
		m.w.logf("  store: %s %s %s %s (%d bytes)", ch.Key, said.State, said.Cancel, said.Reason, len(ch.Value))
	}
}

func (m *model) putJob(name jobs.Name, ch scheduler.Change) {
	j := m.job(name)
	if ch.Value == nil {
		if !j.deletes {
			m.violate("job %s is lost: its record is deleted, and nobody asked for it", name)
		}
		j.present = false
		return
	}
	before := j.rec
	j.rec = jobRecord{}
	decode(ch, &j.rec)
	j.present = !j.rec.Deleted
	if j.rec.Deleted && !j.deletes {
		m.violate("job %s is lost: it is marked deleted, and nobody asked for it", name)
	}
	if j.rec.Job.Incarnation == before.Job.Incarnation && j.rec.Job.Version < before.Job.Version {
		m.violate("job %s goes back from version %d to %d", name, before.Job.Version, j.rec.Job.Version)
	}
	j.sched = nil
	if j.rec.Job.Schedule != nil {
		j.sched, _ = j.rec.Job.Schedule.Compile(name, j.rec.FirstApplied) // it was checked at the door
	}
}

// putState checks that a mark moves only over instants that are accounted for.
func (m *model) putState(name jobs.Name, ch scheduler.Change) {
	j := m.job(name)
	before := j.state
	j.state = stateRecord{}
	decode(ch, &j.state)
	if j.state.Incarnation != before.Incarnation {
		if j.state.Incarnation < before.Incarnation {
			m.violate("job %s goes back from incarnation %d to %d", name, before.Incarnation, j.state.Incarnation)
		}
		j.skipped = nil
		before.Mark = j.state.Mark
	}
	for _, s := range j.state.Skipped {
		if !slices.Contains(j.skipped, s) {
			j.skipped = append(j.skipped, s)
		}
	}
	if j.state.Clock.Before(m.clock) && m.by.blind == "" {
		m.violate("job %s: its mark is stored at %s, when the core's time was %s already", name, j.state.Clock, m.clock)
	}
	if j.state.Mark.Before(before.Mark) {
		m.violate("job %s: its mark goes back from %s to %s", name, before.Mark, j.state.Mark)
	}
	if !j.present {
		return
	}
	for _, p := range j.rec.Job.After {
		if _, ok := j.state.Edges[p]; !ok {
			m.violate("job %s: its edge from %s is lost", name, p)
		}
	}
	if j.sched == nil {
		return
	}
	from := before.Mark
	if j.rec.Rescheduled.After(from) {
		from = j.rec.Rescheduled
	}
	for at := range j.sched.All(from) {
		if at.Nominal.After(j.state.Mark) {
			break
		}
		if !m.accounted(j, at.Nominal) {
			m.violate("job %s: its mark passes %s, which is neither run nor recorded", name, at.Nominal.Format(time.TimeOnly))
		}
	}
	for _, b := range before.Backlog {
		m.checkBacklog(name, j, b)
	}
}

// checkBacklog: what leaves the backlog was run or recorded.
func (m *model) checkBacklog(name jobs.Name, j *jobAccount, b window) {
	for at := range j.sched.All(b.After) {
		if at.Nominal.After(b.Until) {
			return
		}
		if !at.Nominal.After(j.rec.Rescheduled) {
			continue
		}
		if !m.accounted(j, at.Nominal) {
			m.violate("job %s: %s leaves the backlog, and is neither run nor recorded", name, at.Nominal.Format(time.TimeOnly))
		}
	}
}

// instantOf is a run's id without its generation.
func instantOf(id jobs.RunID) jobs.RunID { return id[:strings.LastIndexByte(string(id), '.')] }

func (m *model) accounted(j *jobAccount, at time.Time) bool {
	if m.instants[instantOf(jobs.NewRunID(j.rec.Job.Name, j.state.Incarnation, jobs.InstantKey(at), 0))] {
		return true
	}
	if slices.ContainsFunc(j.skipped, func(s span) bool { return !at.Before(s.From) && !at.After(s.To) }) {
		return true
	}
	return slices.ContainsFunc(j.state.Backlog, func(b window) bool { return at.After(b.After) && !at.After(b.Until) })
}

func (m *model) putRun(ch scheduler.Change) {
	id := jobs.RunID(strings.TrimPrefix(ch.Key, "runs/"))
	x := m.runs[id]
	if ch.Value == nil {
		if x != nil {
			x.ends = !x.finished
			x.finished = true
		} else {
			m.brief[id] = true
		}
		return
	}
	if x == nil {
		x = &runAccount{}
		m.runs[id] = x
		m.instants[instantOf(id)] = true
	}
	before := x.rec
	x.rec = runRecord{}
	decode(ch, &x.rec)
	if x.rec.Pinned != nil {
		if x.spec == nil || x.rec.Trigger == jobs.ByService { // which edits reach
			x.spec = x.rec.Pinned.Spec
		}
		x.overlap, x.wait = x.rec.Pinned.Overlap, x.rec.Pinned.Placement.Wait.D()
		x.pool = x.rec.Pinned.Pool.Name
		m.job(x.rec.Job).allow(x.rec.Pinned.Concurrency)
	}
	m.checkPins(x, &before)
	if x.finished && x.rec.State != before.State && !x.marked {
		m.violate("run %s was final as %s and becomes %s", id, before.State, x.rec.State)
	}
	if before.State.Final() && !x.rec.State.Final() {
		m.violate("run %s was %s and is %s again", id, before.State, x.rec.State)
	}
	x.finished = x.finished || x.rec.State.Final()
	for _, rec := range x.rec.Attempts { // a final run's record takes its attempts in
		if a := m.attempt(rec.ID); a.recorded || rec.State.Final() {
			m.putAttempt(a, rec)
		}
	}
}

// afterRun looks at a run once its whole batch is known.
func (m *model) afterRun(x *runAccount, batch map[string]bool) {
	if !x.seen {
		x.seen = true
		m.created(x)
	}
	m.checkPlan(x, batch)
	for _, p := range x.rec.Parents {
		parent := m.runs[p]
		switch {
		case parent == nil && m.brief[p]:
		case parent == nil:
			m.violate("run %s comes before its parent %s was recorded", x.rec.ID, p)
		case !parent.finished:
			m.violate("run %s comes before its parent %s has ended", x.rec.ID, p)
		}
	}
	if !x.finished {
		return
	}
	if x.rec.State == jobs.RunSucceeded && !x.marked {
		m.checkSuccess(x)
	}
	if !x.rec.FireChildren || x.marked { // one that is marked may have been consumed before
		return
	}
	for _, name := range slices.Sorted(maps.Keys(m.jobs)) {
		child := m.jobs[name]
		if e, ok := child.state.Edges[x.rec.Job]; ok && child.present && name != m.by.blind && !x.rec.Created.Before(e.Since) && !m.told(name, e, x, batch) {
			m.violate("run %s ended, and its child %s is not told in the same write", x.rec.ID, name)
		}
	}
}

// told: the run waits at the edge, or a run of the child was made in the same write.
func (m *model) told(child jobs.Name, e edge, x *runAccount, batch map[string]bool) bool {
	if !batch["state/"+string(child)] {
		return x.told
	}
	x.told = true
	if slices.ContainsFunc(e.Pending, func(p pending) bool { return p.Run == x.rec.ID }) {
		return true
	}
	if m.job(child).rec.Job.LatestWithin > 0 && e.outdates(x) {
		return true // the latest success is all that counts
	}
	if m.instants[instantOf(jobs.NewRunID(child, m.job(child).state.Incarnation, x.rec.Key, 0))] {
		return true // it ran for this instant before
	}
	for key := range batch {
		if id, ok := strings.CutPrefix(key, "runs/"); ok && m.runs[jobs.RunID(id)] != nil && m.runs[jobs.RunID(id)].rec.Job == child {
			return true
		}
	}
	return false
}

// outdates says whether a parent's run is not its latest success.
func (e edge) outdates(x *runAccount) bool {
	return x.rec.State != jobs.RunSucceeded || e.Latest != nil && !e.Latest.Nominal.Before(x.rec.Nominal)
}

// checkSuccess: a run that succeeded has an attempt of each split that did.
func (m *model) checkSuccess(x *runAccount) {
	succeeded, seen := map[[2]int]bool{}, map[[2]int]bool{}
	m.takeKept(x, succeeded)
	for _, a := range x.attempts {
		at := [2]int{a.rec.Stage, a.rec.Split}
		seen[at] = true
		succeeded[at] = succeeded[at] || a.success
	}
	for _, a := range x.attempts {
		if at := [2]int{a.rec.Stage, a.rec.Split}; !succeeded[at] {
			m.violate("run %s is recorded as succeeded, and its split %v never did", x.rec.ID, at)
			return
		}
	}
	if len(seen) == 0 && x.rec.Reason == "" && len(succeeded) == 0 {
		m.violate("run %s is recorded as succeeded, and nothing ran", x.rec.ID)
	}
}

func (m *model) acknowledged(name jobs.Name) {
	j := m.job(name)
	j.acked = true
	if !j.present && !j.deletes {
		m.violate("job %s is acknowledged and not durable", name)
	}
}

func (m *model) acknowledgedRun(id jobs.RunID) {
	parts, err := jobs.ParseRunID(id)
	if m.runs[id] == nil && (err != nil || !m.job(parts.Job).deletes) {
		m.violate("run %s is acknowledged and not durable", id)
	}
}

func (m *model) deleting(name jobs.Name) { m.job(name).deletes = true }

// requested: somebody asks for a run, and whether its children are to follow.
func (m *model) requested(r jobs.RunRequest) { m.asked[jobs.RequestKey(r.RequestID)] = r.Children }

// marking: the run's state may be changed by hand.
func (m *model) marking(id jobs.RunID) { m.runs[id].marked = true }

// anyFailed is a run that ended badly, and is still remembered.
func (m *model) anyFailed() jobs.RunID {
	var list []jobs.RunID
	for id, x := range m.runs {
		if x.finished && (x.rec.State == jobs.RunFailed || x.rec.State == jobs.RunCancelled) && m.w.store.records["runs/"+string(id)] != nil {
			list = append(list, id)
		}
	}
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return pick(m.w, list...)
}

// anyRun is a live run, or one that ended; none where there is none.
func (m *model) anyRun(ended bool) jobs.RunID {
	var list []jobs.RunID
	for id, x := range m.runs {
		if x.finished == ended {
			list = append(list, id)
		}
	}
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return pick(m.w, list...)
}
