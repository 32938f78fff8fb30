package ingest

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/rs/zerolog"

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
		t.Near, t.Ports, t.Health = jobs.NearNothing, 1, &jobs.Health{HTTP: "/healthz"}
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
	t.Service, t.Instances = true, s.Instances
	return t, err
}

// Work implements jobs.Kind.
func (Kind) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	w, err := prepare(ctx, a, rt)
	if err != nil {
		return jobs.Result{}, err
	}
	if w.spec.From == FromHTTP {
		return w.serve(ctx)
	}
	return w.stream(ctx)
}

// work is one attempt.
type work struct {
	spec       Spec
	assignment jobs.Assignment
	runtime    jobs.Runtime
	log        zerolog.Logger
	kafka      jobs.KafkaConnection
	cassandra  jobs.CassandraConnection // only where events go there
}

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
	if w.kafka, err = conns.KafkaNamed(w.spec.Kafka); err == nil && w.spec.To == ToCassandra {
		w.cassandra, err = conns.CassandraNamed(w.spec.Cassandra)
	}
	return w, err
}

// grace is how long the attempt may take to end once it is told to; the rest
// of the kill grace is for the executor.
func (w work) grace() time.Duration {
	return cmp.Or(w.assignment.KillGrace, jobs.DefaultKillGrace).D() * 8 / 10
}
