package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"tidemill/internal/client"
	"tidemill/jobs"
)

const (
	// patience is how long nobody may lead, or a service not run.
	patience = time.Minute
	// longest is how long anything else may take, on a machine that has other
	// things to do.
	longest  = 10 * time.Minute
	askEvery = 200 * time.Millisecond
	// tailBytes of a failed task's stderr are shown.
	tailBytes = 2 << 10
)

// api asks whichever scheduler answers, and waits while none leads. It may be
// used by several goroutines.
type api struct {
	clients []*client.Client
	last    atomic.Int32 // the one that answered last
}

func newAPI(urls ...string) (*api, error) {
	a := &api{}
	for _, url := range urls {
		c, err := client.New(url, "")
		if err != nil {
			return nil, err
		}
		a.clients = append(a.clients, c)
	}
	return a, nil
}

func (a *api) close() {
	for _, c := range a.clients {
		c.Close()
	}
}

// ask repeats what failed since nobody answered or nobody leads. Requests that
// change something bear being repeated.
func ask[T any](ctx context.Context, a *api, do func(context.Context, *client.Client) (T, error)) (T, error) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for limit, n := time.Now().Add(patience), a.last.Load(); ; n++ {
		i := n % int32(len(a.clients))
		v, err := do(ctx, a.clients[i])
		if err == nil || !passing(err) || time.Now().After(limit) {
			a.last.Store(i)
			return v, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

func passing(err error) bool {
	var gone *client.UnreachableError
	code, _ := jobs.CodeOf(err)
	return errors.As(err, &gone) || code == jobs.Unavailable
}

func (a *api) apply(ctx context.Context, list []jobs.Job) error {
	_, err := ask(ctx, a, func(ctx context.Context, c *client.Client) ([]jobs.AppliedJob, error) { return c.Apply(ctx, list) })
	return err
}

func (a *api) pause(ctx context.Context, paused bool, names ...jobs.Name) error {
	for _, name := range names {
		_, err := ask(ctx, a, func(ctx context.Context, c *client.Client) (jobs.Job, error) { return c.SetPaused(ctx, name, paused) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *api) job(ctx context.Context, name jobs.Name) (jobs.JobView, error) {
	return ask(ctx, a, func(ctx context.Context, c *client.Client) (jobs.JobView, error) { return c.Job(ctx, name) })
}

func (a *api) status(ctx context.Context) (jobs.Status, error) {
	return ask(ctx, a, func(ctx context.Context, c *client.Client) (jobs.Status, error) { return c.Status(ctx) })
}

func (a *api) run(ctx context.Context, id jobs.RunID) (jobs.RunView, error) {
	return ask(ctx, a, func(ctx context.Context, c *client.Client) (jobs.RunView, error) { return c.RunView(ctx, id) })
}

func (a *api) runs(ctx context.Context, q jobs.RunQuery) ([]jobs.RunView, error) {
	return ask(ctx, a, func(ctx context.Context, c *client.Client) ([]jobs.RunView, error) {
		page, err := c.Runs(ctx, q)
		return page.Runs, err
	})
}

// perform runs a job by hand and returns when the run has succeeded.
func (d *demo) perform(ctx context.Context, name jobs.Name) (jobs.RunView, error) {
	request := jobs.RunRequest{Job: name, RequestID: rand.Text()}
	started, err := ask(ctx, d.api, func(ctx context.Context, c *client.Client) (jobs.Run, error) { return c.StartRun(ctx, request) })
	if err != nil {
		return jobs.RunView{}, err
	}
	var v jobs.RunView
	err = d.await(ctx, "the end of run "+string(started.ID), longest, func(ctx context.Context) (bool, string, error) {
		var err error
		v, err = d.api.run(ctx, started.ID)
		return v.State.Final(), progressOf(v), err
	})
	if err == nil && v.State != jobs.RunSucceeded {
		err = fmt.Errorf("run %s %s: %s%s", v.ID, v.State, v.Reason, d.whyFailed(ctx, v))
	}
	return v, err
}

func progressOf(v jobs.RunView) string {
	text := fmt.Sprintf("%s: %s", v.Job, v.State)
	if v.Splits.Total > 0 {
		text += fmt.Sprintf(", stage %d, %d of %d splits done", v.Stage, v.Splits.Done, v.Splits.Total)
	}
	for _, t := range v.Tasks {
		if t.Progress != nil && !t.State.Final() {
			return text + fmt.Sprintf("; on %s: %d %s", t.Host, t.Progress.Done, t.Progress.Unit)
		}
	}
	for _, w := range v.Waiting {
		if len(w.Reasons) > 0 {
			return text + "; waiting: " + w.Reasons[0].Message
		}
	}
	return text
}

// whyFailed is what the attempts that failed left to read.
func (d *demo) whyFailed(ctx context.Context, v jobs.RunView) string {
	var b strings.Builder
	for _, t := range v.Tasks {
		if t.State != jobs.AttemptFailed {
			continue
		}
		fmt.Fprintf(&b, "\ntask %s on %s: %s", t.ID, t.Host, t.Message)
		tail, err := ask(ctx, d.api, func(ctx context.Context, c *client.Client) ([]byte, error) {
			return c.Tail(ctx, t.ID, jobs.StderrFile, tailBytes)
		})
		if err != nil {
			fmt.Fprintf(&b, "\n(its stderr cannot be read: %v)", err)
		} else {
			fmt.Fprintf(&b, "\n%s", tail)
		}
	}
	return b.String()
}

// await looks until it is done, tells how far it is, and fails after the limit.
func (d *demo) await(ctx context.Context, what string, limit time.Duration, look func(context.Context) (done bool, note string, err error)) error {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	last := ""
	for {
		done, note, err := look(within)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case within.Err() != nil:
			return fmt.Errorf("waited %s for %s: %s", limit, what, last)
		case done || err != nil:
			return err
		}
		last = note
		d.screen.progress("%s", note)
		select {
		case <-tick.C:
		case <-within.Done():
		}
	}
}
