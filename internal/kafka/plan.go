package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"tidemill/jobs"
)

// Part is the payload of a split that reads a span of a partition's offsets.
type Part struct {
	Partition int32 `json:"partition"`
	Span
}

// PlanUnread plans a split for each partition of which the group has records
// to read: the offsets are fixed here, so that every attempt reads the same.
func PlanUnread(ctx context.Context, conn jobs.KafkaConnection, group, topic string) (jobs.Plan, error) {
	client, err := New(conn)
	if err != nil {
		return jobs.Plan{}, err
	}
	defer client.Close()
	if err := Ping(ctx, client); err != nil {
		return jobs.Plan{}, err
	}
	unread, err := Unread(ctx, client, group, topic)
	if err != nil {
		return jobs.Plan{}, err
	}
	return planOf(unread)
}

func planOf(unread map[int32]Span) (plan jobs.Plan, err error) {
	for _, p := range slices.Sorted(maps.Keys(unread)) {
		span := unread[p]
		if span.Len() == 0 {
			continue
		}
		payload, err := json.Marshal(Part{p, span})
		if err != nil {
			return plan, fmt.Errorf("write the plan: %w", err)
		}
		plan.Splits = append(plan.Splits, jobs.Split{Stage: 1, Number: len(plan.Splits), Size: span.Len(), Payload: payload})
	}
	if n := len(plan.Splits); n > jobs.MaxSplits {
		return plan, jobs.Permanent(fmt.Errorf("the topic has %d partitions with records; a plan has at most %d splits", n, jobs.MaxSplits))
	}
	return plan, nil
}
