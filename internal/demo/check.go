package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/internal/events"
	"tidemill/jobs/event"
)

// drain returns when all that was sent is counted and reported, and nothing
// can change it any more.
func (d *demo) drain(ctx context.Context) error {
	if err := d.api.pause(ctx, true, door); err != nil {
		return err
	}
	err := d.await(ctx, "a lag of 0", longest, func(ctx context.Context) (bool, string, error) {
		lag, err := d.lag(ctx)
		return err == nil && lag == 0, fmt.Sprintf("%d events of the log are not in Cassandra yet", lag), err
	})
	if err != nil {
		return err
	}
	d.screen.say("lag 0")
	if err := d.api.pause(ctx, true, writer); err != nil {
		return err
	}
	return d.stand(ctx)
}

// stand waits until everything is counted and reported, and stops the rollup.
func (d *demo) stand(ctx context.Context) error {
	if err := d.settle(ctx); err != nil {
		return err
	}
	if err := d.api.pause(ctx, true, totals); err != nil {
		return err
	}
	if err := d.settle(ctx); err != nil { // one may have begun in between
		return err
	}
	if err := d.notePlacements(ctx); err != nil {
		return err
	}
	d.screen.say("ingest and rollup are paused, no run is under way, nothing is marked")
	return nil
}

// dirtyMarks counts what is to be counted or reported.
func (d *demo) dirtyMarks(ctx context.Context) (int, error) {
	var n int
	err := d.session.Query(`SELECT count(*) FROM dirty`).WithContext(ctx).Scan(&n)
	return n, err
}

type dayCounts = map[event.UUID]map[event.Day]events.Counts

// tables is what the tables hold.
type tables struct {
	events   int
	campaign dayCounts
	byMonth  dayCounts
	report   map[event.UUID]events.Counts
}

// compare compares every total with the truth, once.
func (d *demo) compare(ctx context.Context) error {
	found, err := readTables(ctx, d.session)
	if err != nil {
		return err
	}
	var diff Differences
	if n := d.truth.Events(); found.events != n {
		diff.addf("event has %d rows, not %d", found.events, n)
	}
	truth := d.truth.Days()
	compareDays(&diff, "campaign", truth, found.campaign)
	compareDays(&diff, "campaign_by_month", truth, found.byMonth)
	compareCounts(&diff, "campaign_report", d.truth.Totals(), found.report)
	if err := diff.err(); err != nil {
		return err
	}
	days := 0
	for _, list := range truth {
		days += len(list)
	}
	d.screen.say("all is right: %d events; %d totals in campaign, as many in campaign_by_month; %d in campaign_report", found.events, days, len(found.report))
	return nil
}

func compareDays(diff *Differences, table string, want, got dayCounts) {
	for campaign := range union(want, got) {
		for day := range union(want[campaign], got[campaign]) {
			compareOne(diff, fmt.Sprintf("%s %s %s", table, campaign, day), want[campaign][day], got[campaign][day])
		}
	}
}

func compareCounts(diff *Differences, table string, want, got map[event.UUID]events.Counts) {
	for campaign := range union(want, got) {
		compareOne(diff, fmt.Sprintf("%s %s", table, campaign), want[campaign], got[campaign])
	}
}

// compareOne takes a missing row for one of zeros, as readers of totals do.
func compareOne(diff *Differences, where string, want, got events.Counts) {
	if want != got {
		diff.addf("%s: %d views and %d clicks, not %d and %d", where, got.Views, got.Clicks, want.Views, want.Clicks)
	}
}

func union[K comparable, V any](a, b map[K]V) map[K]struct{} {
	keys := map[K]struct{}{}
	for k := range a {
		keys[k] = struct{}{}
	}
	for k := range b {
		keys[k] = struct{}{}
	}
	return keys
}

func readTables(ctx context.Context, s *cassandra.Session) (tables, error) {
	t := tables{report: map[event.UUID]events.Counts{}}
	var id gocql.UUID
	var c events.Counts
	iter := s.Query(`SELECT id FROM event`).WithContext(ctx).Iter()
	for iter.Scan(&id) {
		t.events++
	}
	err := iter.Close()
	iter = s.Query(`SELECT id, views, clicks FROM campaign_report`).WithContext(ctx).Iter()
	for iter.Scan(&id, &c.Views, &c.Clicks) {
		t.report[event.UUID(id)] = c
	}
	err = errors.Join(err, iter.Close())
	var more error
	t.campaign, more = readDays(ctx, s, "campaign")
	err = errors.Join(err, more)
	t.byMonth, more = readDays(ctx, s, "campaign_by_month")
	if err = errors.Join(err, more); err != nil {
		return t, fmt.Errorf("read the tables: %w", err)
	}
	return t, nil
}

func readDays(ctx context.Context, s *cassandra.Session, table string) (dayCounts, error) {
	out := dayCounts{}
	var id gocql.UUID
	var year, month, day int
	var c events.Counts
	iter := s.Query(`SELECT id, year, month, day, views, clicks FROM ` + table).WithContext(ctx).Iter()
	for iter.Scan(&id, &year, &month, &day, &c.Views, &c.Clicks) {
		campaign := event.UUID(id)
		if out[campaign] == nil {
			out[campaign] = map[event.Day]events.Counts{}
		}
		out[campaign][event.DayOfTime(time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC))] = c
	}
	return out, iter.Close()
}

// truncateTables empties every table by a job, and finds every total gone.
func (d *demo) truncateTables(ctx context.Context) error {
	if _, err := d.perform(ctx, truncate); err != nil {
		return err
	}
	var diff Differences
	for _, table := range cassandra.Data().Names() {
		var n int
		if err := d.session.Query(`SELECT count(*) FROM ` + table).WithContext(ctx).Scan(&n); err != nil {
			return fmt.Errorf("read table %s: %w", table, err)
		}
		if n > 0 {
			diff.addf("%s still has %d rows", table, n)
		}
	}
	if err := diff.err(); err != nil {
		return err
	}
	d.screen.say("%d tables are empty: every total is absent", len(cassandra.Data().Names()))
	return nil
}

// countAgain lets the rollup count what the restore marked.
func (d *demo) countAgain(ctx context.Context) error {
	if err := d.api.pause(ctx, false, totals); err != nil {
		return err
	}
	return d.stand(ctx)
}
