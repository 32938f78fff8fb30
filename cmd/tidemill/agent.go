package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
)

type agentCmd struct {
	List    agentList    `cmd:"" help:"List the agents that have offered something to the leader, and why any is avoided."`
	Release agentRelease `cmd:"" help:"Let tasks be placed again on an agent that is avoided."`
}

type agentList struct{}

// Run lists the agents.
func (agentList) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	list, err := api.Agents(ctx)
	if err != nil {
		return err
	}
	return g.print(out, list, func(w io.Writer) { agentRows(w, list) })
}

func agentRows(w io.Writer, list []jobs.AgentView) {
	row(w, "AGENT", "HOST", "TASKS", "CPUS", "MEM", "OFFERED", "ATTRIBUTES", "AVOIDED")
	for _, a := range list {
		avoided := ""
		if a.Avoided != nil {
			avoided = fmt.Sprintf("until %s: %s", a.Avoided.Until.UTC().Format(time.RFC3339), a.Avoided.Message)
		}
		row(w, a.ID, a.Host, a.Tasks, a.Largest.CPUs, a.Largest.Mem, ago(a.LastOffer), attributesOf(a), avoided)
	}
}

func attributesOf(a jobs.AgentView) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(a.Attributes)) {
		parts = append(parts, name+":"+a.Attributes[name])
	}
	return strings.Join(parts, " ")
}

type agentRelease struct {
	ID string `arg:"" help:"The agent's id."`
}

// Run releases one.
func (c *agentRelease) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	a, err := api.ReleaseAgent(ctx, c.ID)
	if err != nil {
		return err
	}
	return g.print(out, a, func(w io.Writer) { agentRows(w, []jobs.AgentView{a}) })
}
