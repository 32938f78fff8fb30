package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

// savedJobs is an answer to GET jobs of Chronos 3, a child before its parent.
const savedJobs = `[{"name":"count","command":"count","shell":true,"executor":"","executorFlags":"","taskInfoData":"x","retries":2,"owner":"","ownerName":"Ops","description":"","successCount":7,"errorCount":1,"lastSuccess":"2018-01-01T00:00:00.000Z","lastError":"","cpus":0.1,"disk":256.0,"mem":128.0,"disabled":false,"softError":false,"dataProcessingJobType":false,"errorsSinceLastSuccess":0,"fetch":[],"uris":[],"environmentVariables":[],"arguments":[],"highPriority":true,"runAsUser":"root","concurrent":false,"constraints":[],"parents":["import"]},{"name":"import","command":"load","runAsUser":"root","type":"ISO8601","schedule":"R/2030-01-01T00:00:00.000Z/P1D","scheduleTimeZone":"Europe/Stockholm"}]`

func TestImportChronos(t *testing.T) {
	s := newShell(t, "")
	saved := file(t, "jobs.json", savedJobs)
	s.run(t, "import", "chronos", saved, "--dry-run").want(t, exitOK, "taskInfoData is kept, but was for a custom executor only", "")
	if list, _, err := s.Jobs(context.Background(), jobs.JobQuery{Limit: 9}); err != nil || len(list) != 0 {
		t.Fatalf("a dry run applied %v, %v", list, err)
	}
	r := s.run(t, "import", "chronos", saved, "-o", "json", "--paused")
	r.want(t, exitOK, "", "")
	var got []imported
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err)
	}
	want := []imported{
		{Name: "import", Result: "created", Changes: []string{"ignored: type"}},
		{Name: "count", Result: "created", Changes: []string{"taskInfoData is kept, but was for a custom executor only"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(imported{}), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".job" }, cmp.Ignore())); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	for name, priority := range map[jobs.Name]int{"import": 0, "count": 100} {
		if v, err := s.Job(context.Background(), name); err != nil || !v.Paused || v.Priority != priority {
			t.Errorf("%s: %v, %v; want it paused, with priority %d", name, v.Job, err, priority)
		}
	}
	s.run(t, "import", "chronos", saved).want(t, exitOK, "replaced", "stop Chronos")
}

func TestImportChronosRefuses(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "import", "chronos", "/nope").want(t, exitUsage, "", "read Chronos's jobs: open /nope: no such file or directory (name a file")
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "daily", Kind: "noop"}})
	s.stdin = `[{"name":"good","command":"true"},{"name":"a","command":"x","executor":"/x"},{"name":"good","command":"false"},
		{"name":"daily","command":"x"},{"name":"u","command":"x","runAsUser":"hadoop"},{"retries":"x"},
		{"name":"child","command":"x","parents":["good","unheard"]}]`
	r := s.run(t, "import", "chronos", "-")
	r.want(t, exitUsage, "refused", "5 of 7 jobs are refused, and none was taken over")
	for _, want := range []string{"custom executors are not supported", "another job has the same name", "of the kind noop", "[5]", `no job is named "unheard"`} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in:\n%s", want, r.out)
		}
	}
	s.stdin = `[{"name":"a","command":"x","container":{"image":"debian"}},{"name":"u","command":"x","runAsUser":"hadoop"}]`
	s.run(t, "import", "chronos", "-", "--drop", "container").want(t, exitOK, "container is kept, but dropped", "")
	s.run(t, "job", "show", "u", "-o", "json").want(t, exitOK, `"user": "hadoop"`, "")
	s.run(t, "import", "chronos", "-", "--drop", "container", "--user", "hadoop").want(t, exitOK, "replaced", "")
	if r := s.run(t, "job", "show", "u", "-o", "json"); strings.Contains(r.out, `"user"`) {
		t.Errorf("the scheduler's own user is asked for:\n%s", r.out)
	}
	s.run(t, "import", "chronos", "-", "--drop", "command").want(t, exitUsage, "", "these can: container, executor")
	s.run(t, "import", "chronos", "/nowhere").want(t, exitUsage, "", "/nowhere")
	s.stdin = `{"name":"a"}`
	s.run(t, "import", "chronos", "-").want(t, exitUsage, "", "JSON array")
}

// A job's container is its own here too, on the way in and on the way out.
func TestImportChronosContainer(t *testing.T) {
	s := newShell(t, "")
	const boxed = `"container":{"type":"DOCKER","image":"render:7","network":"BRIDGE","networkInfos":[],"volumes":[{"hostPath":"/srv","containerPath":"/srv","mode":"RO"}],"forcePullImage":true,"parameters":[]}`
	s.stdin = `[{"name":"render","command":"render","schedule":"R/2030-01-01T00:00:00Z/P1D",` + boxed + `}]`
	s.run(t, "import", "chronos", "-").want(t, exitOK, "created", "")
	s.run(t, "job", "show", "render", "-o", "json").want(t, exitOK, `"force_pull": true`, "")
	s.run(t, "export", "chronos").want(t, exitOK, boxed, "")
	s.stdin = `[{"name":"render","command":"render","container":{"image":"a","volumes":[{"containerPath":"/a","external":{"name":"v"}}]}}]`
	s.run(t, "import", "chronos", "-").want(t, exitUsage, "container.volumes[0].external: external volumes are not supported", "1 of 1 jobs are refused")
}

// A Chronos 2.x serves its jobs below another path.
func TestImportRunningChronos(t *testing.T) {
	old := http.NewServeMux()
	old.HandleFunc("GET /scheduler/jobs", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(w, savedJobs); err != nil {
			t.Error(err)
		}
	})
	running := httptest.NewServer(old)
	defer running.Close()
	s := newShell(t, "")
	s.run(t, "import", "chronos", running.URL).want(t, exitOK, "after import", "")
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	s.run(t, "import", "chronos", nothing.URL).want(t, exitFailed, "", "it answered 404")
}

// What is exported is on one line, and can be imported again unchanged.
func TestExportChronos(t *testing.T) {
	s := newShell(t, "")
	s.stdin = savedJobs
	s.run(t, "import", "chronos", "-").want(t, exitOK, "created", "")
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "daily", Kind: "noop"}})
	out := s.run(t, "export", "chronos")
	out.want(t, exitOK, `"schedule":"R/2030-01-01T00:00:00.000Z/P1D","scheduleTimeZone":"Europe/Stockholm"`, "1 job of kinds that Chronos has not")
	if n := strings.Count(out.out, "\n"); n != 1 {
		t.Errorf("the jobs are on %d lines", n)
	}
	before, _, err := s.Jobs(context.Background(), jobs.JobQuery{Kind: "command", Limit: 9})
	if err != nil {
		t.Fatal(err)
	}
	s.stdin = out.out
	s.run(t, "import", "chronos", "-").want(t, exitOK, "", "")
	after, _, err := s.Jobs(context.Background(), jobs.JobQuery{Kind: "command", Limit: 9})
	if err != nil {
		t.Fatal(err)
	}
	for i := range after {
		after[i].Version = before[i].Version
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("jobs (-before +after):\n%s", diff)
	}
}
