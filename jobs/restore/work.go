package restore

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tidemill/internal/cassandra"
	"tidemill/internal/s3"
	"tidemill/jobs"
	"tidemill/jobs/archive/line"
	"tidemill/jobs/event"
)

const (
	// maxBatchRaw bounds the broken lines that a batch holds in memory.
	maxBatchRaw = 1 << 20
	// changes is how often an object may change while it is read.
	changes = 5
)

// restoring is the restoring of one split. Files are read in batches of lines;
// of each, broken lines go to the quarantine, rows are acknowledged, then marks,
// then the manifest says so: after a crash at any point the batch is read again,
// and writing it again changes nothing.
type restoring struct {
	work
	manifest   manifest
	quarantine quarantine
	writer     *cassandra.Writer

	began  time.Time
	files  int
	number int    // of the file under way
	sum    totals // of the files before it, those that an earlier attempt restored included
}

func (r *restoring) run(ctx context.Context) (jobs.Result, error) {
	r.began = time.Now()
	files, err := r.manifest.files(ctx, r.split())
	if err != nil {
		return jobs.Result{}, err
	}
	r.files = len(files)
	for i, f := range files {
		r.number = i + 1
		if err := r.object(ctx, f, files); err != nil {
			return r.result(), err
		}
		if r.spec.MaxErrors.hopeless(r.sum.bad) {
			return r.result(), r.tooMany(r.sum)
		}
	}
	return r.result(), nil
}

func (r *restoring) split() int { return r.assignment.Split.Number }

// result tells of the split in words; the run's numbers are the tally's.
func (r *restoring) result() jobs.Result {
	return jobs.Result{Message: fmt.Sprintf("%d events stored, %d lines in quarantine, %d events shadowed by deletes", r.sum.good, r.sum.bad, r.sum.shadowed)}
}

// object restores an object as it is now: it may have changed since it was
// planned, and again while it is read. Then what it was counts no more, and
// what it is is a file of its own.
func (r *restoring) object(ctx context.Context, f file, known []file) error {
	for range changes {
		if f.state == done || f.state == replaced {
			r.sum.add(f.totals)
			return nil
		}
		now, _, err := r.from.Stat(ctx, f.key)
		if errors.Is(err, s3.ErrNotFound) {
			return jobs.Permanent(&jobs.Error{Code: jobs.NotFound, Op: "restore", Subject: r.location(f.key), Err: err,
				Hint: "it was there when the run was planned; start a new run"})
		}
		if err != nil {
			return err
		}
		if now.ETag == f.etag {
			if err = r.read(ctx, &f, now); !errors.Is(err, s3.ErrChanged) {
				return err
			}
			continue
		}
		r.log.Warn().Str("object", f.key).Str("was", f.etag).Str("is", now.ETag).Msg("the object has changed; restoring it as it is now")
		next := file{key: f.key, etag: now.ETag, state: planned}
		if i := slices.IndexFunc(known, func(k file) bool { return k.key == next.key && k.etag == next.etag }); i >= 0 {
			next = known[i]
		}
		r.sum.add(f.totals)
		f.state = replaced
		if err := r.manifest.put(ctx, r.split(), next, f); err != nil {
			return err
		}
		f = next
	}
	return fmt.Errorf("restore %s: it changed %d times while it was read", r.location(f.key), changes)
}

func (r *restoring) location(key string) string {
	return s3.Location{Bucket: r.pattern.Bucket, Path: key}.String()
}

// read restores a file from where the manifest says it is.
func (r *restoring) read(ctx context.Context, f *file, o s3.Object) (err error) {
	src := &source{ctx: ctx, store: r.from, object: o}
	defer func() { err = errors.Join(err, src.close()) }()
	text, fault := plain(src)
	var b batch
	if fault == nil {
		lines := &lineReader{r: bufio.NewReaderSize(&capped{text, r.spec.MaxPlain}, 64<<10), max: r.spec.MaxLine}
		b, fault = r.lines(ctx, f, lines)
	}
	var failed *storing
	switch {
	case errors.As(fault, &failed):
		return failed.error
	case src.err != nil:
		return src.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if now, _, err := r.from.Stat(ctx, f.key); err != nil || now.ETag != f.etag {
		return cmp.Or(err, s3.ErrChanged) // what is there now is another file
	}
	if fault != nil && !errors.Is(fault, io.EOF) {
		// Only what the object holds is left to be at fault.
		f.note = r.breakOff(&b, max(b.last, f.lines)+1, fault)
	}
	f.state = done
	if err := r.store(ctx, f, b); err != nil {
		return err
	}
	r.sum.add(f.totals)
	return nil
}

// storing is an error of the stores that lines go to, as opposed to one of the
// lines' source.
type storing struct{ error }

// byteOrderMark begins what some editors write; it is no part of the first line.
var byteOrderMark = []byte("\ufeff")

// lines reads lines until their end, and stores all batches but the last,
// which it gives with the reason why there is no more: io.EOF, or another.
func (r *restoring) lines(ctx context.Context, f *file, in *lineReader) (batch, error) {
	start := f.lines
	var b batch
	for n := int64(1); ; n++ {
		text, long, err := in.next()
		if n == 1 {
			text = bytes.TrimPrefix(text, byteOrderMark)
		}
		if n > start {
			if err == nil {
				r.judge(&b, n, text, long)
			} else {
				b.tail = bytes.Clone(text)
			}
		}
		if err != nil {
			return b, err
		}
		if b.full(r.spec.Batch) {
			f.state = reading
			if err := r.store(ctx, f, b); err != nil {
				return b, &storing{err}
			}
			b = batch{}
		}
		if n%1000 == 0 && ctx.Err() != nil {
			return b, context.Cause(ctx)
		}
	}
}

// batch is lines that follow on each other, as far as they are of interest.
type batch struct {
	first, last int64
	events      []event.Event
	broken      []broken
	raw         int
	tail        []byte // of the line in which the file breaks off
}

// full looks at the lines alone, so that every attempt cuts the same batches.
func (b *batch) full(lines int) bool {
	return b.last > 0 && b.last-b.first+1 >= int64(lines) || b.raw >= maxBatchRaw
}

func (b *batch) reach(n int64) {
	if b.first == 0 {
		b.first = n
	}
	b.last = n
}

func (b *batch) put(l broken) {
	b.broken = append(b.broken, l)
	b.raw += l.size()
}

// breakOff ends the file in line n, of which the tail is the beginning, or by
// chance all of it.
func (r *restoring) breakOff(b *batch, n int64, fault error) (note string) {
	if e, wrong := r.decode(b.tail); wrong == nil {
		b.reach(n)
		b.events = append(b.events, e)
		n, b.tail = n+1, nil
	}
	note = fmt.Sprintf("the object breaks off in line %d: %v", n, fault)
	b.reach(n)
	b.put(newBroken(n, b.tail, note))
	return note
}

// judge takes a line for what it is; blank ones are nothing.
func (r *restoring) judge(b *batch, n int64, text []byte, long bool) {
	b.reach(n)
	if len(bytes.TrimSpace(text)) == 0 && !long {
		return
	}
	if long {
		l := newBroken(n, text, fmt.Sprintf("the line is longer than max_line, %d bytes", r.spec.MaxLine))
		l.Cut = true
		b.put(l)
		return
	}
	e, fault := r.decode(text)
	if fault != nil {
		b.put(newBroken(n, text, fault.Error()))
		return
	}
	b.events = append(b.events, e)
}

func (r *restoring) decode(text []byte) (event.Event, *event.Fault) {
	e, fault := event.Decode(line.Record(text))
	if fault == nil {
		fault = r.spec.rules().Check(e, time.Time{}) // no window: what is restored is old
	}
	return e, fault
}

// store stores a batch, and then in the manifest that it is stored.
func (r *restoring) store(ctx context.Context, f *file, b batch) error {
	at := s3.Location{Bucket: r.pattern.Bucket, Path: f.key}
	if err := r.quarantine.put(ctx, at, *f, b.first, b.broken); err != nil {
		return err
	}
	if err := r.writer.Write(ctx, b.events); err != nil {
		return err
	}
	shadowed, err := r.shadowed(ctx, b.events)
	if err != nil {
		return err
	}
	f.lines = max(f.lines, b.last)
	f.add(totals{good: int64(len(b.events)) - shadowed, bad: int64(len(b.broken)), shadowed: shadowed})
	if err := r.manifest.put(ctx, r.split(), *f); err != nil {
		return err
	}
	r.progress(*f)
	return nil
}

// shadowed counts the events that a delete hides, after writing them again
// where the job says so. Only what is hidden is written at the run's version:
// a row that somebody has changed meanwhile keeps the change.
func (r *restoring) shadowed(ctx context.Context, events []event.Event) (int64, error) {
	missing, err := hidden(ctx, r.session, events)
	if err != nil || len(missing) == 0 || !r.spec.OverDeletes {
		return int64(len(missing)), err
	}
	if err := r.writer.WriteOver(ctx, missing, r.assignment.Version); err != nil {
		return 0, err
	}
	missing, err = hidden(ctx, r.session, missing)
	return int64(len(missing)), err
}

func (r *restoring) progress(f file) {
	handled := r.sum
	handled.add(f.totals)
	p := jobs.Progress{Done: handled.lines(), Unit: "lines", Note: fmt.Sprintf("object %d of %d: %s", r.number, r.files, f.key)}
	if d := time.Since(r.began).Seconds(); d > 0 {
		p.Rate = float64(p.Done) / d
	}
	r.runtime.Progress(p)
}
