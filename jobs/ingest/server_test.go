package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/cassandra"
	"tidemill/internal/cassandra/cassandratest"
	"tidemill/internal/kafka"
	"tidemill/jobs"
	"tidemill/jobs/ingest"
	"tidemill/jobs/kindtest"
)

// TestIngest runs the kind's work against real servers, as an executor would.
func TestIngest(t *testing.T) {
	env := &environment{session: cassandratest.Keyspace(t), conns: kindtest.Connections(t)}
	var err error
	if env.client, err = kafka.New(env.conns.Kafka["default"], kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.client.Close)
	t.Run("from the door to the tables", env.testWay)
	t.Run("a replay changes nothing", env.testReplay)
	t.Run("a service goes on where it was killed", env.testService)
	t.Run("lost offsets are named", env.testLost)
	t.Run("nothing to read", env.testNothing)
	t.Run("the topic is missing", env.testNoTopic)
	t.Run("the quarantine is missing", env.testNoQuarantine)
}

type environment struct {
	conns   jobs.Connections
	client  *kgo.Client
	session *cassandra.Session
}

// runtime is what an executor gives to work, for a test that waits.
type runtime struct {
	kindtest.Runtime
	mu   sync.Mutex
	last jobs.Progress
	said chan jobs.Progress // every report
}

func (e *environment) runtime(t testing.TB) *runtime {
	return &runtime{Runtime: kindtest.Runtime{T: t, Conns: e.conns}, said: make(chan jobs.Progress, 1000)}
}

func (r *runtime) Progress(p jobs.Progress) {
	r.mu.Lock()
	r.last = p
	r.mu.Unlock()
	select {
	case r.said <- p:
	default:
	}
}

// until waits for a report that satisfies.
func (r *runtime) until(satisfies func(jobs.Progress) bool) jobs.Progress {
	r.T.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		select {
		case p := <-r.said:
			if satisfies(p) {
				return p
			}
		case <-deadline.C:
			r.T.Fatalf("no such progress; the last was %+v", r.last)
		}
	}
}

// topics makes a topic of its own with its quarantine.
func (e *environment) topic(t testing.TB, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("test_%016x", rand.Uint64())
	_, err := kafka.CreateTopics(t.Context(), e.client, kafka.Topic{Name: name, Partitions: partitions},
		kafka.Topic{Name: kafka.QuarantineTopic(name), Partitions: 1, Compact: true})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func (e *environment) produce(t *testing.T, topic string, partition int32, values ...string) {
	t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)})
	}
	if err := e.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (e *environment) assignment(spec map[string]any, attempt int) jobs.Assignment {
	doc, err := json.Marshal(spec)
	if err != nil {
		panic(err)
	}
	run := jobs.NewRunID("stream", 1, "k", 0)
	return jobs.Assignment{Task: jobs.NewTaskID(run, 1, 0, attempt), Run: run, Job: jobs.Name("job-" + spec["topic"].(string)), Kind: ingest.Name,
		Spec: doc, Stage: 1, KillGrace: jobs.Duration(10 * time.Second)}
}

// runToEnd plans and works as the scheduler would, one split after the other.
func (e *environment) runToEnd(t testing.TB, spec map[string]any, attempt int) (splits []jobs.Split, err error) {
	t.Helper()
	rt := kindtest.Runtime{T: t, Conns: e.conns}
	a := e.assignment(spec, attempt)
	plan, err := ingest.Kind{}.Plan(t.Context(), a, rt)
	if err != nil {
		return nil, err
	}
	for _, s := range plan.Splits {
		err = errors.Join(err, e.workSplit(t, a, s))
	}
	return plan.Splits, err
}

func (e *environment) workSplit(t testing.TB, a jobs.Assignment, s jobs.Split) error {
	t.Helper()
	a.Split = s
	_, err := ingest.Kind{}.Work(t.Context(), a, kindtest.Runtime{T: t, Conns: e.conns})
	return err
}

func (e *environment) streamSpec(topic string, more ...any) map[string]any {
	spec := map[string]any{"from": "kafka", "to": "cassandra", "topic": topic, "keyspace": e.session.Keyspace, "rollups": []string{"daily"}}
	for i := 0; i < len(more); i += 2 {
		spec[more[i].(string)] = more[i+1]
	}
	return spec
}

func (e *environment) quarantined(t *testing.T, topic string) map[string]string {
	t.Helper()
	spans, err := kafka.Spans(t.Context(), e.client, kafka.QuarantineTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := kafka.New(e.conns.Kafka["default"], kgo.ConsumeTopics(kafka.QuarantineTopic(topic)))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	out := map[string]string{}
	for read := int64(0); read < spans[0].End; {
		fetches := reader.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			read++
			s := string(r.Value)
			for _, h := range r.Headers {
				if h.Key == "code" || h.Key == "field" {
					s += " " + string(h.Value)
				}
			}
			out[string(r.Key)] = s
		}
	}
	return out
}

// testWay sends events through the door into Kafka, and from there to the
// tables, with records among them that are no events.
func (e *environment) testWay(t *testing.T) {
	topic := e.topic(t, 2)
	events := kindtest.NewEvents(300, time.Now())
	url, stop := e.door(t, topic)
	reply, err := http.Post(url+"/v1/events", "application/x-ndjson", strings.NewReader(strings.Join(kindtest.Lines(events), "\n")))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusAccepted || !bytes.Contains(body, []byte(`{"accepted":300}`)) {
		t.Fatalf("%d: %s (%v)", reply.StatusCode, body, err)
	}
	result := stop()
	if result.Values["accepted"] != "300" {
		t.Errorf("the door's result is %v", result.Values)
	}
	e.produce(t, topic, 1, "no json", strings.Replace(kindtest.Lines(events)[0], "view", "buy", 1))
	spans, err := kafka.Spans(t.Context(), e.client, topic)
	if err != nil || spans[0].Len()+spans[1].Len() != 302 || spans[0].Len() == 0 {
		t.Fatalf("the topic holds %v, %v", spans, err)
	}
	splits, err := e.runToEnd(t, e.streamSpec(topic, "until", "end", "batch", 70), 1)
	if err != nil || len(splits) != 2 {
		t.Fatalf("%d splits, %v", len(splits), err)
	}
	if diff := cmp.Diff(kindtest.WantRows(events), kindtest.Rows(t, e.session, events)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(kindtest.Marked(t, e.session, "daily", events[0].Campaign)) == 0 {
		t.Error("no dirty marks")
	}
	at := spans[1].End - 2
	want := map[string]string{
		fmt.Sprintf("%s/1/%d", topic, at):   "no json  syntax",
		fmt.Sprintf("%s/1/%d", topic, at+1): strings.Replace(kindtest.Lines(events)[0], "view", "buy", 1) + " type type",
	}
	if diff := cmp.Diff(want, e.quarantined(t, topic)); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	if lag, err := kafka.Lag(t.Context(), e.client, "tidemill-job-"+topic, topic); lag != 0 || err != nil {
		t.Errorf("the lag is %d, %v", lag, err)
	}
}

// door runs a service until stop is called.
func (e *environment) door(t testing.TB, topic string, more ...string) (url string, stop func() jobs.Result) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	door := map[string]string{}
	for i := 0; i < len(more); i += 2 {
		door[more[i]] = more[i+1]
	}
	a := e.assignment(map[string]any{"from": "http", "to": "kafka", "topic": topic, "http": door}, 1)
	a.Ports, a.Host = []uint64{uint64(port)}, "127.0.0.1"
	rt := e.runtime(t)
	stop = e.service(t, a, rt)
	p := rt.until(func(p jobs.Progress) bool { return strings.HasPrefix(p.Note, "http://") })
	return p.Note, stop
}

// service works in the background until stop is called, as by a kill.
func (e *environment) service(t testing.TB, a jobs.Assignment, rt *runtime) (stop func() jobs.Result) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	type outcome struct {
		result jobs.Result
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		result, err := ingest.Kind{}.Work(ctx, a, rt)
		ended <- outcome{result, err}
	}()
	return func() jobs.Result {
		t.Helper()
		cancel()
		o := <-ended
		if o.err != nil {
			t.Errorf("the service ended with %v", o.err)
		}
		return o.result
	}
}

// testReplay reads the same records three times: after a crash between the
// writes and the commit, all is as it was.
func (e *environment) testReplay(t *testing.T) {
	topic := e.topic(t, 1)
	events := kindtest.NewEvents(200, time.Now())
	e.produce(t, topic, 0, append(kindtest.Lines(events), kindtest.Lines(events[:50])...)...)
	e.produce(t, topic, 0, "poison")
	spec := e.streamSpec(topic, "until", "end")
	splits, err := e.runToEnd(t, spec, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := kindtest.WantRows(events)
	if diff := cmp.Diff(want, kindtest.Rows(t, e.session, events)); diff != "" {
		t.Fatalf("rows (-want +got):\n%s", diff)
	}
	// A commit that never happened: the group is back where it was.
	for attempt := 2; attempt < 4; attempt++ {
		if err := kafka.Commit(t.Context(), e.client, "tidemill-job-"+topic, topic, map[int32]int64{0: 0}); err != nil {
			t.Fatal(err)
		}
		if err := e.workSplit(t, e.assignment(spec, attempt), splits[0]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, kindtest.Rows(t, e.session, events)); diff != "" {
			t.Errorf("rows after attempt %d (-want +got):\n%s", attempt, diff)
		}
		if got := kindtest.Marked(t, e.session, "daily", events[0].Campaign); len(got) != attempt {
			t.Errorf("after attempt %d marks of %v", attempt, got)
		}
		if got := e.quarantined(t, topic); len(got) != 1 {
			t.Errorf("after attempt %d the quarantine holds %v", attempt, got)
		}
	}
	// An attempt of a split that is done reads nothing.
	if err := e.workSplit(t, e.assignment(spec, 9), splits[0]); err != nil {
		t.Fatal(err)
	}
	if got := kindtest.Marked(t, e.session, "daily", events[0].Campaign); len(got) != 3 {
		t.Errorf("a finished split was read again: marks of %v", got)
	}
}

// testService ends a reader in the middle, and starts another.
func (e *environment) testService(t *testing.T) {
	topic := e.topic(t, 3)
	events := kindtest.NewEvents(900, time.Now())
	for p := range 3 {
		e.produce(t, topic, int32(p), kindtest.Lines(events[p*300:p*300+200])...)
	}
	rt := e.runtime(t)
	spec := e.streamSpec(topic, "batch", 50)
	stop := e.service(t, e.assignment(spec, 1), rt)
	rt.until(func(p jobs.Progress) bool { return p.Done >= 100 })
	stop()
	for p := range 3 {
		e.produce(t, topic, int32(p), kindtest.Lines(events[p*300+200:p*300+300])...)
	}
	lag, err := kafka.Lag(t.Context(), e.client, "tidemill-job-"+topic, topic)
	if err != nil || lag > 800 {
		t.Errorf("after a kill the lag is %d, %v", lag, err)
	}
	rt = e.runtime(t)
	stop = e.service(t, e.assignment(spec, 2), rt)
	rt.until(func(p jobs.Progress) bool { return p.Done >= lag })
	result := stop()
	if result.Values["events"] != fmt.Sprint(lag) {
		t.Errorf("the second attempt wrote %s of %d", result.Values["events"], lag)
	}
	if diff := cmp.Diff(kindtest.WantRows(events), kindtest.Rows(t, e.session, events)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// testLost lets retention overtake the reader.
func (e *environment) testLost(t *testing.T) {
	topic := e.topic(t, 1)
	e.produce(t, topic, 0, kindtest.Lines(kindtest.NewEvents(20, time.Now()))...)
	spec := e.streamSpec(topic, "until", "end")
	a := e.assignment(spec, 1)
	plan, err := ingest.Kind{}.Plan(t.Context(), a, kindtest.Runtime{T: t, Conns: e.conns})
	if err != nil || len(plan.Splits) != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	group := "tidemill-job-" + topic
	if err := kafka.Commit(t.Context(), e.client, group, topic, map[int32]int64{0: 3}); err != nil {
		t.Fatal(err)
	}
	var until kadm.Offsets
	until.AddOffset(topic, 0, 12, -1)
	if _, err := kadm.NewClient(e.client).DeleteRecords(t.Context(), until); err != nil {
		t.Fatal(err)
	}
	check := func(who string, err error) {
		t.Helper()
		if !jobs.IsPermanent(err) || !strings.Contains(fmt.Sprint(err), "offsets 3 to 11 are lost") || !strings.Contains(err.Error(), topic+"-0-") {
			t.Errorf("%s: %v", who, err)
		}
	}
	check("split", e.workSplit(t, a, plan.Splits[0]))
	_, err = e.runToEnd(t, spec, 2)
	check("plan", err)
	_, err = ingest.Kind{}.Work(t.Context(), e.assignment(e.streamSpec(topic), 3), kindtest.Runtime{T: t, Conns: e.conns})
	check("service", err)
}

func (e *environment) testNothing(t *testing.T) {
	topic := e.topic(t, 2)
	if splits, err := e.runToEnd(t, e.streamSpec(topic, "until", "end"), 1); err != nil || len(splits) != 0 {
		t.Errorf("%v, %v", splits, err)
	}
}

func (e *environment) testNoTopic(t *testing.T) {
	const hint = "tidemill schema apply --topic not_there"
	if _, err := e.runToEnd(t, e.streamSpec("not_there", "until", "end"), 1); err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("plan: %v", err)
	}
	a := e.assignment(map[string]any{"from": "http", "to": "kafka", "topic": "not_there"}, 1)
	a.Ports = []uint64{1}
	if _, err := (ingest.Kind{}).Work(t.Context(), a, kindtest.Runtime{T: t, Conns: e.conns}); err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("door: %v", err)
	}
}

func (e *environment) testNoQuarantine(t *testing.T) {
	topic := fmt.Sprintf("test_%016x", rand.Uint64())
	if _, err := kafka.CreateTopics(t.Context(), e.client, kafka.Topic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	e.produce(t, topic, 0, "poison")
	_, err := e.runToEnd(t, e.streamSpec(topic, "until", "end"), 1)
	if err == nil || !strings.Contains(err.Error(), "topic "+topic+"_quarantine") {
		t.Errorf("%v", err)
	}
	if lag, err := kafka.Lag(t.Context(), e.client, "tidemill-job-"+topic, topic); lag != 1 || err != nil {
		t.Errorf("the poison record was passed over: lag %d, %v", lag, err)
	}
}
