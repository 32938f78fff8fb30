// Package apitest has a scheduler that lives in memory and runs nothing, for
// tests of what stands before a scheduler: the API, its client, the command line.
package apitest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"tidemill/api"
	"tidemill/jobs"
)

var _ api.Scheduler = (*Scheduler)(nil)

// Scheduler is the fake. Its zero value is ready, and leads.
type Scheduler struct {
	mu       sync.Mutex
	jobs     map[jobs.Name]jobs.JobView
	runs     []jobs.RunView // newest first
	requests map[string]jobs.RunID
	logs     map[string][]byte // by task and stream
	final    map[jobs.TaskID]bool
	status   jobs.Status
	pools    map[jobs.Name]jobs.Pool
	state    string
	agents   []jobs.AgentView
	fail     error
	watchers map[chan jobs.Notice]bool
	sequence int64
	// Token is what Connections asks for; Secrets is what it hands out.
	Token   string
	Secrets jobs.Connections
	// Finish, where set, ends each new run before StartRun returns.
	Finish func(*jobs.RunView)
}

// Created is when every fake run was created.
func Created() time.Time { return time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC) }

// Fail makes every method fail with err, until it is called with nil.
func (s *Scheduler) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// SetState sets what State gives.
func (s *Scheduler) SetState(lines string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = lines
}

// SetAgents sets what Agents gives.
func (s *Scheduler) SetAgents(list ...jobs.AgentView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agents = list
}

// SetStatus sets what Status gives.
func (s *Scheduler) SetStatus(st jobs.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = st
}

// PutJob puts a job as it is shown; PutRun a run, newest first.
func (s *Scheduler) PutJob(v jobs.JobView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(v)
}

func (s *Scheduler) put(v jobs.JobView) {
	if s.jobs == nil {
		s.jobs = map[jobs.Name]jobs.JobView{}
	}
	s.jobs[v.Name] = v
}

// PutRun adds a run, or replaces it.
func (s *Scheduler) PutRun(v jobs.RunView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putRun(v)
}

func (s *Scheduler) putRun(v jobs.RunView) {
	if i := slices.IndexFunc(s.runs, func(r jobs.RunView) bool { return r.ID == v.ID }); i >= 0 {
		s.runs[i] = v
		return
	}
	s.runs = slices.Insert(s.runs, 0, v)
}

// WriteLog adds to what a task wrote; End says that it has ended.
func (s *Scheduler) WriteLog(task jobs.TaskID, stream, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs == nil {
		s.logs = map[string][]byte{}
	}
	key := string(task) + "/" + stream
	s.logs[key] = append(s.logs[key], text...)
}

// End says that a task has ended, and its logs with it.
func (s *Scheduler) End(task jobs.TaskID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final == nil {
		s.final = map[jobs.TaskID]bool{}
	}
	s.final[task] = true
}

// Notify tells everybody who watches. One who does not keep up is dropped.
func (s *Scheduler) Notify(n jobs.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	n.Sequence = s.sequence
	for w := range s.watchers {
		select {
		case w <- n:
		default:
			delete(s.watchers, w)
			close(w)
		}
	}
}

// Watchers counts those who watch.
func (s *Scheduler) Watchers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers)
}

// Apply creates or replaces jobs. Unknown parents are refused as the real one does.
func (s *Scheduler) Apply(_ context.Context, list []jobs.Job) ([]jobs.AppliedJob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	graph := jobs.NewGraph()
	for _, v := range s.jobs {
		graph.Put(v.Job)
	}
	for _, j := range list {
		graph.Put(j)
	}
	out := make([]jobs.AppliedJob, 0, len(list))
	var wrong jobs.FieldErrors
	for i, j := range list {
		prefix := ""
		if len(list) > 1 {
			prefix = fmt.Sprintf("[%d]", i)
		}
		wrong.AddAll(prefix, graph.Check(j))
		out = append(out, s.applied(j))
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	for _, j := range out { // counters survive
		v := s.jobs[j.Name]
		v.Job, v.State = j.Job, cmp.Or(v.State, "idle")
		s.put(v)
	}
	return out, nil
}

func (s *Scheduler) applied(j jobs.Job) jobs.AppliedJob {
	old, known := s.jobs[j.Name]
	j.Version = old.Version
	if reflect.DeepEqual(j, old.Job) {
		return jobs.AppliedJob{Job: j, Applied: jobs.JobUnchanged}
	}
	j.Version++
	if known {
		return jobs.AppliedJob{Job: j, Applied: jobs.JobReplaced}
	}
	return jobs.AppliedJob{Job: j, Applied: jobs.JobCreated}
}

func (s *Scheduler) find(op string, name jobs.Name) (jobs.JobView, error) {
	if s.fail != nil {
		return jobs.JobView{}, s.fail
	}
	v, ok := s.jobs[name]
	if !ok {
		return v, &jobs.Error{Code: jobs.NotFound, Op: op, Subject: "job " + string(name), Message: "no job has that name",
			Hint: "\"tidemill job list\" shows those there are"}
	}
	return v, nil
}

// Delete removes a job.
func (s *Scheduler) Delete(_ context.Context, name jobs.Name, _ jobs.DeleteMode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.find("delete", name)
	delete(s.jobs, name)
	return err
}

// SetPaused pauses or resumes a job.
func (s *Scheduler) SetPaused(_ context.Context, name jobs.Name, paused bool) (jobs.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.find("pause", name)
	if err != nil {
		return jobs.Job{}, err
	}
	v.Paused, v.State = paused, "idle"
	if paused {
		v.State = "paused"
	}
	s.put(v)
	return v.Job, nil
}

// Scale sets how many instances a service has.
func (s *Scheduler) Scale(_ context.Context, name jobs.Name, instances int) (jobs.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.find("scale", name)
	if err != nil {
		return jobs.Job{}, err
	}
	v.Service = &jobs.Service{Instances: &instances}
	s.put(v)
	return v.Job, nil
}

// Job shows one job.
func (s *Scheduler) Job(_ context.Context, name jobs.Name) (jobs.JobView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find("show", name)
}

// Jobs lists jobs by name.
func (s *Scheduler) Jobs(_ context.Context, q jobs.JobQuery) ([]jobs.JobView, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []jobs.JobView
	for _, v := range s.jobs {
		text := strings.ToLower(string(v.Name) + " " + v.Owner + " " + v.Description + " " + string(v.Spec))
		if strings.Contains(text, strings.ToLower(q.Search)) && (q.Kind == "" || v.Kind == q.Kind) {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, func(a, b jobs.JobView) int { return cmp.Compare(a.Name, b.Name) })
	return pageOf(found, q.Limit, q.Offset), len(found), s.fail
}

func pageOf[T any](list []T, limit, offset int) []T {
	list = list[min(offset, len(list)):]
	return slices.Clone(list[:min(limit, len(list))])
}

// StartRun makes a run; the same request gives the same one.
func (s *Scheduler) StartRun(_ context.Context, r jobs.RunRequest) (jobs.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, err := s.find("start run", r.Job)
	if err != nil {
		return jobs.Run{}, err
	}
	if id, ok := s.requests[r.RequestID]; ok && r.RequestID != "" {
		v, err := s.run(id)
		return v.Run, err
	}
	key := jobs.RequestKey(cmp.Or(r.RequestID, fmt.Sprint(len(s.runs))))
	v := jobs.RunView{Run: jobs.Run{ID: jobs.NewRunID(j.Name, 1, key, 0), Job: j.Name, Key: key, JobVersion: j.Version,
		Trigger: jobs.ByHand, Nominal: r.Nominal, Interval: r.Interval, Arguments: r.Arguments, FireChildren: r.Children,
		State: jobs.RunPending, Created: Created()}}
	if v.Nominal.IsZero() {
		v.Nominal = v.Created
	}
	if r.Succeeded {
		v.State, v.Reason = jobs.RunSucceeded, "marked successful by hand"
	}
	started := v.Run
	if s.Finish != nil && !r.Succeeded {
		s.Finish(&v)
	}
	s.putRun(v)
	if s.requests == nil {
		s.requests = map[string]jobs.RunID{}
	}
	s.requests[r.RequestID] = v.ID
	return started, nil
}

// Runs lists runs, newest first.
func (s *Scheduler) Runs(_ context.Context, q jobs.RunQuery) (jobs.RunPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []jobs.RunView
	for _, v := range s.runs {
		if (q.Job == "" || v.Job == q.Job) && (q.State == "" || v.State == q.State) && (!q.Live || !v.State.Final()) {
			v.Tasks, v.Waiting = nil, v.Waiting[:min(1, len(v.Waiting))]
			found = append(found, v)
		}
	}
	if _, known := s.jobs[q.Job]; q.Job != "" && !known && len(found) == 0 {
		_, err := s.find("list runs", q.Job)
		return jobs.RunPage{}, err
	}
	page := jobs.RunPage{Total: len(found)}
	if i := slices.IndexFunc(found, func(v jobs.RunView) bool { return v.Cursor() == q.Before }); i >= 0 {
		found = found[i+1:]
	}
	page.Runs = pageOf(found, q.Limit, q.Offset)
	if n := len(page.Runs); n > 0 && q.Offset+n < len(found) {
		page.Next = page.Runs[n-1].Cursor()
	}
	return page, s.fail
}

func (s *Scheduler) run(id jobs.RunID) (jobs.RunView, error) {
	if s.fail != nil {
		return jobs.RunView{}, s.fail
	}
	for _, v := range s.runs {
		if v.ID == id {
			return v, nil
		}
	}
	return jobs.RunView{}, &jobs.Error{Code: jobs.NotFound, Op: "show", Subject: "run " + string(id), Message: "no run has that id"}
}

// RunView shows one run.
func (s *Scheduler) RunView(_ context.Context, id jobs.RunID) (jobs.RunView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run(id)
}

// KillRuns cancels all live runs of a job.
func (s *Scheduler) KillRuns(ctx context.Context, name jobs.Name, reason string) (int, error) {
	list, err := s.Runs(ctx, jobs.RunQuery{Job: name, Live: true})
	if err != nil {
		return 0, err
	}
	for _, r := range list.Runs {
		if err := s.KillRun(ctx, r.ID, reason); err != nil {
			return 0, err
		}
	}
	return len(list.Runs), nil
}

// MarkRun declares how a run ended.
func (s *Scheduler) MarkRun(_ context.Context, id jobs.RunID, success bool) (jobs.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.runs {
		if r := &s.runs[i]; r.ID == id {
			r.State, r.Reason = jobs.RunFailed, "marked failed by hand"
			if success {
				r.State, r.Reason = jobs.RunSucceeded, "marked successful by hand"
			}
			return r.Run, nil
		}
	}
	return jobs.Run{}, &jobs.Error{Code: jobs.NotFound, Op: "mark", Subject: "run " + string(id), Message: "no run has that id"}
}

// Rerun starts the run's job again; where only failed splits are asked for,
// one split was none of them.
func (s *Scheduler) Rerun(ctx context.Context, id jobs.RunID, failed bool) (jobs.Run, error) {
	view, err := s.RunView(ctx, id)
	if err != nil {
		return jobs.Run{}, err
	}
	again, err := s.StartRun(ctx, jobs.RunRequest{Job: view.Job, RequestID: string(id) + " again"})
	if failed && err == nil {
		again.Rerun = &jobs.Rerun{Of: id, Origin: id, Stage: 1, Kept: 1}
	}
	return again, err
}

// Resolve ends a run as it is told.
func (s *Scheduler) Resolve(ctx context.Context, id jobs.RunID, as jobs.Resolution) (jobs.Run, error) {
	return s.MarkRun(ctx, id, as == jobs.ResolveSuccess)
}

// Backfill counts the hours of the interval.
func (s *Scheduler) Backfill(ctx context.Context, r jobs.BackfillRequest) (int, error) {
	_, err := s.Job(ctx, r.Job)
	return int(r.To.Sub(r.From).Hours()), err
}

// Pools lists the pools by name.
func (s *Scheduler) Pools(context.Context) ([]jobs.PoolView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []jobs.PoolView
	for _, p := range s.pools {
		out = append(out, jobs.PoolView{Pool: p})
	}
	slices.SortFunc(out, func(a, b jobs.PoolView) int { return cmp.Compare(a.Name, b.Name) })
	return out, s.fail
}

// SetPool creates a pool or changes it.
func (s *Scheduler) SetPool(_ context.Context, p jobs.Pool) (jobs.PoolView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.fail, p.Validate()); err != nil {
		return jobs.PoolView{}, err
	}
	if s.pools == nil {
		s.pools = map[jobs.Name]jobs.Pool{}
	}
	s.pools[p.Name] = p
	return jobs.PoolView{Pool: p}, nil
}

// DeletePool removes a pool.
func (s *Scheduler) DeletePool(_ context.Context, name jobs.Name) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pools[name]; !ok && s.fail == nil {
		return &jobs.Error{Code: jobs.NotFound, Op: "delete", Subject: "pool " + string(name), Message: "no pool has that name"}
	}
	delete(s.pools, name)
	return s.fail
}

// Hold is shown by Status until Release.
func (s *Scheduler) Hold(_ context.Context, reason string) (jobs.Hold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Hold = &jobs.Hold{Since: Created(), Reason: reason}
	return *s.status.Hold, s.fail
}

// Release ends a hold.
func (s *Scheduler) Release(context.Context, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Hold = nil
	return s.fail
}

// Next lists the coming hours after the fake's beginning.
func (s *Scheduler) Next(ctx context.Context, name jobs.Name, n int) ([]time.Time, error) {
	_, err := s.Job(ctx, name)
	var out []time.Time
	for i := range n {
		out = append(out, Created().Add(time.Duration(i+1)*time.Hour))
	}
	return out, err
}

// KillRun cancels a run; one that has ended refuses.
func (s *Scheduler) KillRun(_ context.Context, id jobs.RunID, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.run(id)
	if err != nil {
		return err
	}
	if v.State.Final() {
		return &jobs.Error{Code: jobs.Conflict, Op: "kill", Subject: "run " + string(id), Message: "it has ended already: " + string(v.State)}
	}
	v.State, v.Reason = jobs.RunCancelled, reason
	s.putRun(v)
	return nil
}

// Log reads what WriteLog wrote.
func (s *Scheduler) Log(_ context.Context, task jobs.TaskID, stream string, offset int64, limit int) (jobs.LogChunk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.logs[string(task)+"/"+stream]
	if s.fail != nil {
		return jobs.LogChunk{}, s.fail
	}
	if !ok && !s.final[task] {
		return jobs.LogChunk{}, &jobs.Error{Code: jobs.NotFound, Op: "read log", Subject: "task " + string(task), Message: "no task has that id"}
	}
	size := int64(len(data))
	offset = min(offset, size)
	part := slices.Clone(data[offset:min(size, offset+int64(limit))])
	return jobs.LogChunk{Data: part, Offset: offset, Size: size, End: s.final[task] && offset+int64(len(part)) == size}, nil
}

// ListFiles lists the logs, and no directories.
func (s *Scheduler) ListFiles(_ context.Context, task jobs.TaskID, path string) (list []jobs.File, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, data := range s.logs {
		if name, ok := strings.CutPrefix(key, string(task)+"/"); ok && path == "" {
			list = append(list, jobs.File{Path: name, Size: int64(len(data))})
		}
	}
	slices.SortFunc(list, func(a, b jobs.File) int { return strings.Compare(a.Path, b.Path) })
	return list, s.fail
}

// ReadFile reads a log.
func (s *Scheduler) ReadFile(ctx context.Context, task jobs.TaskID, path string, offset int64, limit int) (jobs.FileChunk, error) {
	chunk, err := s.Log(ctx, task, path, offset, limit)
	return jobs.FileChunk{Data: chunk.Data, Offset: chunk.Offset, Size: chunk.Size}, err
}

// Connections hands out Secrets for Token.
func (s *Scheduler) Connections(_ context.Context, task jobs.TaskID, token string) (jobs.Connections, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return jobs.Connections{}, s.fail
	}
	if token == "" || token != s.Token {
		return jobs.Connections{}, &jobs.Error{Code: jobs.Forbidden, Op: "read connections", Subject: "task " + string(task), Message: "the token is another task's"}
	}
	return s.Secrets, nil
}

// Status gives what SetStatus set.
func (s *Scheduler) Status(context.Context) (jobs.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status, s.fail
}

// State gives what SetState was told.
func (s *Scheduler) State(context.Context) (io.WriterTo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.NewReader(s.state), s.fail
}

// Agents gives what SetAgents set.
func (s *Scheduler) Agents(context.Context) ([]jobs.AgentView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.agents), s.fail
}

// ReleaseAgent forgives one of them.
func (s *Scheduler) ReleaseAgent(_ context.Context, id string) (jobs.AgentView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.agents {
		if s.agents[i].ID == id && s.fail == nil {
			s.agents[i].Avoided, s.agents[i].Strikes = nil, 0
			return s.agents[i], nil
		}
	}
	return jobs.AgentView{}, cmp.Or(s.fail, error(&jobs.Error{Code: jobs.NotFound, Op: "release", Subject: "agent " + id, Message: "no such agent"}))
}

// Watch delivers what Notify is told.
func (s *Scheduler) Watch(ctx context.Context) (<-chan jobs.Notice, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	w := make(chan jobs.Notice, 16)
	if s.watchers == nil {
		s.watchers = map[chan jobs.Notice]bool{}
	}
	s.watchers[w] = true
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.watchers[w] {
			delete(s.watchers, w)
			close(w)
		}
	})
	return w, nil
}
