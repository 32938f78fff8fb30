package rollup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/cassandra/cassandratest"
	"tidemill/internal/dirty"
	"tidemill/internal/events"
	"tidemill/jobs"
	"tidemill/jobs/event"
	"tidemill/jobs/kindtest"
	"tidemill/jobs/report"
)

func TestRollup(t *testing.T) {
	s := cassandratest.Keyspace(t)
	t.Run("whole runs", func(t *testing.T) { testWholeRuns(t, s) })
	t.Run("totals are exact after the last run", func(t *testing.T) { testExact(t, s) })
	t.Run("a later version was planned", func(t *testing.T) { testLaterVersion(t, s) })
	t.Run("failed splits run again", func(t *testing.T) { testFailedSplits(t, s) })
	t.Run("full repairs", func(t *testing.T) { testFullRepairs(t, s) })
	t.Run("full marks what it repairs", func(t *testing.T) { testFullMarks(t, s) })
	t.Run("old plans", func(t *testing.T) { testOldPlan(t, s) })
}

// world is one rollup job with its writers, its report and what it must find.
type world struct {
	t       *testing.T
	session *cassandra.Session
	random  *rand.Rand
	job     jobs.Name
	report  jobs.Name
	spec    Spec
	truth   *events.Truth
	written []event.Event
	writer  *cassandra.Writer
	// campaigns are few, so that their days are touched again and again.
	campaigns []event.UUID
	runs      int
}

func newWorld(t *testing.T, s *cassandra.Session, seed uint64) *world {
	w := &world{t: t, session: s, random: rand.New(rand.NewPCG(seed, 1)), truth: events.NewTruth()}
	w.job = jobs.Name(fmt.Sprintf("rollup-%016x", rand.Uint64()))
	w.report = "report-of-" + w.job
	w.spec = Spec{Keyspace: s.Keyspace, Reports: []jobs.Name{w.report}}
	for range 4 {
		w.campaigns = append(w.campaigns, kindtest.NewID())
	}
	w.newWriter()
	return w
}

func (w *world) newWriter() {
	w.writer = cassandra.NewWriter(w.session, cassandra.WriterOptions{
		Rollups: []string{string(w.job)}, Writer: fmt.Sprintf("writer-%016x", rand.Uint64()), Buckets: 4,
	})
}

// someEvents makes events of the world's campaigns in September 2015.
func (w *world) someEvents(n int) []event.Event {
	out := make([]event.Event, n)
	for i := range out {
		out[i] = event.Event{ID: kindtest.NewID(), AdID: kindtest.NewID(), Campaign: w.campaigns[w.random.IntN(len(w.campaigns))],
			TS: 1441065600000 + w.random.Int64N(10*24*3600_000), Type: event.View}
		if w.random.IntN(3) == 0 {
			out[i].Type = event.Click
		}
	}
	return out
}

// write writes events, by a writer that may die on its way and be followed
// by another that writes them again.
func (w *world) write(list []event.Event) {
	for attempt := range 3 {
		ctx, cancel := w.life(attempt < 2)
		err := w.writer.Write(ctx, list)
		cancel()
		if err == nil {
			break
		}
		w.newWriter()
	}
	for _, e := range list {
		w.truth.Add(e)
	}
	w.written = append(w.written, list...)
}

// mortal is the context of an attempt that dies when it is about to make so
// many requests: each asks its context for the node to go to.
type mortal struct {
	context.Context
	die  context.CancelFunc
	left *atomic.Int64
}

func (m mortal) Value(key any) any {
	if fmt.Sprintf("%T", key) == "cassandra.pinKey" && m.left.Add(-1) < 0 {
		m.die()
	}
	return m.Context.Value(key)
}

// life is that of an attempt: it dies at some request, or not at all.
func (w *world) life(mayDie bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(w.t.Context())
	if !mayDie || w.random.IntN(2) == 0 {
		return ctx, cancel
	}
	m := mortal{Context: ctx, die: cancel, left: &atomic.Int64{}}
	m.left.Store(w.random.Int64N(1 << w.random.IntN(9)))
	return m, cancel
}

// run is a run of the job, stage by stage.
type run struct {
	*world
	jobs.Assignment
	plan jobs.Plan
}

func (w *world) newRun() *run {
	w.runs++
	doc, err := json.Marshal(w.spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return &run{world: w, Assignment: jobs.Assignment{
		Run: jobs.RunID(fmt.Sprintf("%s.1.r-%d.0", w.job, w.runs)), Job: w.job, Version: time.Now().UnixMicro(), Spec: doc,
	}}
}

func (r *run) work(a jobs.Assignment) *work {
	spec, err := Parse(a.Spec)
	if err != nil {
		r.t.Fatal(err)
	}
	a.Task = jobs.NewTaskID(a.Run, a.Stage, a.Split.Number, a.Attempt)
	return &work{spec: spec, assignment: a, runtime: kindtest.Runtime{}, log: zerolog.Nop(), session: r.session}
}

// planned plans; planning that dies is done again, by a later attempt.
func (r *run) planned() *run {
	r.t.Helper()
	for r.Attempt = 1; ; r.Attempt++ {
		ctx, cancel := r.life(r.Attempt < 3)
		plan, err := r.work(r.Assignment).plan(ctx)
		cancel()
		if err == nil {
			r.plan, r.Shared = plan, plan.Shared
			return r
		}
		if r.Attempt == 3 {
			r.t.Fatal(err)
		}
	}
}

// stage runs a stage to its end; attempts may die at any point, or overlap
// with their successors.
func (r *run) stage(n int) (values []jobs.Result) {
	r.t.Helper()
	var former []int
	for _, s := range r.plan.Splits {
		if s.Stage != n {
			continue
		}
		a := r.Assignment
		a.Stage, a.Split = n, s
		attempt, result := r.split(a)
		former = append(former, attempt)
		values = append(values, result)
	}
	r.Former = former
	return values
}

func (r *run) split(a jobs.Assignment) (int, jobs.Result) {
	r.t.Helper()
	if r.random.IntN(3) == 0 { // two at once, of which one counts
		var overlapping sync.WaitGroup
		defer overlapping.Wait()
		b := a
		b.Attempt = 9
		ctx, cancel := r.life(true)
		overlapping.Go(func() {
			defer cancel()
			_, _ = r.work(b).do(ctx) // may fail
		})
	}
	for a.Attempt = 1; ; a.Attempt++ {
		ctx, cancel := r.life(a.Attempt < 3)
		result, err := r.work(a).do(ctx)
		cancel()
		if err == nil && (a.Attempt == 3 || r.random.IntN(4) > 0) { // else its outcome was lost
			return a.Attempt, result
		}
		if a.Attempt == 3 {
			r.t.Fatal(err)
		}
	}
}

func (r *run) stages() *run {
	r.t.Helper()
	for n := 1; n <= 3; n++ {
		r.stage(n)
	}
	return r
}

// reported runs the report job.
func (w *world) reported() {
	w.t.Helper()
	w.runs++
	d := kindtest.Runtime{T: w.t, Conns: kindtest.Connections(w.t)}
	a := jobs.Assignment{
		Run: jobs.RunID(fmt.Sprintf("%s.1.r-%d.0", w.report, w.runs)), Job: w.report, Version: time.Now().UnixMicro(), Attempt: 1,
		Spec: json.RawMessage(fmt.Sprintf(`{"keyspace":%q}`, w.session.Keyspace)),
	}
	plan, err := report.Kind{}.Plan(w.t.Context(), a, d)
	if err != nil {
		w.t.Fatal(err)
	}
	a.Shared = plan.Shared
	for _, s := range plan.Splits {
		a.Split = s
		if _, err := (report.Kind{}).Work(w.t.Context(), a, d); err != nil {
			w.t.Fatal(err)
		}
	}
}

type days = map[event.UUID]map[event.Day]events.Counts

// check compares every table with the truth.
func (w *world) check() {
	w.t.Helper()
	want, wantTotals := w.truth.Days(), w.truth.Totals()
	byID, byMonth, totals := days{}, days{}, map[event.UUID]events.Counts{}
	for c := range want {
		byID[c], byMonth[c] = map[event.Day]events.Counts{}, map[event.Day]events.Counts{}
		id := gocql.UUID(c)
		w.read(byID[c], `SELECT year, month, day, views, clicks FROM campaign WHERE id = ?`, id)
		w.read(byMonth[c], `SELECT year, month, day, views, clicks FROM campaign_by_month WHERE year = 2015 AND month = 9 AND id = ?`, id)
		var sum events.Counts
		err := w.session.Query(`SELECT views, clicks FROM campaign_report WHERE id = ?`, id).Scan(&sum.Views, &sum.Clicks)
		if err != nil && !errors.Is(err, gocql.ErrNotFound) {
			w.t.Fatal(err)
		}
		totals[c] = sum
	}
	if diff := cmp.Diff(want, byID); diff != "" {
		w.t.Errorf("campaign (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, byMonth); diff != "" {
		w.t.Errorf("campaign_by_month (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantTotals, totals); diff != "" {
		w.t.Errorf("campaign_report (-want +got):\n%s", diff)
	}
	for _, job := range []jobs.Name{w.job, w.report} {
		if marks, _, err := dirty.Read(w.t.Context(), w.session, string(job), dirty.MaxMarks); err != nil || len(marks) > 0 {
			w.t.Errorf("%d marks of %s are left (%v)", len(marks), job, err)
		}
	}
}

func (w *world) read(into map[event.Day]events.Counts, cql string, id gocql.UUID) {
	w.t.Helper()
	iter := w.session.Query(cql, id).WithContext(w.t.Context()).Iter()
	var y, m, d int
	var c events.Counts
	for iter.Scan(&y, &m, &d, &c.Views, &c.Clicks) {
		if c != (events.Counts{}) { // a row that says 0 says nothing
			into[event.DayOfTime(time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC))] = c
		}
	}
	if err := iter.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// testWholeRuns goes through the kind's own doors.
func testWholeRuns(t *testing.T, s *cassandra.Session) {
	for _, mode := range []string{Incremental, Full} {
		w := newWorld(t, s, 1)
		w.spec.Mode = mode
		w.write(w.someEvents(300))
		d := kindtest.Runtime{T: t, Conns: kindtest.Connections(t)}
		r := w.newRun()
		r.Attempt = 1
		plan, err := Kind{}.Plan(t.Context(), r.Assignment, d)
		if err != nil {
			t.Fatal(err)
		}
		a := r.Assignment
		a.Shared = plan.Shared
		former := map[int][]int{}
		for _, split := range plan.Splits {
			if split.Stage == 1 && len(split.Hosts) == 0 {
				t.Errorf("%s: split %d is nowhere near its data", mode, split.Number)
			}
			a.Stage, a.Split, a.Former = split.Stage, split, former[split.Stage-1]
			if _, err := (Kind{}).Work(t.Context(), a, d); err != nil {
				t.Fatal(err)
			}
			former[split.Stage] = append(former[split.Stage], a.Attempt)
		}
		w.reported()
		w.check()
	}
}

// testExact lets writers, runs and their attempts come, die, overlap and be
// late in random order.
func testExact(t *testing.T, s *cassandra.Session) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newWorld(t, s, seed)
			w.write(w.someEvents(50))
			for range 6 {
				w.step()
			}
			w.spec.Mode = Incremental
			w.newRun().planned().stages()
			w.reported()
			w.check()
		})
	}
}

func (w *world) step() {
	w.t.Helper()
	w.spec.Mode = []string{Incremental, Incremental, Full}[w.random.IntN(3)]
	switch w.random.IntN(7) {
	case 0, 1: // new ones, most of them late
		w.write(w.someEvents(1 + w.random.IntN(60)))
	case 2: // replayed by another writer
		w.newWriter()
		w.write(w.written[w.random.IntN(len(w.written)):])
	case 3:
		w.newRun().planned().stages()
	case 4: // events come while a run is at work
		r := w.newRun().planned()
		w.write(w.someEvents(5))
		r.stage(1)
		w.write(w.someEvents(5))
		r.stage(2)
		r.stage(3)
	case 5: // an older version is published after a newer one
		older := w.newRun().planned()
		older.stage(1)
		w.write(w.someEvents(10))
		w.newRun().planned().stages()
		older.stage(2)
		older.stage(3)
	case 6: // a run is given up half way
		r := w.newRun().planned()
		r.stage(1)
		for _, split := range r.plan.Splits {
			if split.Stage == 2 || len(r.Former) == 0 {
				a := r.Assignment
				a.Stage, a.Split, a.Attempt = split.Stage, split, 1
				ctx, cancel := r.life(true)
				_, _ = r.work(a).do(ctx) // dies, as a rule
				cancel()
			}
		}
		w.reported()
	}
}

// testFailedSplits: every other split fails, and a run of its own does those
// again. What it publishes is what both left.
func testFailedSplits(t *testing.T, s *cassandra.Session) {
	for _, mode := range []string{Incremental, Full} {
		w := newWorld(t, s, 3)
		w.spec.Mode = mode
		w.write(w.someEvents(300))
		r := w.newRun().planned()
		again := w.newRun()
		again.Origin, again.Version, again.Shared, again.plan = r.Run, r.Version, r.Shared, r.plan
		var former []int
		kept := 0
		for _, split := range r.plan.Splits {
			if split.Stage != 1 {
				continue
			}
			a := again.Assignment
			a.Attempt = 2
			if split.Number%2 == 0 {
				kept++
				a = r.Assignment
				a.Attempt = 1
			}
			a.Stage, a.Split = 1, split
			if _, err := r.work(a).do(t.Context()); err != nil {
				t.Fatal(err)
			}
			former = append(former, a.Attempt)
		}
		if kept == 0 || kept == len(former) {
			t.Fatalf("%s: %d of %d splits are kept", mode, kept, len(former))
		}
		again.Former = former
		again.stage(2)
		again.stage(3)
		w.reported()
		w.check()
	}
}

// testLaterVersion: the marks of a run that was overtaken are not taken.
func testLaterVersion(t *testing.T, s *cassandra.Session) {
	w := newWorld(t, s, 1)
	w.write(w.someEvents(20))
	older := w.newRun()
	w.newRun().planned().stages()
	late := w.someEvents(5)
	w.write(late)
	older.Attempt = 1
	_, err := older.work(older.Assignment).plan(t.Context())
	if code, _ := jobs.CodeOf(err); code != jobs.Conflict || !jobs.IsPermanent(err) {
		t.Errorf("planned under an older version: %v", err)
	}
	w.newRun().planned().stages()
	w.reported()
	w.check()
}

func testOldPlan(t *testing.T, s *cassandra.Session) {
	w := newWorld(t, s, 1)
	r := w.newRun()
	r.Version = time.Now().Add(-7 * 24 * time.Hour).UnixMicro()
	_, err := r.work(r.Assignment).publish(t.Context(), []int{0})
	if !jobs.IsPermanent(err) {
		t.Errorf("published counts that may have expired: %v", err)
	}
}

// broken is a world whose event_by_day and campaign disagree with event in
// every way; it gives the event that has no companion and the id that has two.
func broken(t *testing.T, s *cassandra.Session) (w *world, lost, twofold event.Event) {
	t.Helper()
	w = newWorld(t, s, 1)
	list := w.someEvents(100)
	w.write(list)
	w.newRun().planned().stages()
	exec := func(cql string, values ...any) {
		t.Helper()
		if err := s.Query(cql, values...).WithContext(t.Context()).Exec(); err != nil {
			t.Fatal(err)
		}
	}
	lost = list[0]
	for _, e := range list {
		if e.Campaign != lost.Campaign { // or one may make up for the other
			twofold = e
		}
	}
	exec(`DELETE FROM event_by_day USING TIMESTAMP ? WHERE day = ? AND bucket = ? AND campaign = ? AND type = ? AND id = ?`,
		lost.Stamp(), lost.Day().Time(), event.Bucket(lost.ID, 4), gocql.UUID(lost.Campaign), lost.Type, gocql.UUID(lost.ID))
	older := twofold
	older.TS -= 24 * 3600_000
	if err := w.writer.Write(t.Context(), []event.Event{older}); err != nil {
		t.Fatal(err)
	}
	// A total of a day that no event stands for.
	exec(`INSERT INTO campaign (id, year, month, day, views, clicks) VALUES (?, 2015, 9, 29, 7, 7) USING TIMESTAMP ?`,
		gocql.UUID(list[2].Campaign), time.Now().UnixMicro())
	return w, lost, twofold
}

// full makes a full run of another job in the same world.
func (w *world) full() *run {
	r := w.newRun()
	spec := w.spec
	spec.Mode, spec.Rollups = Full, []jobs.Name{w.job}
	doc, err := json.Marshal(spec)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Job, r.Spec = w.job+"-full", doc
	return r
}

// testFullRepairs: a full run publishes what event says, mends event_by_day
// and names the id that stands for two contents.
func testFullRepairs(t *testing.T, s *cassandra.Session) {
	w, _, twofold := broken(t, s)
	r := w.full().planned()
	r.stage(1)
	r.stage(2)
	for _, split := range r.plan.Splits {
		if split.Stage != 3 {
			continue
		}
		a := r.Assignment
		a.Stage, a.Split, a.Attempt = 3, split, 1
		result, err := r.work(a).do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for key, ids := range result.Values {
			if strings.HasPrefix(key, "conflicts.") && strings.Contains(ids, twofold.ID.String()) {
				twofold.ID = event.UUID{} // found
			}
		}
	}
	if twofold.ID != (event.UUID{}) {
		t.Errorf("no split reports the conflict of %s", twofold.ID)
	}
	w.newRun().planned().stages()
	w.reported()
	w.check()
}

// testFullMarks: an incremental run of a later version counts what is broken,
// so that its totals stand until it counts what was mended.
func testFullMarks(t *testing.T, s *cassandra.Session) {
	w, lost, _ := broken(t, s)
	r := w.full().planned()
	touched := []cassandra.DayCampaign{{Day: lost.Day(), Campaign: lost.Campaign}}
	if err := w.writer.Mark(t.Context(), touched, 1); err != nil {
		t.Fatal(err)
	}
	w.newRun().planned().stages()
	r.stages()
	w.newRun().planned().stages()
	w.reported()
	w.check()
}
