package cassandra_test

import (
	"math"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/google/go-cmp/cmp"
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
	schema := cassandra.Schema{Keyspace: "tidemill", Replication: cassandra.Replication{DCs: map[string]int{"write": 2, "analytics": 1}}, Tables: cassandra.Data()}
	made, err := schema.Apply(t.Context(), jobs.CassandraConnection{Hosts: hosts}, zerolog.Nop())
	if err != nil || len(made) != 1+len(cassandra.Data().Names()) {
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
	checkOwners(t, writing)
	checkOwners(t, reading)
}

// checkOwners compares the ring's first replicas with what each node itself
// says it is the primary of: Cassandra records that with its size estimates,
// every ten seconds in a development stack.
func checkOwners(t *testing.T, s *cassandra.Session) {
	t.Helper()
	ring, err := s.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range ring.Nodes {
		if n.DC != s.DC {
			continue
		}
		want := map[cassandra.Range]bool{}
		for _, r := range ring.Ranges {
			if r.Replicas[0].HostID == n.HostID {
				want[r.Range] = true
			}
		}
		if diff := cmp.Diff(want, primaryOf(t, s, n)); diff != "" {
			t.Errorf("primary ranges of node %s (-ring +its own):\n%s", n.Address, diff)
		}
	}
}

// primaryOf waits for a node's size estimates and gives their ranges,
// unwrapped.
func primaryOf(t *testing.T, s *cassandra.Session, n cassandra.Node) map[cassandra.Range]bool {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		out := map[cassandra.Range]bool{}
		iter := s.Query(`SELECT range_start, range_end FROM system.size_estimates WHERE keyspace_name = ? AND table_name = ?`, s.Keyspace, "event").
			WithContext(cassandra.OnNode(t.Context(), n.HostID)).Consistency(gocql.One).Iter()
		var from, to string
		for iter.Scan(&from, &to) {
			start, err := strconv.ParseInt(from, 10, 64)
			end, err2 := strconv.ParseInt(to, 10, 64)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			parts := []cassandra.Range{{Start: start, End: end}}
			if start >= end { // it wraps
				parts = []cassandra.Range{{Start: start, End: math.MaxInt64}, {Start: math.MinInt64, End: end}}
			}
			for _, r := range parts {
				if r.Start < r.End {
					out[r] = true
				}
			}
		}
		if err := iter.Close(); err != nil {
			t.Fatal(err)
		}
		if len(out) > 0 {
			return out
		}
		if time.Now().After(deadline) {
			t.Fatalf("node %s has no size estimates after a minute", n.Address)
		}
		<-tick.C
	}
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
