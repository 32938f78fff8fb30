// Package noop is a kind of job that does nothing, for benches and tests.
package noop

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tidemill/jobs"
)

// Kind is the kind "noop".
type Kind struct{}

var (
	_ jobs.Kind    = Kind{}
	_ jobs.Planner = Kind{}
)

// Spec is what a noop pretends.
type Spec struct {
	Duration jobs.Duration `json:"duration,omitempty"` // of each split
	Fail     int           `json:"fail,omitempty"`     // the first so many starts of each split fail
	Splits   int           `json:"splits,omitempty"`   // default 1
	Planned  bool          `json:"planned,omitempty"`  // by a planning task
	Lines    int           `json:"lines,omitempty"`    // written to stdout
}

// Name is the kind's.
func (Kind) Name() string { return "noop" }

// Summary tells people what it is.
func (Kind) Summary() string { return "does nothing for a while (benches and tests)" }

// Check validates the spec.
func (Kind) Check(raw json.RawMessage) (jobs.Traits, error) {
	s, err := decode(raw)
	if err != nil {
		return jobs.Traits{}, err
	}
	t := jobs.Traits{Idempotent: true, Isolation: jobs.IsolationShared, Planned: s.Planned}
	if !s.Planned {
		t.Splits = splits(s.Splits)
	}
	return t, nil
}

// Plan gives the splits that the spec asks for.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, _ jobs.Runtime) (jobs.Plan, error) {
	s, err := decode(a.Spec)
	if err != nil {
		return jobs.Plan{}, jobs.Permanent(err)
	}
	return jobs.Plan{Splits: splits(s.Splits)}, ctx.Err()
}

// Work waits, writes and fails as the spec says.
func (Kind) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	s, err := decode(a.Spec)
	if err != nil {
		return jobs.Result{}, jobs.Permanent(err)
	}
	for i := range s.Lines {
		if _, err := fmt.Fprintf(rt.Stdout(), "line %d of split %d\n", i+1, a.Split.Number); err != nil {
			return jobs.Result{}, fmt.Errorf("write a line: %w", err)
		}
	}
	if err := wait(ctx, s.Duration.D()); err != nil {
		return jobs.Result{}, err
	}
	if s.Fail > 0 && a.Start <= s.Fail {
		return jobs.Result{ExitCode: 1}, fmt.Errorf("start %d fails, as the spec asks", a.Start)
	}
	rt.Progress(jobs.Progress{Done: 1, Total: 1})
	return jobs.Result{}, nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func splits(n int) []jobs.Split {
	out := make([]jobs.Split, max(1, n))
	for i := range out {
		out[i] = jobs.Split{Stage: 1, Number: i}
	}
	return out
}

func decode(raw json.RawMessage) (Spec, error) {
	var s Spec
	var e jobs.FieldErrors
	e.AddAll("", jobs.DecodeStrict(raw, &s))
	if s.Duration < 0 {
		e.Addf("duration", "is %s; it may not be negative", s.Duration)
	}
	if s.Splits < 0 || s.Splits > jobs.MaxSplits {
		e.Addf("splits", "is %d; 0 to %d are allowed", s.Splits, jobs.MaxSplits)
	}
	if s.Fail < 0 || s.Lines < 0 {
		e.Addf("", "fail and lines may not be negative")
	}
	return s, e.Err()
}
