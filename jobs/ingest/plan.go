package ingest

import (
	"context"

	"tidemill/internal/kafka"
	"tidemill/jobs"
)

// Plan implements jobs.Planner: the offsets [committed, end) of each partition
// are fixed here, so that every attempt of the run reads the same records.
func (Kind) Plan(ctx context.Context, a jobs.Assignment, rt jobs.Runtime) (jobs.Plan, error) {
	w, err := prepare(ctx, a, rt)
	if err != nil {
		return jobs.Plan{}, err
	}
	return kafka.PlanUnread(ctx, w.kafka, w.spec.GroupOf(a.Job), w.spec.Topic)
}
