package mesos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"tidemill/jobs"
)

// Detector knows where the leading master is; package zk's asks ZooKeeper.
type Detector interface {
	// Leader is a master's "host:port", the leading one's where that is known:
	// a master that does not lead redirects to the one that does. It is "" while
	// none leads. changed is closed when the answer may be another; nil: never.
	Leader() (addr string, changed <-chan struct{})
}

// Masters is a Detector over fixed addresses. Each is tried in turn, so that
// one that is down is passed over at the next try.
type Masters struct {
	addrs []string
	tried atomic.Uint32
}

// NewMasters makes a list of "host:port".
func NewMasters(addrs ...string) *Masters { return &Masters{addrs: addrs} }

// defaultPort is that of Mesos masters.
const defaultPort = "5050"

// ParseMasters reads a list of hosts with commas between them; each may have a
// port, and http:// or https:// before it.
func ParseMasters(text string) (*Masters, error) {
	m := &Masters{}
	for one := range strings.SplitSeq(text, ",") {
		addr, err := masterAddress(strings.TrimSpace(one))
		if err != nil {
			return nil, &jobs.Error{
				Code: jobs.Invalid, Op: "read the addresses of the masters", Subject: strconv.Quote(text), Err: err,
				Hint: "write host:port,…, https://host:port,…, or zk://host:port,…/mesos",
			}
		}
		m.addrs = append(m.addrs, addr)
	}
	return m, nil
}

func masterAddress(text string) (string, error) {
	scheme, host, given := strings.Cut(text, "://")
	if !given {
		scheme, host = "", text
	}
	host = strings.TrimSuffix(host, "/")
	if given && scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("%q is neither http nor https", scheme)
	}
	if ip := strings.Trim(host, "[]"); net.ParseIP(ip) != nil {
		host = net.JoinHostPort(ip, defaultPort)
	} else if !strings.Contains(host, ":") {
		host += ":" + defaultPort
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return "", fmt.Errorf("%q: %w", text, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || name == "" || strings.ContainsAny(name, "/@ ") {
		return "", fmt.Errorf("%q is no host:port", text)
	}
	if given {
		host = scheme + "://" + host
	}
	return host, nil
}

// Leader gives the next address.
func (m *Masters) Leader() (string, <-chan struct{}) {
	if len(m.addrs) == 0 {
		return "", nil
	}
	return m.addrs[int(m.tried.Add(1)-1)%len(m.addrs)], nil
}

// awaitLeader waits until a master leads.
func awaitLeader(ctx context.Context, d Detector) (addr string, changed <-chan struct{}, err error) {
	for {
		addr, changed := d.Leader()
		if addr != "" {
			return addr, changed, nil
		}
		if changed == nil {
			return "", nil, errors.New("find the leading master: no address is known (give the masters as host:port,… or zk://…/mesos)")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", nil, fmt.Errorf("find the leading master: none leads: %w", context.Cause(ctx))
		}
	}
}

// watchLeader ends what depends on a leader when another leads. A master that
// lost its ZooKeeper, cut off or stalled, may hold its connections for long.
func watchLeader(ctx context.Context, d Detector, addr string, changed <-chan struct{}, end context.CancelCauseFunc) {
	for changed != nil {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		var leader string
		if leader, changed = d.Leader(); leader != "" && leader != addr {
			end(fmt.Errorf("master %s leads instead of %s", leader, addr))
			return
		}
	}
}
