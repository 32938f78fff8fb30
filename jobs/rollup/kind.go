package rollup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/dirty"
	"tidemill/jobs"
)

// Kind is the rollup kind.
type Kind struct{}

var (
	_ jobs.Kind    = Kind{}
	_ jobs.Planner = Kind{}
)

// target is the table whose rows stand for what a run writes.
const target = "campaign"

// Name implements jobs.Kind.
func (Kind) Name() string { return Name }

// Summary implements jobs.Kind.
func (Kind) Summary() string { return "Count views and clicks per campaign and day" }

// Check implements jobs.Kind.
func (Kind) Check(doc json.RawMessage) (jobs.Traits, error) {
	s, err := Parse(doc)
	return jobs.Traits{
		Planned: true, Idempotent: true, Isolation: jobs.IsolationShared, Near: jobs.NearCassandra,
		Targets: []string{s.Keyspace + "/" + target}, Keyspaces: []string{s.Keyspace}, Connections: []string{s.Cassandra},
	}, err
}

// payload is what a split has to do: exactly one of its fields is set.
type payload struct {
	Count   []dayBuckets      `json:"count,omitempty"`   // marked days' partitions
	Ranges  []cassandra.Range `json:"ranges,omitempty"`  // of event and campaign
	Publish []int             `json:"publish,omitempty"` // shards of campaigns
	Compare []dayBuckets      `json:"compare,omitempty"` // days' partitions with event
}

// shared is what all splits of a plan are told.
type shared struct {
	Marks int  `json:"marks"`          // the planning attempt whose marks were taken
	More  bool `json:"more,omitempty"` // marks were left for the next run
}

// Plan implements jobs.Planner.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Plan, error) {
	w, err := open(ctx, a, rt)
	if err != nil {
		return jobs.Plan{}, err
	}
	defer w.session.Close()
	return w.plan(ctx)
}

// Work implements jobs.Kind.
func (Kind) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	w, err := open(ctx, a, rt)
	if err != nil {
		return jobs.Result{}, err
	}
	defer w.session.Close()
	return w.do(ctx)
}

// do does what the split says.
func (w *work) do(ctx context.Context) (jobs.Result, error) {
	var p payload
	a := w.assignment
	if err := errors.Join(a.ReadSplit(&p), a.ReadShared(&w.shared)); err != nil {
		return jobs.Result{}, err
	}
	switch {
	case len(p.Count) > 0:
		return w.count(ctx, p.Count)
	case len(p.Ranges) > 0:
		return w.scan(ctx, p.Ranges)
	case len(p.Publish) > 0:
		return w.publish(ctx, p.Publish)
	case len(p.Compare) > 0:
		return w.compare(ctx, p.Compare)
	}
	return jobs.Result{}, jobs.Permanent(fmt.Errorf("split %d of stage %d says nothing to do", a.Split.Number, a.Stage))
}

// work is one attempt.
type work struct {
	spec       Spec
	assignment jobs.Assignment
	runtime    jobs.Runtime
	log        zerolog.Logger
	session    *cassandra.Session
	shared     shared
}

// open decodes the spec and connects.
func open(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (*work, error) {
	w := &work{assignment: a, runtime: rt, log: zerolog.New(rt.Stderr()).With().Timestamp().Logger()}
	var err error
	if w.spec, err = Parse(a.Spec); err != nil {
		return nil, jobs.Permanent(err)
	}
	w.session, err = cassandra.OpenNamed(ctx, rt, w.spec.Cassandra, w.spec.Keyspace, w.log)
	return w, err
}

// taken are the marks that the run's plan took.
func (w *work) taken() dirty.Taken {
	return dirty.Taken{Run: w.assignment.PlannedBy(), Version: w.assignment.Version, Attempt: w.shared.Marks}
}
