package report

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"
	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/dirty"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// Kind is the report kind.
type Kind struct{}

var (
	_ jobs.Kind    = Kind{}
	_ jobs.Planner = Kind{}
)

const (
	target = "campaign_report"
	// source is where the numbers come from: rollups that counted all there was.
	source = "batch"
	// readers is how many campaigns an attempt reads at once.
	readers = 32
	// marksPerSplit is how many marks are worth a task of their own.
	marksPerSplit = 50_000
)

// Name implements jobs.Kind.
func (Kind) Name() string { return Name }

// Summary implements jobs.Kind.
func (Kind) Summary() string { return "Sum up the days of campaigns that rollups counted" }

// Check implements jobs.Kind.
func (Kind) Check(doc json.RawMessage) (jobs.Traits, error) {
	s, err := Parse(doc)
	return jobs.Traits{
		Planned: true, Idempotent: true, Isolation: jobs.IsolationShared, Near: jobs.NearCassandra,
		Targets: []string{s.Keyspace + "/" + target}, Keyspaces: []string{s.Keyspace}, Connections: []string{s.Cassandra},
	}, err
}

// payload is the shards of campaigns that a split looks after.
type payload struct {
	Shards []int `json:"shards"`
}

// shared is what all splits of a plan are told.
type shared struct {
	Marks int `json:"marks"` // the planning attempt whose marks were taken
}

// Plan implements jobs.Planner: as with rollups, the marks are read first,
// then the version is registered, and only then are rows summed.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Plan, error) {
	w, err := open(ctx, a, rt)
	if err != nil {
		return jobs.Plan{}, err
	}
	defer w.session.Close()
	w.shared.Marks = a.Attempt
	marks, more, err := dirty.Read(ctx, w.session, string(a.Job), dirty.MaxMarks)
	if err != nil || len(marks) == 0 {
		return jobs.Plan{}, err
	}
	if err := w.taken().Store(ctx, w.session, marks); err != nil {
		return jobs.Plan{}, err
	}
	if err := dirty.Register(ctx, w.session, target, a.Version); err != nil {
		return jobs.Plan{}, err
	}
	var plan jobs.Plan
	for i, shards := range dirty.Groups(cmp.Or(w.spec.Splits, len(marks)/marksPerSplit+1)) {
		doc, err := json.Marshal(payload{Shards: shards})
		if err != nil {
			return jobs.Plan{}, fmt.Errorf("write split: %w", err)
		}
		plan.Splits = append(plan.Splits, jobs.Split{Stage: 1, Number: i, Payload: doc})
	}
	w.log.Info().Int("marks", len(marks)).Int("splits", len(plan.Splits)).Bool("more", more).Msg("planned")
	plan.Shared, err = json.Marshal(w.shared)
	return plan, err
}

// Work implements jobs.Kind.
func (Kind) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	w, err := open(ctx, a, rt)
	if err != nil {
		return jobs.Result{}, err
	}
	defer w.session.Close()
	var p payload
	if err := errors.Join(a.ReadSplit(&p), a.ReadShared(&w.shared)); err != nil {
		return jobs.Result{}, err
	}
	for _, shard := range p.Shards {
		if err := w.sumShard(ctx, shard); err != nil {
			return jobs.Result{}, err
		}
	}
	return jobs.Result{Values: map[string]string{"campaigns": strconv.FormatInt(w.done.Load(), 10)}}, nil
}

// work is one attempt.
type work struct {
	spec       Spec
	assignment jobs.Assignment
	runtime    jobs.Runtime
	log        zerolog.Logger
	session    *cassandra.Session
	shared     shared
	done       atomic.Int64 // campaigns summed
}

func open(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (*work, error) {
	w := &work{assignment: a, runtime: rt, log: zerolog.New(rt.Stderr()).With().Timestamp().Logger()}
	var err error
	if w.spec, err = Parse(a.Spec); err != nil {
		return nil, jobs.Permanent(err)
	}
	w.session, err = cassandra.OpenNamed(ctx, rt, w.spec.Cassandra, w.spec.Keyspace, w.log)
	return w, err
}

func (w *work) taken() dirty.Taken {
	return dirty.Taken{Run: w.assignment.PlannedBy(), Version: w.assignment.Version, Attempt: w.shared.Marks}
}

// total is one campaign's row of the report.
type total struct {
	campaign      event.UUID
	views, clicks int64
}

// sumShard recomputes the campaigns of a shard that are marked, writes them
// and clears the marks.
func (w *work) sumShard(ctx context.Context, shard int) error {
	marks, err := w.taken().Shard(ctx, w.session, shard)
	if err != nil {
		return err
	}
	changed := map[event.UUID]bool{}
	for _, m := range marks {
		changed[m.Campaign] = true
	}
	var campaigns []event.UUID
	for c := range changed {
		campaigns = append(campaigns, c)
	}
	var mu sync.Mutex
	var totals []total
	err = cassandra.Each(ctx, campaigns, readers, func(ctx context.Context, campaign event.UUID) error {
		t, err := w.sum(ctx, campaign)
		mu.Lock()
		defer mu.Unlock()
		totals = append(totals, t)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.write(ctx, totals); err != nil {
		return err
	}
	w.runtime.Progress(jobs.Progress{Done: w.done.Add(int64(len(totals))), Unit: "campaigns"})
	return w.taken().Clear(ctx, w.session, string(w.assignment.Job), shard, marks)
}

// sum adds up all days of a campaign, here and not by Cassandra's sum(), so
// that pages bound each read.
func (w *work) sum(ctx context.Context, campaign event.UUID) (total, error) {
	t := total{campaign: campaign}
	iter := w.session.Query(`SELECT views, clicks FROM campaign WHERE id = ?`, gocql.UUID(campaign)).WithContext(ctx).Iter()
	var views, clicks int64
	for iter.Scan(&views, &clicks) {
		t.views += views
		t.clicks += clicks
	}
	if err := iter.Close(); err != nil {
		return t, fmt.Errorf("sum campaign %s: %w", campaign, err)
	}
	return t, nil
}

// write writes the rows, and then where they come from: they include at least
// all that was there when the run was planned, and its version is that instant.
func (w *work) write(ctx context.Context, totals []total) error {
	rows := cassandra.NewBulk(`INSERT INTO campaign_report (id, views, clicks) VALUES (?, ?, ?) USING TIMESTAMP ?`)
	meta := cassandra.NewBulk(`INSERT INTO campaign_report_meta (id, source, as_of, run) VALUES (?, ?, ?, ?) USING TIMESTAMP ?`)
	version := w.assignment.Version
	for _, t := range totals {
		id := gocql.UUID(t.campaign)
		rows.Add(id, id, t.views, t.clicks, version)
		meta.Add(id, id, source, time.UnixMicro(version), string(w.assignment.Run), version)
	}
	for _, b := range []*cassandra.Bulk{rows, meta} {
		if err := b.Write(ctx, w.session, gocql.LocalQuorum, 0); err != nil {
			return fmt.Errorf("write %d rows of the report: %w", len(totals), err)
		}
	}
	return nil
}
