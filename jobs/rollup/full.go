package rollup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/internal/dirty"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

const (
	// publishFull and compareFull are how many tasks publish, and compare
	// event_by_day with event, after a full count.
	publishFull = 4
	compareFull = 16
	// timeouts that an attempt takes of a range before it halves it.
	timeouts = 2
	// minRange is the share of the ring below which no range is halved.
	minRange = 1.0 / (1 << 30)
	// chunkEvents is how many events are compared with their companions at
	// once: so many that several are of one partition.
	chunkEvents = 10_000
)

// planFull plans to count everything: splits of event by token ranges, each
// beside its replicas; then to publish; then to look for rows of event_by_day
// that disagree with event.
func (w *work) planFull(ctx context.Context, marks []dirty.Mark) (jobs.Plan, error) {
	if err := w.take(ctx, marks); err != nil {
		return jobs.Plan{}, err
	}
	ring, err := w.session.Ring(ctx)
	if err != nil {
		return jobs.Plan{}, err
	}
	size, err := w.session.EstimateSize(ctx, "event")
	if err != nil {
		return jobs.Plan{}, err
	}
	limit := w.spec.Splits
	if limit == 0 {
		limit = min(cassandra.SplitCount(size.Bytes, len(ring.Nodes)), maxSplits)
	}
	splits, err := ring.Splits(limit, size.Bytes)
	if err != nil {
		return jobs.Plan{}, err
	}
	plan, err := addPublish(splits, min(limit, publishFull))
	if err != nil {
		return jobs.Plan{}, err
	}
	err = w.addCompare(ctx, ring, &plan)
	return plan, err
}

// addCompare adds the stage that compares partitions of event_by_day, beside
// their replicas.
func (w *work) addCompare(ctx context.Context, ring *cassandra.Ring, plan *jobs.Plan) error {
	days := map[event.Day]int{}
	iter := w.session.Query(`SELECT day, buckets FROM day_buckets`).WithContext(ctx).Iter()
	var day time.Time
	var n, partitions int
	for iter.Scan(&day, &n) {
		if partitions += n; partitions > maxPartitions {
			w.log.Warn().Int("partitions", maxPartitions).Msg("event_by_day has more partitions than a plan can hold; the others are not compared with event")
			break
		}
		days[event.DayOfTime(day)] = n
	}
	if err := iter.Close(); err != nil {
		return fmt.Errorf("read the days' buckets: %w", err)
	}
	located, err := w.locate(ctx, ring, days)
	if err != nil {
		return err
	}
	splits, err := deal(located, ring.DC, compareFull, func(d []dayBuckets) payload { return payload{Compare: d} })
	for i := range splits {
		splits[i].Stage = 3
	}
	plan.Splits = append(plan.Splits, splits...)
	return err
}

// scan counts the events of token ranges, and adds the rows of campaign whose
// tokens are there with nothing: what no event stands for becomes 0.
func (w *work) scan(ctx context.Context, ranges []cassandra.Range) (jobs.Result, error) {
	r := newRepair(w)
	total := tally{}
	var mu sync.Mutex
	done := 0.0
	var events int64
	err := cassandra.Each(ctx, ranges, scanners, func(ctx context.Context, rg cassandra.Range) error {
		return w.patiently(ctx, rg, func(rg cassandra.Range) error {
			part, n, err := w.scanRange(ctx, rg, r)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(part)
			done += rg.Fraction()
			events += n
			w.runtime.Progress(jobs.Progress{Done: events, Unit: "events", Note: fmt.Sprintf("%.1f %% of the ring", 100*done)})
			return nil
		})
	})
	if err != nil {
		return jobs.Result{}, err
	}
	if err := w.keep(ctx, total); err != nil {
		return jobs.Result{}, err
	}
	result := r.result()
	result.Values["events"] = strconv.FormatInt(events, 10)
	return result, nil
}

// scanners is how many ranges an attempt scans at once.
const scanners = 4

// patiently reads a range again where nodes failed; after so many times in
// halves, which take less time each.
func (w *work) patiently(ctx context.Context, r cassandra.Range, read func(cassandra.Range) error) error {
	var err error
	for range timeouts {
		if err = read(r); err == nil || ctx.Err() != nil || !cassandra.Transient(err) {
			return err
		}
		w.log.Warn().Err(err).Int64("start", r.Start).Int64("end", r.End).Msg("a range could not be read; reading it again")
	}
	halves := r.Halves()
	if len(halves) < 2 || r.Fraction() < minRange {
		return err
	}
	for _, half := range halves {
		if err := w.patiently(ctx, half, read); err != nil {
			return err
		}
	}
	return nil
}

// scanRange reads one range whole, or fails.
func (w *work) scanRange(ctx context.Context, rg cassandra.Range, r *repair) (tally, int64, error) {
	out, err := w.existing(ctx, rg)
	if err != nil {
		return nil, 0, err
	}
	iter := w.session.Query(`SELECT id, ad_id, campaign, ts, type, writetime(ad_id), writetime(campaign), writetime(ts), writetime(type)
		FROM event WHERE token(id) > ? AND token(id) <= ?`, rg.Start, rg.End).
		WithContext(ctx).Consistency(w.spec.consistency()).Iter()
	var n int64
	var chunk []stored
	for {
		e, ok := scanStored(iter)
		if !ok {
			break
		}
		n++
		key := cassandra.DayCampaign{Day: e.Day(), Campaign: e.Campaign}
		c := out[key]
		c.add(e.Type, 1)
		out[key] = c
		if chunk = append(chunk, e); len(chunk) == chunkEvents {
			if err := r.ensure(ctx, chunk); err != nil {
				return nil, n, errors.Join(err, iter.Close())
			}
			chunk = chunk[:0]
		}
	}
	if err := iter.Close(); err != nil {
		return nil, n, fmt.Errorf("scan event: %w", err)
	}
	return out, n, r.ensure(ctx, chunk)
}

// existing gives the days of campaigns that have rows, with counts of 0.
func (w *work) existing(ctx context.Context, rg cassandra.Range) (tally, error) {
	out := tally{}
	iter := w.session.Query(`SELECT id, year, month, day FROM campaign WHERE token(id) > ? AND token(id) <= ?`, rg.Start, rg.End).
		WithContext(ctx).Iter()
	var id gocql.UUID
	var y, m, d int
	for iter.Scan(&id, &y, &m, &d) {
		date := time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
		if date.Year() != y || int(date.Month()) != m || date.Day() != d {
			w.log.Warn().Str("campaign", id.String()).Int("year", y).Int("month", m).Int("day", d).Msg("a row of campaign is of no day; left alone")
			continue
		}
		out[cassandra.DayCampaign{Day: event.DayOfTime(date), Campaign: event.UUID(id)}] = counts{}
	}
	if err := iter.Close(); err != nil {
		return nil, fmt.Errorf("scan campaign: %w", err)
	}
	return out, nil
}

// stored is a row of event, with the time at which its newest cell was written.
type stored struct {
	event.Event
	written int64
}

// scanStored reads the next row that is an event: one without campaign, time
// or type counts nowhere.
func scanStored(iter *gocql.Iter) (stored, bool) {
	for {
		var id, ad, campaign gocql.UUID
		var ts *int64
		var typ *string
		var w [4]*int64
		if !iter.Scan(&id, &ad, &campaign, &ts, &typ, &w[0], &w[1], &w[2], &w[3]) {
			return stored{}, false
		}
		if ts == nil || typ == nil || w[1] == nil {
			continue
		}
		e := stored{event.Event{ID: event.UUID(id), AdID: event.UUID(ad), Campaign: event.UUID(campaign), TS: *ts, Type: *typ}, math.MinInt64}
		for _, at := range w {
			if at != nil {
				e.written = max(e.written, *at)
			}
		}
		return e, true
	}
}
