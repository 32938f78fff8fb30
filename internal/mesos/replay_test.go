package mesos

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	executorwire "github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/master"
	schedulerwire "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/golden"
)

// How a recorded stream ended.
const (
	stillOpen = iota
	endedClean
	endedBroken
)

// exchange is one recorded request and its answer.
type exchange struct {
	conn         string
	method, path string
	kind         string // the call's type, where the body is JSON
	body         []byte
	status       int // 0: no answer was recorded
	header       http.Header
	answer       []byte
	frames       [][]byte
	end          int
}

// exchanges puts a recording's lines together, in the order of the requests.
func exchanges(t *testing.T, lines []golden.Line) []*exchange {
	t.Helper()
	var all []*exchange
	open := map[string]*exchange{}
	for _, l := range lines {
		if l.What == golden.Request {
			x := requestOf(t, l)
			all = append(all, x)
			open[l.Conn] = x
			continue
		}
		x := open[l.Conn]
		if x == nil {
			continue // a remark
		}
		switch l.What {
		case "response-head":
			x.head(t, l.Raw)
		case "response-body":
			x.answer = []byte(l.Raw)
		case "chunk":
			if _, record, ok := strings.Cut(l.Raw, "\n"); ok {
				x.frames = append(x.frames, []byte(record))
			}
		case "eof":
			x.end = endedBroken
			if strings.Contains(l.Raw, "terminating") {
				x.end = endedClean
			}
		case "raw-bytes":
			x.rawAnswer(l.Raw)
		}
	}
	return all
}

func requestOf(t *testing.T, l golden.Line) *exchange {
	t.Helper()
	head, body, _ := strings.Cut(l.Raw, "\r\n\r\n")
	fields := strings.Fields(strings.SplitN(head, "\r\n", 2)[0])
	x := &exchange{conn: l.Conn, body: []byte(body)}
	if len(fields) == 3 {
		x.method, x.path = fields[0], fields[1]
	}
	var call struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(x.body, &call) == nil {
		x.kind = call.Type
	}
	return x
}

func (x *exchange) head(t *testing.T, raw string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
	if err != nil {
		t.Fatalf("recorded head %q: %v", raw, err)
	}
	x.status, x.header = resp.StatusCode, resp.Header
}

// rawAnswer takes an answer that was recorded as it came from the socket. The
// recorder read for a while only: what it has of a stream may end anywhere.
func (x *exchange) rawAnswer(raw string) {
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
	if err != nil {
		return
	}
	x.status, x.header = resp.StatusCode, resp.Header
	body, err := io.ReadAll(resp.Body)
	if resp.Header.Get(streamHeader) == "" {
		x.answer = body
		return
	}
	x.end = endedClean
	if err != nil {
		x.end = endedBroken
	}
	if resp.Header.Get("Content-Type") == Protobuf.mediaType() {
		x.end = stillOpen // binary records do not survive a recording as text
		return
	}
	for in := newFrames(strings.NewReader(string(body))); ; {
		frame, err := in.next()
		if err != nil {
			return
		}
		x.frames = append(x.frames, append([]byte(nil), frame...))
	}
}

// replay is a server that answers as recorded, in JSON or transcoded.
type replay struct {
	*httptest.Server
	codec Codec

	mu      sync.Mutex
	now     *exchange
	master  []byte // a recorded answer to GET_MASTER
	request []byte // the body of the last request to now
	header  http.Header
	paths   []string
}

func newReplay(t *testing.T, codec Codec) *replay {
	r := &replay{codec: codec}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *replay) addr() string { return r.Listener.Addr().String() }

// expect sets the exchange that is played next.
func (r *replay) expect(x *exchange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.request, r.paths, r.header = x, nil, nil, nil
}

func (r *replay) seen() (body []byte, header http.Header, paths []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.request, r.header, r.paths
}

func (r *replay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.mu.Lock()
	x, elected := r.now, r.master
	operator := strings.HasSuffix(req.URL.Path, operatorPath)
	if !operator {
		r.request, r.header, r.paths = body, req.Header.Clone(), append(r.paths, req.URL.Path)
	}
	again := len(r.paths) > 1
	r.mu.Unlock()
	switch {
	case operator:
		r.write(w, http.StatusOK, elected, &master.Response{})
	case x.status == http.StatusTemporaryRedirect && again:
		http.Error(w, "No leader elected", http.StatusServiceUnavailable)
	case x.status == http.StatusTemporaryRedirect:
		_, path, _ := strings.Cut(strings.TrimPrefix(x.header.Get("Location"), "//"), "/")
		w.Header().Set("Location", "//"+r.addr()+"/"+path)
		w.WriteHeader(x.status)
	case len(x.frames) > 0:
		r.stream(w, req, x)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(x.status)
		w.Write(x.answer) //nolint:errcheck // the client may be gone
	}
}

func (r *replay) stream(w http.ResponseWriter, req *http.Request, x *exchange) {
	w.Header().Set("Content-Type", r.codec.mediaType())
	if id := x.header.Get(streamHeader); id != "" {
		w.Header().Set(streamHeader, id)
	}
	w.WriteHeader(x.status)
	for _, frame := range x.frames {
		w.Write(record(r.transcode(req, frame))) //nolint:errcheck // the client may be gone
		w.(http.Flusher).Flush()
	}
	switch x.end {
	case endedBroken:
		panic(http.ErrAbortHandler)
	case stillOpen:
		w.(http.Flusher).Flush()
		<-req.Context().Done()
	}
}

type anyMessage interface {
	encoding.Marshaler
	message
}

func (r *replay) transcode(req *http.Request, frame []byte) []byte {
	if strings.HasSuffix(req.URL.Path, executorPath) {
		return transcode(JSON, r.codec, frame, &executorwire.Event{})
	}
	return transcode(JSON, r.codec, frame, &schedulerwire.Event{})
}

func transcode(from, to Codec, b []byte, m anyMessage) []byte {
	if from == to {
		return b
	}
	if err := from.decode(b, m); err != nil {
		panic(err)
	}
	out, err := to.encode(m)
	if err != nil {
		panic(err)
	}
	return out
}

func (r *replay) write(w http.ResponseWriter, status int, jsonBody []byte, m anyMessage) {
	if jsonBody == nil {
		http.NotFound(w, nil)
		return
	}
	w.Header().Set("Content-Type", r.codec.mediaType())
	w.WriteHeader(status)
	w.Write(transcode(JSON, r.codec, jsonBody, m)) //nolint:errcheck // the client may be gone
}

// record frames a message as RecordIO.
func record(b []byte) []byte {
	return append([]byte(itoa(len(b))+"\n"), b...)
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// asJSON gives what was sent as comparable JSON: nulls and empty lists, which
// Mesos takes for unset, left out.
func asJSON(t *testing.T, codec Codec, body []byte, m anyMessage) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(transcode(codec, JSON, body, m), &out); err != nil {
		t.Fatalf("a request that is no JSON: %v: %s", err, body)
	}
	return compact(out).(map[string]any)
}

func compact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			inner = compact(inner)
			if list, ok := inner.([]any); inner == nil || ok && len(list) == 0 {
				delete(v, key)
				continue
			}
			v[key] = inner
		}
	case []any:
		for i := range v {
			v[i] = compact(v[i])
		}
	}
	return v
}

var errTimeout = errors.New("the test's patience is over")
