package jobfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
	"tidemill/jobs/noop"
)

func registry(t testing.TB) *jobs.Registry {
	t.Helper()
	r, err := jobs.NewRegistry(noop.Kind{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func window(d time.Duration) *jobs.Duration {
	v := jobs.Duration(d)
	return &v
}

const whole = `name: campaign-daily
kind: noop
description: Views and clicks per campaign and day
labels: {team: "42"}
schedule:
  cron: "10 * * * *"
  zone: Europe/Stockholm
  start: 2026-01-31T12:00:00Z
  catch_up: { window: 24h, mode: all }
retry: { attempts: 3, backoff: 10s, max: 5m }
resources: { cpus: 0.5, mem: 256 }
placement: { near: cassandra, wait: 3s, constraints: [[rack, like, "r[12]"]] }
spec: { splits: 3, duration: 1s }
`

func TestDecode(t *testing.T) {
	docs, errs := Decode(Source{Name: "a.yaml", Data: []byte(whole)})
	if len(errs) > 0 || len(docs) != 1 {
		t.Fatalf("%d documents, errors:\n%v", len(docs), errs)
	}
	j := docs[0].Job
	if j.Schedule == nil || j.Schedule.Start == nil {
		t.Fatalf("the schedule's start is lost: %+v", j.Schedule)
	}
	got := map[string]any{
		"name": j.Name, "labels": j.Labels, "cron": []string(j.Schedule.Cron), "start": *j.Schedule.Start,
		"window": j.Schedule.CatchUp.Window, "retry": j.Retry, "cpus": j.Resources.CPUs, "constraint": j.Placement.Constraints,
		"spec": string(j.Spec),
	}
	want := map[string]any{
		"name": jobs.Name("campaign-daily"), "labels": map[string]string{"team": "42"}, "cron": []string{"10 * * * *"},
		"start":  time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		"window": window(24 * time.Hour),
		"retry":  jobs.Retry{Attempts: 3, Backoff: jobs.Duration(10 * time.Second), Max: jobs.Duration(5 * time.Minute)},
		"cpus":   0.5, "constraint": []jobs.Constraint{{Field: "rack", Operator: "LIKE", Value: "r[12]"}},
		"spec": `{"duration":"1s","splits":3}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Each document has everything that is wrong with it reported, with its line.
func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name, file, text string
		want             []string
	}{
		{"everything at once", "a.yaml", "name: a b\nkind: noop\nretri: {}\nretry: {attempts: many, backoff: 10}\noverlap: sometimes\nstart_deadline: soon\n", []string{
			`a.yaml:1: name: name "a b" may hold only letters, digits, '.', '_' and '-'`,
			`a.yaml:3: retri: unknown field; is it "retry" that you mean?`,
			`a.yaml:4: retry.attempts: expected a whole number, found "many"`,
			`a.yaml:4: retry.backoff: expected a duration with its unit, like "10s" or "15m", found the number 10`,
			`a.yaml:5: overlap: "sometimes" is not one of skip, buffer_one, buffer_all, cancel_other, allow`,
			`a.yaml:6: start_deadline: duration "soon"`,
		}},
		{"wrong shapes", "a.yaml", "name: 12\nkind: [noop]\nafter: parent\nresources: much\npaused: maybe\nlabels: {a: {b: c}}\n", []string{
			`a.yaml:1: name: expected text, found the number 12`,
			`a.yaml:2: kind: expected text, found a list`,
			`a.yaml:3: after: expected a list, found "parent"`,
			`a.yaml:4: resources: expected a mapping, found "much"`,
			`a.yaml:5: paused: expected true or false, found "maybe"`,
			`a.yaml:6: labels.a: expected text, found a mapping`,
		}},
		{"unknown kind", "a.yaml", "name: a\n\nkind: nop\n", []string{
			`a.yaml:3: kind: unknown kind "nop"; the kinds are [noop]`,
		}},
		{"no name", "a.yaml", "# nothing yet\nkind: noop\n", []string{"a.yaml:2: name: a job needs a name"}},
		{"given twice", "a.yaml", "name: a\nkind: noop\nname: b\n", []string{`a.yaml:3: name: given twice, first in line 1`}},
		{"second document", "a.yaml", "name: a\nkind: noop\n---\nname: b\nkind: noop\nspec:\n  bogus: 1\n", []string{
			`a.yaml:7: spec.bogus: unknown field`,
		}},
		{"one name twice", "a.yaml", "name: a\nkind: noop\n---\nname: a\nkind: noop\n", []string{`a.yaml:4: name: "a" is also in a.yaml:1`}},
		{"bad cron and zone", "a.yaml", "name: a\nkind: noop\nschedule:\n  zone: Europe/Nowhere\n  cron:\n  - \"61 * * * *\"\n", []string{
			`a.yaml:4: schedule.zone: `, `a.yaml:6: schedule.cron[0]: `,
		}},
		{"cycle", "a.yaml", "name: a\nkind: noop\nafter: [b]\n---\nname: b\nkind: noop\nafter:\n- a\n", []string{
			`a.yaml:3: after: makes a cycle: a -> b -> a`, `a.yaml:7: after: makes a cycle: b -> a -> b`,
		}},
		{"syntax", "a.yaml", "name: a\nkind: noop\n---\nname: [\n", []string{`a.yaml:4: not YAML: `}},
		{"tabs", "a.yaml", "name: a\n\tkind: noop\n", []string{`a.yaml:2: not YAML: found a tab character`}},
		{"not a job", "a.yaml", "just text\n", []string{`a.yaml:1: expected a mapping, found "just text"`, `a.yaml:1: kind: unknown kind`, `a.yaml:1: name: a job needs a name`}},
		{"empty", "a.yaml", "# nothing\n", []string{`a.yaml: holds no job`}},
		{"merge key", "a.yaml", "name: a\nkind: noop\nretry:\n  <<: {attempts: 3}\n", []string{`a.yaml:4: retry: merge keys (<<) are not supported; write the fields out`}},
		{"alias of itself", "a.yaml", "name: a\nkind: noop\nspec: &s\n  again: *s\n", []string{`nested or repeated beyond reason`}},
		{"odd tag", "a.yaml", "name: a\nkind: noop\nspec: {x: !!binary aGk=}\n", []string{`a.yaml:3: spec.x: YAML's tag !!binary is not supported`}},
		{"not a number", "a.yaml", "name: a\nkind: noop\nresources: {cpus: .nan}\n", []string{`a.yaml:3: resources.cpus: the number .nan cannot be read as a value`}},
		{"null in a list", "a.yaml", "name: a\nkind: noop\nafter: [~]\n", []string{`a.yaml:3: after[0]: expected text, found nothing`}},
		{"no UTF-8", "a.yaml", "name: a\nkind: noop\ndescription: \"b\xe9\"\n", []string{`a.yaml:3: is not UTF-8`}},
		{"JSON, no UTF-8", "a.json", "{\"name\": \"a\", \"kind\": \"noop\",\n\"description\": \"b\xe9\"}", []string{`a.json:2: is not UTF-8`}},
		{"no starts", "a.yaml", "name: a\nkind: noop\nretry: {attempts: 0}\nunknown_wait: -1s\n", []string{
			`a.yaml:3: retry.attempts: no start is none`, `a.yaml:4: unknown_wait: -1s is negative`,
		}},
		{"starts that cannot be read", "a.yaml", "name: a\nkind: noop\nretry: {attempts: x}\n", []string{`a.yaml:3: retry.attempts: expected a whole number, found "x"`}},
		{"spec, everything at once", "a.yaml", "name: a\nkind: noop\nspec:\n  bogus: 1\n  splits: -1\n  duration: [1]\n", []string{
			`a.yaml:4: spec.bogus: unknown field`, `a.yaml:5: spec.splits: is -1`, `a.yaml:6: spec.duration: `,
		}},
		{"JSON", "a.json", "{\"name\": \"a\",\n \"kind\": \"noop\",\n \"retry\": {\n  \"attempts\": \"x\"}\n}", []string{
			`a.json:4: retry.attempts: expected a whole number, found "x"`,
		}},
		{"JSON list", "a.json", "[{\"name\":\"a\",\"kind\":\"noop\"},\n{\"name\":\"b\",\"kind\":\"noop\",\"x\":1}]", []string{`a.json:2: x: unknown field`}},
		{"JSON syntax", "a.json", "{\"name\": \"a\",\n}", []string{`a.json:2: not JSON: invalid character '}'`}},
		{"JSON cut off", "a.json", "{\"name\": \"a\",\n", []string{`a.json:1: not JSON: unexpected EOF`}},
		{"JSON and more", "a.json", `{"name": "a", "kind": "noop"} x`, []string{`a.json:1: not JSON: invalid character 'x'`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Load([]Source{{Name: tt.file, Data: []byte(tt.text)}}, registry(t))
			if err == nil {
				t.Fatal("it was accepted")
			}
			got := strings.Split(err.Error(), "\n")
			for i, want := range tt.want {
				if i >= len(got) || !strings.Contains(got[i], want) {
					t.Errorf("line %d should say %q:\n%s", i, want, err)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d errors, want %d:\n%s", len(got), len(tt.want), err)
			}
			if code, _ := jobs.CodeOf(err); code != jobs.Invalid {
				t.Errorf("code %q, want invalid", code)
			}
		})
	}
}

// What is written can be read again, and is the same job.
func TestByteOrderMarksAreLeftOut(t *testing.T) {
	for file, text := range map[string]string{"a.yaml": "name: a\r\nkind: noop\r\n", "a.json": `{"name":"a","kind":"noop"}`} {
		list, _, err := Load([]Source{{Name: file, Data: []byte("\ufeff" + text)}}, registry(t))
		if err != nil || len(list) != 1 || list[0].Name != "a" {
			t.Errorf("%s: %v, %v", file, list, err)
		}
	}
}

func TestEncode(t *testing.T) {
	list, _, err := Load([]Source{{Name: "a.yaml", Data: []byte(whole)}}, registry(t))
	if err != nil {
		t.Fatal(err)
	}
	list[0].Version, list[0].Created = 7, time.Now()
	var text bytes.Buffer
	if err := Encode(&text, list[0], jobs.Job{Name: "after-it", Kind: "noop", After: []jobs.Name{"campaign-daily"},
		Spec: json.RawMessage(`{"note":"two\nlines"}`)}); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "encoded.yaml")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Error(diff)
	}
	docs, errs := Decode(Source{Name: "again.yaml", Data: text.Bytes()})
	if len(errs) > 0 || len(docs) != 2 {
		t.Fatalf("%d documents, errors:\n%v", len(docs), errs)
	}
	back := list[0]
	back.Version, back.Created = 0, time.Time{}
	again := docs[0].Job
	if diff := cmp.Diff(asJSON(t, back), asJSON(t, again)); diff != "" {
		t.Error(diff)
	}
}

func asJSON(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.yml": "b", "a.yaml": "a", "sub/c.JSON": "c", "README.md": "no", ".hidden/d.yaml": "no", ".e.yaml": "no",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sources, err := Read(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sources {
		got = append(got, fmt.Sprintf("%s=%s", strings.TrimPrefix(s.Name, dir+"/"), s.Data))
	}
	if diff := cmp.Diff([]string{"a.yaml=a", "b.yml=b", "sub/c.JSON=c"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := Read(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "no file there ends in") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Read("-", strings.NewReader(strings.Repeat(" ", MaxBytes+1))); err == nil || !strings.Contains(err.Error(), "larger than 1024 KiB") {
		t.Errorf("more than the bound: %v", err)
	}
}

func TestDecodeValue(t *testing.T) {
	v := struct {
		Name string            `json:"name"`
		More map[string]string `json:"more"`
	}{Name: "kept"}
	if err := DecodeValue(Source{Name: "c.yaml", Data: []byte("more: {a: b}\n")}, &v); err != nil {
		t.Fatal(err)
	}
	if v.Name != "kept" || v.More["a"] != "b" {
		t.Errorf("got %+v", v)
	}
	err := DecodeValue(Source{Name: "c.yaml", Data: []byte("name: x\nnaem: y\n")}, &v)
	if err == nil || err.Error() != `c.yaml:2: naem: unknown field; is it "name" that you mean?` {
		t.Errorf("unknown field: %v", err)
	}
	if err := DecodeValue(Source{Name: "c.yaml", Data: []byte("name: x\n---\nname: y\n")}, &v); err == nil {
		t.Error("a second document was accepted")
	}
}

// Whatever comes in, decoding ends, every error has a file, and what is
// accepted can be written and read again.
func FuzzDecode(f *testing.F) {
	f.Add("a.yaml", whole)
	f.Add("a.yaml", "a: &a [*a]\n")
	f.Add("a.yaml", "- name: x\n- {name: y, spec: {? [a] : b}}\n")
	f.Add("a.json", `[{"name":"a","spec":{"x":[1,2.5e3,null,true,"\ud83d\ude00"]}}]`)
	f.Fuzz(func(t *testing.T, name, text string) {
		docs, errs := Decode(Source{Name: name, Data: []byte(text)})
		if len(docs) == 0 && len(errs) == 0 {
			t.Fatal("neither a job nor an error")
		}
		for _, e := range errs {
			if e.Message == "" {
				t.Errorf("an error without a message: %#v", e)
			}
		}
		if len(errs) > 0 {
			return
		}
		for _, d := range docs {
			var out bytes.Buffer
			if err := Encode(&out, d.Job); err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			if _, errs := Decode(Source{Name: "again.yaml", Data: out.Bytes()}); len(errs) > 0 {
				t.Fatalf("what was written cannot be read: %v\n%s", errs, out.Bytes())
			}
		}
	})
}
