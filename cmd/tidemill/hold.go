package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

type frameworkHold struct {
	Reason string `required:"" placeholder:"TEXT" help:"Why; every waiting task shows it."`
}

// Run holds all launches.
func (c *frameworkHold) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	h, err := api.Hold(ctx, c.Reason)
	if err != nil {
		return err
	}
	return g.print(out, h, func(w io.Writer) {
		row(w, "HELD SINCE", "REASON")
		row(w, h.Since.UTC().Format(time.RFC3339), h.Reason)
	})
}

type frameworkRelease struct {
	Reason string `placeholder:"TEXT" help:"Why, for those who watch."`
}

// Run ends the hold.
func (c *frameworkRelease) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	if err := api.Release(ctx, c.Reason); err != nil {
		return err
	}
	fmt.Fprintln(out.Err, "launches are no longer held")
	return nil
}
