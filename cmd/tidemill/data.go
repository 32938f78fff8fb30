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
		if err := c.refuseLive(ctx, g); err != nil {
			return err
		}
	}
	if err := cassandra.Truncate(ctx, conn, c.Keyspace, log); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out.Err, "All tables of keyspace %s are empty.\n", c.Keyspace)
	return err
}

func (c *dataTruncate) refuseLive(ctx context.Context, g *globals) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	live, err := liveOn(ctx, api, c.Keyspace)
	if err != nil || len(live) == 0 {
		return err
	}
	shown := strings.Join(live[:min(len(live), shownRuns)], ", ")
	return &jobs.Error{
		Code: jobs.Conflict, Op: "truncate", Subject: "keyspace " + c.Keyspace,
		Message: fmt.Sprintf("%d live %s at work on it: %s", len(live), plural(len(live), "run"), shown),
		Hint:    "pause their jobs and kill them: tidemill job pause, tidemill run kill",
	}
}

// liveOn names the live runs that work on a keyspace, and those of which
// nobody here can tell.
func liveOn(ctx context.Context, api *client.Client, keyspace string) ([]string, error) {
	known, err := kinds()
	if err != nil {
		return nil, err
	}
	var found []string
	for q := (jobs.RunQuery{Live: true, Limit: runsPerPage}); ; {
		page, err := api.Runs(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Runs {
			busy, err := worksOn(ctx, api, known, r, keyspace)
			if err != nil {
				return nil, err
			}
			if busy {
				found = append(found, string(r.ID))
			}
		}
		if q.Before = page.Next; q.Before.IsZero() {
			return found, nil
		}
	}
}

// worksOn looks at the run's job: where it was deleted or edited since the run
// was made, or is of a kind or form that this program does not know, the run
// may work on anything.
func worksOn(ctx context.Context, api *client.Client, known *jobs.Registry, r jobs.RunView, keyspace string) (bool, error) {
	j, err := api.Job(ctx, r.Job)
	if code, _ := jobs.CodeOf(err); code == jobs.NotFound {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	kind, ok := known.Get(j.Kind)
	if !ok || j.Version != r.JobVersion {
		return true, nil
	}
	traits, err := kind.Check(j.Spec)
	return err != nil || slices.Contains(traits.Keyspaces, keyspace), nil
}
