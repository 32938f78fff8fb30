package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemill/api"
	"tidemill/api/apitest"
	"tidemill/jobs"
)

// pair is a leader and a follower that hands on to it.
type pair struct {
	leading          *apitest.Scheduler
	leader, follower *httptest.Server
	known            atomic.Bool // to the follower
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{leading: &apitest.Scheduler{}}
	p.known.Store(true)
	p.leader = httptest.NewServer(newServer(t, func(o *api.Options) { o.Scheduler = p.leading }))
	t.Cleanup(p.leader.Close)
	idle := &apitest.Scheduler{}
	idle.Fail(&jobs.Error{Code: jobs.Unavailable, Message: "asked of one that does not lead"})
	p.follower = httptest.NewServer(newServer(t, func(o *api.Options) {
		o.Scheduler = idle
		o.Leader = func() (string, bool, bool) { return p.leader.URL, false, p.known.Load() }
	}))
	t.Cleanup(p.follower.Close)
	return p
}

func send(t *testing.T, ctx context.Context, method, url, body string, header map[string]string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestFollowerHandsOn(t *testing.T) {
	p := newPair(t)
	res := send(t, t.Context(), "POST", p.follower.URL+"/v1/jobs", `{"name":"a","kind":"noop"}`,
		map[string]string{"Content-Type": "application/json", "X-Request-Id": "mine", "Origin": p.follower.URL})
	if got := text(t, res); res.StatusCode != 200 || !strings.Contains(got, `"name":"a"`) {
		t.Fatalf("%d %s", res.StatusCode, got)
	}
	if got := res.Header.Values("X-Request-Id"); len(got) != 1 || got[0] != "mine" {
		t.Errorf("request ids %q, want the caller's once", got)
	}
	if _, err := p.leading.Job(t.Context(), "a"); err != nil {
		t.Errorf("the leader has not got it: %v", err)
	}
}

func TestFollowerHandsOnStreams(t *testing.T) {
	p := newPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res := send(t, ctx, "GET", p.follower.URL+"/v1/events", "", nil)
	lines := bufio.NewScanner(res.Body)
	if !lines.Scan() { // the stream is open, so the watcher is there
		t.Fatal(lines.Err())
	}
	p.leading.Notify(jobs.Notice{Type: "job", Job: "a", State: "running"})
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if !strings.Contains(data, `"job":"a"`) {
				t.Errorf("notice %s", data)
			}
			return
		}
	}
	t.Fatalf("the stream ended without the notice: %v", lines.Err())
}

// A stream outlives the time limits of a request, on the leader and through a follower.
func TestStreamsHaveNoLimit(t *testing.T) {
	const limit = 100 * time.Millisecond
	p := newPair(t)
	for _, from := range []*httptest.Server{p.leader, p.follower} {
		hurried := httptest.NewUnstartedServer(from.Config.Handler)
		hurried.Config.ReadTimeout, hurried.Config.WriteTimeout = limit, limit
		hurried.Start()
		t.Cleanup(hurried.Close)
		ctx, cancel := context.WithCancel(t.Context())
		lines := bufio.NewScanner(send(t, ctx, "GET", hurried.URL+"/v1/events", "", nil).Body)
		tick := time.NewTicker(limit)
		for i := range 3 {
			<-tick.C // it is the time itself that matters here
			p.leading.Notify(jobs.Notice{Type: "job", Job: jobs.Name(fmt.Sprintf("job-%d", i))})
			if !scanTo(lines, fmt.Sprintf("job-%d", i)) {
				t.Fatalf("the stream ended after %d limits: %v", i+1, lines.Err())
			}
		}
		tick.Stop()
		cancel()
	}
}

func scanTo(lines *bufio.Scanner, text string) bool {
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return true
		}
	}
	return false
}

// While leadership moves, a request is not sent in circles.
func TestNoCircles(t *testing.T) {
	p := newPair(t)
	res := send(t, t.Context(), "GET", p.follower.URL+"/v1/jobs", "", map[string]string{"Tidemill-Proxied": "1"})
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("handed on twice: %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	p.known.Store(false)
	res = send(t, t.Context(), "GET", p.follower.URL+"/v1/jobs", "", nil)
	if got := text(t, res); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(got, "no scheduler leads now") {
		t.Errorf("without a leader: %d %s", res.StatusCode, got)
	}
}

func TestLeaderGone(t *testing.T) {
	p := newPair(t)
	p.leader.Close()
	res := send(t, t.Context(), "GET", p.follower.URL+"/v1/jobs", "", nil)
	if got := text(t, res); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(got, "the leader did not answer") {
		t.Errorf("%d %s", res.StatusCode, got)
	}
}

// A followed log is sent as it grows, and ends with the attempt.
func TestFollowLog(t *testing.T) {
	p := newPair(t)
	const task = jobs.TaskID("a.1.r-1.0.1.0.1")
	p.leading.WriteLog(task, "stderr", "one\n")
	res := send(t, t.Context(), "GET", p.follower.URL+"/v1/tasks/"+string(task)+"/logs?stream=stderr&follow=true", "", nil)
	reader := bufio.NewReader(res.Body)
	if line, err := reader.ReadString('\n'); line != "one\n" {
		t.Fatalf("%q %v", line, err)
	}
	p.leading.WriteLog(task, "stderr", "two\n")
	p.leading.End(task)
	rest, err := io.ReadAll(reader)
	if string(rest) != "two\n" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

func TestLogPart(t *testing.T) {
	p := newPair(t)
	const task = jobs.TaskID("a.1.r-1.0.1.0.1")
	p.leading.WriteLog(task, "stdout", "0123456789")
	res := send(t, t.Context(), "GET", p.leader.URL+"/v1/tasks/"+string(task)+"/logs?offset=2&limit=3", "", nil)
	if got := text(t, res); got != "234" {
		t.Errorf("body %q", got)
	}
	for name, want := range map[string]string{"Tidemill-Log-Offset": "2", "Tidemill-Log-Size": "10", "Tidemill-Log-End": "false"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
