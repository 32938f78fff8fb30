package ingest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/cassandra/cassandratest"
	"tidemill/internal/events"
	"tidemill/internal/kafka"
	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
	"tidemill/jobs/kindtest"
)

// BenchmarkIngest takes 20,000 events through the door into Kafka, and from
// there to Cassandra, with all servers and the sender on the same machine.
func BenchmarkIngest(b *testing.B) {
	const count = 20_000
	addresses := stacktest.Shared(b)
	env := &environment{session: cassandratest.Keyspace(b), conns: jobs.Connections{
		Kafka:     map[string]jobs.KafkaConnection{"default": {Brokers: addresses.Kafka}},
		Cassandra: map[string]jobs.CassandraConnection{"default": {Hosts: addresses.Cassandra}},
	}}
	var err error
	if env.client, err = kafka.New(env.conns.Kafka["default"], kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		b.Fatal(err)
	}
	defer env.client.Close()
	topic := env.topic(b, 4)
	url, stop := env.door(b, topic)
	o := events.Options{Count: count, Campaigns: 20, Days: 3, End: time.Now()}
	var lines [][]byte
	for l := range o.Lines() {
		lines = append(lines, l.Doc)
	}
	each := func(yield func([]byte) bool) {
		for _, l := range lines {
			if !yield(l) {
				return
			}
		}
	}
	for _, batch := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("door/batch=%d", batch), func(b *testing.B) {
			for b.Loop() {
				s := events.Sender{URL: events.At(url), Batch: batch, Workers: 8, Log: zerolog.Nop()}
				if _, err := s.Send(b.Context(), each); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	stop()
	b.Run("stream", func(b *testing.B) {
		total := int64(0)
		for b.Loop() {
			splits, err := env.runToEnd(b, env.streamSpec(topic, "until", "end", "group", fmt.Sprint("bench-", total)), 1)
			if err != nil {
				b.Fatal(err)
			}
			for _, s := range splits {
				total += s.Size
			}
		}
		ours := float64(total) / b.Elapsed().Seconds()
		b.ReportMetric(ours, "events/s")
		b.ReportMetric(ours/cassandratest.BareInserts(b, env.session, kindtest.NewEvents(count, time.Now())), "x-of-bare-inserts")
	})
}
