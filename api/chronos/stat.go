package chronos

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"

	"tidemill/jobs"
)

// durations are how long runs took, in seconds, the shortest first.
type durations []float64

// durationsOf takes the runs that came to an end by themselves.
func durationsOf(list []jobs.RunView) durations {
	var d durations
	for _, r := range list {
		if (r.State == jobs.RunSucceeded || r.State == jobs.RunFailed) && !r.Started.IsZero() {
			d = append(d, r.Ended.Sub(r.Started).Seconds())
		}
	}
	slices.Sort(d)
	return d
}

// quantile interpolates between neighbours as Chronos's metrics library did:
// the q-th of n values stands at q(n+1).
func (d durations) quantile(q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	at := q * float64(len(d)+1)
	lower := int(at)
	switch {
	case lower < 1:
		return d[0]
	case lower >= len(d):
		return d[len(d)-1]
	}
	return d[lower-1] + (at-float64(lower))*(d[lower]-d[lower-1])
}

func (d durations) mean() float64 {
	sum := 0.0
	for _, v := range d {
		sum += v
	}
	return sum / float64(max(1, len(d)))
}

// statistics are what can be asked for, by Chronos's names.
func statistics() map[string]func(durations) float64 {
	at := func(q float64) func(durations) float64 {
		return func(d durations) float64 { return d.quantile(q) }
	}
	return map[string]func(durations) float64{"99thPercentile": at(0.99), "98thPercentile": at(0.98),
		"95thPercentile": at(0.95), "75thPercentile": at(0.75), "median": at(0.5), "mean": durations.mean}
}

type jobStat struct {
	Histogram map[string]float64 `json:"histogram"` // seconds, and count
	History   []taskStat         `json:"taskStatHistory"`
}

type taskStat struct {
	TaskID   jobs.TaskID `json:"taskId"`
	Job      jobs.Name   `json:"jobName"`
	Agent    string      `json:"slaveId"`
	Start    string      `json:"startTime"`
	End      string      `json:"endTime"`
	Duration string      `json:"duration,omitempty"`
	Status   string      `json:"status"`
	Elements *int64      `json:"numElementsProcessed,omitempty"`
}

// maxTaskStats is how many tasks Chronos showed, the newest first.
const maxTaskStats = 5

func (s *Server) jobStat(ctx context.Context, r *http.Request) (any, error) {
	v, err := s.find(ctx, r)
	if err != nil {
		return nil, err
	}
	list, err := s.Scheduler.Runs(ctx, jobs.RunQuery{Job: v.Name, Stored: true, Limit: maxRuns})
	if err != nil {
		return nil, err
	}
	d := durationsOf(list.Runs)
	out := jobStat{Histogram: map[string]float64{"count": float64(len(d))}, History: []taskStat{}}
	for name, of := range statistics() {
		out.Histogram[name] = of(d)
	}
	tasks, err := s.latestTasks(ctx, list.Runs)
	for _, t := range tasks {
		out.History = append(out.History, s.taskStat(t))
	}
	return out, err
}

func (s *Server) latestTasks(ctx context.Context, list []jobs.RunView) ([]jobs.Task, error) {
	var tasks []jobs.Task
	for _, r := range list {
		if len(tasks) >= maxTaskStats {
			break
		}
		v, err := s.Scheduler.RunView(ctx, r.ID)
		if code, _ := jobs.CodeOf(err); code == jobs.NotFound { // history has forgotten it since
			continue
		} else if err != nil {
			return nil, err
		}
		for _, t := range v.Tasks {
			tasks = append(tasks, t.Task)
		}
	}
	slices.SortStableFunc(tasks, func(a, b jobs.Task) int { return b.Launched.Compare(a.Launched) })
	return tasks[:min(maxTaskStats, len(tasks))], nil
}

func (s *Server) taskStat(t jobs.Task) taskStat {
	out := taskStat{TaskID: t.ID, Job: t.Job, Agent: t.Agent, Start: clock(t.Started), End: clock(t.Ended),
		Status: "Idle", Elements: s.elements.of(t.ID)}
	if !t.Started.IsZero() && !t.Ended.IsZero() {
		out.Duration = lasting(t.Ended.Sub(t.Started))
	}
	switch {
	case t.State == jobs.AttemptSucceeded:
		out.Status = "Success"
	case t.State.Final():
		out.Status = "Fail"
	case t.State == jobs.AttemptRunning:
		out.Status = "Running"
	}
	return out
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	return t.UTC().Format("01/02/06 15:04:05")
}

// lasting writes a duration as 1d2h3m4s; only the seconds stand where they are 0.
func lasting(d time.Duration) string {
	seconds := int64(max(0, d) / time.Second)
	out := ""
	for _, unit := range []struct {
		name string
		size int64
	}{{"d", 24 * 60 * 60}, {"h", 60 * 60}, {"m", 60}} {
		if n := seconds / unit.size; n > 0 {
			out += fmt.Sprintf("%d%s", n, unit.name)
		}
		seconds %= unit.size
	}
	return fmt.Sprintf("%s%ds", out, seconds)
}

type jobTime struct {
	Job  jobs.Name `json:"jobNameLabel"`
	Time float64   `json:"time"` // seconds
}

// stats ranks the jobs by how long their runs take.
func (s *Server) stats(ctx context.Context, r *http.Request) (any, error) {
	name := chi.URLParam(r, "statistic")
	of, ok := statistics()[name]
	if !ok {
		return nil, invalid("", "%q is none of %v", name, slices.Sorted(maps.Keys(statistics())))
	}
	list, err := s.all(ctx, "")
	if err != nil {
		return nil, err
	}
	latest, err := s.Scheduler.Runs(ctx, jobs.RunQuery{Limit: maxRuns})
	if err != nil {
		return nil, err
	}
	byJob := map[jobs.Name][]jobs.RunView{}
	for _, r := range latest.Runs {
		byJob[r.Job] = append(byJob[r.Job], r)
	}
	out := make([]jobTime, len(list))
	for i, v := range list {
		out[i] = jobTime{Job: v.Name, Time: of(durationsOf(byJob[v.Name]))}
	}
	slices.SortStableFunc(out, func(a, b jobTime) int { return cmp.Compare(b.Time, a.Time) })
	return out, nil
}
