package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
)

// TestReader reads spans of a partition with transactions in it, of which one
// was given up.
func TestReader(t *testing.T) {
	conn := jobs.KafkaConnection{Brokers: stacktest.Shared(t).Kafka}
	topic := fmt.Sprintf("test_%016x", rand.Uint64())
	c, err := New(conn, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := CreateTopics(t.Context(), c, Topic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for k := range 3 {
			if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d.%d", i, k)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	read := func(span Span) (out []string, err error) {
		r, err := NewReader(t.Context(), conn, topic, 0, span)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		for {
			records, err := r.Read(t.Context(), 2)
			if errors.Is(err, io.EOF) {
				return out, nil
			}
			if err != nil {
				return out, err
			}
			for _, record := range records {
				out = append(out, fmt.Sprintf("%d %s", record.Offset, record.Value))
			}
		}
	}
	awaitEnd(t, c, topic, 12) // each transaction ends in a marker, which comes a little later
	for span, want := range map[Span][]string{
		{0, 12}:  {"0 0.0", "1 0.1", "2 0.2", "8 2.0", "9 2.1", "10 2.2"},
		{1, 9}:   {"1 0.1", "2 0.2", "8 2.0"},
		{3, 8}:   nil, // nothing but a marker and what was given up
		{11, 12}: nil,
		{5, 5}:   nil,
	} {
		got, err := read(span)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v: %v (-want +got):\n%s", span, err, diff)
		}
	}
	if _, err := read(Span{0, 13}); !jobs.IsPermanent(err) || !strings.Contains(err.Error(), "ends at 12, before the planned end 13") {
		t.Errorf("beyond the end: %v", err)
	}
	var until kadm.Offsets
	until.AddOffset(topic, 0, 2, -1)
	if _, err := kadm.NewClient(c).DeleteRecords(t.Context(), until); err != nil {
		t.Fatal(err)
	}
	if _, err := read(Span{0, 12}); !jobs.IsPermanent(err) || !strings.Contains(err.Error(), "offsets 0 to 1 are lost") {
		t.Errorf("retention: %v", err)
	}
}

// awaitEnd waits until readers may see a topic's only partition up to an offset.
func awaitEnd(t *testing.T, c *kgo.Client, topic string, end int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		spans, err := Spans(ctx, c, topic)
		if err == nil && spans[0].End == end {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the topic holds %v, %v; want its end at %d", spans, err, end)
		case <-tick.C:
		}
	}
}
