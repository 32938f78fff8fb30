package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const artifactPrefix = "/v1/artifacts/tidemill-"

// Artifact is the binary that agents fetch to run our executor. It stays open,
// so that what its URL promises is served even after the file was replaced.
type Artifact struct {
	file *os.File
	size int64
	sum  string
}

// OpenArtifact reads the binary once for its sum; an empty path means the
// program that runs.
func OpenArtifact(path string) (*Artifact, error) {
	if path == "" {
		path = "/proc/self/exe" // the running program, whatever became of its path
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the binary to serve to agents: %w", err)
	}
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read the binary to serve to agents, %s: %w", path, err)
	}
	return &Artifact{file: f, size: size, sum: hex.EncodeToString(h.Sum(nil))}, nil
}

// Sum is the binary's sha256 in hex.
func (a *Artifact) Sum() string { return a.sum }

// Path is where every scheduler of this version serves it.
func (a *Artifact) Path() string { return artifactPrefix + a.sum }

// Close ends the serving.
func (a *Artifact) Close() error { return a.file.Close() }

// serve answers for our own sum; not ok means that it is another's.
func (a *Artifact) serve(w http.ResponseWriter, r *http.Request) (ok bool) {
	if a == nil || strings.TrimPrefix(r.URL.Path, artifactPrefix) != a.sum {
		return false
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+a.sum+`"`)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	noDeadline(w)
	http.ServeContent(w, r, "tidemill", time.Time{}, io.NewSectionReader(a.file, 0, a.size))
	return true
}
