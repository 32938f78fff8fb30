package chronos_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/api"
	"tidemill/api/apitest"
	"tidemill/api/chronos"
	"tidemill/jobs"
	"tidemill/jobs/command"
	"tidemill/jobs/noop"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func kinds(t testing.TB) *jobs.Registry {
	t.Helper()
	known, err := jobs.NewRegistry(command.New(), noop.Kind{})
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// newDoor opens on a scheduler whose runs take 90 s and are over at once.
func newDoor(t *testing.T) (http.Handler, *apitest.Scheduler) {
	t.Helper()
	s := &apitest.Scheduler{}
	s.SetStatus(jobs.Status{Leading: true, Leader: "http://10.0.0.7:8470"})
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "other", Kind: "noop"}})
	runs := 0
	s.Finish = func(v *jobs.RunView) {
		v.ID = jobs.NewRunID(v.Job, 1, jobs.Key(fmt.Sprintf("r-%d", runs)), 0)
		runs++
		v.State, v.Started, v.Ended = jobs.RunSucceeded, v.Created, v.Created.Add(90*time.Second)
		v.Tasks = []jobs.TaskView{{Task: jobs.Task{ID: jobs.NewTaskID(v.ID, 1, 0, 1), Run: v.ID, Job: v.Job, Agent: "agent-1",
			State: jobs.AttemptSucceeded, Launched: v.Created, Started: v.Started, Ended: v.Ended}}}
	}
	return newServer(t, s, func() (string, bool, bool) { return "", true, true }, ""), s
}

func newServer(t *testing.T, s *apitest.Scheduler, leader func() (string, bool, bool), token string) http.Handler {
	t.Helper()
	server, err := api.New(api.Options{Scheduler: s, Kinds: kinds(t), Leader: leader, User: "mill", Token: token, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func ask(h http.Handler, method, path, body string) (*http.Response, string) {
	req := httptest.NewRequest(method, "http://127.0.0.1:8470"+path, strings.NewReader(body))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Result(), w.Body.String()
}

// The golden files hold requests, those of chronos-python as that client
// sends them, and what is answered.
func TestAnswers(t *testing.T) {
	for _, name := range []string{"answers.txt", "chronos-python-v1.txt", "chronos-python-2.x.txt"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name)
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			h, _ := newDoor(t)
			got := replay(t, h, string(script))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(script), got); diff != "" && !*update {
				t.Errorf("answers (-want +got); -update rewrites them:\n%s", diff)
			}
		})
	}
}

// replay asks what the script asks, and writes it anew with the answers.
func replay(t *testing.T, h http.Handler, script string) string {
	t.Helper()
	var out bytes.Buffer
	for block := range strings.SplitSeq(strings.TrimSpace(script), "\n\n") {
		question, _, found := strings.Cut(block, "----")
		line, body, _ := strings.Cut(question, "\n")
		method, path, spaced := strings.Cut(line, " ")
		if !found || !spaced {
			t.Fatalf("no request: %q", block)
		}
		res, answer := ask(h, method, path, strings.TrimSuffix(body, "\n"))
		if origin := res.Header.Get("Access-Control-Allow-Origin"); origin != "*" {
			t.Errorf("%s: pages of others may not read it: %q", line, origin)
		}
		media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
		if media == "application/json" && strings.Contains(answer, "\n") {
			t.Errorf("%s: the answer has several lines", line)
		}
		fmt.Fprintf(&out, "%s----\n%s\n", question, strings.TrimSpace(fmt.Sprintf("%d %s\n%s", res.StatusCode, media, answer)))
		out.WriteString("\n")
	}
	return out.String()
}

// A new declaration changes what Chronos has words for, and nothing else.
func TestUpdateKeepsTheRest(t *testing.T) {
	h, s := newDoor(t)
	ended := apitest.Created()
	window := jobs.Duration(time.Hour)
	old := jobs.JobView{State: "idle", Successes: 3, Failures: 2, LastSuccess: &ended, Job: jobs.Job{
		Name: "a", Kind: "command", Labels: map[string]string{"team": "x", "chronos.ownerName": "Ops"}, Overlap: jobs.OverlapBufferOne,
		Schedule: &jobs.Schedule{CatchUp: jobs.CatchUp{Window: &window, Mode: jobs.CatchUpAll}},
		Retry:    jobs.Retry{Attempts: 5, Backoff: jobs.Duration(time.Minute)}, KillGrace: jobs.Duration(time.Minute), Resources: jobs.Resources{CPUs: 0.2, Mem: 64},
		Spec: []byte(`{"command":"old","dir":"/srv","idempotent":true}`),
	}}
	old.Schedule.Cron, old.Schedule.Exclude = []string{"10 * * * *"}, []string{"sunday"}
	s.PutJob(old)
	_, shown := ask(h, "GET", "/scheduler/job/a", "")
	sent := strings.Replace(shown, `"old"`, `"new"`, 1)
	if res, body := ask(h, "POST", "/scheduler/iso8601", sent); res.StatusCode != 204 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	got, err := s.Job(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := kinds(t).Check(old.Job)
	if err != nil {
		t.Fatal(err)
	}
	want.Spec, want.Version = []byte(`{"command":"new","dir":"/srv","idempotent":true}`), 1
	if diff := cmp.Diff(want, got.Job); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	if got.Successes != 3 || got.Failures != 2 {
		t.Errorf("counters were lost: %d, %d", got.Successes, got.Failures)
	}
}

// TestErrorsSinceLastSuccess: alone, in lists, and found.
func TestErrorsSinceLastSuccess(t *testing.T) {
	h, s := newDoor(t)
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "a", Kind: "command", Spec: []byte(`{"command":"x"}`)}, Failures: 40, FailuresSince: 33})
	for _, path := range []string{"job/a", "jobs", "jobs/search?name=a"} {
		if _, body := ask(h, "GET", "/v1/scheduler/"+path, ""); !strings.Contains(body, `"errorCount":40,`) || !strings.Contains(body, `"errorsSinceLastSuccess":33,`) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// What is asked of a scheduler that does not lead is asked of the leader.
func TestHandsOnToTheLeader(t *testing.T) {
	h, _ := newDoor(t)
	leading := httptest.NewServer(h)
	defer leading.Close()
	other := newServer(t, &apitest.Scheduler{}, func() (string, bool, bool) { return leading.URL, false, true }, "")
	if res, body := ask(other, "POST", "/scheduler/iso8601", `{"name":"a","command":"true"}`); res.StatusCode != 204 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if _, body := ask(h, "GET", "/v1/scheduler/jobs/summary", ""); !strings.Contains(body, `"name":"a"`) {
		t.Errorf("the leader does not know the job: %s", body)
	}
}

// Where no scheduler leads, or the leader does not answer, it is said in
// Chronos's form, as are wrong tokens and paths.
func TestFailsInChronosForm(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, c := range []struct {
		leader string
		known  bool
		token  string
		path   string
		want   string
		code   int
	}{
		{"", false, "", "/scheduler/jobs", `"no scheduler leads now (ask again in a moment; /v1/status says more)","status":"Internal Server Error"}`, 500},
		{gone.URL, true, "", "/v1/scheduler/jobs", `"status":"Internal Server Error"}`, 500},
		{"", false, "s3cret", "/v1/scheduler/jobs", `"status":"Unauthorized"}`, 401},
		{"self", true, "", "/v1/scheduler/none", `"status":"Not Found"}`, 404},
		{"", false, "", "/v1/schedulers", `"status":404`, 404},
	} {
		h := newServer(t, &apitest.Scheduler{}, func() (string, bool, bool) { return c.leader, c.leader == "self", c.known }, c.token)
		res, body := ask(h, "GET", c.path, "")
		if res.StatusCode != c.code || !strings.HasSuffix(body, c.want) && c.path != "/v1/schedulers" || !strings.Contains(body, c.want) {
			t.Errorf("%s of %q: %d %s, want %d %s", c.path, c.leader, res.StatusCode, body, c.code, c.want)
		}
	}
}

// Clients of Chronos send a name and a password; the password is the token.
func TestPasswordIsTheToken(t *testing.T) {
	h := newServer(t, &apitest.Scheduler{}, func() (string, bool, bool) { return "", true, true }, "s3cret")
	for password, want := range map[string]int{"s3cret": 200, "wrong": 401, "": 401} {
		req := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8470/v1/scheduler/jobs", http.NoBody)
		req.SetBasicAuth("anyone", password)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("password %q: %d, want %d", password, w.Code, want)
		}
	}
	if res, _ := ask(h, "GET", "/ping", ""); res.StatusCode != 200 {
		t.Errorf("the health check asks for a token")
	}
}

// Another site's page may read, but not change anything.
func TestOtherSites(t *testing.T) {
	h, _ := newDoor(t)
	req := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8470/scheduler/iso8601", strings.NewReader(`{"name":"a","command":"true"}`))
	req.Header.Set("Origin", "https://elsewhere.example")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != http.StatusForbidden {
		t.Errorf("a page of another site made a job: %d", w.Code)
	}
}

// ending is a scheduler that still ends a deleted job's tasks.
type ending struct {
	*apitest.Scheduler
	until time.Time
	tries int
}

func (s *ending) Apply(ctx context.Context, list []jobs.Job) ([]jobs.AppliedJob, error) {
	s.tries++
	if time.Now().Before(s.until) {
		return nil, &jobs.Error{Code: jobs.Conflict, Op: "apply", Message: "its last tasks are still ending"}
	}
	return s.Scheduler.Apply(ctx, list)
}

func TestDeletedNameIsAwaited(t *testing.T) {
	for took, want := range map[time.Duration]int{4 * time.Second: 204, time.Minute: 400} {
		synctest.Test(t, func(t *testing.T) {
			s := &ending{Scheduler: &apitest.Scheduler{}, until: time.Now().Add(took)}
			r := chi.NewRouter()
			chronos.New(chronos.Options{Scheduler: s, Kinds: kinds(t), Log: zerolog.Nop()}).Mount(r, func(h http.Handler) http.Handler { return h })
			began := time.Now()
			res, body := ask(r, "POST", "/scheduler/iso8601", `{"name":"a","command":"true"}`)
			if res.StatusCode != want {
				t.Errorf("%d %s, want %d", res.StatusCode, body, want)
			}
			if waited := time.Since(began); waited != min(took, 10*time.Second) {
				t.Errorf("it was waited for %s", waited)
			}
		})
	}
}

// What goes wrong here is no fault of the caller's.
func TestFailures(t *testing.T) {
	h, s := newDoor(t)
	for _, err := range []error{io.ErrUnexpectedEOF, &jobs.Error{Code: jobs.Unavailable, Message: "the store is away"}} {
		s.Fail(err)
		res, body := ask(h, "GET", "/scheduler/jobs", "")
		want := fmt.Sprintf(`{"message":%q,"status":"Internal Server Error"}`, err.Error())
		if res.StatusCode != 500 || body != want {
			t.Errorf("%d %s, want 500 %s", res.StatusCode, body, want)
		}
	}
	s.Fail(nil)
	if res, body := ask(h, "POST", "/scheduler/iso8601", `{"name":"a","command":"`+strings.Repeat("x", 2<<20)+`"}`); res.StatusCode != 400 {
		t.Errorf("a body of 2 MiB: %d %.100s", res.StatusCode, body)
	}
}
