package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/client"
	"tidemill/jobs"
)

// Options say how a pass is run.
type Options struct {
	Seed     uint64
	Policy   jobs.OnUnknown
	Duration time.Duration // of the whole pass
	Jobs     int
	Times    Times
	// Dir keeps all that the pass writes; it must be empty.
	Dir string
	// Program is tidemill, built with the tag faults. Task is the argv of a task, before its directory
	// and its duration.
	Program string
	Task    []string
	Log     zerolog.Logger
}

// DefaultTimes let a cluster find itself again within ten seconds.
func DefaultTimes() Times {
	return Times{Session: 2 * time.Second, Ping: 2 * time.Second, Launch: 3 * time.Second, StartBy: 3 * time.Second}
}

// How a pass ends: the troubles stop, and after the grace all is read.
const (
	grace        = 45 * time.Second
	leadWithin   = 60 * time.Second
	collectEvery = 10 * time.Second
	readWithin   = 10 * time.Second
)

// Run runs a pass, and gives its history.
func Run(ctx context.Context, o Options) (*History, error) {
	j, err := openJournal(filepath.Join(o.Dir, "faults.jsonl"), o.Log)
	if err != nil {
		return nil, err
	}
	defer j.close()
	work := filepath.Join(o.Dir, "tasks")
	if err := os.MkdirAll(work, 0o777); err != nil {
		return nil, err
	}
	c, err := startCluster(ctx, o, j)
	if err != nil {
		return nil, err
	}
	p := &pass{cluster: c, work: work, rng: rand.New(rand.NewPCG(o.Seed, 0)), records: map[jobs.Name]*Record{}}
	h, err := p.run(ctx)
	return h, errors.Join(err, c.close(context.WithoutCancel(ctx)))
}

// pass is a pass under way.
type pass struct {
	*cluster
	work    string
	rng     *rand.Rand
	records map[jobs.Name]*Record
}

func (p *pass) run(ctx context.Context) (*History, error) {
	leads, err := p.awaitLeader(ctx)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	end := begin.Add(p.Duration - grace)
	setup := Pass{Seed: p.Seed, Policy: p.Policy, Hosts: Hosts(), Times: p.Times, Slack: slack}
	load, err := drawWorkload(p.rng, setup, begin, begin.Add(p.Duration), p.Jobs, append(p.Task, p.work))
	if err != nil {
		return nil, err
	}
	if err := p.apply(ctx, leads, load.jobs); err != nil {
		return nil, err
	}
	p.log.Info().Int("jobs", len(load.jobs)).Int("targets", len(load.targets)).Msg("the jobs are applied")
	if err := p.suffer(ctx, load, end); err != nil {
		return nil, err
	}
	if err := p.mend(ctx); err != nil {
		return nil, err
	}
	if !pause(ctx, time.Until(begin.Add(p.Duration))) {
		return nil, ctx.Err()
	}
	return p.read(ctx, setup, load)
}

// suffer lets the nemesis loose, and collects what is recorded meanwhile: the scheduler keeps a
// bounded history.
func (p *pass) suffer(ctx context.Context, load *workload, end time.Time) error {
	wrecking, done := context.WithCancel(ctx)
	defer done()
	var collecting sync.WaitGroup
	collecting.Go(func() {
		for pause(wrecking, collectEvery) {
			if err := p.collect(wrecking, load, p.leader(wrecking)); err != nil {
				p.log.Debug().Err(err).Msg("the records cannot be read now")
			}
		}
	})
	err := (&nemesis{cluster: p.cluster, rng: rand.New(rand.NewPCG(p.Seed, 1))}).wreck(ctx, end)
	done()
	collecting.Wait()
	return err
}

// apply gives the jobs to the leader.
func (p *pass) apply(ctx context.Context, leads *server, list []jobs.Job) error {
	api, err := p.client(leads)
	if err != nil {
		return err
	}
	defer api.Close()
	_, err = api.Apply(ctx, list)
	return err
}

func (p *pass) awaitLeader(ctx context.Context) (*server, error) {
	ctx, cancel := context.WithTimeout(ctx, leadWithin)
	defer cancel()
	for {
		if s := p.leader(ctx); s != nil {
			if st, err := p.status(ctx, s); err == nil && st.Subscribed {
				return s, nil
			}
		}
		if !pause(ctx, readyPoll) {
			return nil, fmt.Errorf("wait for a scheduler that leads and is subscribed: %w", ctx.Err())
		}
	}
}

// maxRuns is more than a pass makes between two readings.
const maxRuns = 1000

// collect reads what is recorded of every job.
func (p *pass) collect(ctx context.Context, load *workload, leads *server) error {
	if leads == nil {
		return errors.New("no scheduler leads")
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	api, err := p.client(leads)
	if err != nil {
		return err
	}
	defer api.Close()
	for _, j := range load.jobs {
		r := p.records[j.Name]
		if r == nil {
			r = &Record{}
			p.records[j.Name] = r
		}
		if err := r.read(ctx, api, j.Name); err != nil {
			return err
		}
	}
	return nil
}

// read adds what is recorded now to what was seen before: what is final stays as it is.
func (r *Record) read(ctx context.Context, api *client.Client, job jobs.Name) error {
	view, err := api.Job(ctx, job)
	if err != nil {
		return err
	}
	for _, s := range r.Job.Skipped {
		if !slices.ContainsFunc(view.Skipped, func(now jobs.SkippedRange) bool { return now.At.Equal(s.At) && now.From.Equal(s.From) }) {
			view.Skipped = append(view.Skipped, s) // the scheduler keeps the latest only
		}
	}
	r.Job = view
	page, err := api.Runs(ctx, jobs.RunQuery{Job: job, Limit: maxRuns})
	if err != nil {
		return err
	}
	for _, run := range page.Runs {
		i := slices.IndexFunc(r.Runs, func(known jobs.RunView) bool { return known.ID == run.ID })
		if i >= 0 && r.Runs[i].State.Final() {
			continue
		}
		whole, err := api.RunView(ctx, run.ID)
		if err != nil {
			return err
		}
		if i >= 0 {
			r.Runs[i] = whole
		} else {
			r.Runs = append(r.Runs, whole)
		}
	}
	return nil
}

// read ends the pass: what is recorded first, and then what the tasks wrote, so that whatever began
// before the reading is in both.
func (p *pass) read(ctx context.Context, setup Pass, load *workload) (*History, error) {
	leads, err := p.awaitLeader(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.collect(ctx, load, leads); err != nil {
		return nil, fmt.Errorf("read the records: %w", err)
	}
	h := &History{Pass: setup, Targets: load.targets, Events: p.journal.all(), Records: p.records, Read: time.Now()}
	if !pause(ctx, beatSlack) { // what is at work shows it
		return nil, ctx.Err()
	}
	h.Attempts, err = ReadAttempts(p.work)
	return h, err
}
