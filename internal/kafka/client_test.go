package kafka

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
)

func TestOffsets(t *testing.T) {
	c, err := New(jobs.KafkaConnection{Brokers: stacktest.Shared(t).Kafka}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	name := fmt.Sprintf("test_%016x", rand.Uint64())
	topics := []Topic{{Name: name, Partitions: 2}, {Name: QuarantineTopic(name), Partitions: 1, Compact: true}}
	for _, want := range [][]string{{name, name + "_quarantine"}, nil} {
		made, err := CreateTopics(t.Context(), c, topics...)
		if diff := cmp.Diff(want, made); diff != "" || err != nil {
			t.Fatalf("%v, made (-want +got):\n%s", err, diff)
		}
	}
	for i := range 10 {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: name, Partition: int32(i % 2), Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	unread := func(want map[int32]Span) {
		t.Helper()
		got, err := Unread(t.Context(), c, "g", name)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v, unread (-want +got):\n%s", err, diff)
		}
		var sum int64
		for _, s := range want {
			sum += s.Len()
		}
		if lag, err := Lag(t.Context(), c, "g", name); lag != sum || err != nil {
			t.Errorf("lag %d, %v; want %d", lag, err, sum)
		}
	}
	unread(map[int32]Span{0: {0, 5}, 1: {0, 5}})
	if err := Commit(t.Context(), c, "g", name, map[int32]int64{1: 4}); err != nil {
		t.Fatal(err)
	}
	unread(map[int32]Span{0: {0, 5}, 1: {4, 5}})
	remove := func(partition int32, before int64) {
		t.Helper()
		var o kadm.Offsets
		o.AddOffset(name, partition, before, -1)
		if _, err := kadm.NewClient(c).DeleteRecords(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	remove(0, 2) // nobody has a claim on them
	unread(map[int32]Span{0: {2, 5}, 1: {4, 5}})
	remove(1, 5)
	if _, err := Unread(t.Context(), c, "g", name); !jobs.IsPermanent(err) || !strings.Contains(err.Error(), "offsets 4 to 4 are lost") {
		t.Errorf("retention overtook the group: %v", err)
	}
	if _, err := Spans(t.Context(), c, "not_there"); err == nil || !strings.Contains(err.Error(), "tidemill schema apply --topic not_there") {
		t.Errorf("missing topic: %v", err)
	}
}

// TestListedBearsElections: a partition whose leader is just being elected has offsets a little
// later; a topic that nobody made has none.
func TestListedBearsElections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		list := func(context.Context, ...string) (kadm.ListedOffsets, error) {
			if asked++; asked < 4 {
				return nil, &kadm.ShardErrors{Name: "ListOffsets", Errs: []kadm.ShardError{{Err: kerr.LeaderNotAvailable}}}
			}
			return kadm.ListedOffsets{"t": {0: {Topic: "t", Offset: 7}}}, nil
		}
		got, err := listed(t.Context(), "t", list)
		if diff := cmp.Diff(map[int32]int64{0: 7}, got); err != nil || diff != "" {
			t.Errorf("%v, offsets (-want +got):\n%s", err, diff)
		}
		none := func(context.Context, ...string) (kadm.ListedOffsets, error) { return nil, nil }
		if _, err := listed(t.Context(), "t", none); err == nil || err.Error() != MissingTopic("t").Error() {
			t.Errorf("a missing topic: %v", err)
		}
	})
}

func TestNoBroker(t *testing.T) {
	c, err := New(jobs.KafkaConnection{Brokers: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := Ping(ctx, c); err == nil || !strings.Contains(err.Error(), "tidemill stack up") {
		t.Errorf("%v", err)
	}
}
