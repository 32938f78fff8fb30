package scheduler

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"tidemill/jobs"
	"tidemill/scheduler/match"
)

const (
	executorPrefix = "tidemill-"
	sharedPrefix   = executorPrefix + "shared-"
)

// executorFor is what a task is to run in.
func (c *Core) executorFor(t *task, p match.Placement, o *jobs.Offer) ExecutorSpec {
	var spec ExecutorSpec
	if t.run.pinned().Isolation == jobs.IsolationOwn {
		spec = c.cfg.Own
		spec.User, spec.Downloads = cmp.Or(t.run.traits.User, spec.User), t.run.traits.Downloads
		spec.Role, spec.Reserved = o.Role, reservedFor(spec.Resources, o)
		spec.ID = executorPrefix + string(t.rec.ID) + "-" + hashOf(spec)
	} else {
		spec = c.sharedExecutor(o)
		c.agentOf(o.AgentID).live[spec.ID]++
	}
	if p.Cold {
		takeShare(spec, o)
	}
	return spec
}

// sharedExecutor is the warm executor of an offer's agent: one that lives
// there, or the one to be started. Its id is a hash of all it consists of, so
// that one id always means one ExecutorInfo.
func (c *Core) sharedExecutor(o *jobs.Offer) ExecutorSpec {
	plain := c.sharedSpec(o.Role, nil)
	if len(o.Reserved) == 0 || o.HasExecutor(plain.ID) {
		return plain
	}
	for _, id := range o.Executors {
		if spec, ok := c.shared[id]; ok && spec.Role == o.Role {
			return spec
		}
	}
	return c.sharedSpec(o.Role, reservedFor(c.cfg.Shared.Resources, o))
}

// sharedSpec remembers what it has made: there are few, and each offer asks.
func (c *Core) sharedSpec(role string, reserved map[string]string) ExecutorSpec {
	if len(reserved) == 0 {
		if spec, ok := c.shared[role]; ok {
			return spec
		}
	}
	spec := c.cfg.Shared
	spec.Role, spec.Reserved = role, reserved
	spec.ID = sharedPrefix + hashOf(spec)
	c.shared[spec.ID] = spec
	if len(reserved) == 0 {
		c.shared[role] = spec
	}
	return spec
}

// reservedFor says which of an executor's resources are to come out of a
// reservation, and which one: those of which too little is unreserved.
func reservedFor(share jobs.Resources, o *jobs.Offer) map[string]string {
	if len(o.Reserved) == 0 {
		return nil
	}
	var from map[string]string
	free := map[string]float64{"cpus": o.Resources.CPUs, "mem": o.Resources.Mem, "disk": o.Resources.Disk}
	largest := map[string]jobs.Reservation{}
	for _, r := range o.Reserved {
		free[r.Resource] -= r.Amount
		if r.Amount > largest[r.Resource].Amount {
			largest[r.Resource] = r
		}
	}
	for name, need := range map[string]float64{"cpus": share.CPUs, "mem": share.Mem, "disk": share.Disk} {
		if r := largest[name]; need > free[name]+0.0005 && r.Amount >= need {
			if from == nil {
				from = map[string]string{}
			}
			from[name] = r.As
		}
	}
	return from
}

// takeShare books an executor on what the next one may be given of an offer.
func takeShare(spec ExecutorSpec, o *jobs.Offer) {
	if len(o.Reserved) == 0 {
		return
	}
	o.Resources = o.Resources.Sub(spec.Resources)
	o.Reserved = slices.Clone(o.Reserved)
	for name, need := range map[string]float64{"cpus": spec.Resources.CPUs, "mem": spec.Resources.Mem, "disk": spec.Resources.Disk} {
		for i := range o.Reserved {
			if r := &o.Reserved[i]; r.Resource == name && r.As == spec.Reserved[name] {
				r.Amount -= need
			}
		}
	}
}

func hashOf(spec ExecutorSpec) string {
	spec.ID = ""
	sum := sha256.Sum256(mustJSON(spec))
	return hex.EncodeToString(sum[:6])
}
