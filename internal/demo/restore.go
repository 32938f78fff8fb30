package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/gzip"

	"tidemill/internal/events"
	"tidemill/internal/s3"
	"tidemill/jobs/event"
)

// The objects that are added to the archive: one with broken lines among good
// ones, and one whose compressed bytes end too early.
const (
	brokenKey    = "2015/09/broken-lines.json.gz"
	truncatedKey = "2015/10/truncated.json.gz"
	addedGood    = 200 // good lines of each
	addedBroken  = 20  // broken lines of the first
)

// brokenLine is a line of the quarantine, as far as it is known beforehand.
type brokenLine struct {
	file string
	line int64
	raw  string
}

// brokenLines says how often each must be in the quarantine.
type brokenLines map[brokenLine]int

// addBroken adds two objects to the archive. Their good lines are events of
// 2015 that nobody has sent.
func (d *demo) addBroken(ctx context.Context) error {
	d.broken = brokenLines{}
	old := events.Options{
		Count: 2 * addedGood, Broken: addedBroken, Seed: d.traffic.Seed + 1, Campaigns: 2, Days: 30,
		End: time.Date(2015, 10, 1, 0, 0, 0, 0, time.UTC),
	}
	var first, second [][]byte
	good := 0
	for l := range old.Lines() {
		if l.Broken && !bytes.ContainsAny(l.Doc, "\r\n") {
			first = append(first, l.Doc)
			d.broken[brokenLine{d.location(brokenKey), int64(len(first)), string(l.Doc)}]++
			continue
		}
		e, fault := event.Decode(l.Doc)
		if fault != nil {
			return fmt.Errorf("the generator made %q, which is no event: %w", l.Doc, fault)
		}
		d.truth.Add(e)
		if good++; good <= addedGood {
			first = append(first, l.Doc)
		} else {
			second = append(second, l.Doc)
		}
	}
	whole, err := compress(first)
	if err != nil {
		return err
	}
	cut, err := compressTruncated(second)
	if err != nil {
		return err
	}
	d.broken[brokenLine{d.location(truncatedKey), int64(len(second)) + 1, ""}]++
	if err := d.bucket.PutNew(ctx, brokenKey, whole, nil); err != nil {
		return err
	}
	if err := d.bucket.PutNew(ctx, truncatedKey, cut, nil); err != nil {
		return err
	}
	d.screen.say("%s: %d good lines and %d broken ones", brokenKey, len(first)-addedBroken, addedBroken)
	d.screen.say("%s: breaks off after %d good lines", truncatedKey, len(second))
	return nil
}

func (d *demo) location(key string) string {
	return s3.Location{Bucket: d.names.bucket, Path: key}.String()
}

func compress(lines [][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(append(bytes.Join(lines, []byte{'\n'}), '\n'))
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("compress %d lines: %w", len(lines), err)
	}
	return out.Bytes(), nil
}

// compressTruncated writes the lines, and leaves out the end of the stream.
func compressTruncated(lines [][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(append(bytes.Join(lines, []byte{'\n'}), '\n'))
	if err = errors.Join(err, w.Flush()); err != nil {
		return nil, fmt.Errorf("compress %d lines: %w", len(lines), err)
	}
	return out.Bytes(), nil
}

// restoreObjects restores everything by a job, and compares the quarantine.
func (d *demo) restoreObjects(ctx context.Context) error {
	v, err := d.perform(ctx, restore)
	if err != nil {
		return err
	}
	d.screen.say("%s good lines, %s broken ones, partial: %s", v.Results["good"], v.Results["bad"], v.Results["partial"])
	found, err := d.readQuarantine(ctx)
	if err != nil {
		return err
	}
	var diff Differences
	for l := range union(d.broken, found) {
		if d.broken[l] != found[l] {
			diff.addf("line %d of %s, %q, is in the quarantine %d times, not %d", l.line, l.file, l.raw, found[l], d.broken[l])
		}
	}
	if err := diff.err(); err != nil {
		return err
	}
	d.screen.say("the quarantine holds exactly the %d broken lines", len(d.broken))
	return nil
}

func (d *demo) readQuarantine(ctx context.Context) (brokenLines, error) {
	list, err := d.bucket.List(ctx, "quarantine/")
	if err != nil {
		return nil, err
	}
	out := brokenLines{}
	for _, o := range list {
		if err := d.readBroken(ctx, o.Key, out); err != nil {
			return nil, fmt.Errorf("read %s: %w", o.Key, err)
		}
	}
	return out, nil
}

func (d *demo) readBroken(ctx context.Context, key string, into brokenLines) (err error) {
	body, err := d.bucket.Open(ctx, key, "", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		var l struct {
			File      string `json:"file"`
			Line      int64  `json:"line"`
			Raw       string `json:"raw"`
			RawBase64 []byte `json:"raw_base64"`
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return err
		}
		into[brokenLine{l.File, l.Line, l.Raw + string(l.RawBase64)}]++
	}
	return lines.Err()
}
