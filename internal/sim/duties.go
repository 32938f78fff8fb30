package sim

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// created looks at a run that is recorded for the first time: it is what its
// job, its instant and its parents make of it.
func (m *model) created(x *runAccount) {
	r := &x.rec
	if r.Created.Before(m.clock) && m.by.blind == "" { // or the time stands in what cannot be read
		m.violate("run %s is created at %s, when the core's time was %s already", r.ID, r.Created, m.clock)
	}
	if r.Rerun != nil {
		m.inherited(x)
	}
	switch r.Trigger {
	case jobs.BySchedule, jobs.ByCatchUp, jobs.ByBackfill:
		if off := m.by.offset.Abs(); off > clockLimit {
			m.violate("run %s is created by a leader whose clock is off by %s", r.ID, off)
		}
		if r.Nominal.After(epoch.Add(m.w.now + clockLimit)) {
			m.violate("run %s is created at %s, long before its time", r.ID, m.w.now)
		}
		m.checkInterval(x)
	case jobs.ByHand:
		asked, ok := m.asked[r.Key]
		if r.Generation == 0 && !ok {
			m.violate("run %s was made by hand, and nobody asked for it", r.ID)
		}
		if r.Generation == 0 && r.FireChildren && !asked {
			m.violate("run %s is to start its children, and nobody asked for it", r.ID)
		}
	case jobs.ByParents:
		m.checkParents(x)
	}
}

// clockLimit is how far a leader's clock may be off that creates runs.
const clockLimit = 30 * time.Second

// checkHeld: nothing of a job is written by who cannot read all of it, but
// what its parents tell it.
func (m *model) checkHeld(key string) {
	if m.by.blind != "" && jobOf(key) == m.by.blind && (!strings.HasPrefix(key, "state/") || key == m.w.unreadable) {
		m.violate("%s is written by a leader that cannot read all of its job", key)
	}
}

// checkInterval: a run covers the time since the instant before.
func (m *model) checkInterval(x *runAccount) {
	if x.rec.Pinned == nil || x.rec.Pinned.Schedule == nil {
		return
	}
	start := x.rec.Nominal
	for named := false; !named; {
		start = start.Add(-time.Second)
		named = slices.ContainsFunc(x.rec.Pinned.Schedule.Cron, func(cron string) bool { return names(cron, start.Second()) })
	}
	if want := (jobs.Interval{Start: start, End: x.rec.Nominal}); !want.Start.Equal(x.rec.Interval.Start) || !want.End.Equal(x.rec.Interval.End) {
		m.violate("run %s covers %v, want %v", x.rec.ID, x.rec.Interval, want)
	}
}

// names says whether a cron expression of the client's names a second.
func names(cron string, second int) bool {
	field, _, _ := strings.Cut(cron, " ")
	if step, ok := strings.CutPrefix(field, "*/"); ok {
		n, err := strconv.Atoi(step)
		return err == nil && second%n == 0
	}
	return slices.Contains(strings.Split(field, ","), strconv.Itoa(second))
}

// checkParents: a child is run if its parents' ends let it, and only then.
func (m *model) checkParents(x *runAccount) {
	p := x.rec.Pinned
	if p == nil || p.Trigger == jobs.AllDone {
		return
	}
	good, fresh, marked := 0, true, false
	for _, id := range x.rec.Parents {
		parent := m.runs[id]
		if parent == nil {
			return // it is said elsewhere
		}
		if parent.rec.State == jobs.RunSucceeded {
			good++
		}
		if p.LatestWithin > 0 && parent.rec.Key != x.rec.Key && x.rec.Created.Sub(parent.rec.Ended) > p.LatestWithin.D() {
			fresh = false
		}
		marked = marked || parent.marked || !parent.rec.State.Final() // its end and its being forgotten were one write
		if !parent.rec.FireChildren && !parent.marked {
			m.violate("run %s comes after %s, which was not to start its children", x.rec.ID, id)
		}
	}
	enough := good == len(p.After) && fresh
	if p.Trigger == jobs.AnySuccess {
		enough = good > 0
	}
	refused := x.rec.State == jobs.RunUpstreamFailed || x.rec.State == jobs.RunSkipped && strings.HasPrefix(x.rec.Reason, "parent ")
	if !marked && enough == refused {
		m.violate("run %s is %s (%s), and %d of its %d parents succeeded", x.rec.ID, x.rec.State, x.rec.Reason, good, len(p.After))
	}
}

// checkPins: a run sees its job as it was when the run was created, and a
// service's as it is now.
func (m *model) checkPins(x *runAccount, before *runRecord) {
	if x.rec.Pinned != nil && x.rec.Pinned.Version != x.rec.JobVersion {
		m.violate("run %s is of version %d of its job, and sees version %d", x.rec.ID, x.rec.JobVersion, x.rec.Pinned.Version)
	}
	moved := before.JobVersion != x.rec.JobVersion
	if x.rec.Trigger == jobs.ByService {
		moved = before.JobVersion > x.rec.JobVersion
	}
	if before.ID != "" && moved {
		m.violate("run %s goes from version %d of its job to %d", x.rec.ID, before.JobVersion, x.rec.JobVersion)
	}
}

// assigned: a task does what its run was created for.
func (m *model) assigned(a jobs.Assignment) {
	x := m.attempt(a.Task).run
	if x == nil {
		return // it was never recorded, which is said when it begins
	}
	late := m.attempt(a.Task).rec.JobVersion < x.rec.JobVersion // of a service that was edited meanwhile
	if x.spec != nil && !sameSpec(x.spec, a.Spec) && !(late && x.rec.Trigger == jobs.ByService) {
		m.violate("attempt %s is told to do %s, and its run is for %s", a.Task, a.Spec, x.spec)
	}
	m.checkFormer(a)
	if !a.Nominal.Equal(x.rec.Nominal) || !a.Interval.Start.Equal(x.rec.Interval.Start) || !a.Interval.End.Equal(x.rec.Interval.End) {
		m.violate("attempt %s is told of %s and %v, and its run is of %s and %v", a.Task, a.Nominal, a.Interval, x.rec.Nominal, x.rec.Interval)
	}
}

// sameSpec compares what is to be done, not how it is written.
func sameSpec(a, b []byte) bool { return bytes.Equal(a, b) || decodeSpec(a) == decodeSpec(b) }

// checkEdges: what all parents of a job have done is consumed at once.
func (m *model) checkEdges(name jobs.Name, j *jobAccount) {
	if len(j.rec.Job.After) == 0 || name == m.by.blind {
		return
	}
	waiting := map[jobs.Key]int{}
	for _, p := range j.rec.Job.After {
		seen := map[jobs.Key]bool{}
		for _, run := range j.state.Edges[p].Pending {
			if !seen[run.Key] {
				seen[run.Key] = true
				waiting[run.Key]++
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(waiting)) {
		if waiting[key] == len(j.rec.Job.After) {
			m.violate("job %s: all its parents are done for %s, and nothing came of it", name, key)
		}
	}
}

// checkTombstone: a job's name is free again when its last run is over.
func (m *model) checkTombstone(name jobs.Name) {
	for _, id := range slices.Sorted(maps.Keys(m.runs)) {
		if x := m.runs[id]; x.rec.Job == name && !x.finished {
			m.violate("job %s is forgotten while its run %s lives", name, id)
		}
	}
}

// checkForgotten: a run's record goes once it is final and the job's state says
// that history forgets it, or with its job.
func (m *model) checkForgotten(x *runAccount) {
	if x == nil || !x.ends {
		return
	}
	x.ends = false
	if j := m.job(x.rec.Job); !j.deletes && x.rec.Created.After(j.state.Forgotten) {
		m.violate("run %s is lost: its record is deleted before it was final", x.rec.ID)
	}
}

// advance sees the core's time in what became durable.
func (m *model) advance(changes []scheduler.Change) {
	see := func(times ...time.Time) {
		for _, at := range times {
			if at.After(m.clock) {
				m.clock = at
			}
		}
	}
	see(m.limits.clock)
	for _, ch := range changes {
		if ch.Value == nil {
			continue
		}
		switch family, name, _ := strings.Cut(ch.Key, "/"); family {
		case "state":
			see(m.job(jobs.Name(name)).state.Clock)
		case "runs":
			rec := &m.runs[jobs.RunID(name)].rec
			see(rec.Created, rec.Ended)
		case "tasks":
			rec := &m.attempt(jobs.TaskID(name)).rec
			see(rec.Launched, rec.UnknownSince, rec.Ended)
		}
	}
}
