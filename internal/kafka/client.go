// Package kafka is Tidemill's way to Kafka: clients from connections, the
// topics, and what is in them.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/jobs"
)

// fetchWait bounds how long a broker may hold a fetch that finds nothing.
// The client's default of 5 s also delays what became readable meanwhile.
const fetchWait = 500 * time.Millisecond

// New makes a client. It connects when it is first used.
func New(conn jobs.KafkaConnection, options ...kgo.Opt) (*kgo.Client, error) {
	all := append([]kgo.Opt{
		kgo.SeedBrokers(conn.Brokers...),
		kgo.ClientID("tidemill"),
		kgo.FetchMaxWait(fetchWait),
	}, options...)
	c, err := kgo.NewClient(all...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client for %s: %w", strings.Join(conn.Brokers, ","), err)
	}
	return c, nil
}

// Ping fails with a hint where no broker answers.
func Ping(ctx context.Context, c *kgo.Client) error {
	if err := c.Ping(ctx); err != nil {
		brokers, _ := c.OptValue(kgo.SeedBrokers).([]string)
		return &jobs.Error{
			Code: jobs.Unavailable, Op: "connect", Subject: "kafka " + strings.Join(brokers, ","), Err: err,
			Hint: "check that it runs at this address; a development one is started by: tidemill stack up",
		}
	}
	return nil
}

// Topic is a topic to be made.
type Topic struct {
	Name       string
	Partitions int32
	// Replicas is the replication factor; the brokers' default where it is 0.
	Replicas int16
	// Compact keeps the last record of each key for ever, instead of every
	// record for a time.
	Compact bool
}

// CreateTopics makes the topics that are missing, and gives their names. It
// returns when every partition of all of them can be read, since a client that
// comes earlier waits a second for its next try.
func CreateTopics(ctx context.Context, c *kgo.Client, topics ...Topic) ([]string, error) {
	admin := kadm.NewClient(c)
	var made, names []string
	for _, t := range topics {
		replicas := t.Replicas
		if replicas == 0 {
			replicas = -1
		}
		configs := map[string]*string{}
		if t.Compact {
			compact := "compact"
			configs["cleanup.policy"] = &compact
		}
		_, err := admin.CreateTopic(ctx, t.Partitions, replicas, configs, t.Name)
		switch {
		case err == nil:
			made = append(made, t.Name)
		case !errors.Is(err, kerr.TopicAlreadyExists):
			return made, fmt.Errorf("create topic %s: %w", t.Name, err)
		}
		names = append(names, t.Name)
	}
	return made, awaitReadable(ctx, admin, names)
}

func awaitReadable(ctx context.Context, admin *kadm.Client, topics []string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		offsets, err := admin.ListEndOffsets(ctx, topics...)
		if err == nil {
			err = offsets.Error()
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for topics %s: %w", strings.Join(topics, ", "), errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// Span is the offsets [Start, End) of a partition.
type Span struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// Len is the number of offsets in the span.
func (s Span) Len() int64 { return max(0, s.End-s.Start) }

// Spans gives what each partition of a topic holds now: from the first offset
// that retention left to the end of what readers may see.
func Spans(ctx context.Context, c *kgo.Client, topic string) (map[int32]Span, error) {
	admin := kadm.NewClient(c)
	starts, err := listed(ctx, topic, admin.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	ends, err := listed(ctx, topic, admin.ListCommittedOffsets)
	if err != nil {
		return nil, err
	}
	out := make(map[int32]Span, len(ends))
	for p, end := range ends {
		out[p] = Span{starts[p], end}
	}
	return out, nil
}

func listed(ctx context.Context, topic string, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]int64, error) {
	var offsets kadm.ListedOffsets
	err := again(ctx, func() (err error) {
		if offsets, err = list(ctx, topic); err == nil {
			err = offsets.Error()
		}
		if err == nil && len(offsets[topic]) == 0 {
			err = kerr.UnknownTopicOrPartition
		}
		return err
	})
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, MissingTopic(topic)
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets of topic %s: %w", topic, err)
	}
	out := map[int32]int64{}
	for p, o := range offsets[topic] {
		out[p] = o.Offset
	}
	return out, nil
}

// MissingTopic is the error for a topic that nobody made.
func MissingTopic(topic string) error {
	return &jobs.Error{
		Code: jobs.Unavailable, Op: "read", Subject: "topic " + topic, Message: "the topic does not exist",
		Hint: "make it by: tidemill schema apply --topic " + topic,
	}
}

// Committed gives the offsets that a group has committed: the next to read.
// Partitions without a commit are absent.
func Committed(ctx context.Context, c *kgo.Client, group, topic string) (map[int32]int64, error) {
	var offsets kadm.OffsetResponses
	err := again(ctx, func() (err error) {
		if offsets, err = kadm.NewClient(c).FetchOffsetsForTopics(ctx, group, topic); err == nil {
			err = offsets.Error()
		}
		return err
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("fetch committed offsets of group %s: %w", group, err)
	}
	out := map[int32]int64{}
	for p, o := range offsets[topic] {
		if o.At >= 0 {
			out[p] = o.At
		}
	}
	return out, nil
}

// electionWait bounds how long a group may have no coordinator, which a fresh
// cluster finds when it is first asked, and a partition no leader.
const electionWait = 20 * time.Second

// again repeats a request that the broker said to repeat, but not until somebody
// makes the topic.
func again(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, electionWait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		var reply *kerr.Error
		if err == nil || !errors.As(err, &reply) || !reply.Retriable || errors.Is(err, kerr.UnknownTopicOrPartition) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// Commit sets the group's offsets from outside of it, which the broker
// refuses while the group has members.
func Commit(ctx context.Context, c *kgo.Client, group, topic string, next map[int32]int64) error {
	var offsets kadm.Offsets
	for p, at := range next {
		offsets.AddOffset(topic, p, at, -1)
	}
	err := again(ctx, func() error { return kadm.NewClient(c).CommitAllOffsets(ctx, group, offsets) })
	if err != nil {
		return fmt.Errorf("commit offsets of group %s on topic %s: %w", group, topic, err)
	}
	return nil
}

// Unread gives, for each partition, what the group has not read yet: from its
// commit, or from the first offset where it has none, to the end.
func Unread(ctx context.Context, c *kgo.Client, group, topic string) (map[int32]Span, error) {
	spans, err := Spans(ctx, c, topic)
	if err != nil {
		return nil, err
	}
	committed, err := Committed(ctx, c, group, topic)
	if err != nil {
		return nil, err
	}
	for p, s := range spans {
		if at, ok := committed[p]; ok {
			if at < s.Start {
				return nil, Lost(topic, p, at, s.Start)
			}
			s.Start = at
			spans[p] = s
		}
	}
	return spans, nil
}

// Lag is how many records of the topic the group has not read.
func Lag(ctx context.Context, c *kgo.Client, group, topic string) (int64, error) {
	unread, err := Unread(ctx, c, group, topic)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, s := range unread {
		sum += s.Len()
	}
	return sum, nil
}

// Lost is the error for records that retention removed before the reader
// came; no retry brings them back.
func Lost(topic string, partition int32, from, to int64) error {
	return jobs.Permanent(&jobs.Error{
		Code: jobs.Conflict, Op: "read", Subject: fmt.Sprintf("topic %s partition %d", topic, partition),
		Message: fmt.Sprintf("offsets %d to %d are lost: retention removed them before they were read", from, to-1),
		Hint: fmt.Sprintf("restore them from the archive objects named %s-%d-<start offset>.json.gz of that range, then set the group's offset to %d",
			topic, partition, to),
	})
}

// InLog fails where a partition's log does not hold what is still to be read of a plan.
func InLog(topic string, partition int32, log, unread Span) error {
	switch {
	case unread.Len() == 0:
		return nil
	case log.Start > unread.Start:
		return Lost(topic, partition, unread.Start, min(log.Start, unread.End))
	case log.End < unread.End:
		return jobs.Permanent(&jobs.Error{
			Code: jobs.Conflict, Op: "read", Subject: fmt.Sprintf("topic %s partition %d", topic, partition),
			Message: fmt.Sprintf("the log ends at %d, before the planned end %d: the topic was made anew or lost records", log.End, unread.End),
			Hint:    "start a new run",
		})
	}
	return nil
}

// QuarantineTopic is where records that are no events go. It is compacted, and
// its keys are topic/partition/offset: a record that is put there twice, after
// a crash, is there once.
func QuarantineTopic(topic string) string { return topic + "_quarantine" }
