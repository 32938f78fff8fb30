package scheduler

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tidemill/jobs"
)

// planChunk is the size of a stored chunk of a plan.
const planChunk = 512 << 10

func planKey(run jobs.RunID, chunk int) string {
	return keyPlan + string(run) + "/" + strconv.Itoa(chunk)
}

// planKeys are those of a plan of n chunks.
func planKeys(run jobs.RunID, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = planKey(run, i)
	}
	return keys
}

// sealPlan stores a plan, chunks first and the run's record last: the seal.
// Nothing is launched before it, and a sealed plan is never computed again.
func (c *Core) sealPlan(x *run, doc []byte) error {
	plan := &jobs.Plan{}
	if err := json.Unmarshal(doc, plan); err != nil {
		return fmt.Errorf("the plan cannot be read: %w", err)
	}
	if len(plan.Splits) > jobs.MaxSplits {
		return fmt.Errorf("the plan has %d splits; at most %d are allowed", len(plan.Splits), jobs.MaxSplits)
	}
	for i, s := range plan.Splits {
		if s.Stage < 1 {
			return fmt.Errorf("split %d of the plan is of stage %d; stages start at 1", i, s.Stage)
		}
	}
	x.plan = plan
	x.rec.PlanChunks, x.rec.State, x.rec.Stage = c.storePlan(x.rec.ID, doc), jobs.RunRunning, 0
	c.replaceChunks(x)
	x.splits, x.done = nil, 0
	c.noticeRun(x)
	if next := x.nextStage(); next == 0 {
		c.touch(x)
		c.finish(x, jobs.RunSucceeded, "there was nothing to do")
		return nil
	}
	c.advanceStage(x)
	return nil
}

// storePlan writes a plan under a run's key, and says in how many chunks.
func (c *Core) storePlan(id jobs.RunID, doc []byte) int {
	n := 0
	for chunk := range slices.Chunk(doc, planChunk) {
		c.touch(raw{name: planKey(id, n), value: chunk})
		c.seal()
		n++
	}
	return n
}

// replaceChunks deletes what the store holds of a longer plan that an earlier
// leader began to write, and did not seal.
func (c *Core) replaceChunks(x *run) {
	sealed := planKeys(x.rec.ID, x.rec.PlanChunks)
	for _, key := range x.chunks {
		if !slices.Contains(sealed, key) {
			c.discard(key)
		}
	}
	x.chunks = sealed
}

// planAgain throws a planning away that left no plan, and makes another under
// a new version.
func (c *Core) planAgain(x *run, reason string) {
	s := x.splits[0]
	s.succeeded.rec.Superseded = true // or another leader would seek its plan again
	c.touch(s.succeeded)
	s.succeeded, s.fetching, x.done = nil, false, 0
	x.rec.Version = c.nextVersion(x.traits.Targets)
	c.touch(x)
	s.attemptFailed(c, reason, false)
}

// forgetPlan deletes a run's plan, where the store holds anything of one.
func (c *Core) forgetPlan(x *run) {
	for _, key := range x.chunks {
		c.discard(key)
	}
	x.plan, x.chunks = nil, nil
}

// forgetOrphans deletes what is left of plans whose runs are not there: their
// chunks were written, and then the leader crashed before their run was. Those
// of a job that is held are left alone with the rest of it.
func (c *Core) forgetOrphans() {
	for _, id := range slices.Sorted(maps.Keys(c.orphans)) {
		parts, err := jobs.ParseRunID(id)
		if j := c.jobs[parts.Job]; err != nil || j != nil && j.held != "" {
			continue
		}
		for _, key := range c.orphans[id] {
			c.discard(key)
		}
	}
	c.orphans = nil
}

// storedChunks are a store's chunks of plans, and their keys by run.
func storedChunks(records []*parsed) (chunks map[string][]byte, byRun map[jobs.RunID][]string) {
	chunks, byRun = map[string][]byte{}, map[jobs.RunID][]string{}
	for _, p := range records {
		chunks[p.key] = p.raw()
		name := strings.TrimPrefix(p.key, keyPlan)
		if slash := strings.LastIndexByte(name, '/'); slash >= 0 {
			id := jobs.RunID(name[:slash])
			byRun[id] = append(byRun[id], p.key)
		}
	}
	for _, keys := range byRun { // however the records came
		slices.Sort(keys)
	}
	return chunks, byRun
}

// storedPlan puts a run's plan together again; nil where it has none.
func storedPlan(x *run, chunks map[string][]byte) (*jobs.Plan, error) {
	if x.rec.PlanChunks == 0 {
		return nil, nil
	}
	var doc []byte
	for i := range x.rec.PlanChunks {
		chunk, ok := chunks[planKey(x.rec.ID, i)]
		if !ok {
			return nil, fmt.Errorf("chunk %d of its plan is not there", i)
		}
		doc = append(doc, chunk...)
	}
	plan := &jobs.Plan{}
	if err := json.Unmarshal(doc, plan); err != nil {
		return nil, fmt.Errorf("its plan cannot be read: %w", err)
	}
	return plan, nil
}
