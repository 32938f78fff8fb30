package scheduler

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
)

var updateRecords = flag.Bool("update-records", false, "rewrite the golden files of this format's records")

// kindsOfRecord has an empty document of each kind of record.
func kindsOfRecord() map[string]any {
	return map[string]any{
		"meta": &metaRecord{}, "job": &jobRecord{}, "state": &stateRecord{}, "run": &jobs.Run{},
		"task": &jobs.Task{}, "plan": &jobs.Plan{}, "pool": &jobs.Pool{}, "target": &targetRecord{},
	}
}

// TestGoldenRecords: every document that a program of this or an older format
// wrote, with all its fields, is read and written again as it was. A field
// that was renamed, retyped or removed is found here. When a format is new,
// the former one's files stay.
func TestGoldenRecords(t *testing.T) {
	for kind := range kindsOfRecord() {
		full := kindsOfRecord()[kind]
		fill(reflect.ValueOf(full).Elem())
		newest := filepath.Join("testdata", "records", fmt.Sprintf("%s.v%d.json", kind, Format))
		if *updateRecords {
			writeGolden(t, newest, full)
		}
		if doc, err := os.ReadFile(newest); err != nil || !sameJSON(doc, mustJSON(full)) {
			t.Errorf("%s lacks a field of this program's, or has one it lost (go test -update-records writes it): %v", newest, err)
		}
		files, err := filepath.Glob(filepath.Join("testdata", "records", kind+".v*.json"))
		if err != nil || len(files) < Format {
			t.Errorf("%d golden files of kind %s, want one of each format (go test -update-records writes the newest): %v", len(files), kind, err)
		}
		for _, file := range files {
			doc, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			v := kindsOfRecord()[kind]
			extra, err := decode(doc, v)
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if extra != nil {
				t.Errorf("%s: no place for %v", file, extra)
			}
			if again := mustJSON(v); !sameJSON(again, doc) {
				t.Errorf("%s was written again as\n%s", file, again)
			}
		}
	}
}

func writeGolden(t *testing.T, path string, v any) {
	t.Helper()
	var text bytes.Buffer
	if err := json.Indent(&text, mustJSON(v), "", "  "); err != nil {
		t.Fatal(err)
	}
	text.WriteByte('\n')
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fill gives every field a value that is not its zero.
func fill(v reflect.Value) {
	text := func(s string) reflect.Value { return reflect.ValueOf(s).Convert(v.Type()) }
	var sample any
	if v.CanInterface() {
		sample = v.Interface()
	}
	switch sample.(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 3, 29, 1, 30, 0, 123456789, time.UTC)))
		return
	case jobs.Duration:
		v.Set(reflect.ValueOf(jobs.Duration(90 * time.Second)))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(`{"rows":[1,2],"from":"å"}`)))
		return
	case jobs.Constraint:
		v.Set(reflect.ValueOf(jobs.Constraint{Field: "rack", Operator: "LIKE", Value: "r[12]"}))
		return
	case schedule.Crons:
		v.Set(reflect.ValueOf(schedule.Crons{"10 * * * *", "0 4 * * MON#1"}))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.Set(text("text"))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(42)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(42)
	case reflect.Float64:
		v.SetFloat(0.25)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() || v.Type().Field(i).Anonymous {
				fill(v.Field(i))
			}
		}
	default:
		panic(fmt.Sprintf("no sample of a %s", v.Type()))
	}
}

// TestRecordsOfAnOlderProgramLoad: fields that came later are absent.
func TestRecordsOfAnOlderProgramLoad(t *testing.T) {
	s, _ := worked(t)
	store := map[string]string{
		keyMeta:          `{"format":1,"framework":"f"}`,
		keyJob + "j":     `{"job":{"name":"j","kind":"stub","version":1,"retry":{"attempts":3}},"first_applied":"2026-01-01T00:00:00Z","rescheduled":"2026-01-01T00:00:00Z"}`,
		keyState + "j":   `{"incarnation":1}`,
		keyTarget + "t":  `{"version":7}`,
		"runs/j.1.r-1.0": `{"id":"j.1.r-1.0","job":"j","key":"r-1","job_version":1,"trigger":"manual","nominal":"2026-01-01T00:00:00Z","state":"running","created":"2026-01-01T00:00:00Z","stage":1,"pinned":{"name":"j","kind":"stub","version":1,"retry":{"attempts":3}}}`,
		"tasks/j.1.r-1.0.1.0.1": `{"id":"j.1.r-1.0.1.0.1","run":"j.1.r-1.0","job":"j","stage":1,"split":0,"attempt":1,"state":"running","agent":"a","host":"a","executor":"e",` +
			`"launched":"2026-01-01T00:00:00Z","start_by":"2026-01-01T00:01:00Z"}`,
	}
	s.store = map[string][]byte{}
	for key, value := range store {
		s.store[key] = []byte(value)
	}
	if found := Check(s.kinds, s.records(), s.now); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	s.failover()
	if problems := s.core.Status().Problems; len(problems) > 0 {
		t.Errorf("problems %q", problems)
	}
	s.executorSays("j.1.r-1.0.1.0.1", jobs.TaskFinished)
	s.wantRun("j.1.r-1.0", jobs.RunSucceeded)
}

// nested is a document with unknown fields at every place.
type nested struct {
	Name string            `json:"name"`
	List []nested          `json:"list,omitempty"`
	Map  map[string]nested `json:"map,omitempty"`
	One  *nested           `json:"one,omitempty"`
}

// TestUnknownFieldsSurviveInListsAndMaps reads documents of a newer program
// into the older one's type, and writes them again.
func TestUnknownFieldsSurviveInListsAndMaps(t *testing.T) {
	var draw func(depth int) *rapid.Generator[map[string]any]
	draw = func(depth int) *rapid.Generator[map[string]any] {
		return rapid.Custom(func(r *rapid.T) map[string]any {
			doc := map[string]any{"name": rapid.StringMatching(`[ab<]`).Draw(r, "name")}
			if rapid.Bool().Draw(r, "novel") {
				doc["novel"] = rapid.SampledFrom([]any{"x", 1.0, []any{1.0}, map[string]any{"a": nil}}).Draw(r, "value")
			}
			if depth == 0 {
				return doc
			}
			if list := rapid.SliceOfN(draw(depth-1), 0, 3).Draw(r, "list"); len(list) > 0 {
				doc["list"] = list
			}
			if all := rapid.MapOfN(rapid.StringMatching(`[a-c]`), draw(depth-1), 0, 2).Draw(r, "map"); len(all) > 0 {
				doc["map"] = all
			}
			if rapid.Bool().Draw(r, "has one") {
				doc["one"] = draw(depth-1).Draw(r, "one")
			}
			return doc
		})
	}
	rapid.Check(t, func(r *rapid.T) {
		doc := mustJSON(draw(2).Draw(r, "document"))
		var v nested
		extra, err := decode(doc, &v)
		if err != nil {
			r.Fatal(err)
		}
		if again := encode(v, extra); !sameJSON(again, doc) {
			r.Fatalf("%s\nbecame\n%s", doc, again)
		}
	})
}

// TestUnknownFieldsFollowTheirElements: lists change between reading and writing.
func TestUnknownFieldsFollowTheirElements(t *testing.T) {
	const doc = `{"name":"x","list":[{"name":"a","novel":1},{"name":"b"},{"name":"c","novel":3}],"map":{"k":{"name":"m","novel":4},"gone":{"name":"n","novel":5}}}`
	for want, change := range map[string]func(*nested){
		`"list":[{"name":"b"},{"name":"c","novel":3}]`:                                    func(v *nested) { v.List = v.List[1:] },
		`"list":[{"name":"c","novel":3},{"name":"b"},{"name":"a","novel":1}]`:             func(v *nested) { v.List[0], v.List[2] = v.List[2], v.List[0] },
		`"list":[{"name":"z","novel":1},{"name":"b"},{"name":"c","novel":3}]`:             func(v *nested) { v.List[0].Name = "z" },
		`"list":[{"name":"z"},{"name":"c","novel":3}]`:                                    func(v *nested) { v.List = []nested{{Name: "z"}, v.List[2]} },
		`"map":{"k":{"name":"changed","novel":4}}`:                                        func(v *nested) { v.Map = map[string]nested{"k": {Name: "changed"}} },
		`"list":[{"name":"a","novel":1},{"name":"b"},{"name":"c","novel":3},{"name":""}]`: func(v *nested) { v.List = append(v.List, nested{}) },
	} {
		var v nested
		extra, err := decode([]byte(doc), &v)
		if err != nil {
			t.Fatal(err)
		}
		change(&v)
		if got := string(encode(v, extra)); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
