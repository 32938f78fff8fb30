package chronos_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tidemill/api/chronos"
	"tidemill/jobs"
)

// document draws a job that Chronos could have, as it shows it.
func document(t *rapid.T) map[string]any {
	word := rapid.StringMatching(`[a-z<>&"' $\\é]{0,12}`)
	doc := map[string]any{
		"name": rapid.StringMatching(`[A-Za-z0-9_-]{1,20}`).Draw(t, "name"), "command": "x" + word.Draw(t, "command"),
		"retries": rapid.IntRange(0, 99).Draw(t, "retries"), "description": word.Draw(t, "description"), "owner": word.Draw(t, "owner"),
		"ownerName": word.Draw(t, "ownerName"), "taskInfoData": word.Draw(t, "taskInfoData"), "executorFlags": word.Draw(t, "executorFlags"),
		"cpus": float64(rapid.IntRange(1, 80).Draw(t, "cpus")) / 10, "mem": rapid.IntRange(1, 4096).Draw(t, "mem"),
		"disk": rapid.IntRange(1, 4096).Draw(t, "disk"), "maxCompletionTime": rapid.IntRange(0, 90000).Draw(t, "maxCompletionTime"),
		"environmentVariables": rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) map[string]string {
			return map[string]string{"name": rapid.StringMatching(`[A-Z_]{1,6}`).Draw(t, "variable"), "value": word.Draw(t, "value")}
		}), 0, 3, func(v map[string]string) string { return v["name"] }).Draw(t, "environment"),
		"arguments":   rapid.SliceOfN(word, 0, 3).Draw(t, "arguments"),
		"constraints": rapid.SliceOfN(rapid.SampledFrom([][]string{{"hostname", "EQUALS", "a"}, {"rack", "LIKE", "r[12]"}, {"rack", "UNLIKE", "b"}}), 0, 2).Draw(t, "constraints"),
	}
	for _, field := range []string{"shell", "disabled", "softError", "dataProcessingJobType", "highPriority", "concurrent", "async"} {
		doc[field] = rapid.Bool().Draw(t, field)
	}
	if rapid.Bool().Draw(t, "container") {
		doc["container"] = map[string]any{
			"type": "DOCKER", "image": rapid.StringMatching(`[a-z]{1,9}(:[0-9])?`).Draw(t, "image"), "network": rapid.SampledFrom([]string{"HOST", "BRIDGE"}).Draw(t, "network"),
			"networkInfos": []any{}, "volumes": []any{}, "forcePullImage": rapid.Bool().Draw(t, "pull"), "parameters": []any{},
		}
	}
	if rapid.Bool().Draw(t, "fetch") { // Chronos shows downloads in both forms
		uri := rapid.StringMatching(`(https?://[a-z]{1,9}|file://)/[a-z]{1,5}/[a-z]{1,5}\.tgz`).Draw(t, "uri")
		doc["uris"] = []string{uri}
		doc["fetch"] = []any{map[string]any{
			"uri": uri, "executable": rapid.Bool().Draw(t, "executable"), "cache": rapid.Bool().Draw(t, "cache"), "extract": rapid.Bool().Draw(t, "extract"),
			"output_file": rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "output_file"),
		}}
	}
	if rapid.Bool().Draw(t, "user") {
		doc["runAsUser"] = rapid.StringMatching(`[a-z_][a-z0-9_-]{0,9}`).Draw(t, "runAsUser")
	}
	if rapid.Bool().Draw(t, "epsilon") {
		doc["epsilon"] = fmt.Sprintf("PT%dS", rapid.IntRange(1, 9999).Draw(t, "seconds"))
	}
	if rapid.Bool().Draw(t, "dependent") {
		doc["parents"] = []string{"parent.1", "parent.2"} // no drawn name has dots
	} else {
		doc["schedule"] = rapid.SampledFrom([]string{"R/2030-01-01T00:00:00Z/P1D", "R5/2030-01-01T00:00:00.000Z/PT90M", "R0/2031-06-01T00:00:00Z/P1M"}).Draw(t, "schedule")
		doc["scheduleTimeZone"] = rapid.SampledFrom([]string{"", "Europe/Stockholm"}).Draw(t, "zone")
	}
	return doc
}

// What Chronos's clients send is what they are shown, and sending it again
// changes nothing.
func TestRoundTrip(t *testing.T) {
	known := kinds(t)
	rapid.Check(t, func(t *rapid.T) {
		doc, err := json.Marshal(document(t))
		if err != nil {
			t.Fatal(err)
		}
		source, err := chronos.Decode(doc)
		if err != nil {
			t.Fatal(err)
		}
		j := translate(t, known, source, nil)
		shown := chronos.FromView(jobs.JobView{Job: j})
		if diff := cmp.Diff(normal(t, source), normal(t, shown)); diff != "" {
			t.Fatalf("sent and shown (-sent +shown) of %s:\n%s", doc, diff)
		}
		if diff := cmp.Diff(j, translate(t, known, shown, &jobs.JobView{Job: j})); diff != "" {
			t.Fatalf("sent again (-first +second):\n%s", diff)
		}
	})
}

func translate(t *rapid.T, known *jobs.Registry, c chronos.Job, stored *jobs.JobView) jobs.Job {
	j, _, err := chronos.Translation{}.Job(c, stored)
	if err == nil {
		j, _, err = known.Check(j)
	}
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// normal is a job without the order of its variables.
func normal(t *rapid.T, j chronos.Job) map[string]any {
	doc, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(doc, &out); err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{}
	for _, v := range j.EnvironmentVariables {
		variables[v.Name] = v.Value
	}
	out["environmentVariables"] = variables
	for _, list := range []string{"fetch", "uris"} { // empty where they were left out
		if out[list] == nil {
			out[list] = []any{}
		}
	}
	return out
}

// A field that would change what runs is refused, dropped on request, and
// then given back as it was.
func TestDroppedFieldsAreKept(t *testing.T) {
	const doc = `{"name":"a","command":"true","schedule":"R/2030-01-01T00:00:00Z/P1D","runAsUser":"nobody","executor":"/x",
		"container":{"type":"DOCKER","image":"debian"},"fetch":[{"uri":"http://a/b","executable":true}],"uris":["http://a/b"]}`
	source, err := chronos.Decode([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = chronos.Translation{User: "mill"}.Job(source, nil)
	for _, field := range chronos.Droppable() {
		if refused := err != nil && strings.Contains(err.Error(), field+": "); refused != (field == "executor") {
			t.Errorf("%s: refused %t: %v", field, refused, err)
		}
	}
	j, remarks, err := chronos.Translation{User: "mill", Drop: chronos.Droppable()}.Job(source, nil)
	if err != nil || len(remarks) != len(chronos.Droppable()) {
		t.Fatalf("%v, %v", remarks, err)
	}
	shown := chronos.FromView(jobs.JobView{Job: j})
	if diff := cmp.Diff(source.Fetch, shown.Fetch); diff != "" {
		t.Error(diff)
	}
	if shown.RunAsUser != "nobody" || shown.Executor != "/x" || string(shown.Container) != `{"type":"DOCKER","image":"debian"}` {
		t.Errorf("not as it was: %+v", shown)
	}
	if _, remarks, err := (chronos.Translation{User: "mill"}).Job(shown, &jobs.JobView{Job: j}); err != nil || len(remarks) > 0 {
		t.Errorf("what is stored so is refused: %v, %v", remarks, err)
	}
	shown.Executor = "/y"
	if _, _, err := (chronos.Translation{User: "mill"}).Job(shown, &jobs.JobView{Job: j}); err == nil {
		t.Error("another executor is accepted")
	}
}

func TestKeptFieldsAreBounded(t *testing.T) {
	source, err := chronos.Decode([]byte(`{"name":"a","command":"true","taskInfoData":"` + strings.Repeat("x", 17<<10) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := (chronos.Translation{}).Job(source, nil); err == nil || !strings.Contains(err.Error(), "chronos.taskInfoData") {
		t.Errorf("want the field's name in the refusal, got %v", err)
	}
}

func TestUnknownFields(t *testing.T) {
	got := chronos.Unknown([]byte(`{"name":"a","type":"ISO8601","jobType":1,"cpus":1}`))
	if diff := cmp.Diff([]string{"jobType", "type"}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzDecode(f *testing.F) {
	for _, doc := range []string{`{}`, `{"name":"a","cpus":"0.5","shell":"false","container":null}`, `{"fetch":[{"uri":"x"}],"retries":1e99}`, `[]`, `{"parents":["a",null]}`} {
		f.Add([]byte(doc))
	}
	known := kinds(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		source, err := chronos.Decode(doc)
		if err != nil {
			return
		}
		j, _, err := chronos.Translation{}.Job(source, nil)
		if err == nil {
			j, _, err = known.Check(j)
		}
		if err != nil {
			return
		}
		shown := chronos.FromView(jobs.JobView{Job: j})
		again, _, err := chronos.Translation{}.Job(shown, &jobs.JobView{Job: j})
		if err != nil {
			t.Fatalf("what is shown is refused: %v", err)
		}
		if again, _, err = known.Check(again); err != nil || !cmp.Equal(j, again) {
			t.Fatalf("sending again what is shown changes it: %v\n%s", err, cmp.Diff(j, again))
		}
	})
}

// What a task needs may be left out, or said to be nothing: then it is what
// Chronos gave it.
func TestNothingIsTheDefault(t *testing.T) {
	for _, doc := range []string{`{"name":"a","command":"x"}`, `{"name":"a","command":"x","cpus":0,"mem":0}`} {
		source, err := chronos.Decode([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		j, _, err := chronos.Translation{}.Job(source, nil)
		if want := (jobs.Resources{CPUs: 0.1, Mem: 128, Disk: 256}); err != nil || j.Resources != want {
			t.Errorf("%s: %+v, %v; want %+v", doc, j.Resources, err, want)
		}
	}
}
