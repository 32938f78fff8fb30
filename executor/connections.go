package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tidemill/jobs"
)

const (
	connectionsMax     = 1 << 20 // bytes of an answer
	connectionsTimeout = 10 * time.Second
	connectionsBackoff = 100 * time.Millisecond
	connectionsSlowest = 5 * time.Second
)

// connections fetches a task's connections once, from whichever scheduler answers.
type connections struct {
	http       *http.Client
	assignment jobs.Assignment
	turn       chan struct{} // held by the one who fetches
	fetched    *jobs.Connections
}

func newConnections(c *http.Client, a jobs.Assignment) *connections {
	return &connections{http: c, assignment: a, turn: make(chan struct{}, 1)}
}

// get asks the schedulers in turn, with a growing pause between rounds, until
// one answers, one refuses for good, or ctx ends.
func (c *connections) get(ctx context.Context) (jobs.Connections, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return jobs.Connections{}, context.Cause(ctx)
	}
	if c.fetched != nil {
		return *c.fetched, nil
	}
	if len(c.assignment.Schedulers) == 0 {
		return jobs.Connections{}, fmt.Errorf("fetch connections: the assignment names no scheduler (start the schedulers with --advertise)")
	}
	pause := connectionsBackoff
	for {
		found, err := c.round(ctx)
		if err == nil {
			c.fetched = &found
			return found, nil
		}
		if jobs.IsPermanent(err) {
			return found, fmt.Errorf("fetch connections: %w", err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, connectionsSlowest)
		case <-ctx.Done():
			return found, fmt.Errorf("fetch connections: %w: %w", context.Cause(ctx), err)
		}
	}
}

// round asks each scheduler once.
func (c *connections) round(ctx context.Context) (jobs.Connections, error) {
	var failures []error
	for _, base := range c.assignment.Schedulers {
		found, err := c.ask(ctx, base)
		if err == nil || jobs.IsPermanent(err) {
			return found, err
		}
		failures = append(failures, err)
	}
	return jobs.Connections{}, errors.Join(failures...)
}

func (c *connections) ask(ctx context.Context, base string) (found jobs.Connections, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectionsTimeout)
	defer cancel()
	address := strings.TrimSuffix(base, "/") + "/v1/tasks/" + url.PathEscape(string(c.assignment.Task)) + "/connections"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return found, err
	}
	req.Header.Set("Authorization", "Bearer "+c.assignment.Token)
	resp, err := c.http.Do(req)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, connectionsMax))
	if err != nil {
		return found, fmt.Errorf("read the answer of %s: %w", base, err)
	}
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("%s answered %s: %s", base, resp.Status, bounded(strings.TrimSpace(string(body)), 200))
		// Anything else may pass: a scheduler that does not lead or not know yet.
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			return found, jobs.Permanent(err)
		}
		return found, err
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return found, fmt.Errorf("read the answer of %s: %w", base, err)
	}
	return found, nil
}
