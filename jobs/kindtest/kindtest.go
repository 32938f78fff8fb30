// Package kindtest gives the tests of job kinds what an executor gives to
// their work, and reads back from real servers what the work wrote.
package kindtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// Runtime is what an executor gives to work. What is logged is dropped.
type Runtime struct {
	T     testing.TB
	Conns jobs.Connections
	// OnProgress, where it is set, is called with every report.
	OnProgress func(jobs.Progress)
}

// Connections implements jobs.Runtime.
func (r Runtime) Connections(context.Context) (jobs.Connections, error) { return r.Conns, nil }

// Sandbox implements jobs.Runtime.
func (r Runtime) Sandbox() string { return r.T.TempDir() }

// Stdout implements jobs.Runtime.
func (Runtime) Stdout() io.Writer { return io.Discard }

// Stderr implements jobs.Runtime.
func (Runtime) Stderr() io.Writer { return io.Discard }

// Progress implements jobs.Runtime.
func (r Runtime) Progress(p jobs.Progress) {
	if r.OnProgress != nil {
		r.OnProgress(p)
	}
}

// Connections are those to the run's servers; the test is skipped where there
// are none.
func Connections(t testing.TB) jobs.Connections {
	t.Helper()
	at := stacktest.Shared(t)
	return jobs.Connections{
		Kafka:     map[string]jobs.KafkaConnection{jobs.DefaultConnection: {Brokers: at.Kafka}},
		Cassandra: map[string]jobs.CassandraConnection{jobs.DefaultConnection: {Hosts: at.Cassandra}},
		S3: map[string]jobs.S3Connection{jobs.DefaultConnection: {Endpoint: at.S3.Endpoint, Region: at.S3.Region,
			AccessKey: at.S3.AccessKey, SecretKey: at.S3.SecretKey}},
	}
}

// NewID makes a random id.
func NewID() (u event.UUID) {
	for i := range u {
		u[i] = byte(rand.Uint32())
	}
	return u
}

// NewEvents makes views of one new campaign, a millisecond apart.
func NewEvents(n int, from time.Time) []event.Event {
	out := make([]event.Event, n)
	campaign := NewID()
	for i := range out {
		out[i] = event.Event{ID: NewID(), AdID: NewID(), Campaign: campaign, TS: from.UnixMilli() + int64(i), Type: event.View}
	}
	return out
}

// Lines are events as the log and the archive hold them.
func Lines(events []event.Event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = string(e.AppendJSON(nil))
	}
	return out
}

// Rows reads the rows of a campaign's day in event_by_day, and those of the
// events in event, each as text with its write time.
func Rows(t testing.TB, s *cassandra.Session, events []event.Event) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	day := events[0].Day()
	buckets, _, err := s.DayBuckets(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	for b := range buckets {
		iter := s.Query(`SELECT type, id, ts, ad_id, writetime(ts) FROM event_by_day WHERE day = ? AND bucket = ? AND campaign = ?`,
			day.Time(), b, gocql.UUID(events[0].Campaign)).WithContext(t.Context()).Iter()
		var typ string
		var id, ad gocql.UUID
		var ts, written int64
		for iter.Scan(&typ, &id, &ts, &ad, &written) {
			out[fmt.Sprintf("by_day %s %s %d %s", typ, id, ts, ad)] = written
		}
		if err := iter.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range events {
		var typ string
		var ts, written int64
		err := s.Query(`SELECT type, ts, writetime(ts) FROM event WHERE id = ?`, gocql.UUID(e.ID)).WithContext(t.Context()).Scan(&typ, &ts, &written)
		if err != nil && !errors.Is(err, gocql.ErrNotFound) {
			t.Fatal(err)
		}
		if err == nil {
			out[fmt.Sprintf("event %s %s %d %s", typ, e.ID, ts, e.AdID)] = written
		}
	}
	return out
}

// WantRows is what Rows gives when the events are there, each written at its
// own time.
func WantRows(events []event.Event) map[string]int64 {
	out := map[string]int64{}
	for _, e := range events {
		for _, table := range []string{"by_day", "event"} {
			out[fmt.Sprintf("%s %s %s %d %s", table, e.Type, e.ID, e.TS, e.AdID)] = e.Stamp()
		}
	}
	return out
}

// Marked lists the writers that marked a campaign for a rollup.
func Marked(t testing.TB, s *cassandra.Session, rollup string, campaign event.UUID) (writers []string) {
	t.Helper()
	iter := s.Query(`SELECT campaign, writer FROM dirty WHERE rollup = ? AND shard = ?`, rollup,
		event.Shard(campaign, cassandra.DirtyShards)).WithContext(t.Context()).Iter()
	var c gocql.UUID
	var w string
	for iter.Scan(&c, &w) {
		if event.UUID(c) == campaign {
			writers = append(writers, w)
		}
	}
	if err := iter.Close(); err != nil {
		t.Fatal(err)
	}
	return writers
}
