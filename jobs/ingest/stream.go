package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/cassandra"
	"tidemill/internal/kafka"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// Bounds of the stream's patience.
const (
	firstWait = 500 * time.Millisecond // before what failed is tried again
	longWait  = 10 * time.Second       // doubled up to here
	idleAfter = 5 * time.Second        // without a record: is Kafka there at all?
	// deadAfter is how long the group waits for a member that was killed: its
	// partitions stand still as long. The driver's 45 s suit members whose
	// return is worth waiting for; another attempt takes over here at once.
	deadAfter = 10 * time.Second
)

// stream reads records in batches and writes their events. Of each batch,
// records that are no events go to quarantine, rows are acknowledged, then
// marks, then the offsets are committed: after a crash at any point the batch
// is read again, and writing it again changes nothing.
type stream struct {
	work
	client *kgo.Client
	writer *cassandra.Writer
	group  string
	split  *kafka.Part // the one partition to read, up to an end; nil in a service
	next   int64       // of the split
	began  time.Time
	counts
}

type counts struct {
	events, quarantined int64
	lag                 map[int32]int64
}

// stream is the work from Kafka to Cassandra.
func (w work) stream(ctx context.Context) (jobs.Result, error) {
	s := &stream{work: w, group: w.spec.GroupOf(w.assignment.Job), began: time.Now(), counts: counts{lag: map[int32]int64{}}}
	if w.spec.Until == UntilEnd {
		s.split = &kafka.Part{}
		if err := w.assignment.ReadSplit(s.split); err != nil {
			return jobs.Result{}, err
		}
	}
	session, err := s.open(ctx)
	if err != nil {
		return jobs.Result{}, err
	}
	defer session.Close()
	s.writer = cassandra.NewWriter(session, cassandra.WriterOptions{
		Rollups: rollupNames(w.spec.Rollups), Writer: string(w.assignment.Task), Buckets: w.spec.Buckets,
		EachDC: w.spec.EachDC,
	})
	if err := s.connect(ctx); err != nil {
		return jobs.Result{}, err
	}
	defer s.client.CloseAllowingRebalance()
	err = s.run(ctx)
	return s.result(), err
}

func rollupNames(list []jobs.Name) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = string(n)
	}
	return out
}

// open opens the session; a service waits for Cassandra as long as it takes.
func (s *stream) open(ctx context.Context) (*cassandra.Session, error) {
	var session *cassandra.Session
	err := s.persist(ctx, "connect to cassandra", func() (err error) {
		session, err = cassandra.Open(ctx, s.cassandra, s.spec.Keyspace, s.log)
		return err
	})
	return session, err
}

// persist repeats what fails by Cassandra's health alone, until it succeeds or
// ctx ends. A run that ends does not wait: it fails, and is tried again as its
// job says.
func (s *stream) persist(ctx context.Context, what string, do func() error) error {
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		err := do()
		if err == nil || s.split != nil || !cassandra.Transient(err) {
			return err
		}
		s.log.Warn().Err(err).Str("operation", what).Dur("again_after", wait).Msg("cassandra is away; waiting, nothing is lost")
		s.progress("cassandra is away; waiting: " + err.Error())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// connect makes the reader: of one partition, from where the split starts or
// an earlier attempt of it has come; or a member of the group.
func (s *stream) connect(ctx context.Context) (err error) {
	common := []kgo.Opt{
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Out of range is never answered by a jump: what retention took is
		// an error with a name.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(4 << 20),
		kgo.FetchMaxPartitionBytes(1 << 20),
	}
	if s.split == nil {
		s.client, err = kafka.New(s.kafka, append(common,
			kgo.ConsumeTopics(s.spec.Topic), kgo.ConsumerGroup(s.group), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
			kgo.SessionTimeout(deadAfter), kgo.HeartbeatInterval(deadAfter/5),
			kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))...)
		return err
	}
	if s.next, err = s.resume(ctx); err != nil {
		return err
	}
	s.client, err = kafka.New(s.kafka, append(common,
		// A transaction's marker may be the partition's last record.
		kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.spec.Topic: {s.split.Partition: kgo.NewOffset().At(s.next)}}))...)
	return err
}

// resume finds where a split goes on: an earlier attempt may have committed.
func (s *stream) resume(ctx context.Context) (int64, error) {
	client, err := kafka.New(s.kafka)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	committed, err := kafka.Committed(ctx, client, s.group, s.spec.Topic)
	if err != nil {
		return 0, err
	}
	at := max(s.split.Start, committed[s.split.Partition])
	spans, err := kafka.Spans(ctx, client, s.spec.Topic)
	if err != nil {
		return 0, err
	}
	return at, s.inLog(spans[s.split.Partition], at)
}

// inLog fails where the log no longer holds what is still to be read.
func (s *stream) inLog(log kafka.Span, next int64) error {
	return kafka.InLog(s.spec.Topic, s.split.Partition, log, kafka.Span{Start: next, End: s.split.End})
}

func (s *stream) done() bool { return s.split != nil && s.next >= s.split.End }

// run reads until the split's end, or until ctx ends: that is no fault of a
// service, but of a split whose records were not all read.
func (s *stream) run(ctx context.Context) error {
	// What is under way when the attempt is killed may still be finished.
	finish, cancel := lingering(ctx, s.grace())
	defer cancel()
	for ctx.Err() == nil && !s.done() {
		err := s.step(ctx, finish)
		s.client.AllowRebalance()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	if s.split != nil && !s.done() {
		return context.Cause(ctx)
	}
	return nil
}

func (s *stream) step(ctx, finish context.Context) error {
	poll, cancel := context.WithTimeout(ctx, idleAfter)
	defer cancel()
	fetches := s.client.PollRecords(poll, s.spec.Batch)
	if err := s.faults(ctx, fetches); err != nil {
		return err
	}
	records := s.within(fetches.Records())
	if len(records) == 0 {
		return s.idle(ctx)
	}
	events, poison := s.decode(records)
	if err := s.quarantine(finish, poison); err != nil {
		return err
	}
	err := s.persist(ctx, "write events", func() error { return s.writer.Write(finish, events) })
	if err != nil {
		return err
	}
	s.events += int64(len(events))
	s.quarantined += int64(len(poison))
	if err := s.commit(finish, records); err != nil {
		return err
	}
	s.report(fetches)
	return nil
}

// faults looks at what the client could not fetch. Most of it passes; what
// does not ends the attempt.
func (s *stream) faults(ctx context.Context, fetches kgo.Fetches) error {
	for _, f := range fetches.Errors() {
		switch {
		case errors.Is(f.Err, context.DeadlineExceeded), errors.Is(f.Err, context.Canceled):
		case errors.Is(f.Err, kerr.OffsetOutOfRange):
			return s.lost(ctx, f.Partition)
		case errors.Is(f.Err, kerr.UnknownTopicOrPartition):
			return kafka.MissingTopic(s.spec.Topic)
		case errors.Is(f.Err, kgo.ErrClientClosed):
			return f.Err
		default:
			s.log.Warn().Err(f.Err).Str("topic", f.Topic).Int32("partition", f.Partition).Msg("cannot fetch; trying again")
			s.progress("cannot read from kafka: " + f.Err.Error())
		}
	}
	return nil
}

// lost names the range that retention took.
func (s *stream) lost(ctx context.Context, partition int32) error {
	spans, err := kafka.Spans(ctx, s.client, s.spec.Topic)
	if err != nil {
		return err
	}
	from := s.next
	if s.split == nil {
		committed, err := kafka.Committed(ctx, s.client, s.group, s.spec.Topic)
		if err != nil {
			return err
		}
		from = committed[partition]
	}
	return kafka.Lost(s.spec.Topic, partition, from, spans[partition].Start)
}

// within leaves the records before the split's end, and moves on.
func (s *stream) within(records []*kgo.Record) []*kgo.Record {
	if s.split == nil {
		return records
	}
	for i, r := range records {
		if r.Offset >= s.split.End {
			s.next = s.split.End
			return records[:i]
		}
		s.next = r.Offset + 1
	}
	return records
}

// idle asks whether there is nothing to read, or nobody to read from.
func (s *stream) idle(ctx context.Context) error {
	if s.done() || ctx.Err() != nil {
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, idleAfter)
	defer cancel()
	spans, err := kafka.Spans(ask, s.client, s.spec.Topic)
	switch {
	case s.split != nil && err != nil:
		return err
	case s.split != nil:
		return s.inLog(spans[s.split.Partition], s.next)
	case err != nil && ctx.Err() == nil:
		s.log.Warn().Err(err).Msg("kafka is away; waiting, nothing is lost")
		s.progress("kafka is away; waiting: " + err.Error())
	default:
		s.progress("waiting for events")
	}
	return nil
}

// poisoned is a record that is no event.
type poisoned struct {
	record *kgo.Record
	fault  *event.Fault
}

func (s *stream) decode(records []*kgo.Record) ([]event.Event, []poisoned) {
	rules := s.spec.rules()
	events := make([]event.Event, 0, len(records))
	var poison []poisoned
	for _, r := range records {
		if r.Attrs.IsControl() {
			continue
		}
		e, fault := event.Decode(r.Value)
		if fault == nil {
			fault = rules.Check(e, r.Timestamp)
		}
		if fault != nil {
			poison = append(poison, poisoned{r, fault})
			continue
		}
		events = append(events, e)
	}
	return events, poison
}

func (s *stream) quarantine(ctx context.Context, poison []poisoned) error {
	if len(poison) == 0 {
		return nil
	}
	topic := kafka.QuarantineTopic(s.spec.Topic)
	out := make([]*kgo.Record, len(poison))
	for i, p := range poison {
		partition, offset := strconv.Itoa(int(p.record.Partition)), strconv.FormatInt(p.record.Offset, 10)
		out[i] = &kgo.Record{
			Topic: topic, Value: p.record.Value,
			Key: []byte(p.record.Topic + "/" + partition + "/" + offset),
			Headers: []kgo.RecordHeader{
				{Key: "topic", Value: []byte(p.record.Topic)}, {Key: "partition", Value: []byte(partition)},
				{Key: "offset", Value: []byte(offset)}, {Key: "field", Value: []byte(p.fault.Field)},
				{Key: "code", Value: []byte(p.fault.Code)}, {Key: "job", Value: []byte(s.assignment.Job)},
			},
		}
		if out[i].Value == nil { // a tombstone: in a compacted topic it would delete itself
			out[i].Value = []byte{}
		}
	}
	err := s.client.ProduceSync(ctx, out...).FirstErr()
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return kafka.MissingTopic(topic)
	}
	if err != nil {
		return fmt.Errorf("quarantine %d records in topic %s: %w", len(out), topic, err)
	}
	s.log.Warn().Int("records", len(out)).Str("topic", topic).AnErr("first", poison[0].fault).Msg("records that are no events went to quarantine")
	return nil
}

// commit stores how far the batch came. A group may refuse it, since it gave
// the partitions to another member: that one reads the batch again.
func (s *stream) commit(ctx context.Context, records []*kgo.Record) error {
	if s.split != nil {
		return kafka.Commit(ctx, s.client, s.group, s.spec.Topic, map[int32]int64{s.split.Partition: s.next})
	}
	if err := s.client.CommitRecords(ctx, records...); err != nil {
		s.log.Warn().Err(err).Msg("cannot commit offsets; the batch may be read again, which changes nothing")
	}
	return nil
}

func (s *stream) report(fetches kgo.Fetches) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if n := len(p.Records); n > 0 {
			s.lag[p.Partition] = max(0, p.HighWatermark-p.Records[n-1].Offset-1)
		}
	})
	if s.split == nil { // what another member has now is its business
		owned := s.client.CommittedOffsets()[s.spec.Topic]
		maps.DeleteFunc(s.lag, func(p int32, _ int64) bool { _, mine := owned[p]; return !mine })
	}
	var lag int64
	for _, n := range s.lag {
		lag += n
	}
	s.progress(fmt.Sprintf("lag %d", lag))
}

func (s *stream) progress(note string) {
	p := jobs.Progress{Done: s.events + s.quarantined, Unit: "events", Note: note}
	if d := time.Since(s.began).Seconds(); d > 0 {
		p.Rate = float64(p.Done) / d
	}
	if s.split != nil {
		p.Total = s.split.Len()
	}
	s.runtime.Progress(p)
}

func (s *stream) result() jobs.Result {
	return jobs.Result{Values: map[string]string{
		"events": strconv.FormatInt(s.events, 10), "quarantined": strconv.FormatInt(s.quarantined, 10),
	}}
}

// lingering gives a context that ends d after ctx does.
func lingering(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	long, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(cmp.Or(d, time.Second), cancel) })
	return long, func() { stop(); cancel() }
}
