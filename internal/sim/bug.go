package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// corrupt is the store's breach: what of a batch is written.
func (b Bug) corrupt(records map[string][]byte, changes []scheduler.Change) []scheduler.Change {
	switch b {
	case TornBatches:
		return b.tear(changes)
	case LostFramework:
		return edit(changes, "meta/", func(r map[string]any) { delete(r, "framework") })
	case IncarnationForgotten:
		return b.forgetIncarnations(records, changes)
	case EdgeNotPersisted:
		return edit(changes, "state/", func(r map[string]any) { delete(r, "edges") })
	case SkipsUnrecorded:
		return edit(changes, "state/", func(r map[string]any) { delete(r, "skipped") })
	case MarkNotPersisted:
		return edit(changes, "state/", func(r map[string]any) { delete(r, "mark") })
	case SealFirst:
		return slices.DeleteFunc(slices.Clone(changes), func(ch scheduler.Change) bool { return strings.HasPrefix(ch.Key, "plans/") && ch.Value != nil })
	case PlanOutlivesRun:
		return slices.DeleteFunc(slices.Clone(changes), func(ch scheduler.Change) bool { return strings.HasPrefix(ch.Key, "plans/") && ch.Value == nil })
	case ClockForgotten:
		return edit(edit(changes, "state/", func(r map[string]any) { delete(r, "clock") }), "meta/", func(r map[string]any) { delete(r, "clock") })
	case TombstoneForgotten:
		out := slices.Clone(changes)
		for i, ch := range out {
			if strings.HasPrefix(ch.Key, "jobs/") && bytes.Contains(ch.Value, []byte(`"deleted":true`)) {
				out[i].Value = nil
			}
		}
		return out
	case ParentsMisread:
		return edit(changes, "state/", succeedPending)
	case StaleTakenForFresh:
		return edit(changes, "state/", freshen)
	case HoldForgotten:
		return edit(changes, "meta/", func(r map[string]any) { delete(r, "hold") })
	case PlannedAgain, PinsForgotten, ChildrenUnasked, IntervalForgotten, KeptForgotten:
		return edit(changes, "runs/", func(r map[string]any) { b.misrecord(records, r) })
	}
	return changes
}

// succeedPending has all that waits at a child's edges be successes.
func succeedPending(state map[string]any) {
	edges, _ := state["edges"].(map[string]any)
	for _, e := range edges {
		pending, _ := e.(map[string]any)["pending"].([]any)
		for _, run := range pending {
			run.(map[string]any)["state"] = jobs.RunSucceeded
		}
	}
}

// freshen has every success that waits at an edge be one of just now.
func freshen(state map[string]any) {
	edges, _ := state["edges"].(map[string]any)
	for _, e := range edges {
		if latest, ok := e.(map[string]any)["latest"].(map[string]any); ok {
			latest["ended"] = epoch.Add(time.Hour)
		}
	}
}

// misrecord changes what is written of a run.
func (b Bug) misrecord(records map[string][]byte, run map[string]any) {
	pinned, _ := run["pinned"].(map[string]any)
	switch {
	case b == PlannedAgain && run["plan_chunks"] != nil && run["state"] == "running":
		delete(run, "plan_chunks")
		run["state"], run["stage"] = jobs.RunPlanning, 0
	case b == PinsForgotten && pinned != nil:
		var j map[string]any
		if json.Unmarshal(records[fmt.Sprint("jobs/", run["job"])], &j) == nil {
			run["pinned"] = j["job"]
		}
	case b == ChildrenUnasked:
		run["fire_children"] = true
	case b == KeptForgotten:
		if rerun, ok := run["rerun"].(map[string]any); ok {
			delete(rerun, "succeeded")
		}
	case b == IntervalForgotten:
		if interval, ok := run["interval"].(map[string]any); ok {
			interval["start"] = epoch
		}
	}
}

// tear leaves new runs out of a batch that moves their mark.
func (Bug) tear(changes []scheduler.Change) []scheduler.Change {
	var kept []scheduler.Change
	for _, ch := range changes {
		if !strings.HasPrefix(ch.Key, "runs/") || !bytes.Contains(ch.Value, []byte(`"trigger":"schedule"`)) || len(changes) == 1 {
			kept = append(kept, ch)
		}
	}
	return kept
}

// forgetIncarnations deletes a job's state with the job.
func (Bug) forgetIncarnations(records map[string][]byte, changes []scheduler.Change) []scheduler.Change {
	out := changes
	for _, ch := range changes {
		if name, ok := strings.CutPrefix(ch.Key, "jobs/"); ok && ch.Value == nil && records[ch.Key] != nil {
			out = append(out[:len(out):len(out)], scheduler.Change{Key: "state/" + name})
		}
	}
	return out
}

// edit changes the records of a family on their way to the store.
func edit(changes []scheduler.Change, family string, do func(map[string]any)) []scheduler.Change {
	out := append([]scheduler.Change(nil), changes...)
	for i, ch := range out {
		if ch.Value == nil || !strings.HasPrefix(ch.Key, family) {
			continue
		}
		var r map[string]any
		decode(ch, &r)
		do(r)
		out[i].Value, _ = json.Marshal(r) // it was decoded just now
	}
	return out
}

// hear is the breach of who feeds the core: what it is told instead.
func (b Bug) hear(l *leader, ev scheduler.Event) scheduler.Event {
	switch e := ev.(type) {
	case scheduler.Subscribed:
		if b == YoungMasterBelieved {
			e.MasterSince = epoch.Add(-time.Hour)
		}
		return e
	case scheduler.Offered:
		if b == OffersForgotten && l.w.chance(10) {
			return scheduler.Tick{}
		}
		if b == OffersKept && l.w.chance(10) {
			s := l.open
			l.receive(3*time.Second, func() {
				if l.open == s {
					l.step(e)
				}
			})
			return scheduler.Tick{}
		}
	case scheduler.Fetched:
		if b == OutcomeNotSought && e.File == jobs.OutcomeFile {
			e.Data, e.Err = nil, nil
			return e
		}
	case scheduler.Updated:
		e.Update = b.distort(l, e.Update)
		return e
	}
	return ev
}

// distort is the breach of who understands updates.
func (b Bug) distort(l *leader, u jobs.Update) jobs.Update {
	agents := u.State == jobs.TaskUnreachable || u.State == jobs.TaskLost
	switch {
	case b == AcknowledgedFirst && len(u.UUID) > 0 && l.open != nil:
		l.queue.Push(l.open.number, []scheduler.Call{scheduler.Acknowledge{Task: u.Task, Agent: u.Agent, UUID: u.UUID}})
	case b == LossIsFailure && agents && u.Reason == "REASON_SLAVE_REMOVED":
		u.State, u.Source, u.Reason = jobs.TaskFailed, "SOURCE_EXECUTOR", ""
	case b == NewAgentIsProof && agents && u.Reason == "REASON_SLAVE_REMOVED":
		u.State = jobs.TaskGoneByOperator
	case b == StateRewritten:
		l.rewrite(u)
	case b == RefusalIsStart && bytes.Contains(u.Data, []byte(`"not_started":true`)):
		u.Data = bytes.Replace(u.Data, []byte(`"not_started":true`), []byte(`"not_started":false`), 1)
	}
	return u
}

// rewrite has a late word change what is final.
func (l *leader) rewrite(u jobs.Update) {
	ch := scheduler.Change{Key: "tasks/" + string(u.Task), Value: l.w.store.records["tasks/"+string(u.Task)]}
	if ch.Value != nil && l.w.model.attempt(u.Task).rec.State.Final() {
		l.rewritten = edit([]scheduler.Change{ch}, "tasks/", func(r map[string]any) { r["state"] = jobs.AttemptRunning })
	}
}

// calls is the breach of who sends calls: what is left out.
func (b Bug) calls(w *world, list []scheduler.Call) []scheduler.Call {
	if b != NotKilledAgain {
		return list
	}
	var out []scheduler.Call
	for _, call := range list {
		if c, ok := call.(scheduler.Kill); !ok || !w.killed[c.Task] {
			out = append(out, call)
		}
		if c, ok := call.(scheduler.Kill); ok {
			w.killed[c.Task] = true
		}
	}
	return out
}

// kinds is the breach of what the core is told of a kind.
func (b Bug) kinds() *jobs.Registry {
	if b == RepeatedAtOnce {
		return registryOf(kind{careless: true})
	}
	return registry()
}

// config is the breach of the core's own times.
func (b Bug) config(c scheduler.Config) scheduler.Config {
	if b == NoWaitForStartBy {
		c.Skew = -time.Hour
	}
	return c
}
