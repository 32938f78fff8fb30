package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/klauspost/compress/gzip"

	"tidemill/internal/kafka"
	"tidemill/jobs"
	"tidemill/jobs/archive/line"
)

// objectsGlob selects what the demo restores.
const objectsGlob = "20*/*/*.gz"

// archiveLog copies the whole log to objects by a job, and compares them.
func (d *demo) archiveLog(ctx context.Context) error {
	if _, err := d.perform(ctx, archive); err != nil {
		return err
	}
	log, err := d.readLog(ctx)
	if err != nil {
		return err
	}
	objects, archived, err := d.readObjects(ctx)
	if err != nil {
		return err
	}
	var diff Differences
	records := 0
	for p := range union(log, archived) {
		records += len(log[p])
		compareRecords(&diff, p, log[p], archived[p])
	}
	if err := diff.err(); err != nil {
		return err
	}
	d.screen.say("%d objects hold exactly the %d records of the log, in order", objects, records)
	return nil
}

func compareRecords(diff *Differences, partition int32, log, archived [][]byte) {
	if len(log) != len(archived) {
		diff.addf("partition %d has %d records, its objects %d", partition, len(log), len(archived))
		return
	}
	for i := range log {
		if !bytes.Equal(log[i], archived[i]) {
			diff.addf("partition %d, record %d: %q in the log, %q in its object", partition, i, log[i], archived[i])
			return
		}
	}
}

// readLog reads what each partition of the topic holds.
func (d *demo) readLog(ctx context.Context) (map[int32][][]byte, error) {
	spans, err := kafka.Spans(ctx, d.kafka, d.names.topic)
	if err != nil {
		return nil, err
	}
	out := map[int32][][]byte{}
	for p, span := range spans {
		if out[p], err = d.readPartition(ctx, p, span); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (d *demo) readPartition(ctx context.Context, p int32, span kafka.Span) ([][]byte, error) {
	reader, err := kafka.NewReader(ctx, jobs.KafkaConnection{Brokers: d.at.Kafka}, d.names.topic, p, span)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var out [][]byte
	for {
		records, err := reader.Read(ctx, 5000)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			out = append(out, r.Value)
		}
	}
}

// objectName is an archived object's: topic, partition, first offset.
var objectName = regexp.MustCompile(`-(\d+)-(\d{20})\.json\.gz$`)

// readObjects reads the records of all archived objects, in order of their
// offsets, by partition.
func (d *demo) readObjects(ctx context.Context) (int, map[int32][][]byte, error) {
	list, err := d.bucket.List(ctx, objectsGlob)
	if err != nil {
		return 0, nil, err
	}
	first := map[int32]map[string]string{} // partition, first offset: key
	for _, o := range list {
		parts := objectName.FindStringSubmatch(o.Key)
		if parts == nil {
			return 0, nil, fmt.Errorf("%s is no object of the archive", o.Key)
		}
		p, err := strconv.ParseInt(parts[1], 10, 32)
		if err != nil {
			return 0, nil, fmt.Errorf("read the name of %s: %w", o.Key, err)
		}
		if first[int32(p)] == nil {
			first[int32(p)] = map[string]string{}
		}
		first[int32(p)][parts[2]] = o.Key
	}
	out := map[int32][][]byte{}
	for p, keys := range first {
		for _, offset := range slices.Sorted(maps.Keys(keys)) {
			records, err := d.readObject(ctx, keys[offset])
			if err != nil {
				return 0, nil, err
			}
			out[p] = append(out[p], records...)
		}
	}
	return len(list), out, nil
}

func (d *demo) readObject(ctx context.Context, key string) (records [][]byte, err error) {
	body, err := d.bucket.Open(ctx, key, "", 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	plain, err := gzip.NewReader(body)
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", key, err)
	}
	lines := bufio.NewScanner(plain)
	for lines.Scan() {
		records = append(records, line.Record(bytes.Clone(lines.Bytes())))
	}
	return records, lines.Err()
}
