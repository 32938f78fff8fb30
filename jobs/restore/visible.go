package restore

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/jobs/event"
)

const (
	readIDs     = 100 // asked for at once
	readersOfID = 8   // requests in flight
)

// hidden gives those of the events that cannot be read although they were
// written: a newer delete hides them.
func hidden(ctx context.Context, s *cassandra.Session, events []event.Event) ([]event.Event, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	seen := make(map[event.UUID]struct{}, len(events))
	chunks := make(chan []event.Event)
	var readers sync.WaitGroup
	for range readersOfID {
		readers.Go(func() {
			for chunk := range chunks {
				found, err := readable(ctx, s, chunk)
				if err != nil {
					cancel(err)
					continue
				}
				mu.Lock()
				for _, id := range found {
					seen[id] = struct{}{}
				}
				mu.Unlock()
			}
		})
	}
	for chunk := range slices.Chunk(events, readIDs) {
		chunks <- chunk
	}
	close(chunks)
	readers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("read %d events back: %w", len(events), err)
	}
	var out []event.Event
	for _, e := range events {
		if _, ok := seen[e.ID]; !ok {
			out = append(out, e)
		}
	}
	return out, nil
}

func readable(ctx context.Context, s *cassandra.Session, events []event.Event) ([]event.UUID, error) {
	ids := make([]gocql.UUID, len(events))
	for i, e := range events {
		ids[i] = gocql.UUID(e.ID)
	}
	iter := s.Query(`SELECT id FROM event WHERE id IN ?`, ids).WithContext(ctx).Iter()
	var out []event.UUID
	var id gocql.UUID
	for iter.Scan(&id) {
		out = append(out, event.UUID(id))
	}
	return out, iter.Close()
}
