package mesos

import (
	"context"
	"errors"
	"sync/atomic"
)

// Detector knows where the leading master is.
type Detector interface {
	// Leader is a master's "host:port", the leading one's where that is
	// known: a master that does not lead redirects to the one that does. It
	// may wait for an election until ctx ends.
	Leader(ctx context.Context) (addr string, err error)
}

// Masters is a Detector over fixed addresses. Each is tried in turn, so that
// one that is down is passed over at the next try.
type Masters struct {
	addrs []string
	tried atomic.Uint32
}

// NewMasters makes a list of "host:port".
func NewMasters(addrs ...string) *Masters { return &Masters{addrs: addrs} }

// Leader gives the next address.
func (m *Masters) Leader(context.Context) (string, error) {
	if len(m.addrs) == 0 {
		return "", errors.New("find the leading master: no master's address is given (set --master to host:port,… or zk://…/mesos)")
	}
	return m.addrs[int(m.tried.Add(1)-1)%len(m.addrs)], nil
}
