package cassandratest

import (
	"context"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/jobs/event"
)

// BareInserts is what benchmarks of writing stand beside: how many events a
// second a plain client writes, with one request for each of an event's two
// rows, so many in flight as the writer has, and no marks.
func BareInserts(b *testing.B, s *cassandra.Session, list []event.Event) (perSecond float64) {
	b.Helper()
	began := time.Now()
	err := cassandra.Each(b.Context(), list, cassandra.DefaultConcurrency, func(ctx context.Context, e event.Event) error {
		id, ad, campaign := gocql.UUID(e.ID), gocql.UUID(e.AdID), gocql.UUID(e.Campaign)
		insert := func(cql string, values ...any) error {
			return s.Query(cql, values...).WithContext(ctx).Consistency(gocql.LocalQuorum).Exec()
		}
		if err := insert(`INSERT INTO event (id, ad_id, campaign, ts, type) VALUES (?, ?, ?, ?, ?)`, id, ad, campaign, e.TS, e.Type); err != nil {
			return err
		}
		return insert(`INSERT INTO event_by_day (day, bucket, campaign, type, id, ts, ad_id) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			e.Day().Time(), event.Bucket(e.ID, cassandra.DefaultBuckets), campaign, e.Type, id, e.TS, ad)
	})
	if err != nil {
		b.Fatal(err)
	}
	return float64(len(list)) / time.Since(began).Seconds()
}
