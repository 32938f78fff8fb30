package cassandra_test

import (
	"context"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/cassandra/cassandratest"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

func TestCassandra(t *testing.T) {
	s := cassandratest.Keyspace(t)
	t.Run("schema", func(t *testing.T) { testSchema(t, s) })
	t.Run("missing schema", testMissingSchema)
	t.Run("writer", func(t *testing.T) { testWriter(t, s) })
	t.Run("writer never beats a patch", func(t *testing.T) { testPatch(t, s) })
	t.Run("buckets are fixed once", func(t *testing.T) { testBuckets(t, s) })
	t.Run("ring", func(t *testing.T) { testRing(t, s) })
	t.Run("a query on a node that is not there", func(t *testing.T) { testPin(t, s) })
}

func testSchema(t *testing.T, s *cassandra.Session) {
	schema := cassandra.Schema{Keyspace: s.Keyspace, Replication: cassandra.Replication{Simple: 1}, Tables: cassandra.Data()}
	made, err := schema.Apply(t.Context(), cassandratest.Connection(t), zerolog.Nop())
	if err != nil || len(made) != 0 {
		t.Errorf("applied again: made %v, %v", made, err)
	}
	if s.DC == "" {
		t.Error("no data centre was found")
	}
}

func testMissingSchema(t *testing.T) {
	_, err := cassandra.Open(t.Context(), cassandratest.Connection(t), "none_here", zerolog.Nop())
	if err == nil || !strings.Contains(err.Error(), "tidemill schema apply --keyspace none_here") {
		t.Errorf("missing keyspace: %v", err)
	}
	_, err = cassandra.Open(t.Context(), cassandratest.Connection(t), "system", zerolog.Nop())
	if err == nil || !strings.Contains(err.Error(), "table event, ") {
		t.Errorf("a keyspace of something else: %v", err)
	}
}

func randomUUID() (u event.UUID) {
	for i := range u {
		u[i] = byte(rand.Uint32())
	}
	return u
}

// someEvents makes events of one new campaign, over two days.
func someEvents(n int) []event.Event {
	campaign := randomUUID()
	out := make([]event.Event, n)
	for i := range out {
		out[i] = event.Event{ID: randomUUID(), AdID: randomUUID(), Campaign: campaign, Type: event.View,
			TS: 1441065600000 + int64(i%2)*24*time.Hour.Milliseconds() + int64(i)}
		if i%3 == 0 {
			out[i].Type = event.Click
		}
	}
	return out
}

// row is what both tables hold of an event, with its write time.
type row struct {
	event.Event
	Written int64
}

func readEvents(t *testing.T, s *cassandra.Session, events []event.Event) map[event.UUID]row {
	t.Helper()
	out := map[event.UUID]row{}
	for _, e := range events {
		var r row
		var id, ad, campaign gocql.UUID
		err := s.Query(`SELECT id, ad_id, campaign, ts, type, writetime(type) FROM event WHERE id = ?`, gocql.UUID(e.ID)).
			WithContext(t.Context()).Scan(&id, &ad, &campaign, &r.TS, &r.Type, &r.Written)
		if errors.Is(err, gocql.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r.ID, r.AdID, r.Campaign = event.UUID(id), event.UUID(ad), event.UUID(campaign)
		out[e.ID] = r
	}
	return out
}

func readByDay(t *testing.T, s *cassandra.Session, day event.Day, campaign event.UUID) map[event.UUID]row {
	t.Helper()
	n, ok, err := s.DayBuckets(t.Context(), day)
	if err != nil || !ok {
		t.Fatalf("buckets of %s: %v, %v", day, ok, err)
	}
	out := map[event.UUID]row{}
	for bucket := range n {
		iter := s.Query(`SELECT id, ad_id, ts, type, writetime(ts) FROM event_by_day WHERE day = ? AND bucket = ? AND campaign = ?`,
			day.Time(), bucket, gocql.UUID(campaign)).WithContext(t.Context()).Iter()
		var id, ad gocql.UUID
		r := row{Event: event.Event{Campaign: campaign}}
		for iter.Scan(&id, &ad, &r.TS, &r.Type, &r.Written) {
			r.ID, r.AdID = event.UUID(id), event.UUID(ad)
			out[r.ID] = r
		}
		if err := iter.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

type mark struct {
	Day     event.Day
	Writer  string
	Pos     int64
	Written int64
}

func readMarks(t *testing.T, s *cassandra.Session, rollup string, campaign event.UUID) []mark {
	t.Helper()
	shard := event.Shard(campaign, cassandra.DirtyShards)
	iter := s.Query(`SELECT day, campaign, writer, pos, writetime(pos) FROM dirty WHERE rollup = ? AND shard = ?`, rollup, shard).
		WithContext(t.Context()).Iter()
	var out []mark
	var day time.Time
	var c gocql.UUID
	var m mark
	for iter.Scan(&day, &c, &m.Writer, &m.Pos, &m.Written) {
		if m.Day = event.DayOfTime(day); event.UUID(c) == campaign {
			out = append(out, m)
		}
	}
	if err := iter.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func testWriter(t *testing.T, s *cassandra.Session) {
	events := someEvents(200)
	campaign, first := events[0].Campaign, events[0].Day()
	want := map[event.UUID]row{}
	for _, e := range events {
		want[e.ID] = row{e, e.TS * 1000}
	}
	check := func(when string, marks []mark) {
		t.Helper()
		if diff := cmp.Diff(want, readEvents(t, s, events)); diff != "" {
			t.Errorf("%s: event (-want +got):\n%s", when, diff)
		}
		byDay := readByDay(t, s, first, campaign)
		maps.Copy(byDay, readByDay(t, s, first+1, campaign))
		if diff := cmp.Diff(want, byDay); diff != "" {
			t.Errorf("%s: event_by_day (-want +got):\n%s", when, diff)
		}
		if diff := cmp.Diff(marks, readMarks(t, s, "daily", campaign)); diff != "" {
			t.Errorf("%s: marks (-want +got):\n%s", when, diff)
		}
	}
	a := cassandra.NewWriter(s, cassandra.WriterOptions{Rollups: []string{"daily", "hourly"}, Writer: "a"})
	if err := a.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	check("written", []mark{{first, "a", 200, 200}, {first + 1, "a", 200, 200}})
	if got := len(readMarks(t, s, "hourly", campaign)); got != 2 {
		t.Errorf("the other rollup has %d marks", got)
	}
	if err := a.Write(t.Context(), events[:1]); err != nil {
		t.Fatal(err)
	}
	check("one again", []mark{{first, "a", 201, 201}, {first + 1, "a", 200, 200}})
	b := cassandra.NewWriter(s, cassandra.WriterOptions{Rollups: []string{"daily"}, Writer: "b"})
	if err := b.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	check("by another", []mark{{first, "a", 201, 201}, {first, "b", 200, 200}, {first + 1, "a", 200, 200}, {first + 1, "b", 200, 200}})

	// A rollup deletes what it has read, by its number; a later mark survives.
	shard := event.Shard(campaign, cassandra.DirtyShards)
	if err := a.Write(t.Context(), events[:1]); err != nil {
		t.Fatal(err)
	}
	for _, m := range []mark{{first, "a", 201, 0}, {first, "b", 200, 0}} {
		err := s.Query(`DELETE FROM dirty USING TIMESTAMP ? WHERE rollup = ? AND shard = ? AND day = ? AND campaign = ? AND writer = ?`,
			m.Pos, "daily", shard, m.Day.Time(), gocql.UUID(campaign), m.Writer).WithContext(t.Context()).Exec()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("after a rollup", []mark{{first, "a", 202, 202}, {first + 1, "a", 200, 200}, {first + 1, "b", 200, 200}})
}

func testPatch(t *testing.T, s *cassandra.Session) {
	events := someEvents(1)
	w := cassandra.NewWriter(s, cassandra.WriterOptions{Writer: "w"})
	if err := w.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	stamp := events[0].Stamp() + 1
	if err := s.Query(`UPDATE event USING TIMESTAMP ? SET type = ? WHERE id = ?`, stamp, "click", gocql.UUID(events[0].ID)).Exec(); err != nil {
		t.Fatal(err)
	}
	events[0].Type = event.View
	if err := w.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if got := readEvents(t, s, events)[events[0].ID]; got.Type != event.Click || got.Written != stamp {
		t.Errorf("after a replay the patched row is %+v", got)
	}
}

func testBuckets(t *testing.T, s *cassandra.Session) {
	day := event.Day(10_000 + rand.IntN(5_000))
	at := func(buckets int) {
		e := someEvents(1)
		e[0].TS = day.Time().UnixMilli() + 1
		w := cassandra.NewWriter(s, cassandra.WriterOptions{Writer: "w", Buckets: buckets})
		if err := w.Write(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if n, ok, err := s.DayBuckets(t.Context(), day); n != 4 || !ok || err != nil {
			t.Errorf("the day has %d buckets (%v, %v), want 4", n, ok, err)
		}
		if got := readByDay(t, s, day, e[0].Campaign); len(got) != 1 {
			t.Errorf("a writer with %d buckets: %d rows are found", buckets, len(got))
		}
	}
	at(4)
	at(32)
	if _, ok, err := s.DayBuckets(t.Context(), day+20_000); ok || err != nil {
		t.Errorf("a day nobody wrote: %v, %v", ok, err)
	}
}

func testRing(t *testing.T, s *cassandra.Session) {
	ring, err := s.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := int64(math.MinInt64)
	for _, r := range ring.Ranges {
		if r.Start != at || len(r.Replicas) != 1 {
			t.Errorf("range %+v after %d", r, at)
		}
		at = r.End
	}
	if at != math.MaxInt64 {
		t.Errorf("the ring ends at %d", at)
	}
	for range 16 {
		id := gocql.MustRandomUUID()
		var token int64
		if err := s.Query(`INSERT INTO event (id, type) VALUES (?, 'view')`, id).Exec(); err != nil {
			t.Fatal(err)
		}
		if err := s.Query(`SELECT token(id) FROM event WHERE id = ?`, id).Scan(&token); err != nil || token != cassandra.Token(event.UUID(id)) {
			t.Errorf("token(%s) is %d, not %d (%v)", id, token, cassandra.Token(event.UUID(id)), err)
		}
		if err := s.Query(`DELETE FROM event WHERE id = ?`, id).Exec(); err != nil {
			t.Fatal(err)
		}
	}
	host, _, _ := strings.Cut(cassandratest.Connection(t).Hosts[0], ":")
	splits, err := ring.Splits(8, 0)
	if err != nil || len(splits) != 8 || splits[0].Hosts[0] != host || splits[0].DC != s.DC || len(splits[0].Racks) != 1 {
		t.Errorf("splits: %+v, %v", splits, err)
	}
	if e, err := s.EstimateSize(t.Context(), "event"); err != nil || e.Fraction < 0 || e.Fraction > 1.0001 {
		t.Errorf("estimate: %+v, %v", e, err)
	}
}

func testPin(t *testing.T, s *cassandra.Session) {
	ctx := cassandra.OnNode(t.Context(), "00000000-0000-0000-0000-000000000000")
	err := s.Query(`SELECT key FROM system.local`).WithContext(ctx).Exec()
	if !cassandra.Transient(err) {
		t.Errorf("got %v", err)
	}
}

func TestNoServer(t *testing.T) {
	_, err := cassandra.Open(context.Background(), jobs.CassandraConnection{Hosts: []string{"127.0.0.1:1"}}, "x", zerolog.Nop())
	if code, _ := jobs.CodeOf(err); code != jobs.Unavailable || !strings.Contains(err.Error(), "tidemill stack up") {
		t.Errorf("no server: %v", err)
	}
}
