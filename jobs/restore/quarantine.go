package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"unicode/utf8"

	"tidemill/internal/s3"
	"tidemill/jobs"
)

// maxRaw is how much of a broken line the quarantine keeps.
const maxRaw = 64 << 10

// broken is a line that is no event, as the quarantine keeps it.
type broken struct {
	File  string `json:"file"`
	ETag  string `json:"etag"`
	Line  int64  `json:"line"` // from 1
	Error string `json:"error"`
	// Raw is the line, or RawBase64 where it is not valid UTF-8.
	Raw       string `json:"raw,omitempty"`
	RawBase64 []byte `json:"raw_base64,omitempty"`
	Cut       bool   `json:"cut,omitempty"` // Raw is its beginning only
}

func newBroken(line int64, text []byte, fault string) broken {
	b := broken{Line: line, Error: fault, Cut: len(text) > maxRaw}
	text = text[:min(len(text), maxRaw)]
	if utf8.Valid(text) {
		b.Raw = string(text)
	} else {
		b.RawBase64 = bytes.Clone(text)
	}
	return b
}

func (b broken) size() int { return len(b.Raw) + len(b.RawBase64) }

// quarantine is where a run's broken lines go.
type quarantine struct {
	store  s3.Store
	folder s3.Location
	run    jobs.RunID
}

// key names the object for the batch of a file's lines that begins with first:
// whoever reads the file again under the same ETag puts the same object.
func (q quarantine) key(f file, first int64) string {
	sum := sha256.Sum256([]byte(f.etag))
	// Cleaned, since a key may hold dots that lead out of the folder.
	return path.Join(q.folder.Path, string(q.run), path.Clean("/"+f.key), hex.EncodeToString(sum[:8]), fmt.Sprintf("%020d.ndjson", first))
}

func (q quarantine) put(ctx context.Context, source s3.Location, f file, first int64, lines []broken) error {
	if len(lines) == 0 {
		return nil
	}
	var body bytes.Buffer
	out := json.NewEncoder(&body)
	out.SetEscapeHTML(false)
	for _, l := range lines {
		l.File, l.ETag = source.String(), f.etag
		if err := out.Encode(l); err != nil {
			return fmt.Errorf("quarantine line %d of %s: %w", l.Line, f.key, err)
		}
	}
	if err := q.store.PutNew(ctx, q.key(f, first), body.Bytes(), nil); err != nil && !errors.Is(err, s3.ErrExists) {
		return fmt.Errorf("quarantine %d lines of %s: %w", len(lines), f.key, err)
	}
	return nil
}
