package cassandra

import (
	"context"
	"slices"
	"sync"

	"github.com/gocql/gocql"
)

const (
	// batchRows keeps a batch of one partition below Cassandra's 5 KiB warning.
	batchRows = 30
	// batchPartitions keeps a batch of several below Cassandra's warning of
	// those (unlogged_batch_across_partitions_warn_threshold).
	batchPartitions = 10
)

// Bulk is one statement's many rows, gathered by partition, in the order in
// which the partitions came. Writing it twice must change nothing.
type Bulk struct {
	cql   string
	limit int // of rows in a batch
	rows  map[any][][]any
	order []any
}

// NewBulk gathers rows for a statement, whose values are bound in its order.
func NewBulk(cql string) *Bulk { return &Bulk{cql: cql, limit: batchRows, rows: map[any][][]any{}} }

// newNeighbours gathers rows of different partitions by the replicas that hold
// them: one of these coordinates a batch, and each of them keeps all of it.
func newNeighbours(cql string) *Bulk {
	b := NewBulk(cql)
	b.limit = batchPartitions
	return b
}

// Add adds a row; partition is any comparable value that tells its partition
// from others.
func (b *Bulk) Add(partition any, row ...any) {
	if b.rows[partition] == nil {
		b.order = append(b.order, partition)
	}
	b.rows[partition] = append(b.rows[partition], row)
}

// statement is one request: a query, or a batch of one query with several
// rows of one partition, or of partitions with the same replicas.
type statement struct {
	cql  string
	rows [][]any
}

func (b *Bulk) statements() []statement {
	var out []statement
	for _, key := range b.order {
		for rows := range slices.Chunk(b.rows[key], b.limit) {
			out = append(out, statement{b.cql, rows})
		}
	}
	return out
}

// Write returns when every row is acknowledged, or at the first error; so
// many requests are in flight (DefaultConcurrency if 0).
func (b *Bulk) Write(ctx context.Context, s *Session, c gocql.Consistency, concurrency int) error {
	return s.execute(ctx, b.statements(), c, concurrency)
}

// execute runs the statements, so many at once, and stops at the first error.
func (s *Session) execute(ctx context.Context, list []statement, c gocql.Consistency, concurrency int) error {
	if concurrency == 0 {
		concurrency = DefaultConcurrency
	}
	return Each(ctx, list, concurrency, func(ctx context.Context, st statement) error { return s.run(ctx, st, c) })
}

func (s *Session) run(ctx context.Context, st statement, c gocql.Consistency) error {
	if len(st.rows) == 1 {
		return s.Query(st.cql, st.rows[0]...).WithContext(ctx).Consistency(c).Exec()
	}
	b := s.NewBatch(gocql.UnloggedBatch).WithContext(ctx)
	b.Cons = c
	for _, row := range st.rows {
		// Batch.Query would leave the entry non-idempotent.
		b.Entries = append(b.Entries, gocql.BatchEntry{Stmt: st.cql, Args: row, Idempotent: true})
	}
	return s.ExecuteBatch(b)
}

// Each does something for every item, so many at once; the first error stops
// the rest and is returned. It returns when all that began has ended.
func Each[T any](ctx context.Context, list []T, concurrency int, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan T)
	var workers sync.WaitGroup
	for range min(concurrency, len(list)) {
		workers.Go(func() {
			for item := range next {
				if err := do(ctx, item); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, item := range list {
		select {
		case next <- item:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}
