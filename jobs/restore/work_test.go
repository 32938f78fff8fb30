package restore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"tidemill/internal/cassandra"
	"tidemill/internal/cassandra/cassandratest"
	"tidemill/internal/s3"
	"tidemill/jobs"
	"tidemill/jobs/event"
	"tidemill/jobs/kindtest"
	"tidemill/jobs/restore"
)

// TestRestore runs the kind's work against real servers, as an executor would.
func TestRestore(t *testing.T) {
	env := &environment{session: cassandratest.Keyspace(t), conns: kindtest.Connections(t)}
	t.Run("what was archived is what the log held", env.testArchived)
	t.Run("broken lines", env.testBroken)
	t.Run("a replay changes nothing", env.testReplay)
	t.Run("a killed attempt is gone on with", env.testKilled)
	t.Run("attempts overlap", env.testOverlap)
	t.Run("a changed object is another file", env.testChanged)
	t.Run("deletes outlive a restore", env.testDeletes)
	t.Run("the error limit", env.testLimit)
	t.Run("nothing matches", env.testNothing)
	t.Run("an object is gone", env.testGone)
}

// longAgo is when the events of these tests were.
var longAgo = time.Date(2015, 9, 1, 12, 0, 0, 0, time.UTC)

type environment struct {
	conns   jobs.Connections
	session *cassandra.Session
}

// job is a restore of local files in a folder of one test's own.
type job struct {
	*environment
	t    testing.TB
	name jobs.Name
	dir  string
	spec map[string]any
	runs *int // begun
}

func (e *environment) job(t testing.TB, more ...any) job {
	t.Helper()
	j := job{environment: e, t: t, dir: t.TempDir(), runs: new(int),
		name: jobs.Name(fmt.Sprintf("restore-%016x", rand.Uint64()))}
	j.spec = map[string]any{"from": "file://" + j.dir + "/in/*.gz", "quarantine": "file://" + j.dir + "/bad",
		"keyspace": e.session.Keyspace, "rollups": []string{"daily"}, "batch": 50}
	for i := 0; i < len(more); i += 2 {
		j.spec[more[i].(string)] = more[i+1]
	}
	return j
}

func (j job) assignment(stage, attempt int) jobs.Assignment {
	doc, err := json.Marshal(j.spec)
	if err != nil {
		j.t.Fatal(err)
	}
	run := jobs.NewRunID(j.name, 1, "k", *j.runs)
	return jobs.Assignment{Task: jobs.NewTaskID(run, stage, 0, attempt), Run: run, Job: j.name, Kind: restore.Name, Spec: doc, Stage: stage}
}

// plan begins a run.
func (j job) plan() jobs.Plan {
	j.t.Helper()
	*j.runs++
	plan, err := restore.Kind{}.Plan(j.t.Context(), j.assignment(0, 1), kindtest.Runtime{T: j.t, Conns: j.conns})
	if err != nil {
		j.t.Fatal(err)
	}
	return plan
}

// work does a plan's splits one after the other, as the scheduler would.
func (j job) work(ctx context.Context, plan jobs.Plan, attempt int, onProgress func(jobs.Progress)) (map[string]string, error) {
	values := map[string]string{}
	for _, s := range plan.Splits {
		a := j.assignment(s.Stage, attempt)
		a.Split, a.Splits, a.Shared, a.Version = s, len(plan.Splits), plan.Shared, time.Now().UnixMicro()
		result, err := restore.Kind{}.Work(ctx, a, kindtest.Runtime{T: j.t, Conns: j.conns, OnProgress: onProgress})
		maps.Copy(values, result.Values)
		if err != nil {
			return values, err
		}
	}
	return values, nil
}

func (j job) want(plan jobs.Plan, attempt int, want string) {
	j.t.Helper()
	values, err := j.work(j.t.Context(), plan, attempt, nil)
	if err != nil {
		j.t.Fatal(err)
	}
	if got := told(values); got != want {
		j.t.Errorf("attempt %d: %s\nwant %s", attempt, got, want)
	}
}

func told(v map[string]string) string {
	return fmt.Sprintf("good %s, bad %s, shadowed %s, objects %s, partial %s", v["good"], v["bad"], v["shadowed"], v["objects"], v["partial"])
}

func (j job) write(name string, body []byte) {
	j.t.Helper()
	file := filepath.Join(j.dir, "in", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		j.t.Fatal(err)
	}
	if err := os.WriteFile(file, body, 0o644); err != nil {
		j.t.Fatal(err)
	}
}

func zipped(lines ...string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// quarantined reads what lies in quarantine: "file:line error: raw".
func (j job) quarantined() (out []string) {
	j.t.Helper()
	store := s3.NewFiles(j.dir)
	list, err := store.List(j.t.Context(), "bad/")
	if err != nil {
		j.t.Fatal(err)
	}
	for _, o := range list {
		body, err := os.ReadFile(filepath.Join(j.dir, o.Key))
		if err != nil {
			j.t.Fatal(err)
		}
		for l := range strings.Lines(string(body)) {
			var b struct {
				File, ETag, Error, Raw string
				Line                   int
				RawBase64              []byte `json:"raw_base64"`
				Cut                    bool
			}
			if err := json.Unmarshal([]byte(l), &b); err != nil || b.ETag == "" {
				j.t.Errorf("%s: %q: %v", o.Key, l, err)
			}
			raw := b.Raw + string(b.RawBase64)
			if b.Cut {
				raw = fmt.Sprintf("%d bytes, cut", len(raw))
			}
			out = append(out, fmt.Sprintf("%s:%d %s: %q", filepath.Base(b.File), b.Line, b.Error, raw))
		}
	}
	return out
}

func (e *environment) wantRows(t *testing.T, events []event.Event) {
	t.Helper()
	if diff := cmp.Diff(kindtest.WantRows(events), kindtest.Rows(t, e.session, events)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// testBroken has every kind of broken object and line, and what is good of
// them is restored.
func (e *environment) testBroken(t *testing.T) {
	j := e.job(t, "max_line", 1000, "max_plain", 20_000)
	events := kindtest.NewEvents(130, longAgo)
	lines := kindtest.Lines(events)
	buy := strings.Replace(kindtest.Lines(kindtest.NewEvents(1, longAgo))[0], "view", "buy", 1)
	j.write("a.gz", zipped(lines[0], "no json", "", lines[1], strings.Repeat("x", 5000), "\xff", buy, lines[2]))
	whole := zipped(lines[3:100]...)
	j.write("b.gz", whole[:len(whole)-5]) // only the checksum is cut off
	j.write("c.gz", nil)
	j.write("d.gz", []byte(strings.Join(lines[100:110], "\n"))) // not compressed after all, no last newline
	j.write("e.gz", zipped())
	j.write("f.gz", append(zipped(lines[110:120]...), zipped(lines[120:130]...)...))
	j.write("g.gz", zipped(strings.Repeat(" \n", 12_000))) // grows beyond max_plain
	j.want(j.plan(), 1, "good 130, bad 6, shadowed 0, objects 7, partial true")
	e.wantRows(t, events)
	if len(kindtest.Marked(t, e.session, "daily", events[0].Campaign)) != 1 {
		t.Error("no dirty marks")
	}
	want := []string{
		`a.gz:2 the event is no JSON: "no json"`,
		`a.gz:5 the line is longer than max_line, 1000 bytes: "1000 bytes, cut"`,
		`a.gz:6 the event is not valid UTF-8: "\xff"`,
		fmt.Sprintf(`a.gz:7 type is not one of the accepted types: %q`, buy),
		`b.gz:98 the object breaks off in line 98: unexpected EOF: ""`,
		`g.gz:10001 the object breaks off in line 10001: it decompresses to more than max_plain allows: ""`,
	}
	if diff := cmp.Diff(want, j.quarantined()); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
}

// testReplay does all again, twice in the same run, in another, and after the
// manifest was lost.
func (e *environment) testReplay(t *testing.T) {
	j := e.job(t)
	events := kindtest.NewEvents(220, longAgo)
	lines := kindtest.Lines(events)
	j.write("a.gz", zipped(append(lines[:120], "broken")...))
	j.write("b.gz", zipped(append(kindtest.Lines(events[100:]), lines[:30]...)...))
	const want = "good 270, bad 1, shadowed 0, objects 2, partial false"
	plan := j.plan()
	for attempt := 1; attempt < 3; attempt++ {
		j.want(plan, attempt, want)
		e.wantRows(t, events)
	}
	if got := kindtest.Marked(t, e.session, "daily", events[0].Campaign); len(got) != 1 {
		t.Errorf("what is done was written again: marks of %v", got)
	}
	j.want(j.plan(), 3, want)
	if err := e.session.Query(`TRUNCATE restore_manifest`).WithContext(t.Context()).Exec(); err != nil {
		t.Fatal(err)
	}
	j.want(j.plan(), 4, want)
	e.wantRows(t, events)
	if got := j.quarantined(); len(got) != 3 { // one for each run
		t.Errorf("the quarantine holds %v", got)
	}
}

// testKilled kills an attempt in the middle of an object.
func (e *environment) testKilled(t *testing.T) {
	j := e.job(t)
	events := kindtest.NewEvents(400, longAgo)
	j.write("a.gz", zipped(append(append(kindtest.Lines(events[:200]), "broken"), kindtest.Lines(events[200:])...)...))
	plan := j.plan()
	ctx, kill := context.WithCancelCause(t.Context())
	killed := errors.New("killed")
	_, err := j.work(ctx, plan, 1, func(p jobs.Progress) {
		if p.Done >= 250 {
			kill(killed)
		}
	})
	if !errors.Is(err, killed) {
		t.Fatalf("%v", err)
	}
	var least int64 = 1 << 40
	values, err := j.work(t.Context(), plan, 2, func(p jobs.Progress) { least = min(least, p.Done) })
	if err != nil || told(values) != "good 400, bad 1, shadowed 0, objects 1, partial false" {
		t.Errorf("%v, %v", values, err)
	}
	if least <= 250 {
		t.Errorf("the second attempt began at line %d", least)
	}
	e.wantRows(t, events)
	if got := j.quarantined(); len(got) != 1 {
		t.Errorf("the quarantine holds %v", got)
	}
}

// testOverlap lets two attempts of a split, one given up and another, work at
// the same time.
func (e *environment) testOverlap(t *testing.T) {
	j := e.job(t, "batch", 10)
	events := kindtest.NewEvents(300, longAgo)
	for i := range 3 {
		j.write(fmt.Sprintf("%d.gz", i), zipped(append(kindtest.Lines(events[i*100:(i+1)*100]), "broken")...))
	}
	plan := j.plan()
	var attempts sync.WaitGroup
	for attempt := 1; attempt < 4; attempt++ {
		attempts.Go(func() {
			values, err := j.work(t.Context(), plan, attempt, nil)
			if err != nil || told(values) != "good 300, bad 3, shadowed 0, objects 3, partial false" {
				t.Errorf("attempt %d: %v, %v", attempt, values, err)
			}
		})
	}
	attempts.Wait()
	e.wantRows(t, events)
	if got := j.quarantined(); len(got) != 3 {
		t.Errorf("the quarantine holds %v", got)
	}
}

// testChanged: an object that changes between plan and work is restored as it
// is now, and when it changes while it is read, as it was until then too.
func (e *environment) testChanged(t *testing.T) {
	j := e.job(t)
	events := kindtest.NewEvents(300, longAgo)
	j.write("a.gz", zipped(kindtest.Lines(events[:100])...))
	plan := j.plan()
	j.write("a.gz", zipped(kindtest.Lines(events[100:])...))
	j.want(plan, 1, "good 200, bad 0, shadowed 0, objects 1, partial false")
	e.wantRows(t, events[100:])
	plan = j.plan()
	j.want(plan, 2, "good 200, bad 0, shadowed 0, objects 1, partial false")
	j.write("a.gz", zipped(kindtest.Lines(events[:100])...))
	j.want(plan, 3, "good 200, bad 0, shadowed 0, objects 1, partial false") // it was done already
	j.want(j.plan(), 4, "good 100, bad 0, shadowed 0, objects 1, partial false")
	e.wantRows(t, events)

	events = kindtest.NewEvents(4000, longAgo)
	lines := kindtest.Lines(events)
	j = e.job(t, "batch", 1000)
	j.write("a.gz", []byte(strings.Join(lines[:3000], "\n")))
	var once sync.Once
	values, err := j.work(t.Context(), j.plan(), 1, func(jobs.Progress) {
		once.Do(func() { j.write("a.gz", []byte(strings.Join(lines[1000:], "\n"))) })
	})
	if err != nil || values["objects"] != "1" || values["partial"] != "false" {
		t.Errorf("%v, %v", values, err)
	}
	e.wantRows(t, events)
}

// testDeletes: what somebody deleted stays deleted, unless the job says
// otherwise; what somebody changed stays changed always.
func (e *environment) testDeletes(t *testing.T) {
	events := kindtest.NewEvents(120, longAgo)
	exec := func(cql string, args ...any) {
		t.Helper()
		if err := e.session.Query(cql, args...).WithContext(t.Context()).Exec(); err != nil {
			t.Fatal(err)
		}
	}
	j := e.job(t)
	j.write("a.gz", zipped(kindtest.Lines(events)...))
	j.want(j.plan(), 1, "good 120, bad 0, shadowed 0, objects 1, partial false")
	n, _, err := e.session.DayBuckets(t.Context(), events[0].Day())
	if err != nil {
		t.Fatal(err)
	}
	deleted := time.Now().Add(-time.Hour).UnixMicro()
	for _, ev := range events[:70] {
		exec(`DELETE FROM event USING TIMESTAMP ? WHERE id = ?`, deleted, gocql.UUID(ev.ID))
		exec(`DELETE FROM event_by_day USING TIMESTAMP ? WHERE day = ? AND bucket = ? AND campaign = ? AND type = ? AND id = ?`,
			deleted, ev.Day().Time(), event.Bucket(ev.ID, n), gocql.UUID(ev.Campaign), ev.Type, gocql.UUID(ev.ID))
	}
	exec(`UPDATE event USING TIMESTAMP ? SET ts = 7 WHERE id = ?`, deleted, gocql.UUID(events[119].ID))
	j.want(j.plan(), 2, "good 50, bad 0, shadowed 70, objects 1, partial false")
	if got := kindtest.Rows(t, e.session, events); len(got) != 100 {
		t.Errorf("%d rows came back", len(got)-100)
	}
	over := e.job(t, "over_deletes", true)
	over.write("a.gz", zipped(kindtest.Lines(events)...))
	over.want(over.plan(), 1, "good 120, bad 0, shadowed 0, objects 1, partial false")
	got := kindtest.Rows(t, e.session, events)
	if len(got) != 240 {
		t.Errorf("%d of 240 rows are there", len(got))
	}
	last := events[119]
	if got[fmt.Sprintf("event view %s 7 %s", last.ID, last.AdID)] != deleted {
		t.Error("a change was undone")
	}
}

func (e *environment) testLimit(t *testing.T) {
	events := kindtest.Lines(kindtest.NewEvents(97, longAgo))
	for limit, ok := range map[string]bool{"2": false, "3": true, "2.9 %": false, "3 %": true} {
		j := e.job(t, "max_errors", limit)
		j.write("a.gz", zipped(append(events[:50:50], "broken", "{}")...))
		j.write("b.gz", zipped(append(events[50:97:97], "broken")...))
		values, err := j.work(t.Context(), j.plan(), 1, nil)
		switch {
		case ok && (err != nil || told(values) != "good 97, bad 3, shadowed 0, objects 2, partial false"):
			t.Errorf("max_errors %s: %v, %v", limit, values, err)
		case !ok && (!jobs.IsPermanent(err) || !strings.Contains(err.Error(), "max_errors is "+limit)):
			t.Errorf("max_errors %s: %v", limit, err)
		}
		if got := j.quarantined(); len(got) != 3 {
			t.Errorf("max_errors %s: the quarantine holds %v", limit, got)
		}
	}
}

func (e *environment) testNothing(t *testing.T) {
	j := e.job(t)
	_, err := restore.Kind{}.Plan(t.Context(), j.assignment(0, 1), kindtest.Runtime{T: t, Conns: j.conns})
	if !jobs.IsPermanent(err) || !strings.Contains(err.Error(), "no object matches") {
		t.Errorf("%v", err)
	}
}

func (e *environment) testGone(t *testing.T) {
	j := e.job(t)
	j.write("a.gz", zipped(kindtest.Lines(kindtest.NewEvents(1, longAgo))...))
	plan := j.plan()
	if err := os.Remove(filepath.Join(j.dir, "in", "a.gz")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.work(t.Context(), plan, 1, nil); !jobs.IsPermanent(err) || !strings.Contains(err.Error(), "start a new run") {
		t.Errorf("%v", err)
	}
}
