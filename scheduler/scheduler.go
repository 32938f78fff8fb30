// Package scheduler decides what runs, when and where, and never loses or
// doubles a run: a pure core (Step), and the loop that performs what it asks
// for, under one leader's term.
//
//	events ─► Step ─► persist (fenced by the term) ─► calls to Mesos, reads, answers
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// Options is what a scheduler is made of.
type Options struct {
	Core        Config
	Kinds       *jobs.Registry
	Elector     Elector
	Mesos       Mesos
	Files       Files
	History     History // nil: runs that the store no longer keeps are forgotten
	Connections jobs.Connections
	// MasterTimeout is how long a leader tries to subscribe before it lets another scheduler lead;
	// default 15 s.
	MasterTimeout time.Duration
	// RegisterAnew is what to do when Mesos has removed the framework: forget its id, and what was
	// at work, rather than end.
	RegisterAnew bool
	Now          func() time.Time
	Log          zerolog.Logger
}

// Scheduler campaigns, leads, steps down and campaigns again. Its methods
// answer from the term it leads; while it does not lead they are unavailable.
type Scheduler struct {
	opt Options
	hub *hub

	mu     sync.Mutex
	term   *term
	copied *replica // while it does not lead
}

// NewScheduler makes one; Serve makes it work.
func NewScheduler(opt Options) *Scheduler {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.MasterTimeout == 0 {
		opt.MasterTimeout = 15 * time.Second
	}
	if opt.History == nil {
		opt.Core.HistoryBacklog = 0
	}
	return &Scheduler{opt: opt, hub: newHub()}
}

var errNotLeading = &jobs.Error{Code: jobs.Unavailable, Message: "this scheduler does not lead", Hint: "try again in a moment", Repeatable: true}

// Serve takes part in elections until ctx ends, or until a term ends in a way
// that no other term would mend.
func (s *Scheduler) Serve(ctx context.Context) error {
	patience := s.opt.MasterTimeout
	for pause := time.Duration(0); wait(ctx, pause); {
		began := time.Now()
		subscribed, err := s.lead(ctx, patience)
		if pause = min(max(2*pause, campaignPause), maxCampaignPause); time.Since(began) > longTerm {
			pause = 0
		}
		if patience = min(2*patience, maxPatience); subscribed || !errors.Is(err, errNoMaster) {
			patience = s.opt.MasterTimeout
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case isRemoved(err) && s.opt.RegisterAnew:
			if err := s.forget(ctx, err); err != nil {
				s.opt.Log.Error().Err(err).Msg("the framework's id could not be forgotten; campaigning again")
			}
		case isRemoved(err):
			return &jobs.Error{Code: jobs.Conflict, Op: "subscribe", Err: err, Hint: "it was torn down, or its failover timeout passed; forget its id with: tidemill framework reset --force, and start again"}
		case err != nil:
			s.opt.Log.Error().Err(err).Msg("the term ended; campaigning again")
		}
	}
	return nil
}

// Where one term after another ends at once, as on a full disk, the pause
// between them grows; after one that lasted there is none.
const (
	campaignPause    = 100 * time.Millisecond
	maxCampaignPause = 5 * time.Second
	longTerm         = 10 * time.Second
)

// wait says whether ctx is still there after so long.
func wait(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	return ctx.Err() == nil
}

// resignTimeout bounds how long handing over may take.
const resignTimeout = 5 * time.Second

// maxPatience bounds how long a leader tries in vain when all did before: without any master,
// elections become rare.
const maxPatience = 5 * time.Minute

// lead campaigns and leads for a term, and says whether the term was ever subscribed.
func (s *Scheduler) lead(ctx context.Context, patience time.Duration) (subscribed bool, err error) {
	copied := newReplica(s.opt.Kinds)
	s.set(nil, copied)
	leader, err := s.opt.Elector.Campaign(ctx, copied.tell)
	if err != nil {
		return false, err
	}
	defer s.resign(ctx, leader)
	t := newTerm(&s.opt, leader, s.hub.publish)
	if err := t.load(ctx, copied); err != nil {
		return false, err
	}
	s.set(t, nil)
	defer s.set(nil, nil)
	err = t.run(ctx, patience)
	return t.subscribed, err
}

// forget takes the id of a framework that was removed out of the store, in a term of its own,
// unless another scheduler did so.
func (s *Scheduler) forget(ctx context.Context, why error) error {
	var removed *RemovedError
	errors.As(why, &removed)
	leader, err := s.opt.Elector.Campaign(ctx, nil)
	if err != nil {
		return err
	}
	defer s.resign(ctx, leader)
	var store []Record
	if err := leader.Load(ctx, func(r Record) error { store = append(store, r); return nil }); err != nil {
		return fmt.Errorf("load the store: %w", err)
	}
	changes, id, unknown, err := ForgetFramework(store, true, s.opt.Now())
	if err != nil || id != removed.Framework {
		return err
	}
	s.opt.Log.Warn().Err(why).Int("unknown_attempts", unknown).Msg("registering a new framework")
	return Write(ctx, leader, []Group{changes})
}

func (s *Scheduler) resign(ctx context.Context, leader Leadership) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	if err := leader.Resign(bounded); err != nil {
		s.opt.Log.Warn().Err(err).Msg("resigning failed; the session's end will do it")
	}
}

func (s *Scheduler) set(t *term, copied *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.term, s.copied = t, copied
}

func (s *Scheduler) leading() (*term, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.term == nil {
		return nil, errNotLeading
	}
	return s.term, nil
}

// records is how many records of the store this scheduler knows of.
func (s *Scheduler) records(ctx context.Context) (n int) {
	s.mu.Lock()
	t, copied := s.term, s.copied
	s.mu.Unlock()
	switch {
	case copied != nil:
		n = copied.size()
	case t != nil:
		_ = t.look(ctx, func(*Core) { n, _ = t.engine.Stored() }) // at the term's end: none
	}
	return n
}

// request asks the leading term for something, and waits for its durability.
func request[T any](ctx context.Context, s *Scheduler, do any) (T, error) {
	var none T
	t, err := s.leading()
	if err != nil {
		return none, err
	}
	v, err := t.ask(ctx, do)
	if err != nil {
		return none, err
	}
	out, _ := v.(T)
	return out, nil
}

// look reads from the leading term's core.
func (s *Scheduler) look(ctx context.Context, f func(*Core)) error {
	t, err := s.leading()
	if err != nil {
		return err
	}
	return t.look(ctx, f)
}

// Apply creates or replaces jobs, all or none.
func (s *Scheduler) Apply(ctx context.Context, list []jobs.Job) ([]jobs.AppliedJob, error) {
	return request[[]jobs.AppliedJob](ctx, s, ApplyJobs{Jobs: list})
}

// Delete removes a job; mode says what becomes of its children.
func (s *Scheduler) Delete(ctx context.Context, name jobs.Name, mode jobs.DeleteMode) error {
	_, err := request[any](ctx, s, DeleteJob{Name: name, Mode: mode})
	return err
}

// SetPaused pauses or resumes a job.
func (s *Scheduler) SetPaused(ctx context.Context, name jobs.Name, paused bool) (jobs.Job, error) {
	return request[jobs.Job](ctx, s, PauseJob{Name: name, Paused: paused})
}

// Scale sets how many instances a service has.
func (s *Scheduler) Scale(ctx context.Context, name jobs.Name, instances int) (jobs.Job, error) {
	return request[jobs.Job](ctx, s, ScaleJob{Name: name, Instances: instances})
}

// StartRun makes a run by hand.
func (s *Scheduler) StartRun(ctx context.Context, r jobs.RunRequest) (jobs.Run, error) {
	return request[jobs.Run](ctx, s, StartRun{r})
}

// KillRun cancels a run.
func (s *Scheduler) KillRun(ctx context.Context, id jobs.RunID, reason string) error {
	_, err := request[any](ctx, s, KillRun{ID: id, Reason: reason})
	return err
}

// KillRuns cancels all live runs of a job, and says how many there were.
func (s *Scheduler) KillRuns(ctx context.Context, name jobs.Name, reason string) (int, error) {
	return request[int](ctx, s, KillRuns{Job: name, Reason: reason})
}

// MarkRun declares by hand how a run ended; a success fires its children.
func (s *Scheduler) MarkRun(ctx context.Context, id jobs.RunID, success bool) (jobs.Run, error) {
	return request[jobs.Run](ctx, s, MarkRun{ID: id, Success: success})
}

// Rerun does a final run again, as the job is now, or its failed splits only.
func (s *Scheduler) Rerun(ctx context.Context, id jobs.RunID, failed bool) (jobs.Run, error) {
	return request[jobs.Run](ctx, s, RerunRun{ID: id, Failed: failed})
}

// Resolve says how a run's attempts went whose outcome is unknown.
func (s *Scheduler) Resolve(ctx context.Context, id jobs.RunID, as jobs.Resolution) (jobs.Run, error) {
	return request[jobs.Run](ctx, s, ResolveRun{ID: id, As: as})
}

// Backfill runs the instants of an interval, and says how many there are.
func (s *Scheduler) Backfill(ctx context.Context, r jobs.BackfillRequest) (int, error) {
	return request[int](ctx, s, BackfillJob{r})
}

// Pools lists the pools by name.
func (s *Scheduler) Pools(ctx context.Context) (list []jobs.PoolView, err error) {
	err = s.look(ctx, func(c *Core) { list = c.Pools() })
	return list, err
}

// SetPool creates a pool or changes it.
func (s *Scheduler) SetPool(ctx context.Context, p jobs.Pool) (jobs.PoolView, error) {
	return request[jobs.PoolView](ctx, s, SetPool{p})
}

// DeletePool removes a pool that no job names.
func (s *Scheduler) DeletePool(ctx context.Context, name jobs.Name) error {
	_, err := request[any](ctx, s, DeletePool{Name: name})
	return err
}

// Hold keeps everything from being launched until Release.
func (s *Scheduler) Hold(ctx context.Context, reason string) (jobs.Hold, error) {
	return request[jobs.Hold](ctx, s, HoldLaunches{Reason: reason})
}

// Release ends a hold.
func (s *Scheduler) Release(ctx context.Context, reason string) error {
	_, err := request[any](ctx, s, ReleaseLaunches{Reason: reason})
	return err
}

// Next lists the coming instants of a job's schedule, at most n.
func (s *Scheduler) Next(ctx context.Context, name jobs.Name, n int) (list []time.Time, err error) {
	if lookErr := s.look(ctx, func(c *Core) { list, err = c.Next(name, n) }); lookErr != nil {
		return nil, lookErr
	}
	return list, err
}

// Job shows one job.
func (s *Scheduler) Job(ctx context.Context, name jobs.Name) (v jobs.JobView, err error) {
	if lookErr := s.look(ctx, func(c *Core) { v, err = c.JobView(name) }); lookErr != nil {
		return v, lookErr
	}
	return v, err
}

// Jobs lists jobs.
func (s *Scheduler) Jobs(ctx context.Context, q jobs.JobQuery) (list []jobs.JobView, total int, err error) {
	err = s.look(ctx, func(c *Core) { list, total = c.Jobs(q) })
	return list, total, err
}

// Agents lists the agents that have offered something to the leader.
func (s *Scheduler) Agents(ctx context.Context) (list []jobs.AgentView, err error) {
	err = s.look(ctx, func(c *Core) { list = c.Agents() })
	return list, err
}

// ReleaseAgent lets tasks be placed again on an agent that is avoided.
func (s *Scheduler) ReleaseAgent(ctx context.Context, id string) (jobs.AgentView, error) {
	return request[jobs.AgentView](ctx, s, ReleaseAgent{ID: id})
}

// Log reads part of an attempt's stdout or stderr.
func (s *Scheduler) Log(ctx context.Context, id jobs.TaskID, stream string, offset int64, limit int) (jobs.LogChunk, error) {
	task, where, err := s.taskView(ctx, id)
	if err != nil {
		return jobs.LogChunk{}, err
	}
	if stream != jobs.StdoutFile && stream != jobs.StderrFile {
		return jobs.LogChunk{}, &jobs.Error{Code: jobs.Invalid, Op: "read log", Message: "stream is stdout or stderr, not " + stream}
	}
	data, size, err := s.opt.Files.Read(ctx, where, logPath(&task, stream), offset, limit)
	if err != nil {
		return jobs.LogChunk{}, &jobs.Error{
			Code: jobs.Unavailable, Op: "read log", Subject: "task " + string(id), Err: err,
			Hint: "the log lies on " + task.Host + " until its agent removes the sandbox",
		}
	}
	return jobs.LogChunk{Data: data, Offset: offset, Size: size, End: task.State.Final() && offset+int64(len(data)) >= size}, nil
}

// Connections hands the configured connections to a live task that shows its token.
func (s *Scheduler) Connections(ctx context.Context, id jobs.TaskID, token string) (jobs.Connections, error) {
	var ok bool
	if err := s.look(ctx, func(c *Core) { ok = c.Authorize(id, token) }); err != nil {
		return jobs.Connections{}, err
	}
	if !ok {
		return jobs.Connections{}, &jobs.Error{Code: jobs.Forbidden, Op: "connections", Subject: "task " + string(id), Message: "the token is not that of a live task"}
	}
	return s.opt.Connections, nil
}

// Status says how this scheduler stands.
func (s *Scheduler) Status(ctx context.Context) (jobs.Status, error) {
	var st jobs.Status
	t, err := s.leading()
	if err == nil {
		err = t.look(ctx, func(c *Core) {
			st = c.Status()
			st.Records, st.StoreBytes = t.engine.Stored()
			st.Leading, st.Term = true, t.leader.Term()
		})
	}
	st.Leader, _ = s.opt.Elector.Leader()
	if errors.Is(err, errNotLeading) {
		err = nil
	}
	return st, err
}

// State reads all records of the store, as they are at one instant: no write
// happens meanwhile.
func (s *Scheduler) State(ctx context.Context) (io.WriterTo, error) {
	t, err := s.leading()
	if err != nil {
		return nil, err
	}
	var records []Record
	if err := t.leader.Load(ctx, func(r Record) error { records = append(records, r); return nil }); err != nil {
		return nil, &jobs.Error{Code: jobs.Unavailable, Op: "export the state", Err: err, Hint: "try again in a moment"}
	}
	return NewExport(records, t.leader.Term(), s.opt.Now())
}

// Watch delivers what changes from now on. A watcher that falls behind is
// dropped: its channel is closed.
func (s *Scheduler) Watch(ctx context.Context) (<-chan jobs.Notice, error) {
	return s.hub.watch(ctx), nil
}
