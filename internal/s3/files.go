package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// metaSuffix is the file beside a local object that holds its metadata.
const metaSuffix = ".meta.json"

// Files is a directory as a store.
type Files struct{ root string }

// NewFiles makes a store of the files below root.
func NewFiles(root string) *Files { return &Files{root} }

func (f *Files) path(key string) string { return filepath.Join(f.root, filepath.FromSlash(key)) }

// List implements Store.
func (f *Files) List(ctx context.Context, pattern string) ([]Object, error) {
	prefix := fixedPrefix(pattern)
	start := f.path(prefix[:strings.LastIndexByte(prefix, '/')+1])
	depth := strings.Count(pattern, "/")
	var out []Object
	err := filepath.WalkDir(start, func(p string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		rel, err := filepath.Rel(f.root, p)
		if err != nil {
			return err
		}
		key := filepath.ToSlash(rel)
		if d.IsDir() {
			if !strings.HasSuffix(pattern, "/") && p != start && strings.Count(key, "/") >= depth {
				return filepath.SkipDir // no file below it can match
			}
			return nil
		}
		if !match(pattern, key) || strings.HasSuffix(key, metaSuffix) {
			return nil
		}
		info, err := os.Stat(p)
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		out = append(out, object(key, info))
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list %s: %w", f.path(pattern), err)
	}
	slices.SortFunc(out, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

func object(key string, info fs.FileInfo) Object {
	return Object{Key: key, Size: info.Size(), ETag: fmt.Sprintf("%x-%x", info.Size(), info.ModTime().UnixNano())}
}

// Open implements Store.
func (f *Files) Open(_ context.Context, key, etag string, offset int64) (io.ReadCloser, error) {
	file, err := os.Open(f.path(key))
	if err != nil {
		return nil, fileError(err)
	}
	info, err := file.Stat()
	if err == nil && etag != "" && object(key, info).ETag != etag {
		err = fmt.Errorf("read %s: %w", f.path(key), ErrChanged)
	}
	if err == nil {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &unchanged{file, key, etag}, nil
}

// unchanged reads a file as long as it has its ETag. A file that is written
// to in place would else be read half old, half new.
type unchanged struct {
	file      *os.File
	key, etag string
}

func (u *unchanged) Read(p []byte) (int, error) {
	n, err := u.file.Read(p)
	if u.etag == "" {
		return n, err
	}
	if info, statErr := u.file.Stat(); statErr != nil {
		return 0, statErr
	} else if object(u.key, info).ETag != u.etag {
		return 0, fmt.Errorf("read %s: %w", u.file.Name(), ErrChanged)
	}
	return n, err
}

func (u *unchanged) Close() error { return u.file.Close() }

// Stat implements Store.
func (f *Files) Stat(_ context.Context, key string) (Object, map[string]string, error) {
	info, err := os.Stat(f.path(key))
	if err != nil {
		return Object{}, nil, fileError(err)
	}
	meta := map[string]string{}
	doc, err := os.ReadFile(f.path(key) + metaSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Object{}, nil, err
	default:
		if err := json.Unmarshal(doc, &meta); err != nil {
			return Object{}, nil, fmt.Errorf("read metadata of %s: %w", f.path(key), err)
		}
	}
	return object(key, info), meta, nil
}

// PutNew implements Store. The object appears whole or not at all.
func (f *Files) PutNew(_ context.Context, key string, body []byte, meta map[string]string) (err error) {
	target := f.path(key)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	// Of two writers, the one that comes second may not leave its metadata
	// beside the other's object.
	unlock, err := lock(filepath.Dir(target))
	if err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Stat(target); err == nil {
		return fmt.Errorf("write %s: %w", target, ErrExists)
	}
	if len(meta) > 0 {
		doc, err := json.Marshal(meta)
		if err != nil {
			return fmt.Errorf("write metadata of %s: %w", target, err)
		}
		if err := publish(target+metaSuffix, doc, os.Rename); err != nil {
			return err
		}
	}
	// A link fails where the name is taken, unlike a rename.
	err = publish(target, body, os.Link)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write %s: %w", target, ErrExists)
	}
	return err
}

// lock makes this the only writer into a folder, among all processes of the
// machine, until unlock is called or the process ends.
func lock(dir string) (unlock func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock folder %s: %w", dir, errors.Join(err, d.Close()))
	}
	return d.Close, nil
}

func publish(target string, body []byte, place func(from, to string) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(target), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	defer func() {
		if e := os.Remove(tmp.Name()); err == nil && e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
	}()
	_, err = tmp.Write(body)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	if err := place(tmp.Name(), target); err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	return nil
}

func fileError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(ErrNotFound, err)
	}
	return err
}
