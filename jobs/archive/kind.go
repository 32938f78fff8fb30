package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

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

// Part is the payload of a split: the span of a partition's offsets that the
// run copies.
type Part struct {
	Partition int32 `json:"partition"`
	kafka.Span
}

// Plan implements jobs.Planner: the offsets [archived, end) of each partition
// and the cuts are fixed here, so that every attempt of the run makes the same
// objects.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Plan, error) {
	w, err := prepare(ctx, a, rt)
	if err != nil {
		return jobs.Plan{}, err
	}
	client, err := kafka.New(w.kafka)
	if err != nil {
		return jobs.Plan{}, err
	}
	defer client.Close()
	if err := kafka.Ping(ctx, client); err != nil {
		return jobs.Plan{}, err
	}
	unread, err := kafka.Unread(ctx, client, w.group(), w.spec.Topic)
	if err != nil {
		return jobs.Plan{}, err
	}
	return planOf(unread, w.spec.Cuts)
}

func planOf(unread map[int32]kafka.Span, cuts Cuts) (jobs.Plan, error) {
	shared, err := json.Marshal(cuts)
	if err != nil {
		return jobs.Plan{}, fmt.Errorf("write plan: %w", err)
	}
	parts := make([]Part, 0, len(unread))
	for p, span := range unread {
		if span.Len() > 0 {
			parts = append(parts, Part{p, span})
		}
	}
	if len(parts) > jobs.MaxSplits {
		return jobs.Plan{}, jobs.Permanent(fmt.Errorf("the topic has %d partitions with records; a plan has at most %d splits", len(parts), jobs.MaxSplits))
	}
	slices.SortFunc(parts, func(a, b Part) int { return int(a.Partition - b.Partition) })
	plan := jobs.Plan{Shared: shared}
	for i, part := range parts {
		payload, err := json.Marshal(part)
		if err != nil {
			return jobs.Plan{}, fmt.Errorf("write plan: %w", err)
		}
		plan.Splits = append(plan.Splits, jobs.Split{Stage: 1, Number: i, Size: part.Len(), Payload: payload})
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
	if err := json.Unmarshal(a.Split.Payload, &c.part); err != nil {
		return jobs.Result{}, jobs.Permanent(fmt.Errorf("read split %d: %w", a.Split.Number, err))
	}
	if err := json.Unmarshal(a.Shared, &c.cuts); err != nil {
		return jobs.Result{}, jobs.Permanent(fmt.Errorf("read the plan's cuts: %w", err))
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
		return w, fmt.Errorf("fetch connections: %w", err)
	}
	if w.kafka, err = kafka.Connection(conns, w.spec.Kafka); err != nil {
		return w, err
	}
	if w.to, err = s3.ParseLocation(w.spec.To); err != nil {
		return w, jobs.Permanent(err)
	}
	var conn jobs.S3Connection
	if w.to.Bucket != "" {
		if conn, err = s3.Connection(conns, w.spec.S3); err != nil {
			return w, err
		}
	}
	w.store, err = s3.OpenStore(w.to, conn)
	return w, err
}
