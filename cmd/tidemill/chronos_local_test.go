package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/api/chronos"
	"tidemill/jobs"
)

// chronosClient asks as clients of Chronos do.
type chronosClient struct {
	t   *testing.T
	url string
}

func (c chronosClient) ask(method, path, body string, want int) string {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		c.t.Fatalf("%s %s: %d %s, %v; want %d", method, path, res.StatusCode, answer, err, want)
	}
	return string(answer)
}

func (c chronosClient) job(name string) chronos.Job {
	c.t.Helper()
	var j chronos.Job
	if err := json.Unmarshal([]byte(c.ask("GET", "/v1/scheduler/job/"+name, "", 200)), &j); err != nil {
		c.t.Fatal(err)
	}
	return j
}

// await asks for a job until it is as wanted.
func (c chronosClient) await(name, what string, ok func(chronos.Job) bool) chronos.Job {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		j := c.job(name)
		if ok(j) {
			return j
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: no %s: %+v", name, what, j)
		}
	}
}

// What runs is what Chronos would have run, told the same, once, and what
// depends on it after it.
func TestChronosOnRealTasks(t *testing.T) {
	p := startLocal(t, buildProgram(t), t.TempDir())
	c := chronosClient{t, regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(p.greeting)}
	const small = `"cpus":"0.05","mem":16,"disk":0,"owner":"ops@example.org"`
	c.ask("POST", "/v1/scheduler/iso8601", `{"name":"c-load","command":"env; printf '<%s>' \"$@\"","schedule":"R1//PT24H",`+small+`,
		"environmentVariables":[{"name":"DAY","value":"monday"},{"name":"CHRONOS_JOB_NAME","value":"forged"}]}`, 204)
	c.ask("POST", "/scheduler/dependency", `{"name":"c-count","command":"true","parents":["c-load"],`+small+`}`, 204)
	c.await("c-count", "run after its parent", func(j chronos.Job) bool { return j.SuccessCount == 1 })
	ran, log := p.lastLog(t, "c-load")
	want := map[string]string{
		"mesos_task_id": string(ran.ID), "MESOS_TASK_ID": string(ran.ID), "CHRONOS_JOB_OWNER": "ops@example.org",
		"CHRONOS_JOB_NAME": "c-load", "HOST": ran.Host, "CHRONOS_RESOURCE_MEM": "16.0", "CHRONOS_RESOURCE_CPU": "0.05",
		"CHRONOS_RESOURCE_DISK": "0.0", "CHRONOS_JOB_RUN_ATTEMPT": "0", "DAY": "monday",
	}
	got := map[string]string{}
	for line := range strings.Lines(log) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if _, ok := want[name]; ok {
			got[name] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	_, rest, _ := strings.Cut(c.job("c-load").Schedule, "/")
	stamp, _, _ := strings.Cut(rest, "/")
	start, err := time.Parse(time.RFC3339, stamp)
	if err != nil || !strings.Contains(log, fmt.Sprintf("CHRONOS_JOB_RUN_TIME=%d\n", start.UnixMilli())) {
		t.Errorf("run time is not the start %s, %v", start, err)
	}

	c.ask("PUT", "/v1/scheduler/job/c-load?arguments=-v%20%27two%20words%27", "", 204)
	c.await("c-count", "run after the run by hand", func(j chronos.Job) bool { return j.SuccessCount == 2 })
	if _, log := p.lastLog(t, "c-load"); !strings.HasSuffix(log, "<-v><two words>") {
		t.Errorf("arguments: %s", log[max(0, len(log)-60):])
	}
	if text := c.ask("PUT", "/v1/scheduler/job/success/c-load", "", 200); text != "marked job c-load as successful: true" {
		t.Error(text)
	}
	c.await("c-count", "run after the mark", func(j chronos.Job) bool { return j.SuccessCount == 3 })

	c.ask("POST", "/v1/scheduler/iso8601", `{"name":"c-load","command":"sleep 60","schedule":"R1//PT24H",`+small+`}`, 204)
	if j := c.job("c-load"); j.SuccessCount != 3 || j.Command != "sleep 60" {
		t.Errorf("after an update: %+v", j)
	}
	c.ask("PUT", "/v1/scheduler/job/c-load", "", 204)
	c.ask("DELETE", "/v1/scheduler/job/c-load", "", 204)
	if j := c.job("c-count"); len(j.Parents) > 0 || j.Schedule == "" {
		t.Errorf("the deleted parent's schedule was not handed down: %+v", j)
	}
	c.ask("POST", "/v1/scheduler/iso8601", `{"name":"c-load","command":"true",`+small+`}`, 204) // once the old one's tasks are gone
	p.interrupt(t)
}

// lastLog is what the newest attempt of a job wrote.
func (p *localProcess) lastLog(t *testing.T, name jobs.Name) (jobs.Task, string) {
	t.Helper()
	page, err := p.Runs(t.Context(), jobs.RunQuery{Job: name, Limit: 1})
	list := page.Runs
	if err != nil || len(list) == 0 {
		t.Fatalf("runs of %s: %v, %v", name, list, err)
	}
	v, err := p.RunView(t.Context(), list[0].ID)
	if err != nil || len(v.Tasks) == 0 {
		t.Fatalf("tasks of %s: %v, %v", list[0].ID, v, err)
	}
	last := v.Tasks[len(v.Tasks)-1].Task
	chunk, err := p.Log(t.Context(), last.ID, jobs.StdoutFile, 0, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	return last, string(chunk.Data)
}
