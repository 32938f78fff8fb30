package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tidemill/api"
	"tidemill/api/apitest"
	"tidemill/jobs"
	"tidemill/jobs/noop"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// leads is what Options.Leader gives on the leader itself.
func leads() (string, bool, bool) { return "", true, true }

func newServer(t *testing.T, change func(*api.Options)) *api.Server {
	t.Helper()
	kinds, err := jobs.NewRegistry(noop.Kind{})
	if err != nil {
		t.Fatal(err)
	}
	o := api.Options{Scheduler: &apitest.Scheduler{}, Kinds: kinds, Leader: leads, Version: "1.2.3", Log: zerolog.Nop()}
	if change != nil {
		change(&o)
	}
	s, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request is one in the form that the golden files show.
type request struct {
	method, path, body string
	header             map[string]string
}

func (r request) do(t *testing.T, h http.Handler) *http.Response {
	t.Helper()
	req := httptest.NewRequest(r.method, "http://127.0.0.1:8470"+r.path, strings.NewReader(r.body))
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("X-Request-Id", "test")
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Result()
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Every kind of error has the same form, and says what to do.
func TestProblems(t *testing.T) {
	scheduler := &apitest.Scheduler{}
	s := newServer(t, func(o *api.Options) { o.Scheduler = scheduler })
	scheduler.PutJob(jobs.JobView{Job: jobs.Job{Name: "a", Kind: "noop"}})
	scheduler.PutRun(jobs.RunView{Run: jobs.Run{ID: "a.1.r-1.0", Job: "a", State: jobs.RunSucceeded}})
	yaml := map[string]string{"Content-Type": "application/yaml"}
	requests := []request{
		{method: "GET", path: "/v1/jobs/none"},
		{method: "POST", path: "/v1/runs/a.1.r-1.0/kill"},
		{method: "POST", path: "/v1/jobs", body: "name: b c\nkind: noop\nretri: {}\nspec: {splits: -1}\n", header: yaml},
		{method: "POST", path: "/v1/jobs", body: "name: b\nkind: noop\n---\nname: c\nkind: nope\n", header: yaml},
		{method: "POST", path: "/v1/jobs", body: `{"name":"b","kind":"noop","after":["unheard"]}`},
		{method: "POST", path: "/v1/jobs", body: "{\"name\":\"b\",\n"},
		{method: "POST", path: "/v1/jobs", body: "x", header: map[string]string{"Content-Type": "text/csv"}},
		{method: "PUT", path: "/v1/jobs/b", body: `{"name":"c","kind":"noop"}`},
		{method: "POST", path: "/v1/jobs/a/runs", body: `{"request":"1"}`},
		{method: "GET", path: "/v1/jobs?limit=0&offset=-1&colour=red"},
		{method: "GET", path: "/v1/runs?state=lost"},
		{method: "GET", path: "/v1/tasks/none/logs"},
		{method: "GET", path: "/v1/tasks/none/connections"},
		{method: "PATCH", path: "/v1/jobs"},
		{method: "GET", path: "/v2/jobs"},
	}
	var got bytes.Buffer
	for _, r := range requests {
		res := r.do(t, s)
		fmt.Fprintf(&got, "%s %s\n", r.method, r.path)
		if r.body != "" {
			fmt.Fprintf(&got, "%s\n", strings.TrimSpace(r.body))
		}
		fmt.Fprintf(&got, "----\n%d %s\n", res.StatusCode, res.Header.Get("Content-Type"))
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, []byte(text(t, res)), "", "  "); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s\n\n", strings.TrimSpace(pretty.String()))
	}
	golden(t, "problems.txt", got.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("differs from %s (go test -update rewrites it):\n%s", path, diff)
	}
}

func TestSchedulerErrors(t *testing.T) {
	tests := []struct {
		err        error
		status     int
		retryAfter string
	}{
		{&jobs.Error{Code: jobs.Unavailable, Message: "no store"}, 503, "1"},
		{&jobs.Error{Code: jobs.Conflict, Message: "tasks live"}, 409, ""},
		{&jobs.Error{Code: jobs.Forbidden, Message: "not yours"}, 403, ""},
		{fmt.Errorf("wrapped: %w", &jobs.Error{Code: jobs.NotFound}), 404, ""},
		{jobs.FieldErrors{{Field: "name", Message: "bad"}}, 400, ""},
		{context.DeadlineExceeded, 503, "1"},
		{errors.New("broken"), 500, ""},
	}
	for _, tt := range tests {
		scheduler := &apitest.Scheduler{}
		scheduler.Fail(tt.err)
		s := newServer(t, func(o *api.Options) { o.Scheduler = scheduler })
		res := request{method: "GET", path: "/v1/jobs"}.do(t, s)
		if res.StatusCode != tt.status || res.Header.Get("Retry-After") != tt.retryAfter {
			t.Errorf("%v: status %d, Retry-After %q; want %d, %q", tt.err, res.StatusCode, res.Header.Get("Retry-After"), tt.status, tt.retryAfter)
		}
	}
}

func TestBodyBound(t *testing.T) {
	s := newServer(t, nil)
	body := `{"name":"a","kind":"noop","description":"` + strings.Repeat("x", 1<<20) + `"}`
	if res := (request{method: "POST", path: "/v1/jobs", body: body}).do(t, s); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", res.StatusCode)
	}
}

func TestToken(t *testing.T) {
	s := newServer(t, func(o *api.Options) { o.Token = "s3cret" })
	tests := []struct {
		path, authorization string
		want                int
	}{
		{"/v1/jobs", "", 401},
		{"/v1/jobs", "Bearer wrong", 401},
		{"/v1/jobs", "Basic s3cret", 401},
		{"/v1/jobs", "Bearer s3cret", 200},
		{"/v1/jobs", "bearer s3cret", 200},
		{"/openapi.json", "", 401},
		{"/healthz", "", 200},
		{"/readyz", "", 200},
		{"/", "", 200},
		{"/page/app.js", "", 200},
		{"/v1/tasks/a.1.r-1.0.1.0.1/connections", "Bearer own", 403}, // by the scheduler
		{"/v1/tasks/a.1.r-1.0.1.0.1/logs", "", 401},
		{"/v1/artifacts/tidemill-00", "", 404},
	}
	for _, tt := range tests {
		header := map[string]string{}
		if tt.authorization != "" {
			header["Authorization"] = tt.authorization
		}
		res := request{method: "GET", path: tt.path, header: header}.do(t, s)
		if res.StatusCode != tt.want {
			t.Errorf("GET %s with %q: %d, want %d: %s", tt.path, tt.authorization, res.StatusCode, tt.want, text(t, res))
		}
		if tt.want == 401 && res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("GET %s: 401 without WWW-Authenticate", tt.path)
		}
	}
}

// A page of another site can make a browser send requests; they change nothing.
func TestSameSite(t *testing.T) {
	tests := []struct {
		name, host string
		token      string
		header     map[string]string
		want       int
	}{
		{"command line", "127.0.0.1:8470", "", nil, 200},
		{"own page", "127.0.0.1:8470", "", map[string]string{"Sec-Fetch-Site": "same-origin"}, 200},
		{"other site", "127.0.0.1:8470", "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"other origin", "127.0.0.1:8470", "", map[string]string{"Origin": "https://example.org"}, 403},
		{"name that leads here", "example.org:8470", "", map[string]string{"Sec-Fetch-Site": "same-origin"}, 403},
		{"name, with a token", "mill.example.org", "t", map[string]string{"Authorization": "Bearer t"}, 200},
		{"localhost", "localhost:8470", "", nil, 200},
		{"IPv6", "[::1]:8470", "", nil, 200},
	}
	for _, tt := range tests {
		s := newServer(t, func(o *api.Options) { o.Token = tt.token })
		req := httptest.NewRequest(http.MethodPost, "http://"+tt.host+"/v1/jobs", strings.NewReader(`{"name":"a","kind":"noop"}`))
		for k, v := range tt.header {
			req.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.name, w.Code, tt.want, w.Body)
		}
	}
}

func TestArtifact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tidemill")
	if err := os.WriteFile(path, []byte("the binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	a, err := api.OpenArtifact(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Remove(path); err != nil { // an upgrade replaces the file
		t.Fatal(err)
	}
	s := newServer(t, func(o *api.Options) { o.Artifact = a })
	res := request{method: "GET", path: a.Path()}.do(t, s)
	if got := text(t, res); res.StatusCode != 200 || got != "the binary" {
		t.Errorf("%d %q", res.StatusCode, got)
	}
	res = request{method: "GET", path: a.Path(), header: map[string]string{"Range": "bytes=4-"}}.do(t, s)
	if got := text(t, res); res.StatusCode != 206 || got != "binary" {
		t.Errorf("with a range: %d %q", res.StatusCode, got)
	}
	res = request{method: "GET", path: "/v1/artifacts/tidemill-" + strings.Repeat("0", 64)}.do(t, s)
	if res.StatusCode != 404 {
		t.Errorf("another sum: %d, want 404", res.StatusCode)
	}
}

// The OpenAPI names every operation and shows types as they are in JSON.
func TestOpenAPI(t *testing.T) {
	s := newServer(t, nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			RequestBody struct{ Content map[string]any }
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(text(t, request{method: "GET", path: "/openapi.json"}.do(t, s))), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	var got []string
	for path, item := range doc.Paths {
		for method, op := range item {
			got = append(got, strings.ToUpper(method)+" "+path+" "+op.OperationID)
		}
	}
	slices.Sort(got)
	golden(t, "operations.txt", []byte(strings.Join(got, "\n")+"\n"))
	if typ := doc.Components.Schemas["Job"].Properties["kill_grace"]["type"]; typ != "string" {
		t.Errorf("kill_grace is shown as %v, want string", typ)
	}
	if _, ok := doc.Components.Schemas["Problem"].Properties["hint"]; !ok {
		t.Error("problems are shown without their hint")
	}
	if _, ok := doc.Paths["/v1/jobs"]["post"].RequestBody.Content["application/yaml"]; !ok {
		t.Error("jobs are not shown to be accepted as YAML")
	}
}

func TestHealth(t *testing.T) {
	registry := prometheus.NewRegistry()
	led := true
	s := newServer(t, func(o *api.Options) {
		o.Metrics = registry
		o.Leader = func() (string, bool, bool) { return "http://127.0.0.1:1", false, led }
	})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200} {
		if res := (request{method: "GET", path: path}).do(t, s); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
	led = false
	if res := (request{method: "GET", path: "/readyz"}).do(t, s); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("/readyz without a leader: %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	if res := (request{method: "GET", path: "/v1/status"}).do(t, s); res.StatusCode != 200 {
		t.Errorf("/v1/status without a leader: %d", res.StatusCode)
	}
	metrics := text(t, request{method: "GET", path: "/metrics"}.do(t, s))
	if want := `tidemill_api_request_seconds_count{method="GET",route="/readyz",status="503"} 1`; !strings.Contains(metrics, want) {
		t.Errorf("/metrics lacks %s:\n%s", want, metrics)
	}
}

// TestHeadAndAllow: what is answered to GET is to HEAD, and a refused method is told the others.
func TestHeadAndAllow(t *testing.T) {
	server := httptest.NewServer(newServer(t, nil))
	defer server.Close()
	for ask, want := range map[string]string{
		"HEAD /healthz": "200 ", "HEAD /readyz": "200 ", "HEAD /": "200 ", "HEAD /v1/jobs": "200 ", "HEAD /v1/nothing": "404 ",
		"HEAD /v1/jobs/none": "404 ",
		"PATCH /v1/jobs":     "405 GET, HEAD, POST", "POST /v1/jobs/a": "405 GET, HEAD, PUT, DELETE", "GET /v1/jobs/a/pause": "405 POST",
	} {
		method, path, _ := strings.Cut(ask, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body := text(t, res)
		if got := fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("Allow")); got != want || (method == "HEAD") != (body == "") {
			t.Errorf("%s: %s with %q, want %s", ask, got, body, want)
		}
	}
}

func TestCheckListen(t *testing.T) {
	tests := []struct {
		addr, token string
		ok          bool
	}{
		{"127.0.0.1:8470", "", true}, {"127.3.4.5:0", "", true}, {"[::1]:8470", "", true}, {"localhost:8470", "", true},
		{"0.0.0.0:8470", "", false}, {":8470", "", false}, {"192.0.2.1:8470", "", false}, {"example.org:8470", "", false},
		{"8470", "", false}, {"0.0.0.0:8470", "t", true},
	}
	for _, tt := range tests {
		err := api.CheckListen(tt.addr, tt.token)
		if (err == nil) != tt.ok {
			t.Errorf("%q, token %q: %v", tt.addr, tt.token, err)
		}
		hint := "--token-file"
		if tt.addr == "8470" {
			hint = "write it like"
		}
		if err != nil && !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: the error does not say what to do: %v", tt.addr, err)
		}
	}
}

func TestListen(t *testing.T) {
	l, err := api.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := api.Listen(l.Addr().String(), ""); err == nil || !strings.Contains(err.Error(), "another program has the port") {
		t.Errorf("a port that is taken: %v", err)
	}
	if _, err := api.Listen("0.0.0.0:0", ""); err == nil || !strings.Contains(err.Error(), "--token-file") {
		t.Errorf("an address that others reach, without a token: %v", err)
	}
}

// The page needs nothing from elsewhere, and is not to be framed.
func TestPage(t *testing.T) {
	s := newServer(t, nil)
	elsewhere := regexp.MustCompile(`(?i)(src|href)="(https?:)?//|url\((https?:)?//|@import|\bimport\s*\(`)
	for _, path := range []string{"/", "/page/app.js", "/page/api.js", "/page/view.js", "/page/app.css"} {
		res := request{method: "GET", path: path}.do(t, s)
		got := text(t, res)
		if res.StatusCode != 200 || got == "" {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
		if found := elsewhere.FindString(got); found != "" {
			t.Errorf("%s loads from elsewhere: %s", path, found)
		}
		if !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: no content security policy", path)
		}
		again := request{method: "GET", path: path, header: map[string]string{"If-None-Match": res.Header.Get("ETag")}}.do(t, s)
		if again.StatusCode != 304 {
			t.Errorf("%s asked for again: %d, want 304", path, again.StatusCode)
		}
	}
	if res := (request{method: "GET", path: "/page/..%2Fserver.go"}).do(t, s); res.StatusCode != 404 {
		t.Errorf("a file outside the page: %d", res.StatusCode)
	}
}

// Streams are bounded; one that ends makes room.
func TestStreamsAreBounded(t *testing.T) {
	scheduler := &apitest.Scheduler{}
	listening := httptest.NewServer(newServer(t, func(o *api.Options) { o.Scheduler = scheduler }))
	t.Cleanup(listening.Close)
	open := func() (*http.Response, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		return send(t, ctx, "GET", listening.URL+"/v1/events", "", nil), cancel
	}
	var ends []context.CancelFunc
	for {
		res, end := open()
		ends = append(ends, end)
		if res.StatusCode == http.StatusServiceUnavailable {
			break
		}
		if len(ends) > 1000 {
			t.Fatal("a thousand streams were opened")
		}
	}
	ends[0]()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for tries := 0; ; tries++ {
		res, end := open()
		ends = append(ends, end)
		if res.StatusCode == http.StatusOK {
			break
		}
		if <-tick.C; tries > 500 {
			t.Fatal("a stream that ended makes no room")
		}
	}
	for _, end := range ends {
		end()
	}
}

// Serve ends when its context does, streams that are open included.
func TestServeStops(t *testing.T) {
	scheduler := &apitest.Scheduler{}
	s := newServer(t, func(o *api.Options) { o.Scheduler = scheduler })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	res, err := http.Get("http://" + l.Addr().String() + "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve does not return while a stream is open")
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Errorf("the stream did not end in order: %v", err)
	}
}
