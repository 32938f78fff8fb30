package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"tidemill/internal/kafka"
	"tidemill/internal/s3"
	"tidemill/jobs"
)

// Kind is the archive kind.
type Kind struct{}

var (
	_ jobs.Kind    = Kind{}
	_ jobs.Planner = Kind{}
)

// Name implements jobs.Kind.
func (Kind) Name() string { return Name }

// Summary implements jobs.Kind.
func (Kind) Summary() string { return "Copy a Kafka topic to compressed objects in S3, or to files" }

// Check implements jobs.Kind.
func (Kind) Check(doc json.RawMessage) (jobs.Traits, error) {
	s, err := Parse(doc)
	// An object that is there is never written again, so any attempt may be
	// repeated.
	t := jobs.Traits{Planned: true, Idempotent: true, Isolation: jobs.IsolationShared, Near: jobs.NearNothing, Connections: []string{s.Kafka}}
	if to, parseErr := s3.ParseLocation(s.To); parseErr == nil && to.Bucket != "" && s.S3 != s.Kafka {
		t.Connections = append(t.Connections, s.S3)
	}
	return t, err
}

// Plan implements jobs.Planner: the offsets [archived, end) of each partition
// and the cuts are fixed here, so that every attempt of the run makes the same
// objects.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Plan, error) {
	w, err := prepare(ctx, a, rt)
	if err != nil {
		return jobs.Plan{}, err
	}
	plan, err := kafka.PlanUnread(ctx, w.kafka, w.group(), w.spec.Topic)
	if err != nil {
		return jobs.Plan{}, err
	}
	if plan.Shared, err = json.Marshal(w.spec.Cuts); err != nil {
		return jobs.Plan{}, fmt.Errorf("write the plan: %w", err)
	}
	return plan, nil
}

// Work implements jobs.Kind.
func (Kind) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	w, err := prepare(ctx, a, rt)
	if err != nil {
		return jobs.Result{}, err
	}
	c := copying{work: w}
	if err := errors.Join(a.ReadSplit(&c.part), a.ReadShared(&c.cuts)); err != nil {
		return jobs.Result{}, err
	}
	err = c.run(ctx)
	return c.result(), err
}

// work is one attempt.
type work struct {
	spec       Spec
	assignment jobs.Assignment
	runtime    jobs.Runtime
	log        zerolog.Logger
	kafka      jobs.KafkaConnection
	to         s3.Location
	store      s3.Store
}

func (w work) group() string { return w.spec.GroupOf(w.assignment.Job) }

// prepare decodes the spec and fetches the connections it names.
func prepare(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (work, error) {
	w := work{assignment: a, runtime: rt, log: zerolog.New(rt.Stderr()).With().Timestamp().Logger()}
	var err error
	if w.spec, err = Parse(a.Spec); err != nil {
		return w, jobs.Permanent(err)
	}
	conns, err := rt.Connections(ctx)
	if err != nil {
		return w, err
	}
	if w.kafka, err = conns.KafkaNamed(w.spec.Kafka); err != nil {
		return w, err
	}
	w.to, w.store, err = s3.Open(w.spec.To, conns, w.spec.S3)
	return w, err
}
