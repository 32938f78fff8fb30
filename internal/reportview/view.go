// Package reportview reads what rollups and reports wrote, for people.
package reportview

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// Row is one campaign's views and clicks.
type Row struct {
	Campaign event.UUID `json:"campaign"`
	Views    int64      `json:"views"`
	Clicks   int64      `json:"clicks"`
	Source   string     `json:"source,omitempty"` // "batch": rollups counted all there was at AsOf
	AsOf     time.Time  `json:"as_of,omitzero"`
	Run      string     `json:"run,omitempty"`
	Days     []Day      `json:"days,omitempty"`
}

// Day is one UTC day of a campaign.
type Day struct {
	Day    event.Day `json:"day"`
	Views  int64     `json:"views"`
	Clicks int64     `json:"clicks"`
}

// Month is a calendar month, UTC.
type Month struct{ Year, Month int }

// ParseMonth reads 2015-09.
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return Month{}, fmt.Errorf("%q is no month like 2015-09", s)
	}
	return Month{t.Year(), int(t.Month())}, nil
}

// List gives the report of all campaigns, at most limit, in no order that
// means anything. More says that there are others.
func List(ctx context.Context, s *cassandra.Session, limit int) (rows []Row, more bool, err error) {
	iter := s.Query(`SELECT id, views, clicks FROM campaign_report LIMIT ?`, limit+1).WithContext(ctx).Iter()
	var id gocql.UUID
	var r Row
	for iter.Scan(&id, &r.Views, &r.Clicks) {
		r.Campaign = event.UUID(id)
		rows = append(rows, r)
	}
	if err := iter.Close(); err != nil {
		return nil, false, fmt.Errorf("read campaign_report: %w", err)
	}
	if more = len(rows) > limit; more {
		rows = rows[:limit]
	}
	for i := range rows {
		if err := addMeta(ctx, s, &rows[i]); err != nil {
			return nil, false, err
		}
	}
	return rows, more, nil
}

// Campaign gives one campaign's report with its days.
func Campaign(ctx context.Context, s *cassandra.Session, id event.UUID) (Row, error) {
	r := Row{Campaign: id}
	err := s.Query(`SELECT views, clicks FROM campaign_report WHERE id = ?`, gocql.UUID(id)).WithContext(ctx).Scan(&r.Views, &r.Clicks)
	if errors.Is(err, gocql.ErrNotFound) {
		return r, notFound("campaign "+id.String(), s.Keyspace)
	}
	if err != nil {
		return r, fmt.Errorf("read campaign_report of %s: %w", id, err)
	}
	if err := addMeta(ctx, s, &r); err != nil {
		return r, err
	}
	iter := s.Query(`SELECT year, month, day, views, clicks FROM campaign WHERE id = ?`, gocql.UUID(id)).WithContext(ctx).Iter()
	var y, m, d int
	var day Day
	for iter.Scan(&y, &m, &d, &day.Views, &day.Clicks) {
		day.Day = dayOf(y, m, d)
		r.Days = append(r.Days, day)
	}
	if err := iter.Close(); err != nil {
		return r, fmt.Errorf("read the days of campaign %s: %w", id, err)
	}
	return r, nil
}

// MonthOf gives one campaign's month with its days; AsOf is that of its newest day.
func MonthOf(ctx context.Context, s *cassandra.Session, id event.UUID, m Month) (Row, error) {
	q := s.Query(`SELECT id, day, views, clicks, writetime(views) FROM campaign_by_month WHERE year = ? AND month = ? AND id = ?`,
		m.Year, m.Month, gocql.UUID(id))
	rows, _, err := months(ctx, q, m, 1)
	if err == nil && len(rows) == 0 {
		err = notFound(fmt.Sprintf("campaign %s in %d-%02d", id, m.Year, m.Month), s.Keyspace)
	}
	if err != nil {
		return Row{}, err
	}
	return rows[0], nil
}

// Months gives a month of all campaigns, at most limit, by campaign.
func Months(ctx context.Context, s *cassandra.Session, m Month, limit int) ([]Row, bool, error) {
	return months(ctx, s.Query(`SELECT id, day, views, clicks, writetime(views) FROM campaign_by_month WHERE year = ? AND month = ?`, m.Year, m.Month), m, limit)
}

// months sums up days, which come by campaign.
func months(ctx context.Context, q *gocql.Query, m Month, limit int) (rows []Row, more bool, err error) {
	iter := q.WithContext(ctx).Iter()
	var id gocql.UUID
	var d int
	var day Day
	var written int64
	for !more && iter.Scan(&id, &d, &day.Views, &day.Clicks, &written) {
		if len(rows) == 0 || rows[len(rows)-1].Campaign != event.UUID(id) {
			if more = len(rows) == limit; more {
				break
			}
			rows = append(rows, Row{Campaign: event.UUID(id), Source: "batch"})
		}
		r := &rows[len(rows)-1]
		day.Day = dayOf(m.Year, m.Month, d)
		r.Days = append(r.Days, day)
		r.Views += day.Views
		r.Clicks += day.Clicks
		// A row's write timestamp is its rollup's version, an instant.
		if at := time.UnixMicro(written).UTC(); at.After(r.AsOf) {
			r.AsOf = at
		}
	}
	if err := iter.Close(); err != nil {
		return nil, false, fmt.Errorf("read campaign_by_month of %d-%02d: %w", m.Year, m.Month, err)
	}
	return rows, more, nil
}

func addMeta(ctx context.Context, s *cassandra.Session, r *Row) error {
	err := s.Query(`SELECT source, as_of, run FROM campaign_report_meta WHERE id = ?`, gocql.UUID(r.Campaign)).
		WithContext(ctx).Scan(&r.Source, &r.AsOf, &r.Run)
	if err != nil && !errors.Is(err, gocql.ErrNotFound) {
		return fmt.Errorf("read campaign_report_meta of %s: %w", r.Campaign, err)
	}
	return nil
}

func dayOf(y, m, d int) event.Day {
	return event.DayOfTime(time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC))
}

func notFound(what, keyspace string) error {
	return &jobs.Error{Code: jobs.NotFound, Op: "report", Subject: what, Message: "nothing is reported in keyspace " + keyspace,
		Hint: "a rollup and a report job must have run since its events came"}
}
