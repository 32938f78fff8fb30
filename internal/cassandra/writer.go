package cassandra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gocql/gocql"

	"tidemill/jobs/event"
)

// Defaults of the writer.
const (
	// DefaultBuckets keeps a partition of event_by_day below 100 MB up to
	// some sixteen million events a day.
	DefaultBuckets = 16
	// DefaultConcurrency is how many requests a writer has in flight.
	DefaultConcurrency = 64
	// knownDays bounds the cache of the days' buckets.
	knownDays = 10_000
)

// The writes of events. Each names its timestamp, and no column is ever bound
// to null: at one timestamp, null would beat a value.
const (
	insertEvent = `INSERT INTO event (id, ad_id, campaign, ts, type) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?`
	insertByDay = `INSERT INTO event_by_day (day, bucket, campaign, type, id, ts, ad_id) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`
	insertMark  = `INSERT INTO dirty (rollup, shard, day, campaign, writer, pos) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`
)

// WriterOptions say for whom a writer writes.
type WriterOptions struct {
	Rollups     []string // the rollup jobs that are to count what is written
	Writer      string   // the task attempt: no two writers may share it
	Buckets     int      // of days that have no number yet; DefaultBuckets if 0
	Concurrency int      // requests in flight; DefaultConcurrency if 0
	// EachDC makes every data centre acknowledge by quorum, not only the
	// writer's own: needed where rollups read in another one, since quorums
	// of two data centres do not overlap.
	EachDC bool
}

func (o WriterOptions) consistency() gocql.Consistency {
	if o.EachDC {
		return gocql.EachQuorum
	}
	return gocql.LocalQuorum
}

func (o WriterOptions) serial() gocql.SerialConsistency {
	if o.EachDC {
		return gocql.Serial
	}
	return gocql.LocalSerial
}

// Writer writes events: the row of event, its companion in event_by_day, and
// then the dirty marks. Writing an event again changes nothing but a mark.
// It may be used by several goroutines.
type Writer struct {
	session *Session
	options WriterOptions

	mu      sync.Mutex
	pos     int64 // rows acknowledged so far
	buckets map[event.Day]int
	// replicas tells the sets of nodes apart that hold a token. It is nil before
	// the first write, and after one that failed: the cluster may have changed.
	replicas func(token int64) string
}

// NewWriter makes a writer on an open session.
func NewWriter(s *Session, o WriterOptions) *Writer {
	o.Buckets = cmp.Or(o.Buckets, DefaultBuckets)
	o.Concurrency = cmp.Or(o.Concurrency, DefaultConcurrency)
	return &Writer{session: s, options: o, buckets: map[event.Day]int{}}
}

// Write returns when every row of the events and then every mark is
// acknowledged. After an error, what was written is unknown, and the same
// events may be written again; Transient tells whether that is of use.
func (w *Writer) Write(ctx context.Context, events []event.Event) error {
	return w.write(ctx, events, event.Event.Stamp)
}

// WriteOver is Write at a run's version instead of each event's own time: the
// rows come back from behind a delete that is older than the version.
func (w *Writer) WriteOver(ctx context.Context, events []event.Event, version int64) error {
	return w.write(ctx, events, func(event.Event) int64 { return version })
}

func (w *Writer) write(ctx context.Context, events []event.Event, stamp func(event.Event) int64) error {
	rows, err := w.rows(ctx, events, stamp)
	if err != nil {
		return err
	}
	if err := w.session.execute(ctx, rows, w.options.consistency(), w.options.Concurrency); err != nil {
		w.mu.Lock()
		w.replicas = nil
		w.mu.Unlock()
		return fmt.Errorf("write %d events: %w", len(events), err)
	}
	days := map[DayCampaign]struct{}{}
	for _, e := range events {
		days[DayCampaign{e.Day(), e.Campaign}] = struct{}{}
	}
	touched := make([]DayCampaign, 0, len(days))
	for d := range days {
		touched = append(touched, d)
	}
	return w.Mark(ctx, touched, len(events))
}

// DayCampaign is what rollups count, and what a mark names.
type DayCampaign struct {
	Day      event.Day
	Campaign event.UUID
}

// Mark marks each (day, campaign) for each rollup, after rows more rows of
// this writer were acknowledged. A mark's place in time is the number of rows
// acknowledged before it: whoever reads a mark also sees those rows, and
// whoever deletes it by that number spares every later mark.
func (w *Writer) Mark(ctx context.Context, touched []DayCampaign, rows int) error {
	w.mu.Lock()
	w.pos += int64(max(rows, 1))
	pos := w.pos
	w.mu.Unlock()
	groups := NewBulk(insertMark)
	for _, rollup := range w.options.Rollups {
		for _, t := range touched {
			shard := event.Shard(t.Campaign, DirtyShards)
			groups.Add(partition{rollup: rollup, bucket: shard},
				rollup, shard, t.Day.Time(), uuid(t.Campaign), w.options.Writer, pos, pos)
		}
	}
	if err := groups.Write(ctx, w.session, w.options.consistency(), w.options.Concurrency); err != nil {
		return fmt.Errorf("write %d dirty marks: %w", len(touched)*len(w.options.Rollups), err)
	}
	return nil
}

// partition tells the partitions of one table apart.
type partition struct {
	rollup string
	day    event.Day
	bucket int
}

// rows are the statements of the events' rows: batches of rows of event, whose
// partitions are all different, by the replicas that hold them, and batches of
// one partition each for event_by_day.
func (w *Writer) rows(ctx context.Context, events []event.Event, stamp func(event.Event) int64) ([]statement, error) {
	replicas, err := w.findReplicas(ctx)
	if err != nil {
		return nil, err
	}
	single, groups := newNeighbours(insertEvent), NewBulk(insertByDay)
	for _, e := range events {
		n, err := w.BucketsOf(ctx, e.Day())
		if err != nil {
			return nil, err
		}
		single.Add(replicas(Token(e.ID)), uuid(e.ID), uuid(e.AdID), uuid(e.Campaign), e.TS, e.Type, stamp(e))
		bucket := event.Bucket(e.ID, n)
		groups.Add(partition{day: e.Day(), bucket: bucket},
			e.Day().Time(), bucket, uuid(e.Campaign), e.Type, uuid(e.ID), e.TS, uuid(e.AdID), stamp(e))
	}
	return append(single.statements(), groups.statements()...), nil
}

// findReplicas gives replicas, and reads the ring for it where that must be.
func (w *Writer) findReplicas(ctx context.Context) (func(token int64) string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.replicas == nil {
		ring, err := w.session.Ring(ctx)
		if err != nil {
			return nil, err
		}
		w.replicas = ring.nearSets()
	}
	return w.replicas, nil
}

// BucketsOf is the number of partitions of a day, fixed once for ever by
// whoever writes the day's first row.
func (w *Writer) BucketsOf(ctx context.Context, day event.Day) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, ok := w.buckets[day]; ok {
		return n, nil
	}
	n, ok, err := w.session.dayBuckets(ctx, day, w.options.serial())
	if err == nil && !ok {
		n, err = w.fixBuckets(ctx, day)
	}
	if err != nil {
		return 0, err
	}
	if len(w.buckets) >= knownDays {
		clear(w.buckets)
	}
	w.buckets[day] = n
	return n, nil
}

// DayBuckets is the number of partitions of a day in event_by_day; a day
// without a number has no rows.
func (s *Session) DayBuckets(ctx context.Context, day event.Day) (n int, ok bool, err error) {
	return s.dayBuckets(ctx, day, gocql.LocalSerial)
}

func (s *Session) dayBuckets(ctx context.Context, day event.Day, serial gocql.SerialConsistency) (n int, ok bool, err error) {
	err = s.Query(`SELECT buckets FROM day_buckets WHERE day = ?`, day.Time()).
		WithContext(ctx).Consistency(gocql.Consistency(serial)).Scan(&n)
	switch {
	case errors.Is(err, gocql.ErrNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read buckets of day %s: %w", day, err)
	}
	return n, true, nil
}

// fixBuckets sets the number, or finds the one that another writer has set
// meanwhile. It may be repeated: then it finds its own.
func (w *Writer) fixBuckets(ctx context.Context, day event.Day) (int, error) {
	found := map[string]any{}
	applied, err := w.session.Query(`INSERT INTO day_buckets (day, buckets) VALUES (?, ?) IF NOT EXISTS`, day.Time(), w.options.Buckets).
		WithContext(ctx).SerialConsistency(w.options.serial()).Consistency(w.options.consistency()).MapScanCAS(found)
	if err != nil {
		return 0, fmt.Errorf("fix buckets of day %s: %w", day, err)
	}
	if applied {
		return w.options.Buckets, nil
	}
	other, ok := found["buckets"].(int)
	if !ok || other < 1 {
		return 0, fmt.Errorf("fix buckets of day %s: found %v", day, found)
	}
	return other, nil
}
