package rollup

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/internal/dirty"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

const (
	// maxAge is how old a plan may be when it is published: its marks and
	// partial counts go by themselves a week after they were written.
	maxAge = 6 * 24 * time.Hour
	// publishers is how many shards an attempt publishes at once.
	publishers = 4
)

// publish writes the totals of shards of campaigns. Each shard goes through
// the same steps, each acknowledged before the next: rows, reports' marks,
// dirty marks, what the run kept. Two attempts may overlap: what one of them
// has dropped, the other finds less of, and at one timestamp the larger value
// of each column stands, so that its lower sums are never seen.
func (w *work) publish(ctx context.Context, shards []int) (jobs.Result, error) {
	if age := time.Since(time.UnixMicro(w.assignment.Version)); age > maxAge {
		return jobs.Result{}, jobs.Permanent(&jobs.Error{
			Code: jobs.Conflict, Op: "publish", Subject: "run " + string(w.assignment.Run),
			Message: fmt.Sprintf("its counts are %s old and begin to expire", age.Round(time.Hour)), Hint: "start a new run: no mark is lost",
		})
	}
	var rows, done atomic.Int64
	err := cassandra.Each(ctx, shards, publishers, func(ctx context.Context, shard int) error {
		n, err := w.publishShard(ctx, shard)
		w.runtime.Progress(jobs.Progress{Done: rows.Add(int64(n)), Unit: "rows", Note: fmt.Sprintf("shard %d of %d", done.Add(1), len(shards))})
		return err
	})
	if err != nil {
		return jobs.Result{}, err
	}
	values := map[string]string{"rows": strconv.FormatInt(rows.Load(), 10)}
	if w.shared.More {
		values["more"] = "marks were left for the next run"
	}
	if w.spec.Consistency == LocalOne {
		values["approximate"] = "true"
	}
	return jobs.Result{Values: values}, nil
}

func (w *work) publishShard(ctx context.Context, shard int) (int, error) {
	marks, err := w.taken().Shard(ctx, w.session, shard)
	if err != nil {
		return 0, err
	}
	totals, err := w.sum(ctx, shard)
	if err != nil {
		return 0, err
	}
	for _, m := range marks {
		if _, ok := totals[m.DayCampaign]; !ok { // nothing is left: 0 is the total
			totals[m.DayCampaign] = counts{}
		}
	}
	if len(totals) == 0 {
		return 0, nil
	}
	steps := []func() error{
		func() error { return w.writeTotals(ctx, totals) },
		func() error { return w.markReports(ctx, totals) },
		func() error { return w.taken().Clear(ctx, w.session, string(w.assignment.Job), shard, marks) },
		func() error { return w.drop(ctx, shard) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return 0, err
		}
	}
	return len(totals), nil
}

// sum adds up what the attempts counted that the scheduler named.
func (w *work) sum(ctx context.Context, shard int) (tally, error) {
	total := tally{}
	var mu sync.Mutex
	err := w.eachPartial(ctx, func(ctx context.Context, split, attempt int) error {
		part := tally{}
		iter := w.session.Query(`SELECT id, day, views, clicks FROM rollup_partials
			WHERE run = ? AND version = ? AND split = ? AND attempt = ? AND bucket = ?`,
			string(w.assignment.PlannedBy()), w.assignment.Version, split, attempt, shard).WithContext(ctx).Iter()
		var id gocql.UUID
		var day time.Time
		var c counts
		for iter.Scan(&id, &day, &c.views, &c.clicks) {
			part[cassandra.DayCampaign{Day: event.DayOfTime(day), Campaign: event.UUID(id)}] = c
		}
		if err := iter.Close(); err != nil {
			return fmt.Errorf("read the counts of split %d, attempt %d: %w", split, attempt, err)
		}
		mu.Lock()
		defer mu.Unlock()
		total.add(part)
		return nil
	})
	return total, err
}

func (w *work) eachPartial(ctx context.Context, do func(ctx context.Context, split, attempt int) error) error {
	splits := make([]int, len(w.assignment.Former))
	for i := range splits {
		splits[i] = i
	}
	return cassandra.Each(ctx, splits, readers, func(ctx context.Context, split int) error {
		return do(ctx, split, w.assignment.Former[split])
	})
}

// month is a partition of campaign_by_month.
type month struct{ year, month int }

func (w *work) writeTotals(ctx context.Context, totals tally) error {
	byID := cassandra.NewBulk(`INSERT INTO campaign (id, year, month, day, views, clicks) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`)
	byMonth := cassandra.NewBulk(`INSERT INTO campaign_by_month (year, month, id, day, views, clicks) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`)
	version := w.assignment.Version
	for k, c := range totals {
		y, m, d := k.Day.Date()
		byID.Add(k.Campaign, gocql.UUID(k.Campaign), y, m, d, c.views, c.clicks, version)
		byMonth.Add(month{y, m}, y, m, gocql.UUID(k.Campaign), d, c.views, c.clicks, version)
	}
	for _, b := range []*cassandra.Bulk{byID, byMonth} {
		if err := b.Write(ctx, w.session, gocql.LocalQuorum, 0); err != nil {
			return fmt.Errorf("write %d totals: %w", len(totals), err)
		}
	}
	return nil
}

// markReports tells the report jobs of every row that was written. A mark has
// the version of its row: like the row, it loses against a later one, and it
// does not come back when a report has cleared it.
func (w *work) markReports(ctx context.Context, totals tally) error {
	marks := make([]dirty.Mark, 0, len(totals))
	for k := range totals {
		marks = append(marks, dirty.Mark{DayCampaign: k, Writer: string(w.assignment.Job), Pos: w.assignment.Version})
	}
	for _, report := range w.spec.Reports {
		if err := dirty.Write(ctx, w.session, string(report), marks); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the counts that were published; those of attempts that nobody
// waits for go by themselves.
func (w *work) drop(ctx context.Context, shard int) error {
	return w.eachPartial(ctx, func(ctx context.Context, split, attempt int) error {
		err := w.session.Query(`DELETE FROM rollup_partials USING TIMESTAMP ?
			WHERE run = ? AND version = ? AND split = ? AND attempt = ? AND bucket = ?`,
			w.assignment.Version, string(w.assignment.PlannedBy()), w.assignment.Version, split, attempt, shard).WithContext(ctx).Exec()
		if err != nil {
			return fmt.Errorf("drop the counts of split %d: %w", split, err)
		}
		return nil
	})
}
