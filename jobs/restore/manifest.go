package restore

import (
	"context"
	"fmt"
	"math"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
)

// state is how far a file is.
type state string

// The states; the last two are final.
const (
	planned  state = "planned"
	reading  state = "reading"
	done     state = "done"
	replaced state = "replaced" // the object has another ETag now, and so is another file
)

// file is a row of the manifest: an object as it was under one ETag.
type file struct {
	key, etag string
	state     state
	lines     int64 // handled so far
	totals
	note string // why not all of it could be read
}

// totals count lines.
type totals struct {
	good     int64 // events that are stored
	bad      int64 // lines in quarantine
	shadowed int64 // events that a delete hides
}

func (t *totals) add(o totals) {
	t.good += o.good
	t.bad += o.bad
	t.shadowed += o.shadowed
}

func (t totals) lines() int64 { return t.good + t.bad + t.shadowed }

// stamp is the row's write timestamp: how far the file is, and no clock. So
// what is further wins, whichever attempt writes it and when.
func (f file) stamp() int64 {
	switch f.state {
	case planned:
		return 1
	case reading:
		return 2 + 2*f.lines
	case done:
		return 3 + 2*f.lines
	}
	return math.MaxInt64 / 2
}

// manifest is a run's list of files, in a partition for each split.
type manifest struct {
	session *cassandra.Session
	run     string // the id of the planning attempt: only one's plan is sealed
}

const (
	// planRows is how many rows of one split are written at once.
	planRows = 20

	insertFile = `INSERT INTO restore_manifest (run, split, key, etag, state, lines, good, bad, shadowed, note)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`
	selectFiles = `SELECT key, etag, state, lines, good, bad, shadowed, note FROM restore_manifest WHERE run = ? AND split = ?`
)

// put stores how far files of one split are.
func (m manifest) put(ctx context.Context, split int, files ...file) error {
	b := m.session.NewBatch(gocql.UnloggedBatch).WithContext(ctx)
	for _, f := range files {
		b.Entries = append(b.Entries, gocql.BatchEntry{Stmt: insertFile, Idempotent: true, Args: []any{
			m.run, split, f.key, f.etag, string(f.state), f.lines, f.good, f.bad, f.shadowed, f.note, f.stamp(),
		}})
	}
	if err := m.session.ExecuteBatch(b); err != nil {
		return fmt.Errorf("write manifest of split %d: %w", split, err)
	}
	return nil
}

// files reads those of one split, in order of their keys.
func (m manifest) files(ctx context.Context, split int) ([]file, error) {
	iter := m.session.Query(selectFiles, m.run, split).WithContext(ctx).Iter()
	var out []file
	var f file
	var s string
	for iter.Scan(&f.key, &f.etag, &s, &f.lines, &f.good, &f.bad, &f.shadowed, &f.note) {
		f.state = state(s)
		out = append(out, f)
	}
	if err := iter.Close(); err != nil {
		return nil, fmt.Errorf("read manifest of split %d: %w", split, err)
	}
	return out, nil
}
