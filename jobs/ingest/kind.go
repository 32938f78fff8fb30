package ingest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/kafka"
	"tidemill/jobs"
)

// Kind is the ingest kind.
type Kind struct{}

// Name implements jobs.Kind.
func (Kind) Name() string { return Name }

// Summary implements jobs.Kind.
func (Kind) Summary() string {
	return "Take events in: from HTTP to Kafka, or from Kafka to Cassandra"
}

// Check implements jobs.Kind.
func (Kind) Check(doc json.RawMessage) (jobs.Traits, error) {
	s, err := Parse(doc)
	// Whatever an attempt wrote, another may write again: events have their
	// own ids and timestamps. So they write under no version, and there are
	// no targets.
	t := jobs.Traits{Idempotent: true, Isolation: jobs.IsolationShared, Connections: []string{s.Kafka}}
	if s.From == FromHTTP {
		t.Near, t.Ports = jobs.NearNothing, 1
	} else {
		t.Near, t.Keyspaces = jobs.NearCassandra, []string{s.Keyspace}
		if s.Cassandra != s.Kafka {
			t.Connections = append(t.Connections, s.Cassandra)
		}
	}
	if s.Until == UntilEnd {
		t.Planned = true
		return t, err
	}
	t.Service = true
	for i := range min(max(s.Instances, 1), maxInstances) {
		t.Splits = append(t.Splits, jobs.Split{Stage: 1, Number: i})
	}
	return t, err
}

// Work implements jobs.Kind.
func (Kind) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	s, err := Parse(a.Spec)
	if err != nil {
		return jobs.Result{}, jobs.Permanent(err)
	}
	conns, err := rt.Connections(ctx)
	if err != nil {
		return jobs.Result{}, fmt.Errorf("fetch connections: %w", err)
	}
	w := work{spec: s, assignment: a, runtime: rt, log: zerolog.New(rt.Stderr()).With().Timestamp().Logger()}
	if w.kafka, err = kafka.Connection(conns, s.Kafka); err != nil {
		return jobs.Result{}, err
	}
	if s.From == FromHTTP {
		return w.serve(ctx)
	}
	return w.stream(ctx, conns)
}

// work is one attempt.
type work struct {
	spec       Spec
	assignment jobs.Assignment
	runtime    jobs.Runtime
	log        zerolog.Logger
	kafka      jobs.KafkaConnection
}

// grace is how long the attempt may take to end once it is told to; the rest
// of the kill grace is for the executor.
func (w work) grace() time.Duration {
	return cmp.Or(w.assignment.KillGrace, jobs.DefaultKillGrace).D() * 8 / 10
}

// Unread is the payload of a split until the end: what of a partition the run
// has to read.
type Unread struct {
	Partition int32 `json:"partition"`
	kafka.Span
}

// Plan implements jobs.Planner: the offsets [committed, end) of each partition
// are fixed here, so that every attempt of the run reads the same records.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Plan, error) {
	s, err := Parse(a.Spec)
	if err != nil {
		return jobs.Plan{}, jobs.Permanent(err)
	}
	conns, err := rt.Connections(ctx)
	if err != nil {
		return jobs.Plan{}, fmt.Errorf("fetch connections: %w", err)
	}
	conn, err := kafka.Connection(conns, s.Kafka)
	if err != nil {
		return jobs.Plan{}, err
	}
	client, err := kafka.New(conn)
	if err != nil {
		return jobs.Plan{}, err
	}
	defer client.Close()
	if err := kafka.Ping(ctx, client); err != nil {
		return jobs.Plan{}, err
	}
	unread, err := kafka.Unread(ctx, client, s.GroupOf(a.Job), s.Topic)
	if err != nil {
		return jobs.Plan{}, err
	}
	return planOf(unread)
}

func planOf(unread map[int32]kafka.Span) (jobs.Plan, error) {
	var plan jobs.Plan
	for p, span := range unread {
		if span.Len() == 0 {
			continue
		}
		payload, err := json.Marshal(Unread{p, span})
		if err != nil {
			return jobs.Plan{}, fmt.Errorf("write plan: %w", err)
		}
		plan.Splits = append(plan.Splits, jobs.Split{Stage: 1, Number: int(p), Size: span.Len(), Payload: payload})
	}
	if len(plan.Splits) > jobs.MaxSplits {
		return jobs.Plan{}, jobs.Permanent(fmt.Errorf("the topic has %d partitions with records; a plan has at most %d splits", len(plan.Splits), jobs.MaxSplits))
	}
	slices.SortFunc(plan.Splits, func(a, b jobs.Split) int { return a.Number - b.Number })
	for i := range plan.Splits {
		plan.Splits[i].Number = i
	}
	return plan, nil
}
