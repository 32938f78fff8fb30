package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/client"
	"tidemill/jobs"
)

type dataCmd struct {
	Truncate dataTruncate `cmd:"" help:"Remove all rows of a keyspace, while no run is at work on it."`
}

type dataTruncate struct {
	Yes         bool `help:"Do it: nothing brings the rows back but an archive."`
	NoScheduler bool `name:"no-scheduler" help:"Ask no scheduler whether runs are at work: there is none."`
	cassandraFlags
}

const (
	truncateWait = 5 * time.Minute
	// pausedWait is how long the runs of paused jobs may take to end: a
	// service's instances have their kill_grace.
	pausedWait = 30 * time.Second
	// runsPerPage and shownRuns bound what is asked for, and what is said.
	runsPerPage = 1000
	shownRuns   = 5
)

// Run refuses while any live run names the keyspace; an answer that cannot be
// had is a refusal too.
func (c *dataTruncate) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, truncateWait)
	defer cancel()
	conn, err := c.connection()
	if err != nil {
		return err
	}
	if !c.Yes {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("this removes every row of keyspace %s on %s; say --yes to do it",
			c.Keyspace, strings.Join(conn.Hosts, ","))}
	}
	if !c.NoScheduler {
		if err := c.refuseLive(ctx, g, out); err != nil {
			return err
		}
	}
	if err := cassandra.Truncate(ctx, conn, c.Keyspace, log); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out.Err, "All tables of keyspace %s are empty.\n", c.Keyspace)
	return err
}

// refuseLive gives those runs the time to end whose jobs were paused just now.
func (c *dataTruncate) refuseLive(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	again := time.NewTicker(waitEvery)
	defer again.Stop()
	for said, until := false, time.Now().Add(pausedWait); ; {
		live, paused, err := liveOn(ctx, api, c.Keyspace)
		if err != nil || len(live) == 0 {
			return err
		}
		shown := strings.Join(live[:min(len(live), shownRuns)], ", ")
		if !paused || time.Now().After(until) {
			return &jobs.Error{
				Code: jobs.Conflict, Op: "truncate", Subject: "keyspace " + c.Keyspace,
				Message: fmt.Sprintf("%d live %s at work on it: %s", len(live), plural(len(live), "run"), shown),
				Hint:    "pause their jobs and kill them: tidemill job pause, tidemill run kill",
			}
		}
		if !said {
			fmt.Fprintf(out.Err, "waiting for the end of %s: paused\n", shown)
			said = true
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// liveOn names the live runs that work on a keyspace, and those of which
// nobody here can tell, and says whether the jobs of all of them are paused.
func liveOn(ctx context.Context, api *client.Client, keyspace string) (found []string, paused bool, err error) {
	known, err := kinds()
	if err != nil {
		return nil, false, err
	}
	paused = true
	for q := (jobs.RunQuery{Live: true, Limit: runsPerPage}); ; {
		page, err := api.Runs(ctx, q)
		if err != nil {
			return nil, false, err
		}
		for _, r := range page.Runs {
			busy, resting, err := worksOn(ctx, api, known, r, keyspace)
			if err != nil {
				return nil, false, err
			}
			if busy {
				found, paused = append(found, string(r.ID)), paused && resting
			}
		}
		if q.Before = page.Next; q.Before.IsZero() {
			return found, paused, nil
		}
	}
}

// worksOn looks at the run's job, and says whether it is paused: where it was
// deleted or edited since the run was made, or is of a kind or form that this
// program does not know, the run may work on anything.
func worksOn(ctx context.Context, api *client.Client, known *jobs.Registry, r jobs.RunView, keyspace string) (busy, paused bool, err error) {
	j, err := api.Job(ctx, r.Job)
	if code, _ := jobs.CodeOf(err); code == jobs.NotFound {
		return true, false, nil
	}
	if err != nil {
		return false, false, err
	}
	kind, ok := known.Get(j.Kind)
	if !ok || j.Version != r.JobVersion {
		return true, j.Paused, nil
	}
	traits, err := kind.Check(j.Spec)
	return err != nil || slices.Contains(traits.Keyspaces, keyspace), j.Paused, nil
}
