package restore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/s3"
	"tidemill/jobs"
)

// Kind is the restore kind.
type Kind struct{}

var (
	_ jobs.Kind    = Kind{}
	_ jobs.Planner = Kind{}
)

// The stages of a run.
const (
	stageRestore = 1
	stageTally   = 2
)

// Name implements jobs.Kind.
func (Kind) Name() string { return Name }

// Summary implements jobs.Kind.
func (Kind) Summary() string { return "Write archived events, in S3 or in files, back to Cassandra" }

// Check implements jobs.Kind.
func (Kind) Check(doc json.RawMessage) (jobs.Traits, error) {
	s, err := Parse(doc)
	// Events are written at their own times, so any attempt may be repeated.
	t := jobs.Traits{Planned: true, Idempotent: true, Isolation: jobs.IsolationShared, Near: jobs.NearCassandra,
		Connections: []string{s.Cassandra}, Keyspaces: []string{s.Keyspace}}
	if s.usesS3() && s.S3 != s.Cassandra {
		t.Connections = append(t.Connections, s.S3)
	}
	if s.OverDeletes { // only then does a version matter
		t.Targets = []string{s.Keyspace + "/event"}
	}
	return t, err
}

// Work implements jobs.Kind.
func (Kind) Work(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
	w, err := prepare(ctx, a, rt)
	if err != nil {
		return jobs.Result{}, err
	}
	defer w.session.Close()
	var sh shared
	if err := a.ReadShared(&sh); err != nil {
		return jobs.Result{}, err
	}
	m := manifest{w.session, sh.Manifest}
	if a.Stage == stageTally {
		return w.tally(ctx, m, sh.Splits)
	}
	if w.spec.OverDeletes && a.Version <= 0 {
		return jobs.Result{}, jobs.Permanent(fmt.Errorf("restore over deletes: the run has no version to write at"))
	}
	names := make([]string, len(w.spec.Rollups))
	for i, n := range w.spec.Rollups {
		names[i] = string(n)
	}
	r := restoring{
		work: w, manifest: m,
		quarantine: quarantine{w.aside, w.folder, sh.Run},
		writer: cassandra.NewWriter(w.session, cassandra.WriterOptions{
			Rollups: names, Writer: string(a.Task), Buckets: w.spec.Buckets, EachDC: w.spec.EachDC,
		}),
	}
	return r.run(ctx)
}

// work is one attempt. Its session is open.
type work struct {
	spec            Spec
	assignment      jobs.Assignment
	runtime         jobs.Runtime
	log             zerolog.Logger
	session         *cassandra.Session
	pattern, folder s3.Location // to read, and for broken lines
	from, aside     s3.Store
}

// prepare decodes the spec and opens what it names.
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
	if w.pattern, w.from, err = s3.Open(w.spec.From, conns, w.spec.S3); err != nil {
		return w, err
	}
	if w.folder, w.aside, err = s3.Open(w.spec.Quarantine, conns, w.spec.S3); err != nil {
		return w, err
	}
	w.session, err = cassandra.OpenNamed(ctx, rt, w.spec.Cassandra, w.spec.Keyspace, w.log)
	return w, err
}
