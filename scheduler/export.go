package scheduler

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tidemill/jobs"
)

// Export is all records of a store as they were at one instant, less what
// signs tokens. Written, it is a line of JSON each: first its head, then a
// record each, by key.
type Export struct {
	ExportHead
	Records []Record
}

// ExportHead is an export's first line.
type ExportHead struct {
	Tidemill  string    `json:"tidemill"` // "state"
	Version   int       `json:"version"`  // of the form of this file
	Format    int       `json:"format"`   // of the records
	At        time.Time `json:"at"`
	Term      int64     `json:"term"`
	Framework string    `json:"framework,omitempty"`
	Count     int       `json:"records"`
}

const (
	exportName    = "state"
	exportVersion = 1
	// exportLine bounds a line: a record is far below 1 MiB, base64 a third more.
	exportLine = 4 << 20
)

// exportedRecord is a record's line. One that is not JSON in its shortest
// form, such as a piece of a plan, is given as bytes.
type exportedRecord struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"record,omitempty"`
	Bytes []byte          `json:"bytes,omitempty"`
}

// NewExport makes an export of the records of a store.
func NewExport(records []Record, term int64, at time.Time) (e *Export, err error) {
	e = &Export{Records: slices.Clone(records), ExportHead: ExportHead{
		Tidemill: exportName, Version: exportVersion, At: at.UTC(), Term: term, Count: len(records),
	}}
	slices.SortFunc(e.Records, func(a, b Record) int { return cmp.Compare(a.Key, b.Key) })
	for i, r := range e.Records {
		if r.Key != keyMeta {
			continue
		}
		var m metaRecord
		if m.extra, err = decode(r.Value, &m); err != nil {
			return nil, fmt.Errorf("the store's record %s cannot be read: %w", r.Key, err)
		}
		e.Format, e.Framework, m.Secret = m.Format, m.Framework, nil
		e.Records[i].Value = encode(&m, m.extra)
	}
	return e, nil
}

// WriteTo writes the lines.
func (e *Export) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	buffered := bufio.NewWriterSize(counted, 1<<16)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	err := lines.Encode(e.ExportHead)
	for i := 0; i < len(e.Records) && err == nil; i++ {
		err = lines.Encode(exported(e.Records[i]))
	}
	err = errors.Join(err, buffered.Flush())
	return counted.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func exported(r Record) exportedRecord {
	var short bytes.Buffer
	if json.Compact(&short, r.Value) == nil && bytes.Equal(short.Bytes(), r.Value) {
		return exportedRecord{Key: r.Key, Value: r.Value}
	}
	return exportedRecord{Key: r.Key, Bytes: r.Value}
}

// ReadExport reads what WriteTo wrote, and refuses what is cut short.
func ReadExport(r io.Reader) (*Export, error) {
	e := &Export{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1<<16), exportLine)
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &e.ExportHead) != nil || e.Tidemill != exportName {
		return nil, exportError(lines.Err(), "it is no export of Tidemill's state", "write one with: tidemill state export")
	}
	if e.Version != exportVersion {
		return nil, exportError(nil, fmt.Sprintf("its form is of version %d, and this program knows version %d", e.Version, exportVersion), "run a newer tidemill")
	}
	seen := map[string]bool{}
	for n := 2; lines.Scan(); n++ {
		var line exportedRecord
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, exportError(err, fmt.Sprintf("line %d", n), "mend the line, or take another export")
		}
		if line.Key == "" || seen[line.Key] {
			return nil, exportError(nil, fmt.Sprintf("line %d: its key %q is empty or came before", n, line.Key), "remove one of the two lines, and count it off in the first line")
		}
		seen[line.Key] = true
		value := line.Bytes
		if line.Value != nil {
			value = line.Value
		}
		if value == nil {
			value = []byte{}
		}
		e.Records = append(e.Records, Record{Key: line.Key, Value: value})
	}
	if err := lines.Err(); err != nil {
		return nil, exportError(err, "reading it", "")
	}
	if len(e.Records) != e.Count {
		return nil, exportError(nil, fmt.Sprintf("it holds %d records, and its first line says %d", len(e.Records), e.Count), "it was cut short; take another export")
	}
	return e, nil
}

func exportError(err error, message, hint string) error {
	return &jobs.Error{Code: jobs.Invalid, Op: "read the export", Message: message, Err: err, Hint: hint}
}
