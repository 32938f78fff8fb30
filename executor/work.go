package executor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"sync"

	"tidemill/jobs"
)

// work runs one attempt from its directory to its report.
func (x *Executor) work(ctx context.Context, a jobs.Assignment) (r report) {
	defer x.progress.drop(a.Task)
	notStarted := func(err error) report { return report{err: err, notStarted: true} }
	kind, ok := x.options.Registry.Get(a.Kind)
	if !ok {
		return notStarted(jobs.Permanent(fmt.Errorf("this executor knows no kind %q, only %v (does it have the scheduler's version?)", a.Kind, x.options.Registry.Names())))
	}
	rt, err := x.prepare(a)
	if errors.Is(err, fs.ErrExist) {
		return x.storage.former(a.Task)
	}
	if err != nil {
		return notStarted(err)
	}
	defer func() {
		// A full disk must not turn done work into a failure.
		if err := rt.close(); err != nil {
			x.log.Warn().Err(err).Str("task", string(a.Task)).Msg("the attempt's log is not complete")
		}
	}()
	// The disk may have taken its time.
	if now := x.options.Now(); late(a, now) {
		return notStarted(lateError(a, now))
	}
	if ctx.Err() != nil {
		return report{err: context.Cause(ctx)}
	}
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(rt.stderr, "panic: %v\n\n%s", p, debug.Stack())
			r = report{err: fmt.Errorf("the kind %s panicked: %v (its stack is in the attempt's stderr)", a.Kind, p)}
		}
	}()
	if a.Stage == 0 {
		return plan(ctx, kind, a, rt)
	}
	if a.Health != nil {
		checking, stop := context.WithCancel(ctx)
		var checks sync.WaitGroup
		checks.Go(func() { x.checkHealth(checking, kind, a, rt.dir) })
		defer checks.Wait()
		defer stop()
	}
	result, err := kind.Work(ctx, a, rt)
	return report{result: result, err: err}
}

func plan(ctx context.Context, kind jobs.Kind, a jobs.Assignment, rt *runtime) report {
	planner, ok := kind.(jobs.Planner)
	if !ok {
		return report{err: jobs.Permanent(fmt.Errorf("the kind %s makes no plans", a.Kind)), notStarted: true}
	}
	p, err := planner.Plan(ctx, a, rt)
	if err != nil {
		return report{err: err}
	}
	encoded, err := encodePlan(p)
	if err != nil {
		return report{err: jobs.Permanent(err)}
	}
	return report{plan: encoded}
}

// prepare makes what a kind's work is given.
func (x *Executor) prepare(a jobs.Assignment) (*runtime, error) {
	dir, err := x.storage.create(a.Task)
	if err != nil {
		return nil, err
	}
	rt := &runtime{assignment: a, dir: dir, progress: x.progress, connections: newConnections(&x.http, a)}
	if rt.stdout, err = createLog(filepath.Join(dir, jobs.StdoutFile), x.options.Bounds.LogBytes); err != nil {
		return nil, fmt.Errorf("open the attempt's log: %w", err)
	}
	if rt.stderr, err = createLog(filepath.Join(dir, jobs.StderrFile), x.options.Bounds.LogBytes); err != nil {
		return nil, fmt.Errorf("open the attempt's log: %w", errors.Join(err, rt.stdout.Close()))
	}
	return rt, nil
}
