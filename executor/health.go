package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"tidemill/jobs"
)

// health follows the checks of one attempt. It is pure.
type health struct {
	check    jobs.Health
	started  time.Time
	failures int // in a row
	state    jobs.HealthState
}

// take weighs the result of a check. news says that it is to be told, end that
// the instance is to be ended for it.
func (h *health) take(now time.Time, err error) (news, end bool) {
	if err == nil {
		news = h.state != jobs.Healthy
		h.failures, h.state = 0, jobs.Healthy
		return news, false
	}
	if h.state == "" && now.Before(h.started.Add(h.check.Grace.D())) {
		return false, false
	}
	h.failures++
	news = h.state != jobs.Unhealthy
	h.state = jobs.Unhealthy
	return news, h.failures >= h.check.Failures
}

// eager bounds the interval of checks before the first success: an instance
// that is ready need not wait to be known as such.
const eager = time.Second

// pause is how long to wait before the next check.
func (h *health) pause() time.Duration {
	if h.state == "" {
		return min(h.check.Interval.D(), eager)
	}
	return h.check.Interval.D()
}

// checkHealth checks a work until ctx ends, or the work is to end for it.
func (x *Executor) checkHealth(ctx context.Context, kind jobs.Kind, a jobs.Assignment, sandbox string) {
	h := health{check: *a.Health, started: x.options.Now()}
	timer := time.NewTimer(h.pause())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := probe(ctx, kind, a, sandbox)
		if ctx.Err() != nil {
			return
		}
		news, end := h.take(x.options.Now(), err)
		if end && err != nil {
			err = fmt.Errorf("%d health checks in a row failed, the last one: %w", h.failures, err)
		}
		if news || end {
			x.inner.put(checked{a.Task, err, end})
		}
		if end {
			return
		}
		timer.Reset(h.pause())
	}
}

// probe makes one check.
func probe(ctx context.Context, kind jobs.Kind, a jobs.Assignment, sandbox string) error {
	check := a.Health
	ctx, cancel := context.WithTimeoutCause(ctx, check.Timeout.D(), fmt.Errorf("no answer within %s", check.Timeout))
	defer cancel()
	if check.Command != "" {
		checker, ok := kind.(jobs.HealthChecker)
		if !ok {
			return fmt.Errorf("the kind %s checks nothing by a command", a.Kind)
		}
		return checker.CheckHealth(ctx, check.Command, a, sandbox)
	}
	port, ok := check.PortOf(a.PortNames, a.Ports)
	if !ok {
		return errors.New("the task has no port to ask")
	}
	address := net.JoinHostPort(a.Host, strconv.FormatUint(port, 10))
	var err error
	if check.TCP {
		err = probeTCP(ctx, address)
	} else {
		err = probeHTTP(ctx, address, check.HTTP)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// dial connects to where the task's endpoint is published, or else to the
// same port of this machine's own address.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err == nil {
		return conn, nil
	}
	_, port, splitErr := net.SplitHostPort(address)
	if splitErr != nil {
		return nil, err
	}
	conn, ownErr := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if ownErr != nil {
		return nil, err
	}
	return conn, nil
}

func probeTCP(ctx context.Context, address string) error {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// probeHTTP wants a status of 200 to 399, and follows no redirect.
func probeHTTP(ctx context.Context, address, path string) error {
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // of no concern, but the server is not cut off at once
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("GET %s answered %s", path, resp.Status)
	}
	return nil
}
