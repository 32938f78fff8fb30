package rollup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/internal/dirty"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

const (
	// maxPartitions bounds an incremental plan below jobs.MaxPlanBytes; the
	// marks of further days are left for the next run.
	maxPartitions = 100_000
	// minPartitions of a day are worth a task of their own.
	minPartitions = 8
	// marksPerPublish is how many marks one task publishes: writing them
	// takes some ten seconds.
	marksPerPublish = 20_000
)

// dayBuckets are partitions of event_by_day.
type dayBuckets struct {
	Day     event.Day `json:"day"`
	Buckets []int     `json:"buckets"`
}

// plan makes the run's plan. The marks are read first, then the run registers
// its version, and only then is anything counted: so the counts include all
// that the marks speak of, and so do those of any later version.
func (w *work) plan(ctx context.Context) (jobs.Plan, error) {
	a := w.assignment
	w.shared.Marks = a.Attempt
	marks, more, err := dirty.Read(ctx, w.session, string(a.Job), dirty.MaxMarks)
	if err != nil {
		return jobs.Plan{}, err
	}
	w.shared.More = more
	var plan jobs.Plan
	if w.spec.Mode == Full {
		plan, err = w.planFull(ctx, marks)
	} else {
		plan, err = w.planIncremental(ctx, marks)
	}
	if err != nil {
		return jobs.Plan{}, err
	}
	plan.Shared, err = json.Marshal(w.shared)
	return plan, err
}

// take keeps the marks for the run's other attempts and registers the version.
func (w *work) take(ctx context.Context, marks []dirty.Mark) error {
	if err := w.taken().Store(ctx, w.session, marks); err != nil {
		return err
	}
	return dirty.Register(ctx, w.session, target, w.assignment.Version)
}

func (w *work) planIncremental(ctx context.Context, marks []dirty.Mark) (jobs.Plan, error) {
	days, err := w.bucketsOf(ctx, marks)
	if err != nil {
		return jobs.Plan{}, err
	}
	marks = w.bound(marks, days)
	if len(marks) == 0 {
		return jobs.Plan{}, nil
	}
	if err := w.take(ctx, marks); err != nil {
		return jobs.Plan{}, err
	}
	ring, err := w.session.Ring(ctx)
	if err != nil {
		return jobs.Plan{}, err
	}
	partitions, err := w.locate(ctx, ring, days)
	if err != nil {
		return jobs.Plan{}, err
	}
	limit := w.spec.Splits
	if limit == 0 {
		limit = min(1+2*len(ring.Nodes), (len(partitions)+minPartitions-1)/minPartitions)
	}
	splits, err := deal(partitions, ring.DC, limit, func(d []dayBuckets) payload { return payload{Count: d} })
	if err != nil {
		return jobs.Plan{}, err
	}
	w.log.Info().Int("marks", len(marks)).Int("days", len(days)).Int("partitions", len(partitions)).Int("splits", len(splits)).
		Bool("more", w.shared.More).Msg("planned")
	return addPublish(splits, len(marks)/marksPerPublish+1)
}

// bucketsOf gives each marked day its number of partitions, 0 where none of
// its rows was ever written.
func (w *work) bucketsOf(ctx context.Context, marks []dirty.Mark) (map[event.Day]int, error) {
	days := map[event.Day]int{}
	for _, m := range marks {
		days[m.Day] = 0
	}
	var mu sync.Mutex
	err := cassandra.Each(ctx, slices.Collect(maps.Keys(days)), readers, func(ctx context.Context, day event.Day) error {
		n, _, err := w.session.DayBuckets(ctx, day)
		mu.Lock()
		defer mu.Unlock()
		days[day] = n
		return err
	})
	return days, err
}

// bound leaves out the latest days where a plan would become too large.
func (w *work) bound(marks []dirty.Mark, days map[event.Day]int) []dirty.Mark {
	partitions := 0
	for _, day := range slices.Sorted(maps.Keys(days)) {
		if partitions += days[day]; partitions > maxPartitions {
			delete(days, day)
			w.shared.More = true
		}
	}
	return slices.DeleteFunc(marks, func(m dirty.Mark) bool { _, ok := days[m.Day]; return !ok })
}

// partition is a partition of event_by_day with its replicas.
type partition struct {
	day          event.Day
	bucket       int
	hosts, racks []string
}

// locate finds the partitions that have rows, and their replicas.
func (w *work) locate(ctx context.Context, ring *cassandra.Ring, days map[event.Day]int) ([]partition, error) {
	var all []partition
	for _, day := range slices.Sorted(maps.Keys(days)) {
		for bucket := range days[day] {
			all = append(all, partition{day: day, bucket: bucket})
		}
	}
	var mu sync.Mutex
	var found []partition
	err := cassandra.Each(ctx, all, readers, func(ctx context.Context, p partition) error {
		var token int64
		err := w.session.Query(`SELECT token(day, bucket) FROM event_by_day WHERE day = ? AND bucket = ? LIMIT 1`, p.day.Time(), p.bucket).
			WithContext(ctx).Scan(&token)
		if errors.Is(err, gocql.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("locate partition %d of %s: %w", p.bucket, p.day, err)
		}
		p.hosts, p.racks = ring.Near(token)
		mu.Lock()
		defer mu.Unlock()
		found = append(found, p)
		return nil
	})
	slices.SortFunc(found, func(a, b partition) int { return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.bucket, b.bucket)) })
	return found, err
}

// deal makes at most limit splits of the partitions, each of partitions that
// the same hosts hold; where the replica sets are more than that, of
// partitions with the same first host; where even these are, of any.
func deal(partitions []partition, dc string, limit int, what func([]dayBuckets) payload) ([]jobs.Split, error) {
	if len(partitions) == 0 {
		return nil, nil
	}
	limit = max(limit, 1)
	groups := groupBy(partitions, func(p partition) string { return strings.Join(slices.Sorted(slices.Values(p.hosts)), " ") })
	if len(groups) > limit {
		for i, p := range partitions {
			partitions[i].hosts = p.hosts[:min(1, len(p.hosts))]
		}
		groups = groupBy(partitions, func(p partition) string { return strings.Join(p.hosts, " ") })
	}
	if len(groups) > limit {
		for i := range partitions {
			partitions[i].hosts, partitions[i].racks = nil, nil
		}
		groups = [][]partition{partitions}
	}
	var out []jobs.Split
	for _, g := range groups {
		n := 1 + (limit-len(groups))*len(g)/len(partitions)
		for chunk := range slices.Chunk(g, (len(g)+n-1)/n) {
			doc, err := json.Marshal(what(byDay(chunk)))
			if err != nil {
				return nil, fmt.Errorf("write split: %w", err)
			}
			out = append(out, jobs.Split{Stage: 1, Size: int64(len(chunk)), Hosts: g[0].hosts, Racks: g[0].racks, DC: dc, Payload: doc})
		}
	}
	slices.SortStableFunc(out, func(a, b jobs.Split) int { return cmp.Compare(b.Size, a.Size) })
	for i := range out {
		out[i].Number = i
	}
	return out, nil
}

func groupBy(partitions []partition, key func(partition) string) [][]partition {
	index := map[string]int{}
	var out [][]partition
	for _, p := range partitions {
		k := key(p)
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

func byDay(partitions []partition) []dayBuckets {
	var out []dayBuckets
	for _, p := range partitions {
		if len(out) == 0 || out[len(out)-1].Day != p.day {
			out = append(out, dayBuckets{Day: p.day})
		}
		last := &out[len(out)-1]
		last.Buckets = append(last.Buckets, p.bucket)
	}
	return out
}

// addPublish adds the stage that publishes what the splits count, in so many
// splits; it is the first stage where there is nothing to count.
func addPublish(splits []jobs.Split, n int) (jobs.Plan, error) {
	stage := 1
	if len(splits) > 0 {
		stage = 2
	}
	for i, shards := range dirty.Groups(n) {
		doc, err := json.Marshal(payload{Publish: shards})
		if err != nil {
			return jobs.Plan{}, fmt.Errorf("write split: %w", err)
		}
		splits = append(splits, jobs.Split{Stage: stage, Number: i, Payload: doc})
	}
	return jobs.Plan{Splits: splits}, nil
}
