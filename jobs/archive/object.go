package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/jobs/archive/line"
)

// Names of an object's metadata.
const (
	metaFirst  = "first-offset"
	metaLast   = "last-offset"
	metaCount  = "count"
	metaSHA256 = "sha256" // of the lines, uncompressed: gzip's bytes change with its version
)

// cut says how many of a partition's records, which follow on each other, make
// the next object, and whether it is complete: no record after them would be
// part of it. An object ends with its last record's month at the latest, so
// that a listing of 2015/*/* finds 2015; a record that is late goes with those
// it arrived with.
func (c Cuts) cut(records []*kgo.Record) (n int, complete bool) {
	if len(records) == 0 {
		return 0, false
	}
	end := c.end(records[0].Timestamp)
	var size int64
	for i, r := range records {
		size += int64(len(r.Value))
		if i > 0 && (size > c.MaxBytes || !r.Timestamp.Before(end)) {
			return i, true
		}
		if i+1 == c.MaxRecords {
			return i + 1, true
		}
	}
	return len(records), false
}

// end is when an object that began with a record of this time is over.
func (c Cuts) end(first time.Time) time.Time {
	first = first.UTC()
	month := time.Date(first.Year(), first.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	if end := first.Add(c.Span.D()); end.Before(month) {
		return end
	}
	return month
}

// key names the object that begins with a record, below the archive's folder.
func key(folder string, first *kgo.Record) string {
	at := first.Timestamp.UTC()
	return path.Join(folder, fmt.Sprintf("%04d/%02d/%s-%d-%020d.json.gz", at.Year(), at.Month(), first.Topic, first.Partition, first.Offset))
}

// encode makes an object's bytes and metadata of its records.
func encode(records []*kgo.Record) (body []byte, meta map[string]string, err error) {
	var lines []byte
	for _, r := range records {
		lines = line.Append(lines, r.Value)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err = w.Write(lines); err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("compress %d records: %w", len(records), err)
	}
	sum := sha256.Sum256(lines)
	return out.Bytes(), map[string]string{
		metaFirst:  strconv.FormatInt(records[0].Offset, 10),
		metaLast:   strconv.FormatInt(records[len(records)-1].Offset, 10),
		metaCount:  strconv.Itoa(len(records)),
		metaSHA256: hex.EncodeToString(sum[:]),
	}, nil
}
