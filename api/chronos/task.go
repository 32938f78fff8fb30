package chronos

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"

	"github.com/go-chi/chi/v5"

	"tidemill/jobs"
)

// run starts a job now. As in Chronos its success always fires the children.
func (s *Server) run(ctx context.Context, r *http.Request) (any, error) {
	v, err := s.find(ctx, r)
	if err != nil {
		return nil, err
	}
	arguments, err := words(r.URL.Query().Get("arguments"))
	if err != nil {
		return nil, err
	}
	_, err = s.Scheduler.StartRun(ctx, jobs.RunRequest{Job: v.Name, RequestID: rand.Text(), Arguments: arguments, Children: true})
	return nil, err
}

func (s *Server) kill(ctx context.Context, r *http.Request) (any, error) {
	v, err := s.find(ctx, r)
	if err != nil {
		return nil, err
	}
	_, err = s.Scheduler.KillRuns(ctx, v.Name, "killed through Chronos's API")
	return nil, err
}

func (s *Server) killAll(ctx context.Context, _ *http.Request) (any, error) {
	list, err := s.all(ctx, "")
	for _, v := range list {
		if err == nil && v.Live > 0 {
			_, err = s.Scheduler.KillRuns(ctx, v.Name, "all killed through Chronos's API")
		}
	}
	return nil, err
}

// markSuccess declares the run under way a success, or the last one where it
// was none, or else a run that never was; its children follow in any case.
func (s *Server) markSuccess(ctx context.Context, r *http.Request) (any, error) {
	v, err := s.find(ctx, r)
	if err != nil {
		return nil, err
	}
	if last := v.LastRun; last != nil && last.State != jobs.RunSucceeded {
		_, err = s.Scheduler.MarkRun(ctx, last.ID, true)
	} else {
		_, err = s.Scheduler.StartRun(ctx, jobs.RunRequest{Job: v.Name, RequestID: rand.Text(), Children: true, Succeeded: true})
	}
	code, _ := jobs.CodeOf(err)
	if err != nil && code != jobs.Conflict {
		return nil, err
	}
	return text(fmt.Sprintf("marked job %s as successful: %t", v.Name, err == nil)), nil
}

// endTask is how an asynchronous job of Chronos 2.x said how it went.
func (s *Server) endTask(ctx context.Context, r *http.Request) (any, error) {
	var body struct {
		StatusCode number `json:"statusCode"`
	}
	if err := read(r, &body); err != nil {
		return nil, err
	}
	task, err := s.task(ctx, r)
	if err != nil {
		return nil, err
	}
	_, err = s.Scheduler.MarkRun(ctx, task.Run, body.StatusCode == 0)
	return nil, err
}

// task finds the attempt that a path names.
func (s *Server) task(ctx context.Context, r *http.Request) (jobs.Task, error) {
	id := jobs.TaskID(chi.URLParam(r, "task"))
	parts, err := jobs.ParseTaskID(id)
	if err != nil {
		return jobs.Task{}, invalid("", "%v", err)
	}
	v, err := s.Scheduler.RunView(ctx, parts.Run)
	if err != nil {
		return jobs.Task{}, err
	}
	for _, t := range v.Tasks {
		if t.ID == id {
			return t.Task, nil
		}
	}
	return jobs.Task{}, &jobs.Error{Code: jobs.NotFound, Op: "find", Subject: "task " + string(id), Message: "its run had no such task"}
}

// progress counts the elements that a data job's task says it processed.
func (s *Server) progress(ctx context.Context, r *http.Request) (any, error) {
	v, err := s.find(ctx, r)
	if err != nil {
		return nil, err
	}
	if v.Labels[labelPrefix+"dataProcessingJobType"] == "" {
		return nil, invalid("dataProcessingJobType", "job %s does not count elements; set it to true", v.Name)
	}
	var body struct {
		More *int64 `json:"numAdditionalElementsProcessed"`
	}
	if err := read(r, &body); err != nil {
		return nil, err
	}
	task, err := s.task(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case task.Job != v.Name:
		return nil, invalid("", "task %s is of job %s, not of %s", task.ID, task.Job, v.Name)
	case body.More == nil:
		return nil, nil
	case *body.More < 0:
		return nil, invalid("numAdditionalElementsProcessed", "%d is negative", *body.More)
	}
	s.elements.add(task.ID, *body.More)
	return nil, nil
}

// elements counts what tasks processed. Like all progress it is not stored:
// it is for people who look on, and begins anew under another leader.
type elements struct {
	mu     sync.Mutex
	counts map[jobs.TaskID]int64
	order  []jobs.TaskID // the oldest first
}

// maxCounted bounds the tasks whose elements are remembered.
const maxCounted = 10_000

func (e *elements) add(task jobs.TaskID, more int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.counts == nil {
		e.counts = map[jobs.TaskID]int64{}
	}
	if _, ok := e.counts[task]; !ok {
		e.order = append(e.order, task)
	}
	e.counts[task] += more
	if len(e.order) > maxCounted {
		delete(e.counts, e.order[0])
		e.order = e.order[1:]
	}
}

func (e *elements) of(task jobs.TaskID) *int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n, ok := e.counts[task]; ok {
		return &n
	}
	return nil
}
