package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"tidemill/internal/kafka"
	"tidemill/jobs"
)

// Unread is the payload of a split until the end: what of a partition the run
// has to read.
type Unread struct {
	Partition int32 `json:"partition"`
	kafka.Span
}

// Plan implements jobs.Planner: the offsets [committed, end) of each partition
// are fixed here, so that every attempt of the run reads the same records.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Plan, error) {
	w, err := prepare(ctx, a, rt)
	if err != nil {
		return jobs.Plan{}, err
	}
	client, err := kafka.New(w.kafka)
	if err != nil {
		return jobs.Plan{}, err
	}
	defer client.Close()
	if err := kafka.Ping(ctx, client); err != nil {
		return jobs.Plan{}, err
	}
	unread, err := kafka.Unread(ctx, client, w.spec.GroupOf(a.Job), w.spec.Topic)
	if err != nil {
		return jobs.Plan{}, err
	}
	return planOf(unread)
}

func planOf(unread map[int32]kafka.Span) (jobs.Plan, error) {
	var plan jobs.Plan
	for p, span := range unread {
		if span.Len() == 0 {
			continue
		}
		payload, err := json.Marshal(Unread{p, span})
		if err != nil {
			return jobs.Plan{}, fmt.Errorf("write plan: %w", err)
		}
		plan.Splits = append(plan.Splits, jobs.Split{Stage: 1, Number: int(p), Size: span.Len(), Payload: payload})
	}
	if len(plan.Splits) > jobs.MaxSplits {
		return jobs.Plan{}, jobs.Permanent(fmt.Errorf("the topic has %d partitions with records; a plan has at most %d splits", len(plan.Splits), jobs.MaxSplits))
	}
	slices.SortFunc(plan.Splits, func(a, b jobs.Split) int { return a.Number - b.Number })
	for i := range plan.Splits {
		plan.Splits[i].Number = i
	}
	return plan, nil
}
