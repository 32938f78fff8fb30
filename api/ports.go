package api

import (
	"context"
	"io"
	"time"

	"tidemill/jobs"
)

// Scheduler is what the API serves. Its errors are *jobs.Error, whose code
// becomes the HTTP status, or jobs.FieldErrors.
type Scheduler interface {
	// Apply creates or replaces jobs, all of them or none.
	Apply(ctx context.Context, list []jobs.Job) ([]jobs.AppliedJob, error)
	// Delete removes a job; mode says what becomes of its children.
	Delete(ctx context.Context, name jobs.Name, mode jobs.DeleteMode) error
	SetPaused(ctx context.Context, name jobs.Name, paused bool) (jobs.Job, error)
	// Scale sets how many instances a service has.
	Scale(ctx context.Context, name jobs.Name, instances int) (jobs.Job, error)
	Job(ctx context.Context, name jobs.Name) (jobs.JobView, error)
	// Jobs gives a page of the jobs, by name, and how many there are in all.
	Jobs(ctx context.Context, q jobs.JobQuery) (list []jobs.JobView, total int, err error)
	StartRun(ctx context.Context, r jobs.RunRequest) (jobs.Run, error)
	// Runs gives a page of the runs, newest first.
	Runs(ctx context.Context, q jobs.RunQuery) (jobs.RunPage, error)
	RunView(ctx context.Context, id jobs.RunID) (jobs.RunView, error)
	KillRun(ctx context.Context, id jobs.RunID, reason string) error
	// KillRuns cancels all live runs of a job, and says how many there were.
	KillRuns(ctx context.Context, name jobs.Name, reason string) (int, error)
	// MarkRun declares by hand how a run ended; a success fires its children.
	MarkRun(ctx context.Context, id jobs.RunID, success bool) (jobs.Run, error)
	// Rerun does a final run again, as the job is now, or its failed splits only.
	Rerun(ctx context.Context, id jobs.RunID, failed bool) (jobs.Run, error)
	// Resolve says how a run's attempts went whose outcome is unknown.
	Resolve(ctx context.Context, id jobs.RunID, as jobs.Resolution) (jobs.Run, error)
	// Backfill runs the instants of an interval, and says how many there are.
	Backfill(ctx context.Context, r jobs.BackfillRequest) (int, error)
	// Pools lists the pools by name.
	Pools(ctx context.Context) ([]jobs.PoolView, error)
	// SetPool creates a pool or changes it.
	SetPool(ctx context.Context, p jobs.Pool) (jobs.PoolView, error)
	// DeletePool removes a pool that no job names.
	DeletePool(ctx context.Context, name jobs.Name) error
	// Hold keeps everything from being launched until Release.
	Hold(ctx context.Context, reason string) (jobs.Hold, error)
	Release(ctx context.Context, reason string) error
	// Next lists the coming instants of a job's schedule, at most n.
	Next(ctx context.Context, name jobs.Name, n int) ([]time.Time, error)
	// Log reads at most limit bytes of an attempt's log; stream is "stdout" or "stderr".
	Log(ctx context.Context, task jobs.TaskID, stream string, offset int64, limit int) (jobs.LogChunk, error)
	// ListFiles gives what is in a directory of an attempt's sandbox, by name.
	ListFiles(ctx context.Context, task jobs.TaskID, path string) ([]jobs.File, error)
	// ReadFile reads at most limit bytes of a file in an attempt's sandbox.
	ReadFile(ctx context.Context, task jobs.TaskID, path string, offset int64, limit int) (jobs.FileChunk, error)
	// Connections hands the addresses and credentials of a task's kind to the
	// bearer of the task's own token.
	Connections(ctx context.Context, task jobs.TaskID, token string) (jobs.Connections, error)
	// State is all that is stored, as it is at one instant.
	State(ctx context.Context) (io.WriterTo, error)
	// Agents lists the agents that have offered something to the leader, by host.
	Agents(ctx context.Context) ([]jobs.AgentView, error)
	// ReleaseAgent lets tasks be placed again on an agent that is avoided.
	ReleaseAgent(ctx context.Context, id string) (jobs.AgentView, error)
	Status(ctx context.Context) (jobs.Status, error)
	// Watch delivers what changes until ctx ends. It closes the channel of a
	// receiver that does not keep up.
	Watch(ctx context.Context) (<-chan jobs.Notice, error)
}
