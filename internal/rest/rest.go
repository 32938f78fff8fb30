// Package rest is what the API's server and its client must agree on: the
// shapes of lists, the names of headers, and how an error becomes a problem
// (RFC 9457) and an error again.
package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"tidemill/jobs"
)

// The media types.
const (
	JSON        = "application/json"
	YAML        = "application/yaml"
	ProblemJSON = "application/problem+json"
	Text        = "text/plain; charset=utf-8"
	Bytes       = "application/octet-stream"
	EventStream = "text/event-stream"
	Lines       = "application/x-ndjson"
)

// The headers beyond HTTP's own.
const (
	// RequestID names a request in the answer and in the server's log.
	RequestID = "X-Request-Id"
	// Proxied marks a request that a scheduler handed on to the leader.
	Proxied = "Tidemill-Proxied"
	// LogOffset, LogSize and LogEnd describe the part of a log in the body.
	LogOffset = "Tidemill-Log-Offset"
	LogSize   = "Tidemill-Log-Size"
	LogEnd    = "Tidemill-Log-End"
	// FileOffset and FileSize describe the part of a file in the body.
	FileOffset = "Tidemill-File-Offset"
	FileSize   = "Tidemill-File-Size"
)

// Bounds that both sides keep.
const (
	MaxJobsBody = 1 << 20
	MaxPage     = 1000 // jobs or runs in one answer
	MaxLogChunk = 1 << 20
)

// JobPage is a page of jobs by name; Total counts all that were asked for.
type JobPage struct {
	Jobs  []jobs.JobView `json:"jobs"`
	Total int            `json:"total"`
}

// Applied is what became of the jobs that were applied.
type Applied struct {
	Jobs []jobs.AppliedJob `json:"jobs"`
}

// FileList is what is in a directory of an attempt's sandbox.
type FileList struct {
	Files []jobs.File `json:"files"`
}

// Endpoints is where a service's instances listen.
type Endpoints struct {
	Endpoints []jobs.Endpoint `json:"endpoints"`
}

// ScaleBody says how many instances a service is to have.
type ScaleBody struct {
	Instances int `json:"instances" minimum:"0" maximum:"1000"`
}

// RunBody is a RunRequest without the job, which the path names.
type RunBody struct {
	RequestID string        `json:"request_id,omitempty" maxLength:"200" doc:"Remembered for 24 h: asking again gives the same run."`
	Arguments []string      `json:"arguments,omitempty" maxItems:"1000" doc:"Handed to the work as its arguments."`
	Nominal   time.Time     `json:"nominal,omitzero" doc:"The instant that the run is for; now where it is absent."`
	Interval  jobs.Interval `json:"interval,omitzero" doc:"The data that the run covers, where it matters to the kind."`
	Children  bool          `json:"children,omitempty" doc:"Its success starts the jobs after it."`
}

// KillBody says why a run is killed.
type KillBody struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// Killed says how many runs were killed.
type Killed struct {
	Runs int `json:"runs"`
}

// MarkBody says how a run is declared to have ended.
type MarkBody struct {
	Success bool `json:"success"`
}

// PoolList is all pools.
type PoolList struct {
	Pools []jobs.PoolView `json:"pools"`
}

// PoolBody is a pool without its name, which the path has.
type PoolBody struct {
	Slots       int    `json:"slots" minimum:"1" maximum:"1000000"`
	Description string `json:"description,omitempty" maxLength:"1000"`
}

// HoldBody says why nothing is launched.
type HoldBody struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"Every waiting task shows it."`
}

// ReleaseBody says why things are launched again.
type ReleaseBody struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// RerunBody says what of a run is done again.
type RerunBody struct {
	Failed bool `json:"failed,omitempty" doc:"Only the splits that did not succeed, under the run's plan and version."`
}

// ResolveBody says how unknown attempts went.
type ResolveBody struct {
	As jobs.Resolution `json:"as" enum:"success,failure,retry"`
}

// BackfillBody is the interval to run.
type BackfillBody struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	AtOnce int       `json:"at_once,omitempty" minimum:"1" maximum:"100"`
	Force  bool      `json:"force,omitempty" doc:"Run again what succeeded."`
}

// Backfilled says how many instants the interval holds.
type Backfilled struct {
	Instants int `json:"instants"`
}

// Instants are the coming ones of a schedule.
type Instants struct {
	Instants []time.Time `json:"instants"`
}

// Problem is the body of every answer that is an error.
type Problem struct {
	Type      string            `json:"type,omitempty" doc:"about:blank where absent."`
	Title     string            `json:"title" doc:"The HTTP status in words."`
	Status    int               `json:"status"`
	Code      jobs.Code         `json:"code,omitempty" enum:"invalid,not_found,conflict,forbidden,unavailable"`
	Detail    string            `json:"detail,omitempty" doc:"What went wrong, with what."`
	Hint      string            `json:"hint,omitempty" doc:"What to do next."`
	Errors    []jobs.FieldError `json:"errors,omitempty" doc:"Everything that is wrong with a document."`
	RequestID string            `json:"request_id,omitempty"`
	// Repeatable is of jobs.Error.
	Repeatable bool `json:"repeatable,omitempty" doc:"Nothing was done: asking again is safe, whatever was asked for."`
}

// NewProblem is a problem of that status, with the code that goes with it.
func NewProblem(status int, detail, hint string) *Problem {
	p := &Problem{Title: http.StatusText(status), Status: status, Detail: detail, Hint: hint}
	switch status {
	case http.StatusBadRequest:
		p.Code = jobs.Invalid
	case http.StatusNotFound:
		p.Code = jobs.NotFound
	case http.StatusForbidden:
		p.Code = jobs.Forbidden
	case http.StatusConflict:
		p.Code = jobs.Conflict
	case http.StatusServiceUnavailable:
		p.Code = jobs.Unavailable
	}
	return p
}

func statusOf(code jobs.Code) int {
	switch code {
	case jobs.Invalid:
		return http.StatusBadRequest
	case jobs.NotFound:
		return http.StatusNotFound
	case jobs.Forbidden:
		return http.StatusForbidden
	case jobs.Conflict:
		return http.StatusConflict
	case jobs.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// FromError makes any error a problem.
func FromError(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return NewProblem(http.StatusServiceUnavailable, err.Error(), "ask again; nothing may be assumed of what was asked for")
	}
	status := http.StatusInternalServerError
	if code, ok := jobs.CodeOf(err); ok {
		status = statusOf(code)
	}
	p = NewProblem(status, err.Error(), "")
	var e *jobs.Error
	if errors.As(err, &e) {
		bare := *e
		bare.Hint = ""
		p.Detail, p.Hint, p.Repeatable = bare.Error(), e.Hint, e.Repeatable
	}
	var fields jobs.FieldErrors
	if errors.As(err, &fields) {
		p.Errors = fields
	}
	return p
}

// Err is the error that the problem was made of, as near as its text allows.
func (p *Problem) Err() error {
	e := &jobs.Error{Code: p.Code, Message: p.Detail, Hint: p.Hint, Repeatable: p.Repeatable}
	if e.Message == "" {
		e.Message = p.Title
	}
	if len(p.Errors) > 0 {
		fields := jobs.FieldErrors(p.Errors)
		e.Message = strings.TrimSuffix(strings.TrimSuffix(e.Message, fields.Error()), ": ")
		e.Err = fields
	}
	return e
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status; with ContentType and GetHeaders it lets the server's library write the problem.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is the problem's media type, whatever was asked for.
func (p *Problem) ContentType(string) string { return ProblemJSON }

// GetHeaders says when to come back, and how to authenticate.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	switch p.Status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="tidemill"`)
	}
	return h
}
