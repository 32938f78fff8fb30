package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tidemill/internal/rest"
	"tidemill/jobs"
)

// RunPath names a run.
type RunPath struct {
	ID string `path:"id" maxLength:"300" doc:"The run's id."`
}

type runQuery struct {
	Job   string `query:"job" maxLength:"100" doc:"Only runs of this job."`
	State string `query:"state" enum:"pending,queued,planning,running,succeeded,failed,skipped,upstream_failed,cancelled"`
	Live  bool   `query:"live" doc:"Only runs that have not ended."`
	// Before is a string here: a parameter cannot be a type of ours.
	Before string `query:"before" maxLength:"330" doc:"Only runs after this place: next of the page before."`
	Page
}

type runStart struct {
	JobPath
	Body *rest.RunBody
}

type runStarted struct {
	Location string `header:"Location"`
	Body     jobs.Run
}

type runKill struct {
	RunPath
	Body *rest.KillBody
}

func (s *Server) runOperations(api huma.API) {
	start := operation(http.MethodPost, "/v1/jobs/{name}/runs", "startRun", "Run a job now.")
	start.DefaultStatus = http.StatusCreated
	huma.Register(api, start, answer(s.startRun))
	register(api, http.MethodGet, "/v1/runs", "listRuns", "List runs, newest first.",
		func(ctx context.Context, in *runQuery) (*body[jobs.RunPage], error) {
			q := jobs.RunQuery{Job: jobs.Name(in.Job), State: jobs.RunState(in.State), Live: in.Live, Limit: in.Limit, Offset: in.Offset}
			if err := q.Before.UnmarshalText([]byte(in.Before)); err != nil {
				return nil, &jobs.Error{Code: jobs.Invalid, Op: "list runs", Err: err}
			}
			page, err := s.Scheduler.Runs(ctx, q)
			page.Runs = append([]jobs.RunView{}, page.Runs...) // not null
			return bodyOf(page, err)
		})
	register(api, http.MethodGet, "/v1/runs/{id}", "showRun", "Show a run, where its tasks are and why, and why the rest waits.",
		func(ctx context.Context, in *RunPath) (*body[jobs.RunView], error) {
			return bodyOf(s.Scheduler.RunView(ctx, jobs.RunID(in.ID)))
		})
	kill := operation(http.MethodPost, "/v1/runs/{id}/kill", "killRun", "Kill a run: its tasks are ended, and it becomes cancelled.")
	kill.DefaultStatus = http.StatusAccepted
	huma.Register(api, kill, answer(func(ctx context.Context, in *runKill) (*struct{}, error) {
		reason := "killed by hand"
		if in.Body != nil && in.Body.Reason != "" {
			reason += ": " + in.Body.Reason
		}
		return nil, s.Scheduler.KillRun(ctx, jobs.RunID(in.ID), reason)
	}))
	register(api, http.MethodPost, "/v1/jobs/{name}/kill", "killRuns", "Kill all live runs of a job.",
		func(ctx context.Context, in *jobKill) (*body[rest.Killed], error) {
			n, err := s.Scheduler.KillRuns(ctx, jobs.Name(in.Name), "killed by hand")
			return bodyOf(rest.Killed{Runs: n}, err)
		})
	register(api, http.MethodPost, "/v1/runs/{id}/mark", "markRun", "Declare by hand how a run ended; a success fires its children.",
		func(ctx context.Context, in *runMark) (*body[jobs.Run], error) {
			return bodyOf(s.Scheduler.MarkRun(ctx, jobs.RunID(in.ID), in.Body.Success))
		})
}

func (s *Server) againOperations(api huma.API) {
	rerun := operation(http.MethodPost, "/v1/runs/{id}/rerun", "rerun", "Do a final run again, as the job is now, or its failed splits only.")
	rerun.DefaultStatus = http.StatusCreated
	huma.Register(api, rerun, answer(func(ctx context.Context, in *runRerun) (*body[jobs.Run], error) {
		failed := in.Body != nil && in.Body.Failed
		return bodyOf(s.Scheduler.Rerun(ctx, jobs.RunID(in.ID), failed))
	}))
	register(api, http.MethodPost, "/v1/runs/{id}/resolve", "resolveRun", "Say how attempts went whose outcome is unknown.",
		func(ctx context.Context, in *runResolve) (*body[jobs.Run], error) {
			return bodyOf(s.Scheduler.Resolve(ctx, jobs.RunID(in.ID), in.Body.As))
		})
	backfill := operation(http.MethodPost, "/v1/jobs/{name}/backfill", "backfillJob", "Run the instants of an interval, in order.")
	backfill.DefaultStatus = http.StatusAccepted
	huma.Register(api, backfill, answer(func(ctx context.Context, in *jobBackfill) (*body[rest.Backfilled], error) {
		n, err := s.Scheduler.Backfill(ctx, jobs.BackfillRequest{
			Job: jobs.Name(in.Name), From: in.Body.From, To: in.Body.To, AtOnce: in.Body.AtOnce, Force: in.Body.Force,
		})
		return bodyOf(rest.Backfilled{Instants: n}, err)
	}))
	register(api, http.MethodGet, "/v1/jobs/{name}/next", "listInstants", "List the coming instants of a job's schedule.",
		func(ctx context.Context, in *jobNext) (*body[rest.Instants], error) {
			list, err := s.Scheduler.Next(ctx, jobs.Name(in.Name), in.N)
			return bodyOf(rest.Instants{Instants: append([]time.Time{}, list...)}, err)
		})
}

// runRerun says what of a run is done again.
type runRerun struct {
	RunPath
	Body *rest.RerunBody
}

// runResolve says how a run's unknown attempts went.
type runResolve struct {
	RunPath
	Body rest.ResolveBody
}

// jobBackfill asks for an interval of a job's instants.
type jobBackfill struct {
	JobPath
	Body rest.BackfillBody
}

// jobNext asks for the coming instants of a job.
type jobNext struct {
	JobPath
	N int `query:"n" minimum:"1" maximum:"1000" default:"10"`
}

// jobKill asks for the end of a job's runs.
type jobKill struct {
	JobPath
	Body *rest.KillBody
}

// runMark declares a run's end.
type runMark struct {
	RunPath
	Body rest.MarkBody
}

func (s *Server) startRun(ctx context.Context, in *runStart) (*runStarted, error) {
	request := jobs.RunRequest{Job: jobs.Name(in.Name)}
	if b := in.Body; b != nil {
		request.RequestID, request.Arguments, request.Nominal = b.RequestID, b.Arguments, b.Nominal
		request.Interval, request.Children = b.Interval, b.Children
	}
	run, err := s.Scheduler.StartRun(ctx, request)
	if err != nil {
		return nil, err
	}
	return &runStarted{Location: "/v1/runs/" + url.PathEscape(string(run.ID)), Body: run}, nil
}
