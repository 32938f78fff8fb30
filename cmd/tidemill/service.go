package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"tidemill/jobs"
)

type jobScale struct {
	Name      string `arg:"" help:"The service's name."`
	Instances int    `arg:"" help:"How many instances it is to have; 0 stops them all."`
}

// Run sets how many instances a service has.
func (c *jobScale) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	j, err := api.Scale(ctx, jobs.Name(c.Name), c.Instances)
	if err != nil {
		return err
	}
	return g.print(out, j, func(w io.Writer) {
		row(w, "NAME", "INSTANCES", "VERSION")
		row(w, j.Name, c.Instances, j.Version)
	})
}

type jobEndpoints struct {
	Name string `arg:"" help:"The service's name."`
}

// Run lists where a service's running instances listen.
func (c *jobEndpoints) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	list, err := api.Endpoints(ctx, jobs.Name(c.Name))
	if err != nil {
		return err
	}
	return g.print(out, list, func(w io.Writer) {
		row(w, "HOST", "PORTS", "HEALTH", "TASK")
		for _, e := range list {
			row(w, e.Host, portsOf(e), healthOf(e), e.Task)
		}
	})
}

// portsOf names an instance's ports, as far as they have names.
func portsOf(e jobs.Endpoint) string {
	byNumber := map[uint64]string{}
	for _, name := range slices.Sorted(maps.Keys(e.Names)) {
		byNumber[e.Names[name]] = name + "="
	}
	var out []string
	for _, p := range e.Ports {
		out = append(out, fmt.Sprintf("%s%d", byNumber[p], p))
	}
	return strings.Join(out, ",")
}

// healthOf is what the checks of an instance say; one that nothing checks runs.
func healthOf(e jobs.Endpoint) string { return string(cmp.Or(e.Health, "running")) }
