package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"tidemill/jobs"
)

// runRerun does runs again.
type runRerun struct {
	ID     []string `arg:"" help:"The runs' ids."`
	Failed bool     `help:"Only the splits that did not succeed: the plan, the version and the results of the others are taken over."`
}

// Run starts each run's work, or what of it failed, in a new run of a higher
// generation.
func (c *runRerun) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	var list []jobs.Run
	for _, id := range c.ID {
		again, err := api.Rerun(ctx, jobs.RunID(id), c.Failed)
		if err != nil {
			return err
		}
		list = append(list, again)
	}
	return g.print(out, list, func(w io.Writer) {
		row(w, "RUN", "STATE", "KEEPS")
		for _, r := range list {
			row(w, r.ID, r.State, keeps(r.Rerun))
		}
	})
}

// keeps says what a run took over of an earlier one.
func keeps(r *jobs.Rerun) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%d %s of stage %d, from %s", r.Kept, plural(r.Kept, "split"), r.Stage, r.Of)
}

// runResolve settles what nobody could know.
type runResolve struct {
	ID string `arg:"" help:"The run's id."`
	As string `arg:"" enum:"success,failure,retry" help:"How its unknown attempts went: success or failure; or retry, to begin another."`
}

// Run resolves the run's unknown attempts.
func (c *runResolve) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	run, err := api.Resolve(ctx, jobs.RunID(c.ID), jobs.Resolution(c.As))
	if err != nil {
		return err
	}
	fmt.Fprintf(out.Err, "%s is %s\n", run.ID, run.State)
	return nil
}

// jobBackfill runs the instants of an interval.
type jobBackfill struct {
	Name   string    `arg:"" help:"The job's name."`
	From   time.Time `required:"" placeholder:"TIME" help:"First instant, as in 2026-01-31T00:00:00Z."`
	To     time.Time `required:"" placeholder:"TIME" help:"End of the interval; an instant at it is not run."`
	AtOnce int       `default:"1" help:"Runs at a time (1 to 100)."`
	Force  bool      `help:"Run again what succeeded."`
}

// Run asks for the backfill.
func (c *jobBackfill) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	n, err := api.Backfill(ctx, jobs.BackfillRequest{Job: jobs.Name(c.Name), From: c.From, To: c.To, AtOnce: c.AtOnce, Force: c.Force})
	if err != nil {
		return err
	}
	fmt.Fprintf(out.Err, "%d instants of %s will run; tidemill run list --job %[2]s shows them\n", n, c.Name)
	return nil
}

// jobNext lists coming instants.
type jobNext struct {
	Name string `arg:"" help:"The job's name."`
	N    int    `short:"n" default:"10" help:"How many (1 to 1000)."`
}

// Run lists them, in UTC.
func (c *jobNext) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	list, err := api.Next(ctx, jobs.Name(c.Name), c.N)
	if err != nil {
		return err
	}
	return g.print(out, list, func(w io.Writer) {
		row(w, "DUE")
		for _, at := range list {
			row(w, at.UTC().Format(time.RFC3339))
		}
	})
}
