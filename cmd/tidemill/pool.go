package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"tidemill/internal/jobfile"
	"tidemill/jobs"
)

type poolCmd struct {
	List   poolList   `cmd:"" help:"List pools, and who holds their slots."`
	Set    poolSet    `cmd:"" help:"Create or change pools: one by its name, or those of a file."`
	Delete poolDelete `cmd:"" help:"Delete pools that no job names."`
}

type poolList struct{}

// Run lists the pools.
func (c *poolList) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	list, err := api.Pools(ctx)
	if err != nil {
		return err
	}
	return g.print(out, list, func(w io.Writer) { poolRows(w, list) })
}

func poolRows(w io.Writer, list []jobs.PoolView) {
	row(w, "NAME", "SLOTS", "USED", "WAITING", "HELD BY", "DESCRIPTION")
	for _, p := range list {
		holders := make([]string, len(p.Holders))
		for i, h := range p.Holders {
			holders[i] = fmt.Sprintf("%s (%d)", h.Job, h.Slots)
		}
		row(w, p.Name, p.Slots, p.Used, p.Waiting, strings.Join(holders, ", "), p.Description)
	}
}

type poolSet struct {
	Name        string `arg:"" optional:"" help:"The pool's name."`
	Slots       int    `placeholder:"N" help:"How many slots it has."`
	Description string `placeholder:"TEXT" help:"For people."`
	File        string `short:"f" placeholder:"FILE|-" help:"A list of pools, each with name, slots and description, as YAML or JSON; - for standard input."`
}

// Run sets the pools, one after the other.
func (c *poolSet) Run(ctx context.Context, g *globals, out console) error {
	list, err := c.pools(out.In)
	if err != nil {
		return &exitError{Code: exitUsage, Err: err}
	}
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	views := make([]jobs.PoolView, len(list))
	for i, p := range list {
		if views[i], err = api.SetPool(ctx, p); err != nil {
			return err
		}
	}
	return g.print(out, views, func(w io.Writer) { poolRows(w, views) })
}

// pools are the one that the flags describe, or those of the file; all of
// them are valid.
func (c *poolSet) pools(in io.Reader) ([]jobs.Pool, error) {
	if (c.Name == "") == (c.File == "") {
		return nil, errors.New("name a pool and its --slots, or a file of pools with --file")
	}
	list := []jobs.Pool{{Name: jobs.Name(c.Name), Slots: c.Slots, Description: c.Description}}
	if c.File != "" {
		sources, err := jobfile.Read(c.File, in)
		if err != nil {
			return nil, err
		}
		list = nil
		for _, source := range sources {
			var some []jobs.Pool
			if err := jobfile.DecodeValue(source, &some); err != nil {
				return nil, err
			}
			list = append(list, some...)
		}
	}
	for _, p := range list {
		if err := p.Validate(); err != nil {
			return nil, fmt.Errorf("pool %s: %w", p.Name, err)
		}
	}
	return list, nil
}

type poolDelete struct {
	Name []string `arg:"" help:"The pools' names."`
}

// Run deletes the pools.
func (c *poolDelete) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	for _, name := range c.Name {
		if err := api.DeletePool(ctx, jobs.Name(name)); err != nil {
			return err
		}
		fmt.Fprintf(out.Err, "%s deleted\n", name)
	}
	return nil
}
