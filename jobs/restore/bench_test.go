package restore_test

import (
	"fmt"
	"testing"
	"time"

	"tidemill/internal/cassandra/cassandratest"
	"tidemill/jobs"
	"tidemill/jobs/kindtest"
	"tidemill/jobs/restore"
)

// BenchmarkRestore restores objects of 5000 events each on one real node,
// beside a client that only inserts.
func BenchmarkRestore(b *testing.B) {
	env := &environment{session: cassandratest.Keyspace(b)}
	env.conns.Cassandra = map[string]jobs.CassandraConnection{"default": cassandratest.Connection(b)}
	j := env.job(b, "batch", 2000)
	const events = 5000
	for i := range b.N {
		j.write(fmt.Sprintf("%06d.gz", i), zipped(kindtest.Lines(kindtest.NewEvents(events, longAgo))...))
	}
	plan := j.plan()
	b.ResetTimer()
	began := time.Now()
	for _, s := range plan.Splits {
		a := j.assignment(s.Stage, 1)
		a.Split, a.Splits, a.Shared = s, len(plan.Splits), plan.Shared
		if _, err := (restore.Kind{}).Work(b.Context(), a, kindtest.Runtime{T: b, Conns: j.conns}); err != nil {
			b.Fatal(err)
		}
	}
	ours := float64(b.N*events) / time.Since(began).Seconds()
	b.ReportMetric(ours, "events/s")
	b.ReportMetric(ours/cassandratest.BareInserts(b, env.session, kindtest.NewEvents(events, longAgo)), "x-of-bare-inserts")
}
