package cassandra_test

import (
	"net"
	"strings"
	"testing"

	"github.com/gocql/gocql"
	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// TestTwoDataCentres: what is written in one is split, and read, in the other.
func TestTwoDataCentres(t *testing.T) {
	servers := stacktest.Own(t, stack.Options{Cassandra: stack.Nodes(3, []string{"write", "analytics"}, []string{"r1", "r2"})})
	hosts := servers.Addresses().Cassandra // write, analytics, write
	schema := cassandra.Schema{Keyspace: "tidemill", Replication: cassandra.Replication{DCs: map[string]int{"write": 2, "analytics": 1}}}
	made, err := schema.Apply(t.Context(), jobs.CassandraConnection{Hosts: hosts}, zerolog.Nop())
	if err != nil || len(made) != 1+len(cassandra.Tables()) {
		t.Fatalf("made %v, %v", made, err)
	}
	open := func(conn jobs.CassandraConnection) *cassandra.Session {
		t.Helper()
		s, err := cassandra.Open(t.Context(), conn, "tidemill", zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	writing := open(jobs.CassandraConnection{Hosts: hosts[:1]}) // its own data centre is found
	reading := open(jobs.CassandraConnection{Hosts: hosts, DC: "analytics"})
	if writing.DC != "write" || reading.DC != "analytics" {
		t.Fatalf("data centres %s and %s", writing.DC, reading.DC)
	}
	events := someEvents(100)
	w := cassandra.NewWriter(writing, cassandra.WriterOptions{Writer: "w", Rollups: []string{"daily"}, EachDC: true})
	if err := w.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if got := len(readEvents(t, reading, events)); got != 100 {
		t.Errorf("the other data centre has %d of 100 events", got)
	}
	if got := len(readMarks(t, reading, "daily", events[0].Campaign)); got != 2 {
		t.Errorf("the other data centre has %d of 2 marks", got)
	}
	checkRing(t, writing, 2, hosts[0], hosts[2])
	checkRing(t, reading, 1, hosts[1])
	checkScan(t, reading, events)
}

func checkRing(t *testing.T, s *cassandra.Session, replicas int, near ...string) {
	t.Helper()
	ring, err := s.Ring(t.Context())
	if err != nil || len(ring.Nodes) != 3 {
		t.Fatalf("%+v, %v", ring, err)
	}
	for _, r := range ring.Ranges {
		if len(r.Replicas) != 3 {
			t.Errorf("(%d, %d] has %d replicas", r.Start, r.End, len(r.Replicas))
		}
	}
	splits, err := ring.Splits(10, 0)
	if err != nil || len(splits) != 10 {
		t.Fatalf("%d splits, %v", len(splits), err)
	}
	for _, split := range splits {
		if len(split.Hosts) != replicas || len(split.Racks) != replicas || split.DC != s.DC {
			t.Errorf("split %d: hosts %v, racks %v, data centre %s", split.Number, split.Hosts, split.Racks, split.DC)
		}
		for _, h := range split.Hosts {
			if !strings.Contains(strings.Join(near, " "), net.JoinHostPort(h, "")) {
				t.Errorf("split %d of %s prefers %s, not among %v", split.Number, s.DC, h, near)
			}
		}
	}
}

// checkScan reads all events once by the ring's ranges, each from a node that
// is said to hold it.
func checkScan(t *testing.T, s *cassandra.Session, events []event.Event) {
	t.Helper()
	ring, err := s.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, r := range ring.Ranges {
		for _, half := range r.Halves() {
			iter := s.Query(`SELECT id FROM event WHERE token(id) > ? AND token(id) <= ?`, half.Start, half.End).WithContext(t.Context()).Iter()
			var id gocql.UUID
			for iter.Scan(&id) {
				found++
			}
			if err := iter.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found != len(events) {
		t.Errorf("the ranges hold %d of %d events", found, len(events))
	}
}
