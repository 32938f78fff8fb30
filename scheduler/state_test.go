package scheduler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tidemill/jobs"
)

// records are what the script's store holds, by key.
func (s *script) records() []Record {
	var list []Record
	for key, value := range s.store {
		list = append(list, Record{Key: key, Value: bytes.Clone(value)})
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	return list
}

func (s *script) export() *Export {
	s.t.Helper()
	e, err := NewExport(s.records(), 7, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// restore has another core lead with what the import makes of an empty or a former store.
func (s *script) restore(o Import, e *Export) ImportReport {
	s.t.Helper()
	groups, report, err := o.Plan(e, s.records(), s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(groups)
	s.failover()
	return report
}

func (s *script) apply(groups []Group) {
	for _, g := range groups {
		for _, ch := range g {
			if ch.Value == nil {
				delete(s.store, ch.Key)
			} else {
				s.store[ch.Key] = ch.Value
			}
		}
	}
}

func TestExportsAreReadAsTheyWereWritten(t *testing.T) {
	value := rapid.OneOf(
		rapid.SliceOf(rapid.Byte()),
		rapid.Map(rapid.MapOf(rapid.String(), rapid.String()), func(m map[string]string) []byte { return mustJSON(m) }),
		rapid.SampledFrom([][]byte{{}, []byte("null"), []byte("1"), []byte(" 1 "), []byte(`"<&>"`), []byte("{\"a\": 1}"), []byte("\n")}),
	)
	rapid.Check(t, func(r *rapid.T) {
		var records []Record
		for _, key := range rapid.SliceOfNDistinct(rapid.StringN(1, 20, -1), 0, 20, rapid.ID).Draw(r, "keys") {
			records = append(records, Record{Key: key, Value: value.Draw(r, "value")})
		}
		e, err := NewExport(records, 3, time.Unix(1e9, 0))
		if err != nil {
			r.Fatal(err)
		}
		var file bytes.Buffer
		if n, err := e.WriteTo(&file); err != nil || n != int64(file.Len()) {
			r.Fatalf("wrote %d bytes of %d: %v", n, file.Len(), err)
		}
		got, err := ReadExport(bytes.NewReader(file.Bytes()))
		if err != nil {
			r.Fatal(err)
		}
		for _, list := range [][]Record{e.Records, got.Records} {
			for i := range list {
				list[i].Value = append([]byte{}, list[i].Value...) // nil or empty is the same
			}
		}
		if diff := cmp.Diff(append([]Record{}, e.Records...), append([]Record{}, got.Records...)); diff != "" || got.ExportHead != e.ExportHead {
			r.Fatalf("head %+v, want %+v; %s", got.ExportHead, e.ExportHead, diff)
		}
		cut := rapid.IntRange(0, file.Len()-2).Draw(r, "cut")
		if _, err := ReadExport(bytes.NewReader(file.Bytes()[:cut])); err == nil {
			r.Fatalf("an export of %d bytes was read from %d", file.Len(), cut)
		}
	})
}

// worked is a script with runs of the requests 1, 2 and 3: one that has ended, one at work, and one that waits.
func worked(t *testing.T) (s *script, live jobs.TaskID) {
	j := scheduled("0 * * * *", jobs.CatchUp{Mode: jobs.CatchUpAll})
	j.Overlap = jobs.OverlapBufferAll
	s = newScript(t, j)
	s.start("j", "1")
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	s.executorSays(task, jobs.TaskFinished)
	s.start("j", "2")
	live = s.launchOne("a")
	s.start("j", "3")
	return s, live
}

func TestAHealthyStoreHasNoFindings(t *testing.T) {
	s, _ := worked(t)
	if found := Check(s.kinds, s.records(), s.now); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

func TestAnExportHoldsNoSecret(t *testing.T) {
	s, _ := worked(t)
	var file bytes.Buffer
	if _, err := s.export().WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	secret, _ := json.Marshal(s.core.meta.Secret)
	if bytes.Contains(file.Bytes(), secret) || !bytes.Contains(s.store[keyMeta], secret) {
		t.Errorf("the key that signs tokens is in the export, or is not in the store:\n%s", file.Bytes())
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	edit := func(key, from, to string) func(s *script) {
		return func(s *script) {
			was := string(s.store[key])
			if !strings.Contains(was, from) {
				s.t.Fatalf("%s does not hold %q: %s", key, from, was)
			}
			s.store[key] = []byte(strings.ReplaceAll(was, from, to))
		}
	}
	const (
		id   = "j.1.r-d4735e3a265e16ee.0" // of request "2"
		run  = keyRun + id
		task = keyTask + id + ".1.0.1"
	)
	for name, test := range map[string]struct {
		spoil func(s *script)
		key   string
		fault Fault
	}{
		"not JSON":              {func(s *script) { s.store[run] = []byte("{") }, run, Unreadable},
		"an unknown kind":       {edit("jobs/j", `"stub"`, `"novel"`), "jobs/j", Unreadable},
		"a newer format":        {edit(keyMeta, `"format":1`, `"format":99`), keyMeta, Unreadable},
		"an unknown family":     {func(s *script) { s.store["novel/x"] = []byte("{}") }, "novel/x", Unreadable},
		"a run id that is none": {func(s *script) { s.store["runs/x"] = []byte("{}") }, "runs/x", Unreadable},
		"no state":              {func(s *script) { delete(s.store, "state/j") }, "jobs/j", Dangling},
		"no such job":           {func(s *script) { delete(s.store, "jobs/j"); delete(s.store, "state/j") }, run, Dangling},
		"no such run":           {func(s *script) { delete(s.store, run) }, task, Dangling},
		"no such parent":        {edit("jobs/j", `"schedule":`, `"after":["p"],"schedule":`), "jobs/j", Dangling},
		"no such pool":          {edit("jobs/j", `"schedule":`, `"pool":{"name":"p","slots":1},"schedule":`), "jobs/j", Dangling},
		"a missing plan":        {edit(run, `"stage":1`, `"stage":1,"plan_chunks":2`), run, Dangling},
		"a chunk of no run":     {func(s *script) { s.store["plans/j.1.r-9.0/0"] = []byte("{") }, "plans/j.1.r-9.0/0", Dangling},
		"another run's id":      {edit(run, `"id":"`+id+`"`, `"id":"j.1.r-3.0"`), run, Contradicting},
		"another attempt's id":  {edit(task, `"id":"`+id+`.1.0.1"`, `"id":"`+id+`.1.0.2"`), task, Contradicting},
		"another job's name":    {edit("jobs/j", `"name":"j"`, `"name":"k"`), "jobs/j", Contradicting},
		"no pinned job":         {edit(run, `"pinned"`, `"unpinned"`), run, Contradicting},
		"a stage to come":       {edit(task, `"stage":1`, `"stage":2`), task, Contradicting},
		"a time to come":        {edit("state/j", `"clock":"2026`, `"clock":"2027`), "state/j", Contradicting},
		"two attempts of a split": {func(s *script) {
			s.store[keyTask+id+".1.0.2"] = []byte(strings.ReplaceAll(string(s.store[task]), `"id":"`+id+`.1.0.1"`, `"id":"`+id+`.1.0.2"`))
		}, keyTask + id + ".1.0.2", Contradicting},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := worked(t)
			test.spoil(s)
			found := Check(s.kinds, s.records(), s.now)
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Key == test.key && f.Fault == test.fault && f.Hint != "" }) {
				t.Errorf("found %+v, want %s %s", found, test.key, test.fault)
			}
		})
	}
}

func TestImportGoesOnWhereTheExportWas(t *testing.T) {
	s, live := worked(t)
	e := s.export()
	s.store = map[string][]byte{}
	for _, o := range []Import{{}, {Replace: true}} {
		if _, _, err := o.Plan(e, nil, s.now); err == nil {
			t.Errorf("%+v: attempts that are at work elsewhere were taken over as nothing", o)
		}
	}
	report := s.restore(Import{Source: "f", LiveAsUnknown: true}, e)
	if want := (ImportReport{Records: len(e.Records) - 1, Jobs: 1, Runs: 3, Unknown: 1}); !cmp.Equal(want, report) {
		t.Errorf("%s", cmp.Diff(want, report))
	}
	s.wantAttempt(live, jobs.AttemptUnknown)
	for request, state := range map[string]jobs.RunState{"1": jobs.RunSucceeded, "2": jobs.RunRunning, "3": jobs.RunPending} {
		s.wantRun(jobs.NewRunID("j", 1, jobs.RequestKey(request), 0), state)
	}
	// That nobody knows it here says nothing: it may have begun in its own framework.
	s.update(live, jobs.TaskLost, "SOURCE_MASTER", "REASON_RECONCILIATION", "Reconciliation: Task is unknown to the agent")
	s.wantAttempt(live, jobs.AttemptUnknown)
	s.wait(40 * time.Second) // its job's unknown_wait
	if next := s.launchOne("b"); next != jobs.NewTaskID(jobs.NewRunID("j", 1, jobs.RequestKey("2"), 0), 1, 0, 2) {
		t.Errorf("launched %s", next)
	}
	if bytes.Contains(s.store[keyMeta], []byte("importing")) {
		t.Errorf("the mark of the import is left: %s", s.store[keyMeta])
	}
}

func TestImportIsRefused(t *testing.T) {
	s, live := worked(t)
	e := s.export()
	refused := func(what string, o Import, store []Record) {
		t.Helper()
		if _, _, err := o.Plan(e, store, s.now); err == nil {
			t.Errorf("imported although %s", what)
		}
	}
	refused("attempts of the store live", Import{Replace: true, LiveAsUnknown: true}, s.records())
	s.executorSays(live, jobs.TaskFinished)
	s.executorSays(s.launchOne("a"), jobs.TaskFinished)
	refused("the store is not empty", Import{LiveAsUnknown: true}, s.records())
	newer := *e
	newer.Format = Format + 1
	e = &newer
	refused("its format is not known", Import{Replace: true, LiveAsUnknown: true}, s.records())
}

// TestImportNeverTakesMarksBack: what the store handled since the export is not handled again.
func TestImportNeverTakesMarksBack(t *testing.T) {
	s := newScript(t, scheduled("0 * * * *", jobs.CatchUp{Mode: jobs.CatchUpAll}), manual(func(j *jobs.Job) { j.Name = "gone" }))
	e := s.export()
	s.now = s.now.Add(time.Hour)
	s.step(Tick{})
	s.executorSays(s.launchOne("a"), jobs.TaskFinished)
	mark := s.core.jobs["j"].state.Mark
	s.step(Request{Do: DeleteJob{Name: "gone"}})
	s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{manual(func(j *jobs.Job) { j.Name = "gone" })}}})
	incarnation := s.core.jobs["gone"].state.Incarnation
	framework := s.core.meta.Framework
	report := s.restore(Import{Replace: true}, e)
	if !slices.Equal(report.Kept, []jobs.Name{"gone", "j"}) || report.Removed == 0 {
		t.Errorf("report %+v", report)
	}
	if got := s.core.jobs["j"].state.Mark; !got.Equal(mark) {
		t.Errorf("the mark is %s, want %s", got, mark)
	}
	if got := s.core.jobs["gone"].state.Incarnation; got != incarnation || incarnation < 2 {
		t.Errorf("incarnation %d, want %d", got, incarnation)
	}
	if s.core.meta.Framework != framework {
		t.Errorf("the framework is %q, want the store's own %q", s.core.meta.Framework, framework)
	}
	if live := s.core.Status().LiveRuns; live != 0 {
		t.Errorf("%d runs of an instant that was handled", live)
	}
}

func TestNobodyLeadsWithHalfAnImport(t *testing.T) {
	s := newScript(t, manual(nil))
	e := s.export()
	s.store = map[string][]byte{}
	groups, _, err := Import{Source: "saved.ndjson"}.Plan(e, nil, s.now)
	if err != nil {
		t.Fatal(err)
	}
	for n := range groups {
		s.store = map[string][]byte{}
		s.apply(groups[:n+1])
		err := New(s.cfg, s.kinds).Load(s.records())
		if whole := n == len(groups)-1; whole != (err == nil) {
			t.Errorf("after %d of %d writes: %v", n+1, len(groups), err)
		}
	}
	s.apply(groups[:1])
	if report := s.restore(Import{Source: "saved.ndjson", Replace: true}, e); report.Jobs != 1 {
		t.Errorf("done again: %+v", report)
	}
}

func TestUpgradeRewritesOlderForms(t *testing.T) {
	s, _ := worked(t)
	if groups, report, err := Upgrade(s.records()); err != nil || len(groups) > 0 || report.From != Format {
		t.Errorf("of what this program wrote: %d groups, %+v, %v", len(groups), report, err)
	}
	s.store[keyMeta] = []byte(strings.Replace(string(s.store[keyMeta]), fmt.Sprintf(`"format":%d`, Format), `"format":0`, 1))
	s.store["jobs/j"] = []byte(strings.Replace(string(s.store["jobs/j"]), `"job":`, `"novel":{"a":[1]},"deleted":false,"job":`, 1))
	groups, report, err := Upgrade(s.records())
	if err != nil || report.Rewritten["jobs"] != 1 || report.From != 0 || report.To != Format {
		t.Fatalf("%+v, %v", report, err)
	}
	s.apply(groups)
	if text := string(s.store["jobs/j"]); strings.Contains(text, "deleted") || !strings.Contains(text, `"novel":{"a":[1]}`) {
		t.Errorf("the job became %s", text)
	}
	if groups, _, err := Upgrade(s.records()); err != nil || len(groups) > 0 {
		t.Errorf("upgraded twice: %d groups, %v", len(groups), err)
	}
	s.failover()
	s.store[keyMeta] = []byte(`{"format":99}`)
	if _, _, err := Upgrade(s.records()); err == nil {
		t.Error("a newer format was taken down to this program's")
	}
}

// A leader keeps an older store's format, so that the program before it can lead again.
func TestLeadingKeepsTheFormat(t *testing.T) {
	m := metaRecord{Format: 99}
	if got := string(m.encode(time.Time{})); !strings.Contains(got, `"format":99`) {
		t.Errorf("rewritten as %s", got)
	}
}

func TestForgetFramework(t *testing.T) {
	s, live := worked(t)
	if _, _, _, err := ForgetFramework(s.records(), false, s.now); err == nil {
		t.Error("forgotten while attempts live")
	}
	g, framework, unknown, err := ForgetFramework(s.records(), true, s.now)
	if err != nil || framework != "f" || unknown != 1 {
		t.Fatalf("forgot %q with %d unknown: %v", framework, unknown, err)
	}
	s.apply([]Group{g})
	s.core = New(s.cfg, s.kinds)
	if err := s.core.Load(s.records()); err != nil {
		t.Fatal(err)
	}
	s.wantAttempt(live, jobs.AttemptUnknown)
	if s.core.meta.Framework != "" || len(s.core.meta.Secret) == 0 {
		t.Errorf("framework %q, secret of %d bytes", s.core.meta.Framework, len(s.core.meta.Secret))
	}
	if _, _, _, err := ForgetFramework(s.records(), false, s.now); err == nil {
		t.Error("forgotten twice")
	}
}
