package archive_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/kafka"
	"tidemill/internal/s3"
	"tidemill/jobs"
	"tidemill/jobs/archive"
	"tidemill/jobs/kindtest"
)

// TestArchive runs the kind's work against real servers, as an executor would.
func TestArchive(t *testing.T) {
	conns := kindtest.Connections(t)
	name := fmt.Sprintf("test-%016x", rand.Uint64())
	bucket, err := s3.NewBucket(conns.S3["default"], name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kafka.New(conns.Kafka["default"], kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for where, folder := range map[string]string{"s3": "s3://" + name, "files": "file://" + t.TempDir()} {
		env := &environment{conns: conns, client: client, folder: folder}
		t.Run(where, func(t *testing.T) {
			t.Run("to the end", env.testToTheEnd)
			t.Run("crash between object and commit", env.testCrash)
			t.Run("a longer object is there", env.testLonger)
			t.Run("the name is taken", env.testTaken)
		})
	}
}

type environment struct {
	conns  jobs.Connections
	client *kgo.Client
	folder string
}

// log is a topic of one test's own, and the job that archives it.
type log struct {
	*environment
	t     *testing.T
	topic string
	spec  json.RawMessage
}

func (e *environment) log(t *testing.T, partitions int32, maxRecords int) log {
	t.Helper()
	topic := fmt.Sprintf("test_%016x", rand.Uint64())
	if _, err := kafka.CreateTopics(t.Context(), e.client, kafka.Topic{Name: topic, Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(map[string]any{"topic": topic, "to": e.folder + "/" + topic, "max_records": maxRecords})
	if err != nil {
		t.Fatal(err)
	}
	return log{environment: e, t: t, topic: topic, spec: spec}
}

// produce writes records of one time; a nil one is a tombstone.
func (l log) produce(partition int32, at time.Time, values ...[]byte) {
	l.t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: l.topic, Partition: partition, Value: v, Timestamp: at})
	}
	if err := l.client.ProduceSync(l.t.Context(), records...).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
}

func numbered(from, to int) (out [][]byte) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Appendf(nil, `{"n":%d}`, i))
	}
	return out
}

func (l log) assignment(attempt int) jobs.Assignment {
	run := jobs.NewRunID("archive", 1, "k", 0)
	return jobs.Assignment{Task: jobs.NewTaskID(run, 1, 0, attempt), Run: run, Job: jobs.Name("job-" + l.topic), Kind: archive.Name, Spec: l.spec, Stage: 1}
}

func (l log) plan() jobs.Plan {
	l.t.Helper()
	plan, err := archive.Kind{}.Plan(l.t.Context(), l.assignment(1), kindtest.Runtime{T: l.t, Conns: l.conns})
	if err != nil {
		l.t.Fatal(err)
	}
	return plan
}

func (l log) work(plan jobs.Plan, attempt int) (map[string]string, error) {
	values := map[string]string{}
	var failed error
	for _, s := range plan.Splits {
		a := l.assignment(attempt)
		a.Split, a.Splits, a.Shared = s, len(plan.Splits), plan.Shared
		result, err := archive.Kind{}.Work(l.t.Context(), a, kindtest.Runtime{T: l.t, Conns: l.conns})
		failed = errors.Join(failed, err)
		maps.Copy(values, result.Values)
	}
	return values, failed
}

func (l log) archive() map[string]string {
	l.t.Helper()
	values, err := l.work(l.plan(), 1)
	if err != nil {
		l.t.Fatal(err)
	}
	return values
}

func (l log) commit(partition int32, next int64) {
	l.t.Helper()
	if err := kafka.Commit(l.t.Context(), l.client, "tidemill-job-"+l.topic, l.topic, map[int32]int64{partition: next}); err != nil {
		l.t.Fatal(err)
	}
}

func (l log) store() (s3.Store, s3.Location) {
	l.t.Helper()
	at, store, err := s3.Open(l.folder+"/"+l.topic, l.conns, "default")
	if err != nil {
		l.t.Fatal(err)
	}
	return store, at
}

// objects reads what was archived: the lines of each object, whose metadata
// must be true.
func (l log) objects() map[string][]string {
	l.t.Helper()
	store, folder := l.store()
	list, err := store.List(l.t.Context(), folder.Path+"/")
	if err != nil {
		l.t.Fatal(err)
	}
	out := map[string][]string{}
	for _, o := range list {
		body, err := store.Open(l.t.Context(), o.Key, o.ETag, 0)
		if err != nil {
			l.t.Fatal(err)
		}
		plain, err := gzip.NewReader(body)
		if err != nil {
			l.t.Fatal(err)
		}
		text, err := io.ReadAll(plain)
		if err = errors.Join(err, body.Close()); err != nil {
			l.t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		_, meta, err := store.Stat(l.t.Context(), o.Key)
		sum := sha256.Sum256(text)
		if err != nil || meta["sha256"] != hex.EncodeToString(sum[:]) || meta["count"] != fmt.Sprint(len(lines)) {
			l.t.Errorf("%s: %v, metadata %v for %d lines", o.Key, err, meta, len(lines))
		}
		name := strings.TrimPrefix(o.Key, folder.Path+"/")
		out[fmt.Sprintf("%s %s-%s", name, meta["first-offset"], meta["last-offset"])] = lines
	}
	return out
}

func (l log) want(want map[string][]string) {
	l.t.Helper()
	if diff := cmp.Diff(want, l.objects()); diff != "" {
		l.t.Errorf("objects (-want +got):\n%s", diff)
	}
	if lag, err := kafka.Lag(l.t.Context(), l.client, "tidemill-job-"+l.topic, l.topic); lag != 0 || err != nil {
		l.t.Errorf("the lag is %d, %v", lag, err)
	}
}

func (l log) name(month string, partition int32, first, last int64) string {
	return fmt.Sprintf("%s/%s-%d-%020d.json.gz %d-%d", month, l.topic, partition, first, first, last)
}

func texts(values [][]byte) (out []string) {
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

var (
	december = time.Date(2015, 12, 31, 23, 0, 0, 0, time.UTC)
	january  = time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC)
)

func (e *environment) testToTheEnd(t *testing.T) {
	l := e.log(t, 3, 4)
	l.produce(0, december, numbered(0, 6)...)
	l.produce(0, january, numbered(6, 8)...)
	l.produce(2, january, []byte("no json"), nil, []byte("{\n}"))
	values := l.archive()
	want := map[string][]string{
		l.name("2015/12", 0, 0, 3): texts(numbered(0, 4)),
		l.name("2015/12", 0, 4, 5): texts(numbered(4, 6)),
		l.name("2016/01", 0, 6, 7): texts(numbered(6, 8)),
		l.name("2016/01", 2, 0, 2): {`{"base64":"bm8ganNvbg=="}`, `{"base64":null}`, `{"base64":"ewp9"}`},
	}
	l.want(want)
	told := map[string]string{
		"partition_0": "8 records in 3 new objects, 0 there already, next offset 8",
		"partition_2": "3 records in 1 new objects, 0 there already, next offset 3",
	}
	if diff := cmp.Diff(told, values); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if plan := l.plan(); len(plan.Splits) != 0 {
		t.Errorf("nothing is left, and yet there is a plan: %+v", plan)
	}
	l.produce(0, january, numbered(8, 9)...)
	l.archive()
	want[l.name("2016/01", 0, 8, 8)] = texts(numbered(8, 9))
	l.want(want)
}

// testCrash lets every commit be lost: each attempt finds all objects and
// changes none.
func (e *environment) testCrash(t *testing.T) {
	l := e.log(t, 1, 3)
	l.produce(0, january, numbered(0, 8)...)
	plan := l.plan()
	want := map[string][]string{
		l.name("2016/01", 0, 0, 2): texts(numbered(0, 3)),
		l.name("2016/01", 0, 3, 5): texts(numbered(3, 6)),
		l.name("2016/01", 0, 6, 7): texts(numbered(6, 8)),
	}
	for attempt, told := range []string{
		"8 records in 3 new objects, 0 there already, next offset 8",
		"0 records in 0 new objects, 3 there already, next offset 8",
	} {
		l.commit(0, 0)
		values, err := l.work(plan, attempt)
		if err != nil || values["partition_0"] != told {
			t.Errorf("attempt %d: %v, %v", attempt, values, err)
		}
		l.want(want)
	}
	// An attempt of a split that is done reads nothing.
	values, err := l.work(plan, 3)
	if err != nil || values["partition_0"] != "0 records in 0 new objects, 0 there already, next offset 8" {
		t.Errorf("%v, %v", values, err)
	}
}

// testLonger: after a commit was lost, the next run ends later and would cut a
// longer object than the one that is there, and the other way round.
func (e *environment) testLonger(t *testing.T) {
	l := e.log(t, 1, 100)
	l.produce(0, january, numbered(0, 5)...)
	l.archive()
	l.commit(0, 0)
	l.produce(0, january, numbered(5, 9)...)
	l.archive()
	want := map[string][]string{
		l.name("2016/01", 0, 0, 4): texts(numbered(0, 5)),
		l.name("2016/01", 0, 5, 8): texts(numbered(5, 9)),
	}
	l.want(want)
	l = e.log(t, 1, 100)
	l.produce(0, january, numbered(0, 5)...)
	short := l.plan()
	l.produce(0, january, numbered(5, 9)...)
	l.archive()
	l.commit(0, 0)
	if _, err := l.work(short, 2); err != nil {
		t.Error(err)
	}
	l.want(map[string][]string{l.name("2016/01", 0, 0, 8): texts(numbered(0, 9))})
}

func (e *environment) testTaken(t *testing.T) {
	l := e.log(t, 1, 100)
	l.produce(0, january, numbered(0, 5)...)
	store, folder := l.store()
	name := path.Join(folder.Path, fmt.Sprintf("2016/01/%s-0-%020d.json.gz", l.topic, 0))
	if err := store.PutNew(t.Context(), name, []byte("something else"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.work(l.plan(), 1); !jobs.IsPermanent(err) || !strings.Contains(fmt.Sprint(err), "the name is taken") {
		t.Errorf("%v", err)
	}
	if lag, err := kafka.Lag(t.Context(), l.client, "tidemill-job-"+l.topic, l.topic); lag != 5 || err != nil {
		t.Errorf("records were passed over: lag %d, %v", lag, err)
	}
}
