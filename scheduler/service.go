package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tidemill/jobs"
)

// A service is one run that lives as long as the service does; its splits are
// its instances. An edit reaches that run, and its instances are replaced one
// after another: an outdated one is stopped where enough others are healthy,
// else its successor starts beside it first.
//
//	current ──outdated, and others suffice──► killed ─► ended ─► current (new)
//	current ──outdated, and they do not────► outgoing, beside current (new) ──that is healthy──► killed

const (
	// stable is how long an instance must have run for its crashes before not
	// to lengthen the back-off.
	stable = time.Minute
	// settled is how long an instance that nothing checks must have run to
	// count as healthy: until then it may still crash at its start.
	settled = 5 * time.Second
	// keptInstances bounds the ended attempts of an instance that are kept.
	keptInstances = 5
)

// ensureService keeps one run of a service alive while it is not paused.
func (c *Core) ensureService(j *job) {
	if !j.traits.Service || !j.declared() || j.held != "" || j.rec.Job.Paused || len(j.live) > 0 {
		return
	}
	j.state.Generations++
	c.touch(stateChange{j})
	c.createRun(j, jobs.Run{Key: "service", Generation: j.state.Generations, Trigger: jobs.ByService, Nominal: c.now})
}

// editService lets an edit reach the job's runs that are a service's.
func (c *Core) editService(j *job) {
	for _, x := range slices.Clone(j.live) {
		switch {
		case !x.traits.Service || x.rec.Cancel != "":
		case !j.traits.Service || j.rec.Job.Paused:
			c.cancel(x, jobs.RunCancelled, "the job was changed")
		default:
			c.revise(x, j.rec.Job, j.traits)
		}
	}
}

// revise gives a service's run the job as it is now.
func (c *Core) revise(x *run, now jobs.Job, traits jobs.Traits) {
	before := x.pinned()
	if outdates(*before, now) {
		x.rec.Revision = now.Version
	}
	x.rec.Pinned, x.rec.JobVersion, x.traits, x.where, x.placed = &now, now.Version, traits, nil, nil
	c.touch(x)
	c.resize(x)
	for _, s := range x.splits {
		if s.waiting && !s.since.IsZero() {
			c.makeReady(s) // what it needs of an offer may be something else now
		}
	}
	c.roll(x)
}

// outdates says whether an edit concerns the instances themselves, and not
// only how many there are and what becomes of them.
func outdates(a, b jobs.Job) bool {
	for _, j := range []*jobs.Job{&a, &b} {
		j.Description, j.Labels, j.Retry, j.OnUnknown, j.UnknownWait, j.Paused = "", nil, jobs.Retry{}, "", nil, false
		if j.Service != nil {
			s := *j.Service
			s.Instances, s.MinimumHealthy = nil, nil
			j.Service = &s
		}
	}
	return !sameDeclaration(a, b)
}

// instances lays out a service's splits.
func (x *run) instances() []jobs.Split {
	list := make([]jobs.Split, *x.pinned().Service.Instances)
	for i := range list {
		list[i] = jobs.Split{Stage: 1, Number: i}
	}
	return list
}

// resize gives the run as many instances as its job wants. Of too many the
// last ones go.
func (c *Core) resize(x *run) {
	if x.rec.State != jobs.RunRunning {
		return
	}
	want := x.instances()
	for _, s := range x.splits[min(len(want), len(x.splits)):] {
		c.unqueue(s)
		for _, t := range x.orderedTasks() {
			if t.split == s {
				t.split = nil
				c.dismiss(t, "the service has fewer instances now")
			}
		}
	}
	x.splits = x.splits[:min(len(want), len(x.splits))]
	for _, def := range want[len(x.splits):] {
		s := &split{run: x, def: def}
		x.splits = append(x.splits, s)
		for _, t := range x.orderedTasks() { // of an earlier time: ids are never used again
			if t.rec.Split == def.Number {
				s.attach(t)
				c.decideUnknown(t)
			}
		}
		c.enqueue(s) // where none is still ending
	}
}

// dismiss ends an attempt that is needed no more; one that is unknown when it
// comes back.
func (c *Core) dismiss(t *task, reason string) {
	if t.rec.State == jobs.AttemptUnknown && t.rec.Kill == "" {
		t.rec.Kill = reason
		c.touch(t)
	}
	c.kill(t, reason)
}

// outdated says whether an instance was launched before the service's last revision.
func (t *task) outdated() bool { return t.rec.JobVersion < t.run.rec.Revision }

// healthy says whether an instance serves, as far as anyone can tell.
func (c *Core) healthy(t *task) bool {
	if t == nil || t.rec.State != jobs.AttemptRunning || t.rec.Kill != "" {
		return false
	}
	if t.rec.Health == "" {
		return c.now.Sub(t.rec.Started) >= settled
	}
	return t.rec.Health == jobs.Healthy
}

// roll brings a service's instances a step nearer to its revision, and leaves
// as many healthy as its job wants. Where it wants all of them, one more than
// that is started at a time.
func (c *Core) roll(x *run) {
	if !x.traits.Service || x.rec.State != jobs.RunRunning || x.rec.Cancel != "" {
		return
	}
	healthy, beside := 0, false
	for _, s := range x.splits {
		if s.outgoing != nil && c.healthy(s.current) {
			c.kill(s.outgoing, "its successor is healthy")
		}
		if c.healthy(s.current) || c.healthy(s.outgoing) {
			healthy++
		}
		beside = beside || s.outgoing != nil
	}
	floor := x.pinned().Service.Floor()
	if !x.traits.Idempotent { // no two at once: each is stopped before its successor starts
		floor = min(floor, len(x.splits)-1)
	}
	for _, s := range x.splits {
		t := s.current
		switch {
		case t == nil || !t.live() || t.rec.Kill != "" || !t.outdated():
		case !c.healthy(t): // it serves nobody
			c.kill(t, "the job was changed")
		case s.outgoing != nil: // which ends first
		case healthy > floor:
			healthy--
			c.kill(t, "the job was changed")
		case floor == len(x.splits) && !beside:
			beside = true
			s.outgoing, s.current = t, nil
			c.enqueue(s)
		}
	}
}

// afterInstance decides what follows an instance's end: another one, at once
// where it was stopped, else after a back-off that grows until one ran well.
func (c *Core) afterInstance(s *split, t *task) {
	switch {
	case t.rec.Kill != "" || t.rec.Drained:
		s.failures, s.avoid = 0, ""
		c.enqueue(s)
	case t.rec.State == jobs.AttemptNotStarted:
		s.launchFailed(c, cmp.Or(t.rec.Message, t.rec.Reason))
	default:
		if !t.rec.Started.IsZero() && t.rec.Ended.Sub(t.rec.Started) > stable {
			s.starts = 0
		}
		s.attemptFailed(c, explainEnd(t), false)
	}
	c.forgetInstances(s)
}

// forgetInstances drops the oldest attempts of an instance that are over, or
// were given up: a service's run may live for years. One that comes back
// after that is a stranger, and killed.
func (c *Core) forgetInstances(s *split) {
	var over []*task
	for _, t := range s.run.orderedTasks() {
		if t.rec.Split == s.def.Number && t != s.latest() && (t.rec.State.Final() || t.rec.Superseded) {
			over = append(over, t)
		}
	}
	for _, t := range over[:max(0, len(over)-keptInstances)] {
		delete(s.run.tasks, t.rec.ID)
		delete(c.tasks, t.rec.ID)
		c.discard(t.key())
	}
}

// watchInstance looks again when an instance that nothing checks has settled.
func (c *Core) watchInstance(t *task) {
	if t.run.traits.Service && t.rec.State == jobs.AttemptRunning && t.rec.Health == "" {
		c.at(t.rec.Started.Add(settled), func() { c.roll(t.run) })
	}
}

// takeHealth takes what an update says of an attempt's checks.
func (t *task) takeHealth(u jobs.Update) (changed bool) {
	if u.Healthy == nil {
		return false
	}
	state := jobs.Unhealthy
	if *u.Healthy {
		state = jobs.Healthy
	}
	changed = t.rec.Health != state
	t.rec.Health = state
	return changed
}

// scaleJob sets how many instances a service has.
func (c *Core) scaleJob(name jobs.Name, instances int) (jobs.Job, error) {
	j, err := c.find("scale", name)
	if err != nil {
		return jobs.Job{}, err
	}
	if !j.traits.Service {
		return jobs.Job{}, &jobs.Error{
			Code: jobs.Invalid, Op: "scale", Subject: "job " + string(name), Message: "it is no service: its runs end", Hint: "kind service keeps a command running",
		}
	}
	n := j.rec.Job
	service := *n.Service
	service.Instances = &instances
	n.Service = &service
	checked, traits, err := c.kinds.Check(n)
	if err != nil {
		return jobs.Job{}, err
	}
	c.applyJob(checked, traits)
	return j.rec.Job, nil
}

// countInstances is what views show of a service.
func (c *Core) countInstances(j *job) *jobs.Instances {
	if !j.traits.Service || j.rec.Job.Service == nil {
		return nil
	}
	n := &jobs.Instances{Wanted: *j.rec.Job.Service.Instances}
	for _, x := range j.live {
		for _, t := range x.tasks {
			if t.rec.State != jobs.AttemptRunning {
				continue
			}
			n.Running++
			if c.healthy(t) {
				n.Healthy++
			}
			if t.outdated() {
				n.Outdated++
			}
		}
	}
	return n
}

// endpoints are where a service's running instances listen; those that are
// being stopped are left out.
func (j *job) endpoints() []jobs.Endpoint {
	var out []jobs.Endpoint
	for _, x := range j.live {
		for _, t := range x.orderedTasks() {
			if t.rec.State != jobs.AttemptRunning || len(t.rec.Ports) == 0 || t.rec.Kill != "" {
				continue
			}
			e := jobs.Endpoint{
				Task: t.rec.ID, Host: t.rec.Host, Ports: slices.Clone(t.rec.Ports), Health: t.rec.Health,
				URL: fmt.Sprintf("http://%s:%d", t.rec.Host, t.rec.Ports[0]),
			}
			for i, name := range x.portNames() {
				if i < len(t.rec.Ports) {
					if e.Names == nil {
						e.Names = map[string]uint64{}
					}
					e.Names[name] = t.rec.Ports[i]
				}
			}
			out = append(out, e)
		}
	}
	return out
}

// portNames are the names of the ports of a service's instances.
func (x *run) portNames() []string {
	if x.rec.Pinned == nil || x.rec.Pinned.Service == nil {
		return nil
	}
	return x.rec.Pinned.Service.Ports
}
