package rollup

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/cassandra/cassandratest"
	"tidemill/jobs"
	"tidemill/jobs/event"
	"tidemill/jobs/kindtest"
)

// BenchmarkRollup counts 50,000 events of 1,000 campaigns over ten days, all
// splits one after the other.
func BenchmarkRollup(b *testing.B) {
	const n = 50_000
	s := cassandratest.Keyspace(b)
	campaigns := make([]event.UUID, 1000)
	for i := range campaigns {
		campaigns[i] = kindtest.NewID()
	}
	list := make([]event.Event, n)
	for i := range list {
		list[i] = event.Event{ID: kindtest.NewID(), AdID: kindtest.NewID(), Campaign: campaigns[rand.IntN(len(campaigns))],
			TS: 1441065600000 + rand.Int64N(10*24*3600_000), Type: event.View}
	}
	for _, mode := range []string{Incremental, Full} {
		b.Run(mode, func(b *testing.B) {
			spec := Spec{Keyspace: s.Keyspace, Mode: mode, Reports: []jobs.Name{"report"}}
			for b.Loop() {
				b.StopTimer()
				w := cassandra.NewWriter(s, cassandra.WriterOptions{Rollups: []string{"bench"}, Writer: kindtest.NewID().String()})
				if err := w.Write(b.Context(), list); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				benchRun(b, s, spec)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// benchRun is one run; how long each of its stages took is logged.
func benchRun(b *testing.B, s *cassandra.Session, spec Spec) {
	w := &work{spec: spec, runtime: kindtest.Runtime{}, log: zerolog.Nop(), session: s, assignment: jobs.Assignment{
		Job: "bench", Run: jobs.RunID("bench.1.r-" + kindtest.NewID().String() + ".0"), Attempt: 1, Version: time.Now().UnixMicro(),
	}}
	began := time.Now()
	plan, err := w.plan(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	took := []time.Duration{time.Since(began)}
	var former, now []int
	w.assignment.Shared = plan.Shared
	for i, split := range plan.Splits {
		if i > 0 && split.Stage != plan.Splits[i-1].Stage {
			former, now = now, nil
			took = append(took, time.Since(began))
		}
		w.assignment.Stage, w.assignment.Split, w.assignment.Former = split.Stage, split, former
		if _, err := w.do(b.Context()); err != nil {
			b.Fatal(err)
		}
		now = append(now, 1)
	}
	b.Logf("%s: %d splits; planned and each stage ended at %v, all at %s", spec.Mode, len(plan.Splits), took, time.Since(began))
}
