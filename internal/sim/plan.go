package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// checkPlan: a plan's chunks are there when its run says so.
func (m *model) checkPlan(x *runAccount, batch map[string]bool) {
	if x.finished {
		return
	}
	for i := range x.rec.PlanChunks {
		key := fmt.Sprintf("plans/%s/%d", x.rec.ID, i)
		if _, ok := m.w.store.records[key]; !ok && !batch[key] {
			m.violate("run %s is planned, and chunk %d of its plan is not durable", x.rec.ID, i)
		}
	}
	x.sealed = x.sealed || x.rec.PlanChunks > 0
}

// putChunk sees a chunk of a plan come or go.
func (m *model) putChunk(name string, ch scheduler.Change) {
	id := jobs.RunID(name[:strings.LastIndexByte(name, '/')])
	if m.chunks[id] == nil {
		m.chunks[id] = map[string]time.Duration{}
	}
	if m.chunks[id][ch.Key] = m.w.now; ch.Value == nil {
		delete(m.chunks[id], ch.Key)
	}
}

// checkChunks: a plan goes with its run.
func (m *model) checkChunks(id jobs.RunID) {
	for _, key := range slices.Sorted(maps.Keys(m.chunks[id])) {
		m.violate("run %s is forgotten, and %s is left of its plan", id, key)
	}
}

// settlePlans: nothing is left of plans whose runs are not there.
func (m *model) settlePlans() {
	for _, id := range slices.Sorted(maps.Keys(m.chunks)) {
		for _, key := range slices.Sorted(maps.Keys(m.chunks[id])) {
			if _, there := m.w.store.records["runs/"+string(id)]; !there && m.w.now-m.chunks[id][key] > sealing {
				m.violate("run %s is not there, and %s is left of its plan", id, key)
			}
		}
	}
}

// sealing is how long the chunks of a plan may lie in the store before the run
// that they are of.
const sealing = 10 * time.Second
