package rollup

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/internal/dirty"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

const (
	// readers is how many reads an attempt has in flight.
	readers = 16
	// slicesPerRead is how many campaigns of a partition one query reads.
	slicesPerRead = 100
)

// counts are the views and clicks of a campaign's day.
type counts struct{ views, clicks int64 }

func (c *counts) add(typ string, n int64) {
	switch typ {
	case event.View:
		c.views += n
	case event.Click:
		c.clicks += n
	}
}

// tally is what an attempt has counted.
type tally map[cassandra.DayCampaign]counts

func (t tally) add(other tally) {
	for k, c := range other {
		sum := t[k]
		sum.views += c.views
		sum.clicks += c.clicks
		t[k] = sum
	}
}

// count counts the marked campaigns in partitions of event_by_day.
func (w *work) count(ctx context.Context, days []dayBuckets) (jobs.Result, error) {
	total := tally{}
	var mu sync.Mutex
	var events atomic.Int64
	for i, d := range days {
		campaigns, err := w.taken().Day(ctx, w.session, d.Day)
		if err != nil {
			return jobs.Result{}, err
		}
		err = cassandra.Each(ctx, d.Buckets, readers, func(ctx context.Context, bucket int) error {
			part, n, err := w.countPartition(ctx, d.Day, bucket, campaigns)
			mu.Lock()
			defer mu.Unlock()
			total.add(part)
			w.runtime.Progress(jobs.Progress{Done: events.Add(n), Unit: "events", Note: fmt.Sprintf("day %d of %d", i+1, len(days))})
			return err
		})
		if err != nil {
			return jobs.Result{}, err
		}
	}
	return jobs.Result{Values: map[string]string{"events": strconv.FormatInt(events.Load(), 10)}}, w.keep(ctx, total)
}

// countPartition counts campaigns in one partition, page by page: a query that
// lets Cassandra count has no end that any timeout could fit.
func (w *work) countPartition(ctx context.Context, day event.Day, bucket int, campaigns []event.UUID) (tally, int64, error) {
	out := tally{}
	var n int64
	for chunk := range slices.Chunk(campaigns, slicesPerRead) {
		wanted := make([]gocql.UUID, len(chunk))
		for i, c := range chunk {
			wanted[i] = gocql.UUID(c)
		}
		iter := w.session.Query(`SELECT campaign, type FROM event_by_day WHERE day = ? AND bucket = ? AND campaign IN ?`, day.Time(), bucket, wanted).
			WithContext(ctx).Consistency(w.spec.consistency()).Iter()
		var campaign gocql.UUID
		var typ string
		for iter.Scan(&campaign, &typ) {
			key := cassandra.DayCampaign{Day: day, Campaign: event.UUID(campaign)}
			c := out[key]
			c.add(typ, 1)
			out[key] = c
			n++
		}
		if err := iter.Close(); err != nil {
			return nil, n, fmt.Errorf("count partition %d of %s: %w", bucket, day, err)
		}
	}
	return out, n, nil
}

// keep writes what the attempt has counted where publishing finds it; no
// other attempt writes there.
func (w *work) keep(ctx context.Context, t tally) error {
	a := w.assignment
	rows := cassandra.NewBulk(`INSERT INTO rollup_partials (run, version, split, attempt, bucket, id, day, views, clicks)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`)
	for k, c := range t {
		shard := dirty.Shard(k.Campaign)
		rows.Add(shard, string(a.PlannedBy()), a.Version, a.Split.Number, a.Attempt, shard, gocql.UUID(k.Campaign), k.Day.Time(), c.views, c.clicks, a.Version)
	}
	if err := rows.Write(ctx, w.session, gocql.LocalQuorum, 0); err != nil {
		return fmt.Errorf("keep %d partial counts: %w", len(t), err)
	}
	return nil
}
