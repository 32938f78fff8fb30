package scheduler

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"tidemill/jobs"
)

// Bounds of reading history: how long it may take, and how far an offset
// reaches (a cursor has no such bound).
const (
	pastTimeout = 5 * time.Second
	pastPage    = 1000
	maxPastSkip = 10_000
)

// Runs lists runs, newest first. Those of one job go on in history, where
// there is one.
func (s *Scheduler) Runs(ctx context.Context, q jobs.RunQuery) (page jobs.RunPage, err error) {
	past := s.opt.History != nil && q.Job != "" && !q.Live && !q.Stored
	wide := q
	if past {
		if q.Offset > maxPastSkip {
			return page, &jobs.Error{Code: jobs.Invalid, Op: "list runs", Message: "so many runs cannot be left out", Hint: "go on from a page with --before and its \"next\""}
		}
		wide.Offset, wide.Limit = 0, q.Offset+cmp.Or(q.Limit, pastPage)
	}
	var letGo time.Time
	if lookErr := s.look(ctx, func(c *Core) { page, err = c.Runs(wide); letGo = c.LetGo(q.Job) }); lookErr != nil {
		return page, lookErr
	}
	if !past {
		return page, err
	}
	code, _ := jobs.CodeOf(err)
	if err != nil && code != jobs.NotFound { // history remembers jobs that were deleted
		return page, err
	}
	unknown := err
	if n := len(page.Runs); n < wide.Limit || !page.Runs[n-1].Created.After(letGo) {
		page, err = s.withPast(ctx, wide, page)
		if len(page.Runs) == 0 && (unknown != nil || err != nil) {
			return jobs.RunPage{}, cmp.Or(err, unknown)
		}
		if err != nil && !q.Before.IsZero() { // who goes through all of them is not to take this for the end
			return jobs.RunPage{}, err
		}
		if err != nil {
			page.Incomplete = err.Error()
		}
	} else if page.Next.IsZero() {
		page.Next = page.Runs[n-1].Cursor()
	}
	page.Runs = page.Runs[min(q.Offset, len(page.Runs)):]
	return page, nil
}

// withPast puts what history has between the runs of a page. Behind the place
// where either list was cut short nothing is shown: it may be in the other.
func (s *Scheduler) withPast(ctx context.Context, q jobs.RunQuery, page jobs.RunPage) (jobs.RunPage, error) {
	ctx, cancel := context.WithTimeout(ctx, pastTimeout)
	defer cancel()
	older, err := s.opt.History.Runs(ctx, q)
	if err != nil {
		return page, historyAway(err)
	}
	merged := jobs.RunPage{Total: page.Total, Runs: slices.Concat(page.Runs, older.Runs)}
	slices.SortStableFunc(merged.Runs, func(a, b jobs.RunView) int { return a.Cursor().Compare(b.Cursor()) })
	merged.Runs = slices.CompactFunc(merged.Runs, func(a, b jobs.RunView) bool { return a.ID == b.ID })
	for _, end := range []jobs.RunCursor{page.Next, older.Next} {
		if !end.IsZero() && (merged.Next.IsZero() || end.Compare(merged.Next) < 0) {
			merged.Next = end
		}
	}
	if !merged.Next.IsZero() {
		merged.Runs = slices.DeleteFunc(merged.Runs, func(r jobs.RunView) bool { return r.Cursor().Compare(merged.Next) > 0 })
	}
	if len(merged.Runs) > q.Limit {
		merged.Runs = merged.Runs[:q.Limit]
		merged.Next = merged.Runs[q.Limit-1].Cursor()
	}
	return merged, nil
}

func historyAway(err error) error {
	return &jobs.Error{Code: jobs.Unavailable, Op: "read the run history", Err: err, Hint: "the runs of the store are shown without it; try again in a moment"}
}

// RunView shows one run, be it long ago.
func (s *Scheduler) RunView(ctx context.Context, id jobs.RunID) (v jobs.RunView, err error) {
	if lookErr := s.look(ctx, func(c *Core) { v, err = c.RunView(id) }); lookErr != nil {
		return v, lookErr
	}
	if code, _ := jobs.CodeOf(err); code != jobs.NotFound || s.opt.History == nil {
		return v, err
	}
	return s.pastRun(ctx, id, err)
}

// pastRun finds a run in history; none gives the error there was without it.
func (s *Scheduler) pastRun(ctx context.Context, id jobs.RunID, none error) (jobs.RunView, error) {
	ctx, cancel := context.WithTimeout(ctx, pastTimeout)
	defer cancel()
	v, err := s.opt.History.Run(ctx, id)
	if code, _ := jobs.CodeOf(err); code == jobs.NotFound {
		return v, none
	}
	if err != nil {
		return v, historyAway(err)
	}
	return v, nil
}

// taskView finds an attempt, and where its sandbox is; history knows those
// that the store does not hold any more.
func (s *Scheduler) taskView(ctx context.Context, id jobs.TaskID) (task jobs.Task, where Sandbox, err error) {
	if lookErr := s.look(ctx, func(c *Core) { task, err = c.TaskView(id); where = c.sandboxOf(&task) }); lookErr != nil {
		return task, where, lookErr
	}
	parts, bad := jobs.ParseTaskID(id)
	if code, _ := jobs.CodeOf(err); code != jobs.NotFound || s.opt.History == nil || bad != nil {
		return task, where, err
	}
	v, err := s.pastRun(ctx, parts.Run, err)
	if err != nil {
		return task, where, err
	}
	i := slices.IndexFunc(v.Tasks, func(t jobs.TaskView) bool { return t.ID == id })
	if i < 0 {
		return task, where, &jobs.Error{Code: jobs.NotFound, Op: "show", Subject: "task " + string(id), Message: "its run has no such task", Hint: "tidemill run show " + string(parts.Run)}
	}
	task = v.Tasks[i].Task
	return task, where, s.look(ctx, func(c *Core) { where = c.sandboxOf(&task) })
}

// writeHistory writes final runs to history for the core.
func (t *term) writeHistory(ctx context.Context, runs []jobs.RunView) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	done := Recorded{Runs: make([]jobs.RunID, len(runs)), Err: t.opt.History.Write(ctx, runs)}
	for i := range runs {
		done.Runs[i] = runs[i].ID
	}
	if done.Err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		t.log.Warn().Err(done.Err).Int("runs", len(runs)).Msg("runs cannot be written to history; they stay in the store, and it is tried again")
	}
	t.post(done)
}
