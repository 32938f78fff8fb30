package sim

import (
	"slices"
	"time"

	"tidemill/jobs"
)

// settle looks at the end of a history: after a quiet time everything that
// was due has run, and nothing hangs.
func (m *model) settle(quiet time.Duration) {
	end := epoch.Add(m.w.now)
	for name, j := range m.jobs {
		if j.acked && !j.present && !j.deletes {
			m.violate("job %s was acknowledged and is lost", name)
		}
		if !j.present || j.sched == nil || j.rec.Job.Paused {
			continue
		}
		if len(j.state.Backfills) > 0 && !m.busy(name) {
			m.violate("job %s: its backfill hangs", name)
		}
		floor := j.state.Mark
		if j.rec.Rescheduled.After(floor) {
			floor = j.rec.Rescheduled
		}
		if next, ok := j.sched.Next(floor); ok && next.Actual.Before(end.Add(-quiet/2)) {
			m.violate("job %s: %s was due and nothing came of it", name, next.Nominal.Format(time.TimeOnly))
		}
	}
	for id, x := range m.runs {
		if x.rec.Trigger == jobs.ByService {
			continue // it may have no instance at all
		}
		if !x.finished && x.rec.Created.Before(end.Add(-quiet/2)) && !m.waits(x) {
			m.violate("run %s hangs: it is %s since %s", id, x.rec.State, x.rec.Created.Format(time.TimeOnly))
		}
	}
	m.settleServices()
	m.settleOrphans()
	m.settlePast()
	m.settlePlans()
	for _, o := range m.w.master.offers {
		if m.w.now-o.made > 10*time.Second && m.w.master.stream != nil && !m.w.master.stream.hungUp {
			m.violate("offer %s was never answered", o.ID)
		}
	}
	slices.Sort(m.violations)
}

// patience is how long nothing may come of a job that has something to do:
// as long as an update may have to be repeated.
const patience = 50 * time.Second

// seeking is how long an outcome file may be sought, begun again by a failover.
const seeking = 150 * time.Second

// waits says whether a run may live on: behind an attempt that works or is
// unknown and waits for a word, its own or an older run's of the job.
func (m *model) waits(x *runAccount) bool {
	for _, other := range m.runs {
		if other.rec.Job != x.rec.Job && !shares(other, x) {
			continue
		}
		for _, a := range other.attempts {
			if a.working || m.w.now-a.touched < patience {
				return true // it works, or something came of it lately
			}
			if other.finished {
				continue
			}
			if a.rec.State == jobs.AttemptUnknown && !a.rec.Superseded {
				return true
			}
			sought := a.rec.Ending != "" && !a.rec.State.Final() || a.rec.Stage == 0 && a.success && !other.sealed
			if sought && m.w.now-a.touched < seeking {
				return true
			}
		}
	}
	return false
}

// shares says whether two runs take slots of one pool.
func shares(a, b *runAccount) bool { return a.pool != "" && a.pool == b.pool }

// busy says whether a job has a live run.
func (m *model) busy(name jobs.Name) bool {
	for _, x := range m.runs {
		if x.rec.Job == name && !x.finished {
			return true
		}
	}
	return false
}

// settleOrphans: nothing works that nobody waits for, or that is to be killed.
func (m *model) settleOrphans() {
	for id, a := range m.attempts {
		switch {
		case !a.working:
		case a.run == nil || a.run.finished:
			m.violate("task %s is an orphan: it works, and its run is over", id)
		case a.doomed > 0 && a.agent.reachable() && m.w.now-a.doomed >= patience:
			m.violate("attempt %s is at work, %s after it was to be killed", id, m.w.now-a.doomed)
		}
	}
}

// settleServices: every instance of a service is up, or something came of it lately.
func (m *model) settleServices() {
	for name, j := range m.jobs {
		if !j.present || j.rec.Job.Paused || j.rec.Job.Schedule != nil || !decodeSpec(j.rec.Job.Spec).Service {
			continue
		}
		if !m.busy(name) {
			m.violate("service %s has no run", name)
		}
		up := map[int]bool{}
		for _, x := range m.runs {
			if x.rec.Job != name || x.finished {
				continue
			}
			for _, a := range x.attempts {
				if a.working || m.w.now-a.touched < patience || a.rec.State == jobs.AttemptUnknown && !a.rec.Superseded {
					up[a.rec.Split] = true
				}
			}
		}
		for n := range *j.rec.Job.Service.Instances {
			if m.busy(name) && !up[n] {
				m.violate("instance %d of service %s is not up", n, name)
			}
		}
	}
}
