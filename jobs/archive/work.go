package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/kafka"
	"tidemill/internal/s3"
	"tidemill/jobs"
)

const (
	// readRecords is how many records are read at once.
	readRecords = 1000
	// toldParts bounds the splits of which each tells its own result: what
	// is kept with a run is bounded.
	toldParts = 200
)

// copying is the copying of one split. An object is put, then its end is
// committed: after a crash between the two, the next attempt finds the object
// and commits what that one holds.
type copying struct {
	work
	part kafka.Part
	cuts Cuts

	client  *kgo.Client
	pending []*kgo.Record // read, and part of no object yet
	next    int64         // the first offset that no object holds

	objects, found, records int64
}

func (c *copying) run(ctx context.Context) error {
	var err error
	if c.client, err = kafka.New(c.kafka); err != nil {
		return err
	}
	defer c.client.Close()
	// An earlier attempt may have come some way.
	committed, err := kafka.Committed(ctx, c.client, c.group(), c.spec.Topic)
	if err != nil {
		return err
	}
	c.next = max(c.part.Start, committed[c.part.Partition])
	reader, err := kafka.NewReader(ctx, c.kafka, c.spec.Topic, c.part.Partition, kafka.Span{Start: c.next, End: c.part.End})
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		records, err := reader.Read(ctx, readRecords)
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return err
		}
		c.take(records)
		if err := c.flush(ctx, ended); err != nil {
			return err
		}
		if ended {
			// Markers of transactions may follow the last record.
			return c.commit(ctx, max(c.next, c.part.End))
		}
	}
}

// take keeps the records that no object holds.
func (c *copying) take(records []*kgo.Record) {
	for _, r := range records {
		if r.Offset >= c.next {
			c.pending = append(c.pending, r)
		}
	}
}

// flush puts the objects that are complete; with all, the rest too.
func (c *copying) flush(ctx context.Context, all bool) error {
	for {
		n, complete := c.cuts.cut(c.pending)
		if n == 0 || !complete && !all {
			return nil
		}
		next, err := c.put(ctx, c.pending[:n])
		if err != nil {
			return err
		}
		if err := c.commit(ctx, next); err != nil {
			return err
		}
		// An object that was there may end elsewhere.
		rest := c.pending
		c.pending, c.next = nil, next
		c.take(rest)
		c.runtime.Progress(jobs.Progress{
			Done: min(c.next, c.part.End) - c.part.Start, Total: c.part.Len(), Unit: "records",
			Note: fmt.Sprintf("%d objects of partition %d", c.objects+c.found, c.part.Partition),
		})
	}
}

// put writes an object and gives the offset after its last record. An object
// of its name that is there already is the truth, whatever its length: objects
// are cut at the end of a run too, and this run's end is another one.
func (c *copying) put(ctx context.Context, records []*kgo.Record) (int64, error) {
	body, meta, err := encode(records)
	if err != nil {
		return 0, err
	}
	name := key(c.to.Path, records[0])
	err = c.store.PutNew(ctx, name, body, meta)
	if errors.Is(err, s3.ErrExists) {
		return c.existing(ctx, name, records[0].Offset)
	}
	if err != nil {
		return 0, err
	}
	c.objects++
	c.records += int64(len(records))
	return records[len(records)-1].Offset + 1, nil
}

// existing gives the offset after the last record of an object that is there.
func (c *copying) existing(ctx context.Context, name string, first int64) (int64, error) {
	_, meta, err := c.store.Stat(ctx, name)
	if err != nil {
		return 0, err
	}
	begin, firstErr := strconv.ParseInt(meta[metaFirst], 10, 64)
	last, lastErr := strconv.ParseInt(meta[metaLast], 10, 64)
	if firstErr != nil || lastErr != nil || begin != first || last < first {
		return 0, jobs.Permanent(&jobs.Error{
			Code: jobs.Conflict, Op: "archive", Subject: s3.Location{Bucket: c.to.Bucket, Path: name}.String(),
			Message: fmt.Sprintf("the name is taken by an object whose metadata do not say that it begins at offset %d", first),
			Hint:    "move it away, or archive to another folder",
		})
	}
	c.found++
	c.log.Info().Str("object", name).Int64("last_offset", last).Msg("the object is there already; going on after it")
	return last + 1, nil
}

func (c *copying) commit(ctx context.Context, next int64) error {
	return kafka.Commit(ctx, c.client, c.group(), c.spec.Topic, map[int32]int64{c.part.Partition: next})
}

// result tells of the split under its partition's name, since the results of a
// run's splits are kept in one list.
func (c *copying) result() jobs.Result {
	text := fmt.Sprintf("%d records in %d new objects, %d there already, next offset %d", c.records, c.objects, c.found, c.next)
	r := jobs.Result{Message: text}
	if c.assignment.Splits <= toldParts {
		r.Values = map[string]string{"partition_" + strconv.Itoa(int(c.part.Partition)): text}
	}
	return r
}
