package s3

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tidemill/jobs"
)

// stores are the two kinds, for tests that both must pass.
func stores(t *testing.T) map[string]Store {
	server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(server.Close)
	b, err := NewBucket(jobs.S3Connection{Endpoint: server.URL, AccessKey: "k", SecretKey: "s"}, "events")
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []bool{true, false} {
		if made, err := b.Create(t.Context()); err != nil || made != first {
			t.Fatalf("bucket made %v, %v; want %v", made, err, first)
		}
	}
	return map[string]Store{"bucket": b, "files": NewFiles(t.TempDir())}
}

func TestStore(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"2015/01/a.gz", "2015/01/b.gz", "2015/12/a.gz", "2015/12/a.txt", "2015/x.gz", "2016/01/a.gz", "2015/01/deep/a.gz"} {
				if err := store.PutNew(t.Context(), key, []byte("content of "+key), map[string]string{"first": "7"}); err != nil {
					t.Fatal(err)
				}
			}
			testList(t, store)
			testOpen(t, store)
			testPutNew(t, store)
		})
	}
}

func testList(t *testing.T, store Store) {
	for pattern, want := range map[string]string{
		"2015/*/*.gz":     "2015/01/a.gz 2015/01/b.gz 2015/12/a.gz",
		"2015/0?/[ab].gz": "",
		"201?/01/a.gz":    "2015/01/a.gz 2016/01/a.gz",
		"2015/01/":        "2015/01/a.gz 2015/01/b.gz 2015/01/deep/a.gz",
		"2015/x.gz":       "2015/x.gz",
		"2017/*":          "",
		"*.gz":            "",
	} {
		found, err := store.List(t.Context(), pattern)
		if err != nil {
			t.Errorf("list %s: %v", pattern, err)
		}
		var keys []string
		for _, o := range found {
			keys = append(keys, o.Key)
			if o.Size != int64(len("content of "+o.Key)) || o.ETag == "" {
				t.Errorf("list %s: %+v", pattern, o)
			}
		}
		if diff := cmp.Diff(want, strings.Join(keys, " ")); diff != "" {
			t.Errorf("list %s (-want +got):\n%s", pattern, diff)
		}
	}
}

func read(ctx context.Context, store Store, key, etag string, offset int64) (string, error) {
	r, err := store.Open(ctx, key, etag, offset)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func testOpen(t *testing.T, store Store) {
	o, meta, err := store.Stat(t.Context(), "2015/x.gz")
	if err != nil || meta["first"] != "7" {
		t.Fatalf("stat: %+v, %v, %v", o, meta, err)
	}
	for offset, want := range map[int64]string{0: "content of 2015/x.gz", 8: "of 2015/x.gz", 20: ""} {
		if got, err := read(t.Context(), store, o.Key, o.ETag, offset); err != nil || got != want {
			t.Errorf("from %d: %q, %v; want %q", offset, got, err, want)
		}
	}
	if _, err := read(t.Context(), store, o.Key, `"other"`, 0); !errors.Is(err, ErrChanged) {
		t.Errorf("another etag: %v", err)
	}
	if _, err := read(t.Context(), store, "none", "", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if _, _, err := store.Stat(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("stat of missing: %v", err)
	}
}

func testPutNew(t *testing.T, store Store) {
	results := make(chan error)
	for range 8 {
		go func() { results <- store.PutNew(t.Context(), "race", []byte("x"), nil) }()
	}
	won := 0
	for range 8 {
		if err := <-results; err == nil {
			won++
		} else if !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won", won)
	}
	if err := store.PutNew(t.Context(), "2015/x.gz", []byte("other"), nil); !errors.Is(err, ErrExists) {
		t.Errorf("write again: %v", err)
	}
	if got, err := read(t.Context(), store, "2015/x.gz", "", 0); err != nil || got != "content of 2015/x.gz" {
		t.Errorf("after it: %q, %v", got, err)
	}
}

func TestBucketErrorsSayWhatToDo(t *testing.T) {
	server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	conn := jobs.S3Connection{Endpoint: server.URL, AccessKey: "k", SecretKey: "s"}
	b, err := NewBucket(conn, "none")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.List(t.Context(), "*"); err == nil || !strings.Contains(err.Error(), "tidemill schema apply --bucket none") {
		t.Errorf("missing bucket: %v", err)
	}
	server.Close()
	if _, err := b.List(t.Context(), "*"); err == nil || !strings.Contains(err.Error(), "tidemill stack up") {
		t.Errorf("no server: %v", err)
	}
}

func TestParseLocation(t *testing.T) {
	dir := t.TempDir()
	for uri, want := range map[string]Location{
		"s3://b/2015/*/*.gz": {"b", "2015/*/*.gz"},
		"s3://b":             {"b", ""},
		"file:///a/b/*.gz":   {"", "a/b/*.gz"},
		"/a//b/../c.gz":      {"", "a/c.gz"},
		"/a/b/":              {"", "a/b/"},
		dir + "/x":           {"", strings.TrimPrefix(filepath.ToSlash(dir), "/") + "/x"},
	} {
		got, err := ParseLocation(uri)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", uri, got, err)
		}
	}
	for _, uri := range []string{"", "s3://", "s3:///x", "a/b", "http://x/y", "file://host/x"} {
		if l, err := ParseLocation(uri); err == nil {
			t.Errorf("%q was read as %+v", uri, l)
		}
	}
	glob := Location{"b", "2015/*/*.gz"}
	if !glob.Matches(Location{"b", "2015/01/x.gz"}) || glob.Matches(Location{"c", "2015/01/x.gz"}) || glob.Matches(Location{"b", "q/01/x.gz"}) {
		t.Error("the pattern selects the wrong locations")
	}
}
