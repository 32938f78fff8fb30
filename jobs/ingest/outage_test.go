package ingest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/kafka"
	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
	"tidemill/jobs/kindtest"
)

// TestOutages kills the servers under running services, which must wait, say
// so, and lose nothing.
func TestOutages(t *testing.T) {
	servers := stacktest.Own(t, stack.Options{Kafka: true, Cassandra: stack.Nodes(1, nil, nil)})
	addresses := servers.Addresses()
	conn := jobs.CassandraConnection{Hosts: addresses.Cassandra}
	schema := cassandra.Schema{Keyspace: "tidemill", Replication: cassandra.Replication{Simple: 1}, Tables: cassandra.Data()}
	if _, err := schema.Apply(t.Context(), conn, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	env := &environment{conns: jobs.Connections{
		Kafka:     map[string]jobs.KafkaConnection{"default": {Brokers: addresses.Kafka}},
		Cassandra: map[string]jobs.CassandraConnection{"default": conn},
	}}
	var err error
	if env.client, err = kafka.New(env.conns.Kafka["default"]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.client.Close)
	if env.session, err = cassandra.Open(t.Context(), conn, "tidemill", zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.session.Close)
	t.Run("cassandra", func(t *testing.T) { env.testCassandraAway(t, server(t, servers, "cassandra")) })
	t.Run("kafka", func(t *testing.T) { env.testKafkaAway(t, server(t, servers, "kafka")) })
}

func server(t *testing.T, servers *stack.Stack, name string) *stack.Server {
	t.Helper()
	for _, s := range servers.Servers() {
		if strings.HasPrefix(s.Name(), name) {
			return s
		}
	}
	t.Fatalf("the stack has no %s", name)
	return nil
}

func kill(t *testing.T, s *stack.Server) {
	t.Helper()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
}

func restart(t *testing.T, s *stack.Server) {
	t.Helper()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// testCassandraAway: a running service and a starting one wait; a run that
// ends fails, so that it is tried again.
func (e *environment) testCassandraAway(t *testing.T, node *stack.Server) {
	topic := e.topic(t, 1)
	events := kindtest.NewEvents(400, time.Now())
	e.produce(t, topic, 0, kindtest.Lines(events[:100])...)
	running := e.runtime(t)
	stopRunning := e.service(t, e.assignment(e.streamSpec(topic, "batch", 50), 1), running)
	running.until(func(p jobs.Progress) bool { return p.Done == 100 })
	ending := e.assignment(e.streamSpec(topic, "until", "end"), 3)
	kill(t, node)
	e.produce(t, topic, 0, kindtest.Lines(events[100:])...)
	away := func(p jobs.Progress) bool { return strings.HasPrefix(p.Note, "cassandra is away") }
	running.until(away)
	starting := e.runtime(t)
	stopStarting := e.service(t, e.assignment(e.streamSpec(topic, "group", "another"), 2), starting)
	starting.until(away)
	split := jobs.Split{Stage: 1, Payload: []byte(`{"partition":0,"start":0,"end":400}`)}
	if err := e.workSplit(t, ending, split); err == nil || jobs.IsPermanent(err) || !strings.Contains(err.Error(), "tidemill stack up") {
		t.Errorf("a run that ends: %v", err)
	}
	restart(t, node)
	running.until(func(p jobs.Progress) bool { return p.Done == 400 })
	starting.until(func(p jobs.Progress) bool { return p.Done == 400 })
	stopRunning()
	stopStarting()
	if diff := cmp.Diff(kindtest.WantRows(events), kindtest.Rows(t, e.session, events)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// testKafkaAway: the door answers 503 and then, posted again, 202.
func (e *environment) testKafkaAway(t *testing.T, broker *stack.Server) {
	topic := e.topic(t, 1)
	events := kindtest.NewEvents(2, time.Now())
	url, stop := e.door(t, topic, "ack_timeout", "2s")
	post := func(line string) int {
		t.Helper()
		reply, err := http.Post(url+"/v1/events", "application/json", strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := reply.Body.Close(); err != nil {
			t.Error(err)
		}
		if reply.StatusCode != http.StatusAccepted && reply.Header.Get("Retry-After") == "" {
			t.Errorf("%d without Retry-After", reply.StatusCode)
		}
		return reply.StatusCode
	}
	lines := kindtest.Lines(events)
	if code := post(lines[0]); code != http.StatusAccepted {
		t.Errorf("before: %d", code)
	}
	kill(t, broker)
	if code := post(lines[1]); code != http.StatusServiceUnavailable {
		t.Errorf("without kafka: %d", code)
	}
	restart(t, broker)
	deadline := time.Now().Add(time.Minute)
	for code := 0; code != http.StatusAccepted; code = post(lines[1]) {
		if time.Now().After(deadline) {
			t.Fatalf("still %d a minute after kafka is back", code)
		}
	}
	if result := stop(); result.Values["accepted"] != "2" {
		t.Errorf("the door's result is %v", result.Values)
	}
	spans, err := kafka.Spans(t.Context(), e.client, topic)
	if err != nil || spans[0].End < 2 {
		t.Errorf("the topic holds %v, %v", spans, err)
	}
}
