package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/wire"
)

// check looks at a task from outside, again and again, until it is stopped.
type check struct {
	clock             wire.Clock
	interval, timeout time.Duration // no timeout: zero
	probe             func(context.Context) (outcome, error)
	seen              func(*outcome) // nil: the probe had none

	mu      sync.Mutex
	timer   wire.Timer
	stopped bool
}

// outcome is what a probe found: an exit code, an HTTP status, or 1 for a connection made.
type outcome int

func seconds(value float64) time.Duration { return time.Duration(value * float64(time.Second)) }

// start makes the first probe after a delay.
func (c *check) start(delay time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.timer = c.clock.AfterFunc(delay, c.run)
	}
}

// run probes once; the interval begins at its end. A probe's timeout is one of real time,
// as is whatever other processes do.
func (c *check) run() {
	ctx, cancel := context.Background(), func() {}
	if c.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
	}
	defer cancel()
	found, err := c.probe(ctx)
	c.mu.Lock()
	stopped := c.stopped
	c.mu.Unlock()
	if stopped {
		return
	}
	if err == nil {
		c.seen(&found)
	} else {
		fmt.Fprintln(os.Stderr, err) // in the sandbox, where who wrote the check looks
		c.seen(nil)
	}
	c.start(c.interval)
}

// stop ends the check; a probe under way has no consequence any more. A nil check may be stopped.
func (c *check) stop() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// probeCommand runs a command as a check: its exit code is the outcome.
func probeCommand(info mesos.CommandInfo) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		cmd := osexec.CommandContext(ctx, "/bin/sh", "-c", info.GetValue())
		if info.Shell != nil && !*info.Shell {
			cmd = osexec.CommandContext(ctx, info.GetValue())
			if len(info.Arguments) > 0 {
				cmd.Args = info.Arguments
			}
		}
		cmd.Env = os.Environ()
		if info.Environment != nil {
			for _, variable := range info.Environment.Variables {
				cmd.Env = append(cmd.Env, variable.Name+"="+variable.GetValue())
			}
		}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // a real executor leaves both in the sandbox
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		err := cmd.Run()
		var exit *osexec.ExitError
		switch {
		case ctx.Err() != nil:
			return 0, fmt.Errorf("the check's command: %w", ctx.Err())
		case errors.As(err, &exit) && exit.Exited():
			return outcome(exit.ExitCode()), nil
		case err != nil:
			return 0, fmt.Errorf("the check's command: %w", err)
		}
		return 0, nil
	}
}

// probeHTTP asks a page of the task's: the status is the outcome. As a real executor does,
// it asks the loopback address, follows redirects and trusts any certificate.
func probeHTTP(scheme string, port uint32, path string) func(context.Context) (outcome, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // of the task itself, on this host
	}}
	url := scheme + "://" + loopback(port) + path
	return func(ctx context.Context) (outcome, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, fmt.Errorf("the check's request: %w", err)
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, fmt.Errorf("the check's request: %w", err)
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) // the status is all that counts
		return outcome(response.StatusCode), nil
	}
}

// probeTCP connects to a port of the task's: 1 where something listens, else 0.
func probeTCP(port uint32) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", loopback(port))
		if err != nil {
			return 0, nil //nolint:nilerr // that nothing listens is an outcome
		}
		_ = conn.Close() // nothing was sent
		return 1, nil
	}
}

func loopback(port uint32) string {
	return net.JoinHostPort("127.0.0.1", strconv.FormatUint(uint64(port), 10))
}
