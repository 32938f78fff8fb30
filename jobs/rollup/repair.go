package rollup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

const (
	// companionsPerRead and idsPerRead are how many rows one query asks for.
	companionsPerRead = 32
	idsPerRead        = 50
	// maxConflicts bounds the ids that one split reports.
	maxConflicts = 20
)

// repair makes event_by_day agree with event, which is the truth, and marks
// what it touched for the rollups that count from event_by_day.
type repair struct {
	*work
	writer *cassandra.Writer

	mu        sync.Mutex
	written   int      // rows that were missing
	deleted   int      // rows that disagreed
	orphans   int      // rows that no row of event explains
	conflicts []string // the first ids of which rows were deleted
}

func newRepair(w *work) *repair {
	rollups := make([]string, len(w.spec.Rollups))
	for i, n := range w.spec.Rollups {
		rollups[i] = string(n)
	}
	return &repair{work: w, writer: cassandra.NewWriter(w.session, cassandra.WriterOptions{
		Rollups: rollups, Writer: string(w.assignment.Task),
	})}
}

// result is what the repair has to say.
func (r *repair) result() jobs.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	var said []string
	for what, n := range map[string]int{
		"rows written that were missing": r.written, "rows deleted that disagreed with event": r.deleted,
		"rows left that event does not have, or not yet": r.orphans,
	} {
		if n > 0 {
			said = append(said, fmt.Sprintf("%d %s", n, what))
		}
	}
	out := jobs.Result{Values: map[string]string{}}
	if len(said) > 0 {
		slices.Sort(said)
		out.Message = "event_by_day: " + strings.Join(said, ", ")
	}
	if len(r.conflicts) > 0 {
		out.Values[fmt.Sprintf("conflicts.%d", r.assignment.Split.Number)] = strings.Join(r.conflicts, " ")
	}
	return out
}

// companion is an event's row in event_by_day.
type companion struct {
	stored
	bucket int
}

// place is a partition of event_by_day.
type place struct {
	day    event.Day
	bucket int
}

// ensure writes the companions that the events lack.
func (r *repair) ensure(ctx context.Context, events []stored) error {
	places := map[place][]stored{}
	for _, e := range events {
		n, err := r.writer.BucketsOf(ctx, e.Day())
		if err != nil {
			return err
		}
		p := place{e.Day(), event.Bucket(e.ID, n)}
		places[p] = append(places[p], e)
	}
	var mu sync.Mutex
	var missing []companion
	err := cassandra.Each(ctx, slices.Collect(maps.Keys(places)), readers, func(ctx context.Context, p place) error {
		for chunk := range slices.Chunk(places[p], companionsPerRead) {
			found, err := r.companions(ctx, p, chunk)
			if err != nil {
				return err
			}
			mu.Lock()
			for _, e := range chunk {
				if found[e.ID] != e.Event {
					missing = append(missing, companion{e, p.bucket})
				}
			}
			mu.Unlock()
		}
		return nil
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	return r.write(ctx, missing)
}

// selectCompanions always asks for the same number of rows, so that it is
// prepared once; a short list repeats its last one.
var selectCompanions = `SELECT campaign, type, id, ts, ad_id FROM event_by_day WHERE day = ? AND bucket = ? AND (campaign, type, id) IN (` +
	strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", companionsPerRead), ", ") + `)`

func (r *repair) companions(ctx context.Context, p place, events []stored) (map[event.UUID]event.Event, error) {
	values := []any{p.day.Time(), p.bucket}
	for i := range companionsPerRead {
		e := events[min(i, len(events)-1)]
		values = append(values, gocql.UUID(e.Campaign), e.Type, gocql.UUID(e.ID))
	}
	out := map[event.UUID]event.Event{}
	iter := r.session.Query(selectCompanions, values...).WithContext(ctx).Consistency(r.spec.consistency()).Iter()
	var campaign, id, ad gocql.UUID
	var e event.Event
	for iter.Scan(&campaign, &e.Type, &id, &e.TS, &ad) {
		e.Campaign, e.ID, e.AdID = event.UUID(campaign), event.UUID(id), event.UUID(ad)
		out[e.ID] = e
	}
	if err := iter.Close(); err != nil {
		return nil, fmt.Errorf("read the rows of partition %d of %s: %w", p.bucket, p.day, err)
	}
	return out, nil
}

// write writes companions just after their event's row was: a tombstone that
// killed an equal row at its very timestamp does not kill these, one of a
// later patch does.
func (r *repair) write(ctx context.Context, missing []companion) error {
	rows := cassandra.NewBulk(`INSERT INTO event_by_day (day, bucket, campaign, type, id, ts, ad_id) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`)
	for _, c := range missing {
		rows.Add(place{c.Day(), c.bucket}, c.Day().Time(), c.bucket, gocql.UUID(c.Campaign), c.Type, gocql.UUID(c.ID), c.TS, gocql.UUID(c.AdID), c.written+1)
	}
	touched := make([]cassandra.DayCampaign, len(missing))
	for i, c := range missing {
		touched[i] = cassandra.DayCampaign{Day: c.Day(), Campaign: c.Campaign}
	}
	if err := r.apply(ctx, rows, touched); err != nil {
		return fmt.Errorf("write %d missing rows of event_by_day: %w", len(missing), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written += len(missing)
	return nil
}

// apply changes event_by_day and marks what it touches, before and after: an
// attempt that dies in between leaves marks, and its successor, which finds
// nothing to change, makes none.
func (r *repair) apply(ctx context.Context, rows *cassandra.Bulk, touched []cassandra.DayCampaign) error {
	slices.SortFunc(touched, func(a, b cassandra.DayCampaign) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), bytes.Compare(a.Campaign[:], b.Campaign[:]))
	})
	distinct := slices.Compact(touched)
	if err := r.writer.Mark(ctx, distinct, 0); err != nil {
		return err
	}
	if err := rows.Write(ctx, r.session, gocql.LocalQuorum, 0); err != nil {
		return err
	}
	return r.writer.Mark(ctx, distinct, len(touched))
}

// compare looks in event for every row of partitions of event_by_day.
func (w *work) compare(ctx context.Context, days []dayBuckets) (jobs.Result, error) {
	r := newRepair(w)
	for i, d := range days {
		err := cassandra.Each(ctx, d.Buckets, scanners, func(ctx context.Context, bucket int) error {
			return r.comparePartition(ctx, place{d.Day, bucket})
		})
		if err != nil {
			return jobs.Result{}, err
		}
		w.runtime.Progress(jobs.Progress{Done: int64(i + 1), Total: int64(len(days)), Unit: "days"})
	}
	return r.result(), nil
}

func (r *repair) comparePartition(ctx context.Context, p place) error {
	iter := r.session.Query(`SELECT id, ad_id, campaign, ts, type, writetime(ad_id), writetime(ts) FROM event_by_day WHERE day = ? AND bucket = ?`,
		p.day.Time(), p.bucket).WithContext(ctx).Consistency(r.spec.consistency()).Iter()
	var chunk []companion
	var id, ad, campaign gocql.UUID
	var adAt, tsAt int64
	c := companion{bucket: p.bucket}
	for iter.Scan(&id, &ad, &campaign, &c.TS, &c.Type, &adAt, &tsAt) {
		c.ID, c.AdID, c.Campaign, c.written = event.UUID(id), event.UUID(ad), event.UUID(campaign), max(adAt, tsAt)
		if chunk = append(chunk, c); len(chunk) == idsPerRead*readers {
			if err := r.agree(ctx, p.day, chunk); err != nil {
				return errors.Join(err, iter.Close())
			}
			chunk = chunk[:0]
		}
	}
	if err := iter.Close(); err != nil {
		return fmt.Errorf("read partition %d of %s: %w", p.bucket, p.day, err)
	}
	return r.agree(ctx, p.day, chunk)
}

// agree deletes the companions whose event's row is newer and says otherwise:
// of two contents of one id, the later is the event's. A companion that is
// newer than the event's row, or has none, may be half of what a writer is
// about to finish, or will write again: it is left.
func (r *repair) agree(ctx context.Context, day event.Day, chunk []companion) error {
	var mu sync.Mutex
	var losers []companion
	err := cassandra.Each(ctx, slices.Collect(slices.Chunk(chunk, idsPerRead)), readers, func(ctx context.Context, part []companion) error {
		truth, err := r.events(ctx, part)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, c := range part {
			e, ok := truth[c.ID]
			switch {
			case ok && e.Campaign == c.Campaign && e.Type == c.Type && e.Day() == day:
			case ok && e.written >= c.written:
				losers = append(losers, c)
			default:
				r.orphan()
			}
		}
		return nil
	})
	if err != nil || len(losers) == 0 {
		return err
	}
	return r.remove(ctx, day, losers)
}

func (r *repair) orphan() {
	r.mu.Lock()
	r.orphans++
	r.mu.Unlock()
}

func (r *repair) events(ctx context.Context, part []companion) (map[event.UUID]stored, error) {
	ids := make([]gocql.UUID, len(part))
	for i, c := range part {
		ids[i] = gocql.UUID(c.ID)
	}
	iter := r.session.Query(`SELECT id, ad_id, campaign, ts, type, writetime(ad_id), writetime(campaign), writetime(ts), writetime(type)
		FROM event WHERE id IN ?`, ids).WithContext(ctx).Consistency(r.spec.consistency()).Iter()
	out := map[event.UUID]stored{}
	for {
		e, ok := scanStored(iter)
		if !ok {
			break
		}
		out[e.ID] = e
	}
	if err := iter.Close(); err != nil {
		return nil, fmt.Errorf("read %d rows of event: %w", len(ids), err)
	}
	return out, nil
}

// remove deletes companions at their own timestamps: what anybody writes later
// stays.
func (r *repair) remove(ctx context.Context, day event.Day, losers []companion) error {
	deletes := cassandra.NewBulk(`DELETE FROM event_by_day USING TIMESTAMP ? WHERE day = ? AND bucket = ? AND campaign = ? AND type = ? AND id = ?`)
	for _, c := range losers {
		deletes.Add(c.bucket, c.written, day.Time(), c.bucket, gocql.UUID(c.Campaign), c.Type, gocql.UUID(c.ID))
	}
	touched := make([]cassandra.DayCampaign, len(losers))
	for i, c := range losers {
		touched[i] = cassandra.DayCampaign{Day: day, Campaign: c.Campaign}
	}
	if err := r.apply(ctx, deletes, touched); err != nil {
		return fmt.Errorf("delete %d rows of event_by_day: %w", len(losers), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deleted += len(losers)
	for _, c := range losers[:min(len(losers), maxConflicts-len(r.conflicts))] {
		r.conflicts = append(r.conflicts, c.ID.String())
		r.log.Warn().Str("id", c.ID.String()).Stringer("day", day).Msg("an id stands for two contents; the later one counts")
	}
	return nil
}
