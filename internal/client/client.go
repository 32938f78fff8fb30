// Package client speaks the REST API of a scheduler for the command line and
// for executors.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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
	servers *servers
	token   string
	http    *http.Client
	// patience is for how long a request is repeated that found no leader.
	patience time.Duration
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

// New makes a client for a base URL like http://127.0.0.1:8470, or for several
// with commas between them: where one does not answer, the next is asked.
func New(base, token string) (*Client, error) {
	all := &servers{}
	for text := range strings.SplitSeq(base, ",") {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, &jobs.Error{Code: jobs.Invalid, Op: "connect", Subject: strconv.Quote(text),
				Message: "not an address of the API", Hint: "write it like http://127.0.0.1:8470"}
		}
		all.urls = append(all.urls, u)
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       30 * time.Second,
	}
	return &Client{servers: all, token: token, http: &http.Client{Transport: transport}}, nil
}

// Close frees the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Apply creates or replaces jobs, all of them or none.
func (c *Client) Apply(ctx context.Context, list []jobs.Job) ([]jobs.AppliedJob, error) {
	var out rest.Applied
	err := c.post(ctx, c.at("v1", "jobs"), list, &out)
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
	err = c.post(ctx, c.at("v1", "jobs", string(name), verb), nil, &j)
	return j, err
}

// Scale sets how many instances a service has.
func (c *Client) Scale(ctx context.Context, name jobs.Name, instances int) (j jobs.Job, err error) {
	err = c.post(ctx, c.at("v1", "jobs", string(name), "scale"), rest.ScaleBody{Instances: instances}, &j)
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
	do := request{method: http.MethodPost, at: c.at("v1", "jobs", string(r.Job), "runs"), idempotent: r.RequestID != ""}
	err = c.exchange(ctx, do, body, &run)
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
	own := *c
	own.token = token
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
	res, err := c.get(ctx, c.at("v1", "state"))
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

// at is a place within the API of any server.
func (c *Client) at(parts ...string) *url.URL {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return (&url.URL{}).JoinPath(parts...)
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
	return c.exchange(ctx, request{method: method, at: u, idempotent: method == http.MethodGet || method == http.MethodPut}, in, out)
}

// post is call for a POST that does the same when it is done twice.
func (c *Client) post(ctx context.Context, u *url.URL, in, out any) error {
	return c.exchange(ctx, request{method: http.MethodPost, at: u, idempotent: true}, in, out)
}

func (c *Client) exchange(ctx context.Context, r request, in, out any) error {
	if in != nil {
		var err error
		if r.body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", r.method, r.at.Path, err)
		}
	}
	res, err := c.patiently(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the answer of %s %s: %w", r.method, res.Request.URL, err)
	}
	return nil
}
