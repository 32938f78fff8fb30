// Package history keeps finished runs in Cassandra, for longer than the
// scheduler's own store does.
package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gocql/gocql"
	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/jobs"
)

// Options say where runs are kept, and for how long.
type Options struct {
	Connection jobs.CassandraConnection
	Keyspace   string
	TTL        time.Duration // of a run, from when it is written; 0: for ever
	Log        zerolog.Logger
}

// Cassandra is the scheduler's History. It connects when it is first used, and
// again until that succeeds: Cassandra may be away when a scheduler starts.
type Cassandra struct {
	options Options
	opening chan struct{} // held by who connects
	session *cassandra.Session
}

// New makes one; Close ends it.
func New(o Options) *Cassandra { return &Cassandra{options: o, opening: make(chan struct{}, 1)} }

// Close ends the session, when nothing uses it any more.
func (h *Cassandra) Close() {
	h.opening <- struct{}{}
	defer func() { <-h.opening }()
	if h.session != nil {
		h.session.Close()
		h.session = nil
	}
}

// open gives the session, and makes it where there is none yet.
func (h *Cassandra) open(ctx context.Context) (*cassandra.Session, error) {
	select {
	case h.opening <- struct{}{}:
		defer func() { <-h.opening }()
	case <-ctx.Done():
		return nil, fmt.Errorf("connect with the history's Cassandra: %w", ctx.Err())
	}
	if h.session != nil {
		return h.session, nil
	}
	s, err := cassandra.Connect(h.options.Connection, h.options.Keyspace, h.options.Log)
	if err != nil {
		return nil, h.hint(err)
	}
	if err := s.Verify(ctx, cassandra.RunHistory()); err != nil {
		s.Close()
		return nil, h.hint(err)
	}
	h.session = s
	return s, nil
}

// hint names the command that makes these tables, not the data's.
func (h *Cassandra) hint(err error) error {
	var e *jobs.Error
	if errors.As(err, &e) && !errors.Is(err, cassandra.ErrAway) {
		e.Hint = "make it by: tidemill schema apply --history-keyspace " + h.options.Keyspace
	}
	return err
}

// The writes of a run. They bear repetition: each is made at the time when the
// run became what it is, which stands in its record, and no clock is asked.
const (
	insertRun   = `INSERT INTO run (id, job, state, created, ended, document) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?`
	insertMonth = `INSERT INTO run_months (job, month) VALUES (?, ?) USING TIMESTAMP ? AND TTL ?`
	insertEntry = `INSERT INTO run_by_month (job, month, created, id, state, summary) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?`
)

// writers is how many runs are written at once.
const writers = 16

// Write keeps runs with their tasks.
func (h *Cassandra) Write(ctx context.Context, runs []jobs.RunView) error {
	s, err := h.open(ctx)
	if err != nil {
		return err
	}
	return cassandra.Each(ctx, runs, writers, func(ctx context.Context, v jobs.RunView) error {
		if err := h.write(ctx, s, &v); err != nil {
			return fmt.Errorf("write run %s to history: %w", v.ID, err)
		}
		return nil
	})
}

// write makes the run's entry in its month last: what is listed can be shown.
func (h *Cassandra) write(ctx context.Context, s *cassandra.Session, v *jobs.RunView) error {
	document, err := json.Marshal(v)
	if err != nil {
		return err
	}
	short := *v
	short.Tasks, short.Waiting, short.Children = nil, nil, nil
	summary, err := json.Marshal(&short)
	if err != nil {
		return err
	}
	at, ttl := stamp(&v.Run), int(h.options.TTL/time.Second)
	for _, q := range []*gocql.Query{
		s.Query(insertRun, string(v.ID), string(v.Job), string(v.State), v.Created, v.Ended, string(document), at, ttl),
		s.Query(insertMonth, string(v.Job), month(v.Created), at, ttl),
		s.Query(insertEntry, string(v.Job), month(v.Created), v.Created.UnixNano(), string(v.ID), string(v.State), string(summary), at, ttl),
	} {
		if err := q.WithContext(ctx).Exec(); err != nil {
			return err
		}
	}
	return nil
}

// stamp is when a run last changed, in microseconds: its end, unless it was
// marked by hand after it.
func stamp(r *jobs.Run) int64 {
	if r.Marked.After(r.Ended) {
		return r.Marked.UnixMicro()
	}
	return r.Ended.UnixMicro()
}

// month is that of a time, in UTC, as 202601.
func month(t time.Time) int {
	t = t.UTC()
	return t.Year()*100 + int(t.Month())
}

// Run finds a run, with its tasks.
func (h *Cassandra) Run(ctx context.Context, id jobs.RunID) (v jobs.RunView, err error) {
	s, err := h.open(ctx)
	if err != nil {
		return v, err
	}
	var document string
	err = s.Query(`SELECT document FROM run WHERE id = ?`, string(id)).WithContext(ctx).Scan(&document)
	switch {
	case errors.Is(err, gocql.ErrNotFound):
		return v, &jobs.Error{Code: jobs.NotFound, Op: "show", Subject: "run " + string(id), Message: "history has no such run"}
	case err != nil:
		return v, fmt.Errorf("read run %s from history: %w", id, err)
	}
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		return v, fmt.Errorf("run %s in history cannot be read: %w", id, err)
	}
	return v, nil
}

// Bounds of one page: what is asked for at most, and how many entries are
// looked at for it where a state is asked for.
const (
	maxPage  = 11_000
	maxLooks = 20_000
)

// Runs lists runs of a job, newest first, month by month.
func (h *Cassandra) Runs(ctx context.Context, q jobs.RunQuery) (page jobs.RunPage, err error) {
	s, err := h.open(ctx)
	if err != nil {
		return page, err
	}
	limit := maxPage
	if q.Limit > 0 {
		limit = min(q.Limit, maxPage)
	}
	months, err := monthsOf(ctx, s, q)
	if err != nil {
		return page, err
	}
	looks := 0
	var at jobs.RunCursor // what was looked at last
	for _, m := range months {
		iter := entries(s, q, m).WithContext(ctx).PageSize(min(limit+1, 1000)).Iter()
		for e := (entry{}); iter.Scan(&e.created, &e.id, &e.state, &e.summary); {
			if len(page.Runs) == limit || looks == maxLooks {
				page.Next = at
				return page, iter.Close()
			}
			looks++
			at = jobs.RunCursor{Created: time.Unix(0, e.created).UTC(), ID: jobs.RunID(e.id)}
			if q.State != "" && e.state != string(q.State) {
				continue
			}
			var v jobs.RunView
			if err := json.Unmarshal([]byte(e.summary), &v); err != nil {
				_ = iter.Close() // of a page that nobody reads on
				return page, fmt.Errorf("run %s in history cannot be read: %w", e.id, err)
			}
			page.Runs = append(page.Runs, v)
		}
		if err := iter.Close(); err != nil {
			return page, fmt.Errorf("read the runs of job %s in %d from history: %w", q.Job, m, err)
		}
	}
	return page, nil
}

type entry struct {
	created            int64
	id, state, summary string
}

func entries(s *cassandra.Session, q jobs.RunQuery, month int) *gocql.Query {
	const from = `SELECT created, id, state, summary FROM run_by_month WHERE job = ? AND month = ?`
	if q.Before.IsZero() {
		return s.Query(from, string(q.Job), month)
	}
	return s.Query(from+` AND (created, id) < (?, ?)`, string(q.Job), month, q.Before.Created.UnixNano(), string(q.Before.ID))
}

// monthsOf are the months in which the page may have runs, newest first.
func monthsOf(ctx context.Context, s *cassandra.Session, q jobs.RunQuery) ([]int, error) {
	last := 999999
	if !q.Before.IsZero() {
		last = month(q.Before.Created)
	}
	iter := s.Query(`SELECT month FROM run_months WHERE job = ? AND month <= ?`, string(q.Job), last).WithContext(ctx).Iter()
	var months []int
	for m := 0; iter.Scan(&m); {
		months = append(months, m)
	}
	if err := iter.Close(); err != nil {
		return nil, fmt.Errorf("read the months of job %s from history: %w", q.Job, err)
	}
	return months, nil
}
