package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/config"
	"tidemill/internal/mesos"
	"tidemill/jobs"
	"tidemill/scheduler"
)

type frameworkCmd struct {
	Show     frameworkShow     `cmd:"" help:"Show the framework's id, its master, who leads it, and what its store holds."`
	Hold     frameworkHold     `cmd:"" help:"Launch nothing until the release, for maintenance; what is due waits, what is at work goes on."`
	Release  frameworkRelease  `cmd:"" help:"Launch again what a hold kept waiting."`
	Reset    frameworkReset    `cmd:"" help:"Forget the framework's id, so that the next leader registers a new framework."`
	Teardown frameworkTeardown `cmd:"" help:"End the framework at the master for good, and all its tasks."`
}

type frameworkShow struct{}

// Run asks the leader.
func (c *frameworkShow) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	s, err := api.Status(ctx)
	if err != nil {
		return err
	}
	return g.print(out, s, func(w io.Writer) {
		master := s.Master
		if !s.Subscribed {
			master += " (not subscribed)"
		}
		row(w, "FRAMEWORK", s.Framework)
		row(w, "MASTER", master)
		row(w, "LEADER", s.Leader)
		row(w, "TERM", s.Term)
		row(w, "STREAM", s.Stream)
		row(w, "TASKS", fmt.Sprintf("%d live, %d waiting, %d unknown", s.LiveTasks, s.WaitingTasks, s.UnknownTasks))
		row(w, "STORE", fmt.Sprintf("%d records, %d bytes", s.Records, s.StoreBytes))
		row(w, "HELD JOBS", s.HeldJobs)
		if h := s.Hold; h != nil {
			row(w, "LAUNCHES HELD", fmt.Sprintf("since %s: %s", h.Since.UTC().Format(time.RFC3339), h.Reason))
		}
		for _, problem := range s.Problems {
			row(w, "PROBLEM", problem)
		}
	})
}

type frameworkReset struct {
	Force bool `help:"Even while tasks may be at work: they go on without Tidemill, and are unknown to it."`
	storeFlags
}

// Run forgets the id, while no scheduler leads.
func (c *frameworkReset) Run(ctx context.Context, out console, log zerolog.Logger) error {
	s, err := c.hold(ctx, log)
	if err != nil {
		return err
	}
	defer s.release(ctx)
	changes, id, unknown, err := scheduler.ForgetFramework(s.records, c.Force, time.Now())
	if err == nil {
		err = scheduler.Write(ctx, s, []scheduler.Group{changes})
	}
	if err != nil {
		return err
	}
	forgotten(out, id, unknown)
	return nil
}

func forgotten(out console, id string, unknown int) {
	fmt.Fprintf(out.Err, "framework %s is forgotten; the next leader registers a new one\n", id)
	if unknown > 0 {
		fmt.Fprintf(out.Err, "%d %s unknown now: the on_unknown of the jobs decides\n", unknown, plural(unknown, "attempt"))
	}
}

type frameworkTeardown struct {
	Yes bool `help:"Do it: every task is killed, and nothing brings the framework back."`
	config.Flags
}

// teardownWait bounds the master's answer.
const teardownWait = 30 * time.Second

// Run tears the framework down, while no scheduler leads, and then forgets it.
func (c *frameworkTeardown) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) error {
	o, err := c.Options(g.TokenFile)
	if err != nil {
		return err
	}
	if names := notGiven(o); names != "" {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("not given: %s (give what the schedulers were started with)", names)}
	}
	s, err := storeFlags{ZK: o.ZK}.hold(ctx, log)
	if err != nil {
		return err
	}
	defer s.release(ctx)
	changes, id, unknown, err := scheduler.ForgetFramework(s.records, true, time.Now())
	if err != nil {
		return err
	}
	if !c.Yes {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("this kills every task of framework %s (%d %s live), for good; say --yes to do it", id, unknown, plural(unknown, "attempt"))}
	}
	if err := tearDown(ctx, o, id, log); err != nil {
		return &jobs.Error{Code: jobs.Unavailable, Op: "tear down", Subject: "framework " + id, Err: err, Hint: "nothing was forgotten; do it again when the master answers"}
	}
	if err := scheduler.Write(ctx, s, []scheduler.Group{changes}); err != nil {
		return err
	}
	fmt.Fprintf(out.Err, "framework %s is torn down\n", id)
	forgotten(out, id, unknown)
	return nil
}

func tearDown(ctx context.Context, o config.Options, id string, log zerolog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, teardownWait)
	defer cancel()
	options, err := mesosOptions(o)
	if err != nil {
		return err
	}
	masters, closeMasters, err := findMasters(ctx, o, log)
	if err != nil {
		return err
	}
	defer closeMasters()
	options.Masters, options.Codec, options.Log = masters, mesos.JSON, log
	return scheduler.TearDown(ctx, mesos.NewScheduler(options), id)
}
