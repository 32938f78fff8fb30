package restore_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/kafka"
	"tidemill/internal/s3"
	"tidemill/jobs"
	"tidemill/jobs/archive"
	"tidemill/jobs/kindtest"
)

// testArchived archives a topic to S3 and restores it: the tables then hold
// the events of the log, and nothing else.
func (e *environment) testArchived(t *testing.T) {
	topic := fmt.Sprintf("test_%016x", rand.Uint64())
	bucketName := fmt.Sprintf("test-%016x", rand.Uint64())
	bucket, err := s3.NewBucket(e.conns.S3["default"], bucketName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kafka.New(e.conns.Kafka["default"], kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kafka.CreateTopics(t.Context(), client, kafka.Topic{Name: topic, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	events := kindtest.NewEvents(500, longAgo)
	var records []*kgo.Record
	for i, l := range kindtest.Lines(events) {
		if i%7 == 0 {
			l = "{\n" + l[1:] // of two lines
		}
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: []byte(l),
			Timestamp: time.Date(2015, time.Month(9+i/200), 1, 0, 0, 0, 0, time.UTC)})
	}
	records = append(records, &kgo.Record{Topic: topic, Value: []byte("no\njson"), Timestamp: records[499].Timestamp})
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	e.archive(t, topic, "s3://"+bucketName+"/a")
	j := e.job(t, "from", "s3://"+bucketName+"/a/2015/*/*.gz", "quarantine", "s3://"+bucketName+"/bad")
	j.want(j.plan(), 1, "good 500, bad 1, shadowed 0, objects 16, partial false")
	e.wantRows(t, events)
	bad, err := bucket.List(t.Context(), "bad/")
	if err != nil || len(bad) != 1 {
		t.Errorf("the quarantine holds %v, %v", bad, err)
	}
	// A part of the year holds what its name says.
	j = e.job(t, "from", "s3://"+bucketName+"/a/2015/10/*.gz", "quarantine", "s3://"+bucketName+"/bad")
	j.want(j.plan(), 1, "good 200, bad 0, shadowed 0, objects 6, partial false")
}

func (e *environment) archive(t *testing.T, topic, to string) {
	t.Helper()
	spec, err := json.Marshal(map[string]any{"topic": topic, "to": to, "max_records": 40})
	if err != nil {
		t.Fatal(err)
	}
	run := jobs.NewRunID("archive", 1, "k", 0)
	a := jobs.Assignment{Task: jobs.NewTaskID(run, 0, 0, 1), Run: run, Job: jobs.Name("archive-" + topic), Kind: archive.Name, Spec: spec}
	plan, err := archive.Kind{}.Plan(t.Context(), a, kindtest.Runtime{T: t, Conns: e.conns})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(2, len(plan.Splits)); diff != "" {
		t.Fatal(diff)
	}
	for _, s := range plan.Splits {
		a.Stage, a.Split, a.Splits, a.Shared = 1, s, len(plan.Splits), plan.Shared
		if _, err := (archive.Kind{}).Work(t.Context(), a, kindtest.Runtime{T: t, Conns: e.conns}); err != nil {
			t.Fatal(err)
		}
	}
}
