// Package s3 reads and writes objects: in S3, or in local directories behind
// the same interface.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"tidemill/jobs"
)

// Object is one object, or one local file.
type Object struct {
	Key  string `json:"key"` // below the bucket or the root
	Size int64  `json:"size"`
	// ETag changes when the content does; of a local file it is made of its
	// size and time.
	ETag string `json:"etag"`
}

// Store is a bucket, or a file system. Keys have slashes and no leading one.
type Store interface {
	// List gives the objects that match the pattern, in order of their keys:
	// * and ? match within one path element. A pattern that ends in / lists
	// all below it.
	List(ctx context.Context, pattern string) ([]Object, error)
	// Open reads an object from an offset on. Where etag is not empty and the
	// object has another, it fails with ErrChanged.
	Open(ctx context.Context, key, etag string, offset int64) (io.ReadCloser, error)
	// Stat describes an object and gives its metadata, with lower-case names.
	Stat(ctx context.Context, key string) (Object, map[string]string, error)
	// PutNew writes an object unless the key is taken: then ErrExists, and
	// what is there stays.
	PutNew(ctx context.Context, key string, body []byte, meta map[string]string) error
}

// What a store may answer.
var (
	ErrExists   = errors.New("the object exists already")
	ErrNotFound = errors.New("no such object")
	ErrChanged  = errors.New("the object has changed since it was listed")
)

// Location is where objects are: a bucket and a key or pattern in it.
type Location struct {
	Bucket string // empty for local files
	Path   string // no leading slash
}

// ParseLocation reads s3://bucket/path, file:///path or /path.
func ParseLocation(uri string) (Location, error) {
	if rest, ok := strings.CutPrefix(uri, "s3://"); ok {
		bucket, p, _ := strings.Cut(rest, "/")
		if bucket == "" {
			return Location{}, fmt.Errorf("%q names no bucket; write it like s3://bucket/2015/*/*.gz", uri)
		}
		return Location{bucket, p}, nil
	}
	p := strings.TrimPrefix(uri, "file://")
	if !strings.HasPrefix(p, "/") {
		return Location{}, fmt.Errorf("%q is neither like s3://bucket/2015/*/*.gz nor an absolute path like file:///data/*.gz", uri)
	}
	dir := strings.HasSuffix(p, "/")
	p = strings.TrimPrefix(filepath.Clean(p), "/")
	if dir && p != "" {
		p += "/"
	}
	return Location{"", p}, nil
}

func (l Location) String() string {
	if l.Bucket == "" {
		return "file:///" + l.Path
	}
	return "s3://" + l.Bucket + "/" + l.Path
}

// Matches says whether the location, taken as a pattern, selects a key.
func (l Location) Matches(o Location) bool {
	return l.Bucket == o.Bucket && match(l.Path, o.Path)
}

// Open reads a location and opens its store; the named connection is needed
// for buckets only.
func Open(uri string, conns jobs.Connections, name string) (Location, Store, error) {
	at, err := ParseLocation(uri)
	if err != nil {
		return at, nil, jobs.Permanent(err)
	}
	if at.Bucket == "" {
		return at, NewFiles("/"), nil
	}
	conn, err := conns.S3Named(name)
	if err != nil {
		return at, nil, err
	}
	store, err := NewBucket(conn, at.Bucket)
	return at, store, err
}

// match compares element by element, so that * never crosses a slash.
func match(pattern, key string) bool {
	if strings.HasSuffix(pattern, "/") || pattern == "" {
		return strings.HasPrefix(key, pattern)
	}
	ok, err := path.Match(escape(pattern), key)
	return err == nil && ok
}

// escape leaves only * and ? special: brackets may occur in keys.
func escape(pattern string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`).Replace(pattern)
}

// fixedPrefix is what all keys that match begin with: what a listing can be
// narrowed to.
func fixedPrefix(pattern string) string {
	if i := strings.IndexAny(pattern, "*?"); i >= 0 {
		return pattern[:i]
	}
	return pattern
}
