// Package dirty takes the marks that say what a job has to count again, holds
// what a run took, and clears it when the counts stand.
package dirty

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// MaxMarks bounds what one planning takes; what is left stays for the next run.
const MaxMarks = 1 << 20

// Mark says that a writer touched a campaign's day. Pos is the mark's write
// timestamp too: a later mark of the same writer has a higher one.
type Mark struct {
	cassandra.DayCampaign
	Writer string
	Pos    int64
}

// Read reads the marks that a job has to look after, at most about limit.
// More says that there are others.
func Read(ctx context.Context, s *cassandra.Session, job string, limit int) (marks []Mark, more bool, err error) {
	perShard := max(limit/cassandra.DirtyShards, 1)
	var mu sync.Mutex
	err = cassandra.Each(ctx, Shards(), cassandra.DirtyShards, func(ctx context.Context, shard int) error {
		found, err := scan(s.Query(`SELECT day, campaign, writer, pos FROM dirty WHERE rollup = ? AND shard = ? LIMIT ?`,
			job, shard, perShard+1).WithContext(ctx))
		if err != nil {
			return fmt.Errorf("read dirty marks of %s: %w", job, err)
		}
		mu.Lock()
		defer mu.Unlock()
		more = more || len(found) > perShard
		marks = append(marks, found[:min(len(found), perShard)]...)
		return nil
	})
	return marks, more, err
}

// Write makes marks for a job.
func Write(ctx context.Context, s *cassandra.Session, job string, marks []Mark) error {
	rows := cassandra.NewBulk(`INSERT INTO dirty (rollup, shard, day, campaign, writer, pos) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`)
	for _, m := range marks {
		shard := Shard(m.Campaign)
		rows.Add(shard, job, shard, m.Day.Time(), gocql.UUID(m.Campaign), m.Writer, m.Pos, m.Pos)
	}
	if err := rows.Write(ctx, s, gocql.LocalQuorum, 0); err != nil {
		return fmt.Errorf("write %d dirty marks for %s: %w", len(marks), job, err)
	}
	return nil
}

func scan(q *gocql.Query) ([]Mark, error) {
	iter := q.Iter()
	var out []Mark
	var day time.Time
	var campaign gocql.UUID
	var m Mark
	for iter.Scan(&day, &campaign, &m.Writer, &m.Pos) {
		m.Day, m.Campaign = event.DayOfTime(day), event.UUID(campaign)
		out = append(out, m)
	}
	return out, iter.Close()
}

// Shards are all shards of the marks.
func Shards() []int {
	out := make([]int, cassandra.DirtyShards)
	for i := range out {
		out[i] = i
	}
	return out
}

// Shard is the shard of a campaign's marks.
func Shard(campaign event.UUID) int { return event.Shard(campaign, cassandra.DirtyShards) }

// Groups deals the shards out to so many groups, at least one and at most one
// for each shard.
func Groups(n int) [][]int {
	n = min(max(n, 1), cassandra.DirtyShards)
	return slices.Collect(slices.Chunk(Shards(), (cassandra.DirtyShards+n-1)/n))
}

// Taken names the marks that one planning took. They lie in a table, since
// a plan is too small for many; no later attempt changes them.
type Taken struct {
	Run     jobs.RunID
	Version int64
	Attempt int // of the planning
}

// Store keeps the marks until the run has cleared them.
func (t Taken) Store(ctx context.Context, s *cassandra.Session, marks []Mark) error {
	rows := cassandra.NewBulk(`INSERT INTO rollup_marks (run, version, attempt, shard, day, campaign, writer, pos)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`)
	for _, m := range marks {
		shard := Shard(m.Campaign)
		rows.Add(shard, string(t.Run), t.Version, t.Attempt, shard, m.Day.Time(), gocql.UUID(m.Campaign), m.Writer, m.Pos, t.Version)
	}
	if err := rows.Write(ctx, s, gocql.LocalQuorum, 0); err != nil {
		return fmt.Errorf("store %d marks of run %s: %w", len(marks), t.Run, err)
	}
	return nil
}

// Shard gives the marks of a shard.
func (t Taken) Shard(ctx context.Context, s *cassandra.Session, shard int) ([]Mark, error) {
	marks, err := scan(s.Query(`SELECT day, campaign, writer, pos FROM rollup_marks WHERE run = ? AND version = ? AND attempt = ? AND shard = ?`,
		string(t.Run), t.Version, t.Attempt, shard).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("read the marks of run %s: %w", t.Run, err)
	}
	return marks, nil
}

// Day gives the campaigns that are marked on a day, each once.
func (t Taken) Day(ctx context.Context, s *cassandra.Session, day event.Day) ([]event.UUID, error) {
	var mu sync.Mutex
	var out []event.UUID
	err := cassandra.Each(ctx, Shards(), cassandra.DirtyShards, func(ctx context.Context, shard int) error {
		marks, err := scan(s.Query(`SELECT day, campaign, writer, pos FROM rollup_marks WHERE run = ? AND version = ? AND attempt = ? AND shard = ? AND day = ?`,
			string(t.Run), t.Version, t.Attempt, shard, day.Time()).WithContext(ctx))
		if err != nil {
			return fmt.Errorf("read the marks of run %s for %s: %w", t.Run, day, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for i, m := range marks { // sorted by campaign
			if i == 0 || m.Campaign != marks[i-1].Campaign {
				out = append(out, m.Campaign)
			}
		}
		return nil
	})
	return out, err
}

// Clear removes the marks of a shard, once what they asked for stands: first
// from dirty, each only up to the position that was read, so that a mark made
// meanwhile survives; then what the run kept of them.
func (t Taken) Clear(ctx context.Context, s *cassandra.Session, job string, shard int, marks []Mark) error {
	deletes := cassandra.NewBulk(`DELETE FROM dirty USING TIMESTAMP ? WHERE rollup = ? AND shard = ? AND day = ? AND campaign = ? AND writer = ?`)
	for _, m := range marks {
		deletes.Add(shard, m.Pos, job, shard, m.Day.Time(), gocql.UUID(m.Campaign), m.Writer)
	}
	if err := deletes.Write(ctx, s, gocql.LocalQuorum, 0); err != nil {
		return fmt.Errorf("clear %d dirty marks of %s: %w", len(marks), job, err)
	}
	err := s.Query(`DELETE FROM rollup_marks USING TIMESTAMP ? WHERE run = ? AND version = ? AND attempt = ? AND shard = ?`,
		t.Version, string(t.Run), t.Version, t.Attempt, shard).WithContext(ctx).Exec()
	if err != nil {
		return fmt.Errorf("drop the marks of run %s: %w", t.Run, err)
	}
	return nil
}

// Register says that a run under a version goes to write a target. It is called
// between the reading of marks and the reading of what is counted. It fails
// where a later version was registered: that run may have counted before these
// marks were made, and its counts would stand, since its version is higher,
// while this run clears the marks. So whoever registers has marks that every
// later version's counts include.
func Register(ctx context.Context, s *cassandra.Session, target string, version int64) error {
	fail := func(err error) error { return fmt.Errorf("register version %d of %s: %w", version, target, err) }
	for {
		var latest int64
		err := s.Query(`SELECT version FROM rollup_versions WHERE target = ?`, target).
			WithContext(ctx).Consistency(gocql.Consistency(gocql.LocalSerial)).Scan(&latest)
		update := s.Query(`UPDATE rollup_versions SET version = ? WHERE target = ? IF version = ?`, version, target, latest)
		switch {
		case errors.Is(err, gocql.ErrNotFound):
			update = s.Query(`INSERT INTO rollup_versions (target, version) VALUES (?, ?) IF NOT EXISTS`, target, version)
		case err != nil:
			return fail(err)
		case latest == version: // an earlier attempt's
			return nil
		case latest > version:
			return jobs.Permanent(&jobs.Error{
				Code: jobs.Conflict, Op: "plan", Subject: "target " + s.Keyspace + "." + target,
				Message: fmt.Sprintf("another run was planned meanwhile, under the later version %d", latest),
				Hint:    "nothing is lost: the marks stay for the next run; let only one job at a time write this target",
			})
		}
		applied, err := update.WithContext(ctx).MapScanCAS(map[string]any{})
		if err != nil {
			return fail(err)
		}
		if applied {
			return nil
		}
	}
}
