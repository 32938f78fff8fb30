package master

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// registry remembers on disk which agents were admitted, so that a master that takes
// over knows whom to expect. It is a small file, rewritten whole.
type registry struct {
	path string // empty: nothing is kept

	mu   sync.Mutex
	file registryFile
}

type registryFile struct {
	Version     int                  `json:"version"`
	Agents      []string             `json:"agents"`
	Unreachable map[string]time.Time `json:"unreachable"`
	Gone        []string             `json:"gone,omitempty"` // marked so by operators
}

func openRegistry(dir string) (*registry, error) {
	r := &registry{file: registryFile{Version: 1, Unreachable: map[string]time.Time{}}}
	if dir == "" {
		return r, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r.path = filepath.Join(dir, "registry.json")
	return r, r.read()
}

func (r *registry) read() error {
	data, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open registry: %w", err)
	}
	if err := json.Unmarshal(data, &r.file); err != nil {
		return fmt.Errorf("open registry %s: %w (remove the file to start without it)", r.path, err)
	}
	if r.file.Unreachable == nil {
		r.file.Unreachable = map[string]time.Time{}
	}
	return nil
}

// load returns the admitted and the unreachable agents, read anew where masters share
// the file.
func (r *registry) load() (admitted []string, unreachable map[string]time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.path != "" {
		_ = r.read() // what was read at the start serves else
	}
	admitted = append(admitted, r.file.Agents...)
	unreachable = map[string]time.Time{}
	maps.Copy(unreachable, r.file.Unreachable)
	return admitted, unreachable
}

func (r *registry) admit(id string) {
	r.change(func(f *registryFile) {
		f.Agents = append(without(f.Agents, id), id)
		delete(f.Unreachable, id)
	})
}

func (r *registry) markUnreachable(id string, at time.Time) {
	r.change(func(f *registryFile) {
		f.Agents = without(f.Agents, id)
		f.Unreachable[id] = at
	})
}

func (r *registry) remove(id string) {
	r.change(func(f *registryFile) { f.Agents = without(f.Agents, id) })
}

func (r *registry) markGone(id string) {
	r.change(func(f *registryFile) { f.Gone = append(without(f.Gone, id), id) })
}

func (r *registry) isGone(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.file.Gone, id)
}

func (r *registry) change(edit func(*registryFile)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	edit(&r.file)
	if r.path == "" {
		return
	}
	data, err := json.Marshal(r.file)
	if err != nil {
		return // strings and times always encode
	}
	next := r.path + ".next"
	if os.WriteFile(next, data, 0o644) == nil {
		_ = os.Rename(next, r.path) // the former file stays valid where this fails
	}
}

func without(list []string, id string) []string {
	var rest []string
	for _, item := range list {
		if item != id {
			rest = append(rest, item)
		}
	}
	return rest
}
