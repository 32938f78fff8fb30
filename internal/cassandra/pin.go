package cassandra

import (
	"context"
	"sync"

	"github.com/gocql/gocql"
)

// pinning is a host policy that lets a query name its node, through its
// context; gocql 1.7 cannot. System tables differ from node to node.
type pinning struct {
	gocql.HostSelectionPolicy
	mu    sync.Mutex
	hosts map[string]*gocql.HostInfo // by host id
}

func newPinning(p gocql.HostSelectionPolicy) *pinning {
	return &pinning{HostSelectionPolicy: p, hosts: map[string]*gocql.HostInfo{}}
}

type pinKey struct{}

// OnNode makes the queries of the context go to one node, by its host id, or
// fail where it is down.
func OnNode(ctx context.Context, hostID string) context.Context {
	return context.WithValue(ctx, pinKey{}, hostID)
}

func (p *pinning) AddHost(h *gocql.HostInfo) {
	p.mu.Lock()
	p.hosts[h.HostID()] = h
	p.mu.Unlock()
	p.HostSelectionPolicy.AddHost(h)
}

func (p *pinning) RemoveHost(h *gocql.HostInfo) {
	p.mu.Lock()
	delete(p.hosts, h.HostID())
	p.mu.Unlock()
	p.HostSelectionPolicy.RemoveHost(h)
}

func (p *pinning) Pick(q gocql.ExecutableQuery) gocql.NextHost {
	id, ok := q.Context().Value(pinKey{}).(string)
	if !ok {
		return p.HostSelectionPolicy.Pick(q)
	}
	p.mu.Lock()
	h := p.hosts[id]
	p.mu.Unlock()
	tries := 0
	return func() gocql.SelectedHost {
		if tries++; h == nil || tries > retries {
			return nil
		}
		return selected{h}
	}
}

type selected struct{ host *gocql.HostInfo }

func (s selected) Info() *gocql.HostInfo { return s.host }
func (selected) Mark(error)              {}
