package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/api"
	"tidemill/api/apitest"
	"tidemill/internal/client"
	"tidemill/internal/rest"
	"tidemill/jobs"
	"tidemill/jobs/noop"
)

// The client answers as the scheduler behind the server does.
var _ api.Scheduler = (*client.Client)(nil)

func connect(t *testing.T, scheduler api.Scheduler) *client.Client {
	t.Helper()
	kinds, err := jobs.NewRegistry(noop.Kind{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Options{Scheduler: scheduler, Kinds: kinds, Log: zerolog.Nop(),
		Leader: func() (string, bool, bool) { return "", true, true }})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	c, err := client.New(listening.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Every question asked through the client is answered as it is without it.
func TestAnswersAsTheScheduler(t *testing.T) {
	ctx := t.Context()
	direct := &apitest.Scheduler{Token: "own", Secrets: jobs.Connections{Kafka: map[string]jobs.KafkaConnection{"default": {Brokers: []string{"b:1"}}}}}
	c := connect(t, direct)
	direct.SetStatus(jobs.Status{Leading: true, Master: "m", Problems: []string{"p"}})
	direct.WriteLog("a.1.r-1.0.1.0.1", "stderr", "0123456789")
	direct.SetState("{}\n")
	if list, err := c.ListFiles(ctx, "a.1.r-1.0.1.0.1", ""); err != nil || len(list) != 1 || list[0].Path != "stderr" || list[0].Size != 10 {
		t.Errorf("files %v, %v", list, err)
	}
	if part, err := c.ReadFile(ctx, "a.1.r-1.0.1.0.1", "stderr", 2, 3); err != nil || string(part.Data) != "234" || part.Size != 10 || part.Offset != 2 {
		t.Errorf("part of a file %+v, %v", part, err)
	}
	if _, err := c.Apply(ctx, []jobs.Job{{Name: "a/../b", Kind: "noop"}}); err == nil {
		t.Error("a bad name was accepted")
	}
	if _, err := c.Apply(ctx, []jobs.Job{{Name: "a", Kind: "noop"}, {Name: "b.c-d", Kind: "noop", After: []jobs.Name{"a"}}}); err != nil {
		t.Fatal(err)
	}
	run, err := c.StartRun(ctx, jobs.RunRequest{Job: "b.c-d", RequestID: "x", Arguments: []string{"é &?"}, Nominal: apitest.Created(),
		Interval: jobs.Interval{Start: apitest.Created().Add(-time.Hour), End: apitest.Created()}, Children: true})
	if err != nil {
		t.Fatal(err)
	}
	questions := map[string]func(s api.Scheduler) (any, error){
		"job":    func(s api.Scheduler) (any, error) { return s.Job(ctx, "b.c-d") },
		"no job": func(s api.Scheduler) (any, error) { return s.Job(ctx, "c") },
		"run":    func(s api.Scheduler) (any, error) { return s.RunView(ctx, run.ID) },
		"no run": func(s api.Scheduler) (any, error) { return s.RunView(ctx, "a b/c") },
		"state": func(s api.Scheduler) (any, error) {
			state, err := s.State(ctx)
			if err != nil {
				return nil, err
			}
			var text strings.Builder
			_, err = state.WriteTo(&text)
			return text.String(), err
		},
		"status":  func(s api.Scheduler) (any, error) { return s.Status(ctx) },
		"log":     func(s api.Scheduler) (any, error) { return s.Log(ctx, "a.1.r-1.0.1.0.1", "stderr", 3, 4) },
		"no log":  func(s api.Scheduler) (any, error) { return s.Log(ctx, "z", "stdout", 0, 4) },
		"secrets": func(s api.Scheduler) (any, error) { return s.Connections(ctx, "a.1.r-1.0.1.0.1", "own") },
		"theft":   func(s api.Scheduler) (any, error) { return s.Connections(ctx, "a.1.r-1.0.1.0.1", "other") },
		"again": func(s api.Scheduler) (any, error) {
			return s.StartRun(ctx, jobs.RunRequest{Job: "b.c-d", RequestID: "x"})
		},
		"jobs": func(s api.Scheduler) (any, error) {
			list, total, err := s.Jobs(ctx, jobs.JobQuery{Search: "C-D", Kind: "noop", Limit: 5})
			return []any{list, total}, err
		},
		"runs": func(s api.Scheduler) (any, error) {
			return s.Runs(ctx, jobs.RunQuery{Job: "b.c-d", State: jobs.RunPending, Live: true, Limit: 5})
		},
	}
	for name, ask := range questions {
		want, wantErr := ask(direct)
		got, err := ask(c)
		if diff := cmp.Diff(want, got); diff != "" && wantErr == nil {
			t.Errorf("%s:\n%s", name, diff)
		}
		wantCode, _ := jobs.CodeOf(wantErr)
		code, _ := jobs.CodeOf(err)
		if code != wantCode || (err == nil) != (wantErr == nil) {
			t.Errorf("%s: error %v, want %v", name, err, wantErr)
		}
		if wantErr != nil && err != nil && err.Error() != wantErr.Error() {
			t.Errorf("%s: error %q, want %q", name, err, wantErr)
		}
	}
}

func TestChanges(t *testing.T) {
	ctx := t.Context()
	direct := &apitest.Scheduler{}
	c := connect(t, direct)
	direct.PutJob(jobs.JobView{Job: jobs.Job{Name: "a", Kind: "noop"}})
	direct.PutRun(jobs.RunView{Run: jobs.Run{ID: "a.1.r-1.0", Job: "a", State: jobs.RunRunning}})
	for _, paused := range []bool{true, false} {
		if j, err := c.SetPaused(ctx, "a", paused); err != nil || j.Paused != paused {
			t.Errorf("SetPaused(%v): %v %v", paused, j.Paused, err)
		}
	}
	if j, err := c.Scale(ctx, "a", 3); err != nil || j.Service == nil || *j.Service.Instances != 3 {
		t.Errorf("Scale: %+v %v", j.Service, err)
	}
	direct.PutJob(jobs.JobView{Job: jobs.Job{Name: "web"}, Instances: &jobs.Instances{Wanted: 1}, Endpoints: []jobs.Endpoint{{Host: "h", Ports: []uint64{31000}}}})
	if list, err := c.Endpoints(ctx, "web"); err != nil || len(list) != 1 || list[0].Host != "h" {
		t.Errorf("Endpoints: %+v %v", list, err)
	}
	if err := c.KillRun(ctx, "a.1.r-1.0", ""); err != nil {
		t.Error(err)
	}
	if code, _ := jobs.CodeOf(c.KillRun(ctx, "a.1.r-1.0", "")); code != jobs.Conflict {
		t.Errorf("killed twice: %q, want conflict", code)
	}
	if err := c.Delete(ctx, "a", jobs.DeleteRefuse); err != nil {
		t.Error(err)
	}
	if code, _ := jobs.CodeOf(c.Delete(ctx, "a", jobs.DeleteRefuse)); code != jobs.NotFound {
		t.Errorf("deleted twice: %q, want not_found", code)
	}
}

func TestWatch(t *testing.T) {
	direct := &apitest.Scheduler{}
	c := connect(t, direct)
	ctx, cancel := context.WithCancel(t.Context())
	notices, err := c.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	direct.Notify(jobs.Notice{Type: "run", Job: "a", Run: "a.1.r-1.0", State: "running"})
	want := jobs.Notice{Sequence: 1, Type: "run", Job: "a", Run: "a.1.r-1.0", State: "running"}
	if diff := cmp.Diff(want, <-notices); diff != "" {
		t.Error(diff)
	}
	cancel()
	for range notices { // it is closed when the context ends
	}
}

// A followed log that breaks off is taken up where it was.
func TestFollowIsTakenUp(t *testing.T) {
	const task = jobs.TaskID("a.1.r-1.0.1.0.1")
	direct := &apitest.Scheduler{}
	direct.WriteLog(task, "stdout", "one ")
	kinds, err := jobs.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Options{Scheduler: direct, Kinds: kinds, Log: zerolog.Nop(),
		Leader: func() (string, bool, bool) { return "", true, true }})
	if err != nil {
		t.Fatal(err)
	}
	broken := false
	listening := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") != "" && !broken { // the first stream ends with its leader
			broken = true
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("one "))
			direct.WriteLog(task, "stdout", "two")
			direct.End(task)
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(listening.Close)
	c, err := client.New(listening.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := c.Follow(t.Context(), task, "stdout", 0, &got); err != nil {
		t.Fatal(err)
	}
	if got.String() != "one two" {
		t.Errorf("got %q", got.String())
	}
	if tail, err := c.Tail(t.Context(), task, "stdout", 3); string(tail) != "two" || err != nil {
		t.Errorf("the end: %q %v", tail, err)
	}
}

func TestNotAScheduler(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	c, err := client.New(other.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "is that a scheduler's API?") {
		t.Errorf("another server: %v", err)
	}
	other.Close()
	var unreachable *client.UnreachableError
	if _, err := c.Status(t.Context()); !errors.As(err, &unreachable) {
		t.Errorf("no server: %v", err)
	}
	for _, bad := range []string{"", "127.0.0.1:8470", "ftp://a", "http://"} {
		if _, err := client.New(bad, ""); err == nil {
			t.Errorf("%q was accepted as an address", bad)
		}
	}
}

// flaky answers with its script first, and then as a scheduler would.
type flaky struct {
	script []func(w http.ResponseWriter)
	asked  atomic.Int64
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if n := int(f.asked.Add(1)); n <= len(f.script) {
		f.script[n-1](w)
		return
	}
	w.Header().Set("Content-Type", rest.JSON)
	_, _ = w.Write([]byte(`{}`))
}

func answering(p *rest.Problem) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", rest.ProblemJSON)
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p)
	}
}

func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// TestPatience: what bears repetition, or was not done, is asked again; no other request is.
func TestPatience(t *testing.T) {
	noLeader := answering(&rest.Problem{Status: 503, Code: jobs.Unavailable, Detail: "no scheduler leads now", Repeatable: true})
	steppedDown := answering(&rest.Problem{Status: 503, Code: jobs.Unavailable, Detail: "it may or may not have been done"})
	conflict := answering(&rest.Problem{Status: 409, Code: jobs.Conflict, Detail: "no"})
	list := func(ctx context.Context, c *client.Client) error { _, err := c.Agents(ctx); return err }
	rerun := func(ctx context.Context, c *client.Client) error {
		_, err := c.Rerun(ctx, "a.1.r-1.0", false)
		return err
	}
	start := func(id string) func(ctx context.Context, c *client.Client) error {
		return func(ctx context.Context, c *client.Client) error {
			_, err := c.StartRun(ctx, jobs.RunRequest{Job: "a", RequestID: id})
			return err
		}
	}
	status := func(ctx context.Context, c *client.Client) error { _, err := c.Status(ctx); return err }
	tests := []struct {
		name     string
		patience time.Duration
		script   []func(http.ResponseWriter)
		ask      func(context.Context, *client.Client) error
		asked    int64
		ok       bool
	}{
		{"no leader for a question", time.Minute, []func(http.ResponseWriter){noLeader, steppedDown, hangUp}, status, 4, true},
		{"no leader for a change", time.Minute, []func(http.ResponseWriter){noLeader}, rerun, 2, true},
		{"no leader, and no patience", 0, []func(http.ResponseWriter){noLeader}, status, 1, false},
		{"a change that may have been made", time.Minute, []func(http.ResponseWriter){steppedDown}, rerun, 1, false},
		{"a change whose answer was lost", time.Minute, []func(http.ResponseWriter){hangUp}, rerun, 1, false},
		{"a start with a request's id", time.Minute, []func(http.ResponseWriter){hangUp, steppedDown}, start("mine"), 3, true},
		{"a start without", time.Minute, []func(http.ResponseWriter){steppedDown}, start(""), 1, false},
		{"refused by the state", time.Minute, []func(http.ResponseWriter){conflict}, list, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := &flaky{script: tt.script}
			listening := httptest.NewServer(server)
			defer listening.Close()
			c, err := client.New(listening.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := tt.ask(t.Context(), c.WithPatience(tt.patience)); (err == nil) != tt.ok || server.asked.Load() != tt.asked {
				t.Errorf("asked %d times: %v; want %d", server.asked.Load(), err, tt.asked)
			}
		})
	}
}

// TestTheNextServerIsAsked where one is gone, and kept while it answers.
func TestTheNextServerIsAsked(t *testing.T) {
	first, second := &flaky{}, &flaky{}
	gone, up := httptest.NewServer(first), httptest.NewServer(second)
	defer up.Close()
	c, err := client.New(gone.URL+","+up.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func() {
		t.Helper()
		if _, err := c.Status(t.Context()); err != nil {
			t.Error(err)
		}
	}
	ask()
	gone.Close()
	ask()
	ask()
	if first.asked.Load() != 1 || second.asked.Load() != 2 {
		t.Errorf("asked %d and %d times; want 1 and 2", first.asked.Load(), second.asked.Load())
	}
	if _, err := client.New(up.URL+",nonsense", ""); err == nil {
		t.Error("a list with nonsense in it was accepted")
	}
}
