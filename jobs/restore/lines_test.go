package restore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/klauspost/compress/gzip"

	"tidemill/internal/s3"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// flaky is a store of one object whose connections break after every portion.
type flaky struct {
	s3.Store // nothing else is asked for
	text     string
	portion  int
	opens    []int64
	fail     error
}

var errBroken = errors.New("connection reset")

func (f *flaky) Open(_ context.Context, _, _ string, offset int64) (io.ReadCloser, error) {
	f.opens = append(f.opens, offset)
	if f.fail != nil {
		return nil, f.fail
	}
	rest := f.text[offset:]
	part := strings.NewReader(rest[:min(f.portion, len(rest))])
	return io.NopCloser(io.MultiReader(part, iotest.ErrReader(errBroken))), nil
}

func TestSourceGoesOnWhereTheConnectionBroke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{text: "0123456789", portion: 4}
		src := &source{ctx: t.Context(), store: store, object: s3.Object{Key: "a", Size: 10}}
		got, err := io.ReadAll(src)
		if string(got) != store.text || err != nil || src.close() != nil {
			t.Errorf("%q, %v", got, err)
		}
		if diff := cmp.Diff([]int64{0, 4, 8}, store.opens); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSourceGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			fail  error
			opens int
		}{
			{nil, reopens + 1}, // no byte ever comes
			{errBroken, reopens + 1},
			{s3.ErrChanged, 1},
			{s3.ErrNotFound, 1},
		} {
			store := &flaky{text: "0123456789", fail: tt.fail}
			src := &source{ctx: t.Context(), store: store, object: s3.Object{Key: "a", Size: 10}}
			if _, err := io.ReadAll(src); err == nil || src.err == nil || tt.fail != nil && !errors.Is(err, tt.fail) {
				t.Errorf("%v: %v", tt.fail, err)
			}
			if len(store.opens) != tt.opens {
				t.Errorf("%v: opened %d times", tt.fail, len(store.opens))
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("killed"))
		src := &source{ctx: ctx, store: &flaky{text: "0123456789"}, object: s3.Object{Size: 10}}
		if _, err := io.ReadAll(src); err == nil || err.Error() != "killed" {
			t.Errorf("killed: %v", err)
		}
	})
}

// An S3 server that cuts its answers short is not taken for a truncated object.
func TestSourceOverS3(t *testing.T) {
	fake := gofakes3.New(s3mem.New()).Server()
	cut := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || cut == 0 {
			fake.ServeHTTP(w, r)
			return
		}
		cut--
		fake.ServeHTTP(&cutter{ResponseWriter: w, left: 30_000}, r)
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	bucket, err := s3.NewBucket(jobs.S3Connection{Endpoint: server.URL, AccessKey: "a", SecretKey: "b"}, "bucket")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("0123456789"), 10_000)
	if err := bucket.PutNew(t.Context(), "a", body, nil); err != nil {
		t.Fatal(err)
	}
	object, _, err := bucket.Stat(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	cut = 2
	src := &source{ctx: t.Context(), store: bucket, object: object}
	got, err := io.ReadAll(src)
	if err = errors.Join(err, src.close()); err != nil || !bytes.Equal(got, body) || cut != 0 {
		t.Errorf("%d of %d bytes, %v, %d answers still to be cut", len(got), len(body), err, cut)
	}
}

// cutter sends the beginning of an answer.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	c.left -= n
	if err == nil && n < len(p) {
		c.ResponseWriter.(http.Flusher).Flush()
		err = errBroken
	}
	return n, err
}

func TestPlain(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte("some text")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := packed.Bytes()
	tests := []struct {
		name, in, want string
		ok             bool
	}{
		{"empty", "", "", true},
		{"not compressed", "text", "text", true},
		{"one byte", "\x1f", "\x1f", true},
		{"compressed", string(whole), "some text", true},
		{"twice", string(whole) + string(whole), "some textsome text", true},
		{"no header", string(whole[:5]), "", false},
		{"no trailer", string(whole[:len(whole)-1]), "some text", false},
		{"wrong checksum", string(whole[:len(whole)-8]) + "12345678", "some text", false},
		{"rubbish after it", string(whole) + "rubbish", "some text", false},
	}
	for _, tt := range tests {
		r, err := plain(strings.NewReader(tt.in))
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
		}
		if string(got) != tt.want || (err == nil) != tt.ok || errors.Is(err, io.EOF) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func TestCapped(t *testing.T) {
	for left, ok := range map[int64]bool{0: false, 9: false, 10: true, 11: true} {
		got, err := io.ReadAll(&capped{strings.NewReader("0123456789"), left})
		if (err == nil) != ok || int64(len(got)) != min(left, 10) {
			t.Errorf("%d: %q, %v", left, got, err)
		}
	}
}

func TestLines(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("ab\ncd"), iotest.ErrReader(errBroken))
	in := &lineReader{r: bufio.NewReader(broken), max: 10}
	if text, _, err := in.next(); string(text) != "ab" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if text, _, err := in.next(); string(text) != "cd" || !errors.Is(err, errBroken) {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAByteOrderMarkIsNoPartOfTheFirstLine(t *testing.T) {
	e := event.Event{ID: event.UUID{1}, TS: 1441065600000, Type: event.View}
	text := "\ufeff" + string(e.AppendJSON(nil)) + "\r\n\ufeff\n"
	r := &restoring{work: work{spec: Spec{Batch: 10, MaxLine: 1000}}}
	b, err := r.lines(t.Context(), &file{}, &lineReader{r: bufio.NewReader(strings.NewReader(text)), max: 1000})
	if !errors.Is(err, io.EOF) || len(b.events) != 1 || b.events[0] != e || len(b.broken) != 1 || b.broken[0].Line != 2 {
		t.Errorf("%+v, %v, want the first line and no other", b, err)
	}
}

// Lines are what they are, however long, and however the text comes.
func FuzzLines(f *testing.F) {
	f.Add("a\nbb\n\nccc", 2)
	f.Add(strings.Repeat("x", 40)+"\n"+strings.Repeat("y", 15), 20)
	f.Add("\n", 1)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < 1 || limit > 1000 {
			return
		}
		var want []string
		for l := range strings.Lines(text) {
			l = strings.TrimSuffix(l, "\n")
			want = append(want, fmt.Sprintf("%q %t", l[:min(len(l), limit)], len(l) > limit))
		}
		in := &lineReader{r: bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(text)), 16), max: limit}
		var got []string
		for {
			line, long, err := in.next()
			if err != nil {
				if !errors.Is(err, io.EOF) || len(line) > 0 {
					t.Fatalf("%q, %v", line, err)
				}
				break
			}
			got = append(got, fmt.Sprintf("%q %t", line, long))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
