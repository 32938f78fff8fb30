package jobfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what is read.
const (
	MaxBytes = 1 << 20 // of one source
	MaxFiles = 1000    // of one folder
)

// Source is one file's bytes under the name that errors show. A name that
// ends in .json is read as JSON only.
type Source struct {
	Name string
	Data []byte
}

// Read finds the sources at path: a file, a folder with everything in it and
// below that ends in .yaml, .yml or .json (hidden ones left out), or "-" for
// standard input.
func Read(path string, stdin io.Reader) ([]Source, error) {
	if path == "-" {
		data, err := readBounded(stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return []Source{{Name: "stdin", Data: data}}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	names := []string{path}
	if info.IsDir() {
		if names, err = documents(path); err != nil {
			return nil, fmt.Errorf("read jobs in %s: %w", path, err)
		}
	}
	sources := make([]Source, 0, len(names))
	for _, name := range names {
		src, err := readFile(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, src)
	}
	return sources, nil
}

func documents(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != dir && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		if slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path))) {
			names = append(names, path)
		}
		if len(names) > MaxFiles {
			return fmt.Errorf("more than %d files; apply its folders one by one", MaxFiles)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no file there ends in .yaml, .yml or .json")
	}
	return names, err
}

func readFile(name string) (Source, error) {
	f, err := os.Open(name)
	if err != nil {
		return Source{}, fmt.Errorf("read jobs: %w", err)
	}
	defer f.Close()
	data, err := readBounded(f)
	if err != nil {
		return Source{}, fmt.Errorf("read %s: %w", name, err)
	}
	return Source{Name: name, Data: data}, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err == nil && len(data) > MaxBytes {
		err = fmt.Errorf("larger than %d KiB; split it into several files", MaxBytes>>10)
	}
	return data, err
}
