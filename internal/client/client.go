// Package client speaks the REST API of a scheduler for the command line and
// for executors.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemill/internal/rest"
	"tidemill/jobs"
)

// Client asks one scheduler, which hands on to the leader what only that
// one answers. Its methods answer as the scheduler's own do, with the same errors.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// maxAnswer bounds what is read of an answer: a page of jobs or runs.
const maxAnswer = 64 << 20

// UnreachableError says that no scheduler answered at all.
type UnreachableError struct {
	URL string
	Err error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no scheduler answers at %s: %v (start one with \"tidemill local\", or name another with --api or TIDEMILL_API)", e.URL, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// New makes a client for a base URL like http://127.0.0.1:8470.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, &jobs.Error{Code: jobs.Invalid, Op: "connect", Subject: strconv.Quote(base),
			Message: "not an address of the API", Hint: "write it like http://127.0.0.1:8470"}
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       30 * time.Second,
	}
	return &Client{base: u, token: token, http: &http.Client{Transport: transport}}, nil
}

// Close frees the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Apply creates or replaces jobs, all of them or none.
func (c *Client) Apply(ctx context.Context, list []jobs.Job) ([]jobs.AppliedJob, error) {
	var out rest.Applied
	err := c.call(ctx, http.MethodPost, c.at("v1", "jobs"), list, &out)
	return out.Jobs, err
}

// Delete removes a job; mode says what becomes of its children.
func (c *Client) Delete(ctx context.Context, name jobs.Name, mode jobs.DeleteMode) error {
	u := c.at("v1", "jobs", string(name))
	u.RawQuery = url.Values{"children": {string(mode)}}.Encode()
	return c.call(ctx, http.MethodDelete, u, nil, nil)
}

// KillRuns cancels all live runs of a job, and says how many there were.
func (c *Client) KillRuns(ctx context.Context, name jobs.Name, reason string) (int, error) {
	var out rest.Killed
	err := c.call(ctx, http.MethodPost, c.at("v1", "jobs", string(name), "kill"), rest.KillBody{Reason: reason}, &out)
	return out.Runs, err
}

// MarkRun declares by hand how a run ended; a success fires its children.
func (c *Client) MarkRun(ctx context.Context, id jobs.RunID, success bool) (run jobs.Run, err error) {
	err = c.call(ctx, http.MethodPost, c.at("v1", "runs", string(id), "mark"), rest.MarkBody{Success: success}, &run)
	return run, err
}

// SetPaused pauses or resumes a job.
func (c *Client) SetPaused(ctx context.Context, name jobs.Name, paused bool) (j jobs.Job, err error) {
	verb := "resume"
	if paused {
		verb = "pause"
	}
	err = c.call(ctx, http.MethodPost, c.at("v1", "jobs", string(name), verb), nil, &j)
	return j, err
}

// Scale sets how many instances a service has.
func (c *Client) Scale(ctx context.Context, name jobs.Name, instances int) (j jobs.Job, err error) {
	err = c.call(ctx, http.MethodPost, c.at("v1", "jobs", string(name), "scale"), rest.ScaleBody{Instances: instances}, &j)
	return j, err
}

// Endpoints says where a service's running instances listen.
func (c *Client) Endpoints(ctx context.Context, name jobs.Name) ([]jobs.Endpoint, error) {
	var out rest.Endpoints
	err := c.call(ctx, http.MethodGet, c.at("v1", "jobs", string(name), "endpoints"), nil, &out)
	return out.Endpoints, err
}

// Job shows one job.
func (c *Client) Job(ctx context.Context, name jobs.Name) (v jobs.JobView, err error) {
	err = c.call(ctx, http.MethodGet, c.at("v1", "jobs", string(name)), nil, &v)
	return v, err
}

// Jobs lists jobs by name.
func (c *Client) Jobs(ctx context.Context, q jobs.JobQuery) ([]jobs.JobView, int, error) {
	values := paging(q.Limit, q.Offset)
	set(values, "search", q.Search)
	set(values, "kind", q.Kind)
	var page rest.JobPage
	err := c.call(ctx, http.MethodGet, withQuery(c.at("v1", "jobs"), values), nil, &page)
	return page.Jobs, page.Total, err
}

// StartRun runs a job now.
func (c *Client) StartRun(ctx context.Context, r jobs.RunRequest) (run jobs.Run, err error) {
	body := rest.RunBody{RequestID: r.RequestID, Arguments: r.Arguments, Nominal: r.Nominal, Interval: r.Interval, Children: r.Children}
	err = c.call(ctx, http.MethodPost, c.at("v1", "jobs", string(r.Job), "runs"), body, &run)
	return run, err
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context, q jobs.RunQuery) (page jobs.RunPage, err error) {
	values := paging(q.Limit, q.Offset)
	set(values, "job", string(q.Job))
	set(values, "state", string(q.State))
	if q.Live {
		values.Set("live", "true")
	}
	before, err := q.Before.MarshalText()
	if err != nil {
		return page, err
	}
	set(values, "before", string(before))
	err = c.call(ctx, http.MethodGet, withQuery(c.at("v1", "runs"), values), nil, &page)
	return page, err
}

// RunView shows one run with its tasks.
func (c *Client) RunView(ctx context.Context, id jobs.RunID) (v jobs.RunView, err error) {
	err = c.call(ctx, http.MethodGet, c.at("v1", "runs", string(id)), nil, &v)
	return v, err
}

// KillRun ends a run.
func (c *Client) KillRun(ctx context.Context, id jobs.RunID, reason string) error {
	return c.call(ctx, http.MethodPost, c.at("v1", "runs", string(id), "kill"), rest.KillBody{Reason: reason}, nil)
}

// Rerun does a final run again, as the job is now, or its failed splits only.
func (c *Client) Rerun(ctx context.Context, id jobs.RunID, failed bool) (run jobs.Run, err error) {
	err = c.call(ctx, http.MethodPost, c.at("v1", "runs", string(id), "rerun"), rest.RerunBody{Failed: failed}, &run)
	return run, err
}

// Resolve says how a run's attempts went whose outcome is unknown.
func (c *Client) Resolve(ctx context.Context, id jobs.RunID, as jobs.Resolution) (run jobs.Run, err error) {
	err = c.call(ctx, http.MethodPost, c.at("v1", "runs", string(id), "resolve"), rest.ResolveBody{As: as}, &run)
	return run, err
}

// Backfill runs the instants of an interval, and says how many there are.
func (c *Client) Backfill(ctx context.Context, r jobs.BackfillRequest) (int, error) {
	var out rest.Backfilled
	in := rest.BackfillBody{From: r.From, To: r.To, AtOnce: max(r.AtOnce, 1), Force: r.Force}
	err := c.call(ctx, http.MethodPost, c.at("v1", "jobs", string(r.Job), "backfill"), in, &out)
	return out.Instants, err
}

// Pools lists the pools by name.
func (c *Client) Pools(ctx context.Context) ([]jobs.PoolView, error) {
	var out rest.PoolList
	err := c.call(ctx, http.MethodGet, c.at("v1", "pools"), nil, &out)
	return out.Pools, err
}

// SetPool creates a pool or changes it.
func (c *Client) SetPool(ctx context.Context, p jobs.Pool) (v jobs.PoolView, err error) {
	err = c.call(ctx, http.MethodPut, c.at("v1", "pools", string(p.Name)), rest.PoolBody{Slots: p.Slots, Description: p.Description}, &v)
	return v, err
}

// DeletePool removes a pool that no job names.
func (c *Client) DeletePool(ctx context.Context, name jobs.Name) error {
	return c.call(ctx, http.MethodDelete, c.at("v1", "pools", string(name)), nil, nil)
}

// Hold keeps everything from being launched until Release.
func (c *Client) Hold(ctx context.Context, reason string) (h jobs.Hold, err error) {
	err = c.call(ctx, http.MethodPost, c.at("v1", "framework", "hold"), rest.HoldBody{Reason: reason}, &h)
	return h, err
}

// Release ends a hold.
func (c *Client) Release(ctx context.Context, reason string) error {
	return c.call(ctx, http.MethodPost, c.at("v1", "framework", "release"), rest.ReleaseBody{Reason: reason}, nil)
}

// Next lists the coming instants of a job's schedule, at most n.
func (c *Client) Next(ctx context.Context, name jobs.Name, n int) ([]time.Time, error) {
	var out rest.Instants
	u := c.at("v1", "jobs", string(name), "next")
	u.RawQuery = url.Values{"n": {strconv.Itoa(n)}}.Encode()
	err := c.call(ctx, http.MethodGet, u, nil, &out)
	return out.Instants, err
}

// Connections fetches what a task's work may reach, with the task's own token.
func (c *Client) Connections(ctx context.Context, task jobs.TaskID, token string) (out jobs.Connections, err error) {
	own := Client{base: c.base, token: token, http: c.http}
	err = own.call(ctx, http.MethodGet, c.at("v1", "tasks", string(task), "connections"), nil, &out)
	return out, err
}

// Agents lists the agents that have offered something to the leader.
func (c *Client) Agents(ctx context.Context) (list []jobs.AgentView, err error) {
	err = c.call(ctx, http.MethodGet, c.at("v1", "agents"), nil, &list)
	return list, err
}

// ReleaseAgent lets tasks be placed again on an agent that is avoided.
func (c *Client) ReleaseAgent(ctx context.Context, id string) (v jobs.AgentView, err error) {
	err = c.call(ctx, http.MethodPost, c.at("v1", "agents", id, "release"), nil, &v)
	return v, err
}

// Status shows who leads, and what needs attention.
func (c *Client) Status(ctx context.Context) (s jobs.Status, err error) {
	err = c.call(ctx, http.MethodGet, c.at("v1", "status"), nil, &s)
	return s, err
}

// maxState bounds what is read of a state.
const maxState = 1 << 30

// State reads all that is stored.
func (c *Client) State(ctx context.Context) (io.WriterTo, error) {
	res, err := c.send(ctx, http.MethodGet, c.at("v1", "state"), nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var state bytes.Buffer
	if _, err := io.Copy(&state, io.LimitReader(res.Body, maxState)); err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	return &state, nil
}

func (c *Client) at(parts ...string) *url.URL {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return c.base.JoinPath(parts...)
}

func withQuery(u *url.URL, values url.Values) *url.URL {
	u.RawQuery = values.Encode()
	return u
}

func paging(limit, offset int) url.Values {
	values := url.Values{}
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	if offset > 0 {
		values.Set("offset", strconv.Itoa(offset))
	}
	return values
}

func set(values url.Values, name, value string) {
	if value != "" {
		values.Set(name, value)
	}
}

// call sends in as JSON and reads the answer into out, where they are not nil.
func (c *Client) call(ctx context.Context, method string, u *url.URL, in, out any) error {
	var sent []byte
	if in != nil {
		var err error
		if sent, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, u.Path, err)
		}
	}
	res, err := c.send(ctx, method, u, sent)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the answer of %s %s: %w", method, u, err)
	}
	return nil
}

// send gives a successful response; any other becomes its error.
func (c *Client) send(ctx context.Context, method string, u *url.URL, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, u, err)
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", rest.JSON)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, &UnreachableError{URL: c.base.String(), Err: err}
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, c.problem(res)
}

func (c *Client) problem(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return &UnreachableError{URL: c.base.String(), Err: err}
	}
	var p rest.Problem
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")) // none: not a problem
	if media != rest.ProblemJSON || json.Unmarshal(text, &p) != nil {
		return fmt.Errorf("%s answered %s: %s (is that a scheduler's API?)", c.base, res.Status, strings.TrimSpace(string(text[:min(len(text), 200)])))
	}
	return p.Err()
}
