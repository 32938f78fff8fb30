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
	"strings"
	"sync/atomic"
	"time"

	"tidemill/internal/rest"
	"tidemill/jobs"
)

// servers are the schedulers that may be asked.
type servers struct {
	urls     []*url.URL
	last     atomic.Int32 // which of them answered last
	answered atomic.Bool  // one of them did
}

// request is one question, that may be put more than once.
type request struct {
	method     string
	at         *url.URL // within the API
	body       []byte
	idempotent bool // doing it twice is the same as doing it once
}

// retryEvery is the pause between the rounds of a patient request.
const retryEvery = 300 * time.Millisecond

// WithPatience is the client for one who bears a failover: what finds no
// leader, or, where one of them answered before or there are several, no
// server, is asked again for so long. What may have been done already is
// repeated only where that changes nothing.
func (c *Client) WithPatience(d time.Duration) *Client {
	patient := *c
	patient.patience = d
	return &patient
}

// get asks for what is not JSON.
func (c *Client) get(ctx context.Context, at *url.URL) (*http.Response, error) {
	return c.patiently(ctx, request{method: http.MethodGet, at: at, idempotent: true})
}

// patiently gives a successful response; any other becomes its error.
func (c *Client) patiently(ctx context.Context, r request) (*http.Response, error) {
	limit := time.Now().Add(c.patience)
	for {
		res, err := c.round(ctx, r)
		if err == nil || !c.again(r, err) || !time.Now().Before(limit) {
			return res, err
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// again says whether a request may be repeated, and whether it may help.
func (c *Client) again(r request, err error) bool {
	var e *jobs.Error
	switch {
	case refused(err):
		return len(c.servers.urls) > 1 || c.servers.answered.Load()
	case errors.As(err, new(*UnreachableError)):
		return r.idempotent
	case errors.As(err, &e) && e.Code == jobs.Unavailable:
		return e.Repeatable || r.idempotent
	}
	return false
}

// refused says that no connection was made, so that nothing was asked.
func refused(err error) bool {
	var unreachable *UnreachableError
	var dialled *net.OpError
	return errors.As(err, &unreachable) && errors.As(err, &dialled) && dialled.Op == "dial"
}

// round asks the server that answered last, and then the others while nobody has been asked, or
// may be asked twice.
func (c *Client) round(ctx context.Context, r request) (res *http.Response, err error) {
	all := c.servers
	first := int(all.last.Load())
	for i := range all.urls {
		n := (first + i) % len(all.urls)
		res, err = c.send(ctx, all.urls[n], r)
		if !refused(err) && (!r.idempotent || !errors.As(err, new(*UnreachableError))) {
			all.last.Store(int32(n)) // there are a few
			return res, err
		}
	}
	return nil, err
}

func (c *Client) send(ctx context.Context, base *url.URL, r request) (*http.Response, error) {
	u := base.JoinPath(r.at.EscapedPath())
	u.RawQuery = r.at.RawQuery
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, u, err)
	}
	if len(r.body) > 0 {
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
		return nil, &UnreachableError{URL: base.String(), Err: err}
	}
	c.servers.answered.Store(true)
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, problem(base, res)
}

func problem(base *url.URL, res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return &UnreachableError{URL: base.String(), Err: err}
	}
	var p rest.Problem
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")) // none: not a problem
	if media != rest.ProblemJSON || json.Unmarshal(text, &p) != nil {
		return fmt.Errorf("%s answered %s: %s (is that a scheduler's API?)", base, res.Status, strings.TrimSpace(string(text[:min(len(text), 200)])))
	}
	return p.Err()
}
