package ingest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// log is a producer that keeps what it is given, and answers each record with
// what answer says; a nil answer function never answers.
type log struct {
	mu      sync.Mutex
	records []*kgo.Record
	answer  func(i int) error
	held    int64
}

func (l *log) TryProduce(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	l.mu.Lock()
	i := len(l.records)
	l.records = append(l.records, r)
	l.mu.Unlock()
	if l.answer != nil {
		promise(r, l.answer(i))
	}
}

func (l *log) BufferedProduceRecords() int64 { return l.held }
func (l *log) BufferedProduceBytes() int64   { return 0 }

func acknowledge(int) error { return nil }

func testDoor(t *testing.T, l *log, spec string) *door {
	t.Helper()
	s, err := Parse([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	return newDoor(t.Context(), l, s, zerolog.Nop())
}

// doc is a valid event of now.
func doc(i int) string {
	return fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012x","ad_id":"00000000-0000-4000-8000-000000000001","campaign":"00000000-0000-4000-8000-0000000000aa","ts":%d,"type":"view"}`,
		i, time.Now().UnixMilli())
}

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func TestPost(t *testing.T) {
	old := strings.Replace(doc(1), fmt.Sprint(time.Now().UnixMilli())[:4], "1000", 1)
	spec := `{"from":"http","to":"kafka","http":{"max_body":2000,"max_plain":4000,"max_events":5,"max_event":500,"buffer":10,"buffer_bytes":10000}}`
	cases := []struct {
		name, body, media, encoding string
		status, accepted            int
		errors                      string // index field code
	}{
		{name: "object", body: doc(1), status: 202, accepted: 1},
		{name: "object over lines", body: strings.ReplaceAll(doc(1), ",", ",\n "), status: 202, accepted: 1},
		{name: "list", body: "[" + doc(1) + "," + doc(2) + "]", status: 202, accepted: 2},
		{name: "empty list", body: "[]", status: 202},
		{name: "lines", media: "application/x-ndjson", body: doc(1) + "\n\n" + doc(2) + "\r\n", status: 202, accepted: 2},
		{name: "charset", media: "application/json; charset=utf-8", body: doc(1), status: 202, accepted: 1},
		{name: "gzip", encoding: "gzip", body: zipped(doc(1)), status: 202, accepted: 1},
		{name: "identity", encoding: "identity", body: doc(1), status: 202, accepted: 1},
		{name: "nothing", body: "", status: 400, errors: "0  syntax"},
		{name: "one bad refuses all", body: "[" + doc(1) + `,{"id":"x"}]`, status: 400, errors: "1 id uuid, 1 ad_id missing, 1 campaign missing, 1 ts missing, 1 type missing"},
		{name: "no id", body: strings.Replace(doc(1), `"id"`, `"ID"`, 1), status: 400, errors: "0 id missing"},
		{name: "every fault is named", media: "application/x-ndjson", status: 400,
			body:   strings.ReplaceAll(doc(0), "view", "buy") + "\n" + doc(1) + "\nx\n" + strings.Replace(old, "view", "buy", 1),
			errors: "0 type type, 2  syntax, 3 type type, 3 ts window"},
		{name: "no UTF-8 in a list", body: "[" + doc(1) + "," + strings.Replace(doc(2), "view", "\xff", 1) + "]", status: 400, errors: "1  utf8"},
		{name: "too deep in a list", body: "[" + doc(1) + "," + strings.Repeat("[", 20) + "]", status: 400, errors: "1  too_deep"},
		{name: "bad list", body: "[" + doc(1), status: 400, errors: "1  syntax"},
		{name: "no gzip", encoding: "gzip", body: doc(1), status: 400},
		{name: "cut gzip", encoding: "gzip", body: zipped(doc(1))[:60], status: 400},
		{name: "zstd", encoding: "zstd", body: doc(1), status: 415},
		{name: "form", media: "application/x-www-form-urlencoded", body: doc(1), status: 415},
		{name: "body too long", body: strings.Repeat(" ", 2001), status: 413},
		{name: "unzips too long", encoding: "gzip", body: zipped(strings.Repeat(" ", 4001)), status: 413},
		{name: "too many in a list", body: "[" + strings.Repeat("{},", 5) + "{}]", status: 413},
		{name: "too many lines", media: "application/x-ndjson", body: strings.Repeat("{}\n", 6), status: 413},
		{name: "event too long", body: strings.Replace(doc(1), "{", `{"x":"`+strings.Repeat("y", 400)+`",`, 1), status: 413, errors: "0  too_large"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := &log{answer: acknowledge}
			r := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(c.body))
			r.Header.Set("Content-Type", c.media)
			r.Header.Set("Content-Encoding", c.encoding)
			r.Header.Set("X-Request-Id", "mine")
			w := httptest.NewRecorder()
			testDoor(t, l, spec).handler().ServeHTTP(w, r)
			if w.Code != c.status || len(l.records) != c.accepted || w.Header().Get("X-Request-Id") != "mine" {
				t.Fatalf("%d with %d records, want %d with %d: %s", w.Code, len(l.records), c.status, c.accepted, w.Body)
			}
			for _, rec := range l.records {
				if rec.Topic != "raw_events" || !strings.Contains(string(rec.Value), string(rec.Key)) || bytes.ContainsAny(rec.Value, "\n\r") {
					t.Errorf("record %s: %s", rec.Key, rec.Value)
				}
			}
			if c.status == 202 {
				return
			}
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != c.status || p.Title == "" || p.Detail == "" ||
				w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("no problem document: %s (%v)", w.Body, err)
			}
			var found []string
			for _, e := range p.Errors {
				found = append(found, fmt.Sprintf("%d %s %s", e.Index, e.Field, e.Code))
			}
			if diff := cmp.Diff(c.errors, strings.Join(found, ", ")); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTooLongABodyIsReadBeforeItIsRefused: a client that sends all of its body
// before it reads must find the answer, not a broken connection.
func TestTooLongABodyIsReadBeforeItIsRefused(t *testing.T) {
	server := httptest.NewServer(testDoor(t, &log{answer: acknowledge}, `{"from":"http","to":"kafka"}`).handler())
	defer server.Close()
	for header, sent := range map[string]int{"": 16 << 20, "Expect: 100-continue\r\n": 0} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		head := fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n", 16<<20, header)
		if _, err := io.WriteString(conn, head+strings.Repeat(" ", sent)); err != nil {
			t.Errorf("%q: send the body: %v", header, err)
		}
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%q: %v", header, err)
		}
		if r.Body.Close(); r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%q: %s, want 413", header, r.Status)
		}
	}
}

func TestOtherRequestsAreRefusedAsProblems(t *testing.T) {
	for request, want := range map[string]int{"GET /v1/events": 405, "PUT /v1/events": 405, "POST /v1/event": 404, "GET /": 404} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		testDoor(t, &log{}, `{"from":"http","to":"kafka"}`).handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != want || p.Status != want || p.Detail == "" {
			t.Errorf("%s: %d %s (%v), want a problem of status %d", request, w.Code, w.Body, err, want)
		}
	}
}

func post(d *door, body string) (*httptest.ResponseRecorder, problem) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(body))
	d.handler().ServeHTTP(w, r)
	var p problem
	if w.Code != http.StatusAccepted {
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			p.Detail = err.Error()
		}
	}
	return w, p
}

func TestErrorsAreBounded(t *testing.T) {
	d := testDoor(t, &log{answer: acknowledge}, `{"from":"http","to":"kafka"}`)
	w, p := post(d, "["+strings.Repeat("{},", 500)+"{}]")
	if w.Code != 400 || len(p.Errors) != maxErrors || !p.More {
		t.Errorf("%d with %d errors, more %v", w.Code, len(p.Errors), p.More)
	}
}

func TestPostWhileKafkaFails(t *testing.T) {
	three := "[" + doc(1) + "," + doc(2) + "," + doc(3) + "]"
	cases := []struct {
		name   string
		answer func(i int) error
		held   int64
		status int
		open   []int
		detail string
	}{
		{name: "buffer already full", held: 49_999, status: 429, detail: "buffer is full"},
		{name: "buffer fills", answer: func(i int) error { return map[bool]error{true: kgo.ErrMaxBuffered}[i == 2] }, status: 429, detail: "buffer is full"},
		{name: "no topic", answer: func(int) error { return kerr.UnknownTopicOrPartition }, status: 503, open: []int{0, 1, 2}, detail: "tidemill schema apply --topic raw_events"},
		{name: "one refused", answer: func(i int) error { return map[bool]error{true: errors.New("no")}[i == 1] }, status: 503, open: []int{1}, detail: "it is safe"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w, p := post(testDoor(t, &log{answer: c.answer, held: c.held}, `{"from":"http","to":"kafka"}`), three)
			if w.Code != c.status || w.Header().Get("Retry-After") == "" || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("%d, retry after %q: %s", w.Code, w.Header().Get("Retry-After"), p.Detail)
			}
			if diff := cmp.Diff(c.open, p.Unacknowledged); diff != "" {
				t.Errorf("unacknowledged (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPostWhileKafkaIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w, p := post(testDoor(t, &log{}, `{"from":"http","to":"kafka","http":{"ack_timeout":"7s"}}`), doc(1))
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("it took %s", took)
		}
		if w.Code != 503 || !cmp.Equal(p.Unacknowledged, []int{0}) || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%d: %+v", w.Code, p)
		}
	})
}

func TestReadiness(t *testing.T) {
	l := &log{answer: acknowledge}
	d := testDoor(t, l, `{"from":"http","to":"kafka"}`)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		d.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, _ := get("/readyz"); code != 200 {
		t.Errorf("at the start: %d", code)
	}
	l.held = 45_001
	if code, text := get("/readyz"); code != 503 || !strings.Contains(text, "90 %") {
		t.Errorf("with a full buffer: %d %s", code, text)
	}
	l.held = 0
	if w, _ := post(d, doc(1)); w.Code != 202 {
		t.Fatalf("post: %d", w.Code)
	}
	d.draining.Store(true)
	if code, _ := get("/readyz"); code != 503 {
		t.Errorf("while draining: %d", code)
	}
	if w, _ := post(d, doc(1)); w.Code != 503 {
		t.Errorf("post while draining: %d", w.Code)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("health: %d", code)
	}
	_, text := get("/metrics")
	for _, line := range []string{"tidemill_ingest_events_total 1", `tidemill_ingest_requests_total{code="202"} 1`, `tidemill_ingest_requests_total{code="503"} 1`, "tidemill_ingest_buffered_events 0"} {
		if !strings.Contains(text, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}

func TestTooManyRequests(t *testing.T) {
	d := testDoor(t, &log{answer: acknowledge}, `{"from":"http","to":"kafka"}`)
	for range maxRequests {
		d.slots <- struct{}{}
	}
	if w, p := post(d, doc(1)); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d: %+v", w.Code, p)
	}
	<-d.slots
	if w, p := post(d, doc(1)); w.Code != 202 {
		t.Errorf("%d: %+v", w.Code, p)
	}
}

func BenchmarkPost(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var body strings.Builder
			for i := range n {
				body.WriteString(doc(i) + "\n")
			}
			s, err := Parse([]byte(`{"from":"http","to":"kafka"}`))
			if err != nil {
				b.Fatal(err)
			}
			d := newDoor(b.Context(), discard{}, s, zerolog.Nop())
			h := d.handler()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(body.String()))
				r.Header.Set("Content-Type", "application/x-ndjson")
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != http.StatusAccepted {
					b.Fatal(w.Body)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// discard acknowledges at once and keeps nothing.
type discard struct{}

func (discard) TryProduce(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	promise(r, nil)
}
func (discard) BufferedProduceRecords() int64 { return 0 }
func (discard) BufferedProduceBytes() int64   { return 0 }
