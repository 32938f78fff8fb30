package report_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/cassandra/cassandratest"
	"tidemill/internal/dirty"
	"tidemill/internal/reportview"
	"tidemill/jobs"
	"tidemill/jobs/event"
	"tidemill/jobs/kindtest"
	"tidemill/jobs/report"
)

func TestSpec(t *testing.T) {
	for doc, bad := range map[string]string{`{}`: "", `{"splits":16}`: "", `{"splits":17}`: "splits", `{"keyspace":"A"}`: "keyspace", `{"x":1}`: "x"} {
		traits, err := report.Kind{}.Check(json.RawMessage(doc))
		if bad == "" && (err != nil || traits.Targets[0] != "tidemill/campaign_report") || bad != "" && (err == nil || !strings.Contains(err.Error(), bad)) {
			t.Errorf("%s: %+v, %v", doc, traits, err)
		}
	}
}

func TestReport(t *testing.T) {
	s := cassandratest.Keyspace(t)
	t.Run("sums", func(t *testing.T) { testSums(t, s) })
	t.Run("marks made meanwhile", func(t *testing.T) { testMeanwhile(t, s) })
	t.Run("attempts overlap", func(t *testing.T) { testOverlap(t, s) })
	t.Run("nothing changed", func(t *testing.T) { testNothing(t, s) })
	t.Run("truncate", func(t *testing.T) { testTruncate(t, s) })
}

// rollup stands for a rollup: it writes a day's total under a version and
// tells the report.
type rollup struct {
	t       *testing.T
	session *cassandra.Session
	report  jobs.Name
	version int64
}

func newRollup(t *testing.T, s *cassandra.Session) *rollup {
	return &rollup{t: t, session: s, report: jobs.Name(fmt.Sprintf("report-%016x", rand.Uint64())), version: time.Now().UnixMicro()}
}

func (r *rollup) total(campaign event.UUID, day event.Day, views, clicks int64) {
	r.t.Helper()
	r.version++
	y, m, d := day.Date()
	for _, cql := range []string{
		`INSERT INTO campaign (id, year, month, day, views, clicks) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`,
		`INSERT INTO campaign_by_month (id, year, month, day, views, clicks) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`,
	} {
		if err := r.session.Query(cql, gocql.UUID(campaign), y, m, d, views, clicks, r.version).WithContext(r.t.Context()).Exec(); err != nil {
			r.t.Fatal(err)
		}
	}
	mark := dirty.Mark{DayCampaign: cassandra.DayCampaign{Day: day, Campaign: campaign}, Writer: "rollup", Pos: r.version}
	if err := dirty.Write(r.t.Context(), r.session, string(r.report), []dirty.Mark{mark}); err != nil {
		r.t.Fatal(err)
	}
}

// plan plans a run of the report.
func (r *rollup) plan(spec string) (jobs.Assignment, jobs.Plan) {
	r.t.Helper()
	a := jobs.Assignment{Job: r.report, Run: jobs.RunID(fmt.Sprintf("%s.1.r-%016x.0", r.report, rand.Uint64())), Attempt: 1, Version: time.Now().UnixMicro(),
		Spec: json.RawMessage(fmt.Sprintf(`{"keyspace":%q%s}`, r.session.Keyspace, spec))}
	plan, err := report.Kind{}.Plan(r.t.Context(), a, kindtest.Runtime{T: r.t, Conns: kindtest.Connections(r.t)})
	if err != nil {
		r.t.Fatal(err)
	}
	a.Stage, a.Shared = 1, plan.Shared
	return a, plan
}

func (r *rollup) work(a jobs.Assignment, plan jobs.Plan) {
	r.t.Helper()
	for _, s := range plan.Splits {
		a.Split = s
		if _, err := (report.Kind{}).Work(r.t.Context(), a, kindtest.Runtime{T: r.t, Conns: kindtest.Connections(r.t)}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rollup) wantReport(campaign event.UUID, views, clicks int64) reportview.Row {
	r.t.Helper()
	got, err := reportview.Campaign(r.t.Context(), r.session, campaign)
	if err != nil || got.Views != views || got.Clicks != clicks {
		r.t.Errorf("report says %d views, %d clicks, want %d, %d (%v)", got.Views, got.Clicks, views, clicks, err)
	}
	return got
}

func (r *rollup) wantMarks(n int) {
	r.t.Helper()
	if marks, _, err := dirty.Read(r.t.Context(), r.session, string(r.report), dirty.MaxMarks); err != nil || len(marks) != n {
		r.t.Errorf("%d marks are left, want %d (%v)", len(marks), n, err)
	}
}

const september = event.Day(16679) // 1 September 2015

func testSums(t *testing.T, s *cassandra.Session) {
	r := newRollup(t, s)
	a, b := kindtest.NewID(), kindtest.NewID()
	r.total(a, september, 10, 1)
	r.total(a, september+1, 20, 2)
	r.total(a, september+30, 5, 5)
	r.total(b, september, 7, 0)
	run, plan := r.plan(`,"splits":4`)
	if len(plan.Splits) != 4 {
		t.Errorf("%d splits", len(plan.Splits))
	}
	r.work(run, plan)
	got := r.wantReport(a, 35, 8)
	want := reportview.Row{Campaign: a, Views: 35, Clicks: 8, Source: "batch", AsOf: time.UnixMicro(run.Version).UTC().Truncate(time.Millisecond), Run: string(run.Run),
		Days: []reportview.Day{{Day: september, Views: 10, Clicks: 1}, {Day: september + 1, Views: 20, Clicks: 2}, {Day: september + 30, Views: 5, Clicks: 5}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report of the campaign (-want +got):\n%s", diff)
	}
	r.wantReport(b, 7, 0)
	r.wantMarks(0)

	month, err := reportview.MonthOf(t.Context(), s, a, reportview.Month{Year: 2015, Month: 9})
	if err != nil || month.Views != 30 || month.Clicks != 3 || len(month.Days) != 2 {
		t.Errorf("the campaign's September: %+v, %v", month, err)
	}
	all, more, err := reportview.Months(t.Context(), s, reportview.Month{Year: 2015, Month: 9}, 1)
	if err != nil || len(all) != 1 || !more {
		t.Errorf("one campaign of September: %+v, %v, %v", all, more, err)
	}
	list, more, err := reportview.List(t.Context(), s, 1000)
	if err != nil || len(list) != 2 || more {
		t.Errorf("all campaigns: %+v, %v, %v", list, more, err)
	}
	_, err = reportview.Campaign(t.Context(), s, kindtest.NewID())
	if code, _ := jobs.CodeOf(err); code != jobs.NotFound {
		t.Errorf("a campaign that nobody knows: %v", err)
	}
}

// testMeanwhile: a row that changes while a report is at work stays marked.
func testMeanwhile(t *testing.T, s *cassandra.Session) {
	r := newRollup(t, s)
	c := kindtest.NewID()
	r.total(c, september, 10, 1)
	run, plan := r.plan("")
	r.total(c, september, 11, 1)
	r.work(run, plan)
	r.wantMarks(1)
	r.total(c, september+1, 1, 1)
	run, plan = r.plan("")
	r.work(run, plan)
	r.wantReport(c, 12, 2)
	r.wantMarks(0)
}

// testOverlap: an attempt that comes late, or again, changes nothing.
func testOverlap(t *testing.T, s *cassandra.Session) {
	r := newRollup(t, s)
	c := kindtest.NewID()
	r.total(c, september, 10, 10)
	older, olderPlan := r.plan("")
	r.total(c, september, 4, 4) // less: a total may go down
	newer, newerPlan := r.plan("")
	r.work(newer, newerPlan)
	r.work(older, olderPlan)
	r.work(newer, newerPlan)
	r.wantReport(c, 4, 4)
	r.wantMarks(0)
}

func testNothing(t *testing.T, s *cassandra.Session) {
	if _, plan := newRollup(t, s).plan(""); len(plan.Splits) != 0 {
		t.Errorf("planned %+v", plan)
	}
}

// testTruncate comes last: it empties the package's keyspace, which then works
// as a new one does.
func testTruncate(t *testing.T, s *cassandra.Session) {
	if err := cassandra.Truncate(t.Context(), cassandratest.Connection(t), s.Keyspace, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if list, _, err := reportview.List(t.Context(), s, 10); err != nil || len(list) != 0 {
		t.Errorf("after truncating: %+v, %v", list, err)
	}
	testSums(t, s)
	if err := cassandra.Truncate(t.Context(), cassandratest.Connection(t), "system", zerolog.Nop()); err == nil {
		t.Error("a keyspace that is not ours was truncated")
	}
}
