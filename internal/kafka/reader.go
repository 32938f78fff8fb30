package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/jobs"
)

// idleAfter is how long a fetch may find nothing before the log itself is
// asked whether there is anything to find.
const idleAfter = 5 * time.Second

// Reader reads a span of one partition's offsets, in order and outside of any
// group. It reads what the log holds between them, and fails where the log no
// longer holds all of it.
type Reader struct {
	client    *kgo.Client
	topic     string
	partition int32
	next      int64
	end       int64
}

// NewReader makes a reader of [span.Start, span.End).
func NewReader(ctx context.Context, conn jobs.KafkaConnection, topic string, partition int32, span Span) (*Reader, error) {
	r := &Reader{topic: topic, partition: partition, next: span.Start, end: span.End}
	var err error
	r.client, err = New(conn,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Out of range is never answered by a jump: what retention took is
		// an error with a name.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// A transaction's marker may be the span's last record.
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(4<<20), kgo.FetchMaxPartitionBytes(1<<20),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(span.Start)}}))
	if err != nil {
		return nil, err
	}
	if err := r.inLog(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close ends the reader.
func (r *Reader) Close() { r.client.Close() }

// Read waits for records, and gives at most limit of them; io.EOF after the
// span's last.
func (r *Reader) Read(ctx context.Context, limit int) ([]*kgo.Record, error) {
	for r.next < r.end {
		poll, cancel := context.WithTimeout(ctx, idleAfter)
		fetches := r.client.PollRecords(poll, limit)
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := r.fault(ctx, fetches); err != nil {
			return nil, err
		}
		if records := r.within(fetches.Records()); len(records) > 0 {
			return records, nil
		}
		if err := r.inLog(ctx); err != nil {
			return nil, err
		}
	}
	return nil, io.EOF
}

// within moves on over the records, and leaves those of the span that bear data.
func (r *Reader) within(records []*kgo.Record) []*kgo.Record {
	out := records[:0]
	for _, record := range records {
		if record.Offset >= r.end {
			r.next = r.end
			break
		}
		r.next = record.Offset + 1
		if !record.Attrs.IsControl() {
			out = append(out, record)
		}
	}
	return out
}

// fault is what a fetch says that trying again does not mend.
func (r *Reader) fault(ctx context.Context, fetches kgo.Fetches) error {
	for _, f := range fetches.Errors() {
		switch {
		case errors.Is(f.Err, context.DeadlineExceeded):
		case errors.Is(f.Err, kerr.OffsetOutOfRange):
			return r.inLog(ctx)
		case errors.Is(f.Err, kerr.UnknownTopicOrPartition):
			return MissingTopic(r.topic)
		default:
			return fmt.Errorf("read topic %s partition %d: %w", r.topic, r.partition, f.Err)
		}
	}
	return nil
}

// inLog fails where the log no longer holds what is still to be read.
func (r *Reader) inLog(ctx context.Context) error {
	if r.next >= r.end {
		return nil
	}
	spans, err := Spans(ctx, r.client, r.topic)
	if err != nil {
		return err
	}
	return InLog(r.topic, r.partition, spans[r.partition], Span{Start: r.next, End: r.end})
}
