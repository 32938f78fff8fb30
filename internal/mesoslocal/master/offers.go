package master

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/resources"
)

// The least that is worth an offer.
const (
	minOfferCPUs = 0.01
	minOfferMem  = 32 // MB
)

// defaultRefusal is the filter where a framework names none, or a negative one.
const defaultRefusal = 5 * time.Second

// maxRefusal bounds a filter, as a year does in Mesos.
const maxRefusal = 365 * 24 * time.Hour

// allocateAll is one cycle of the allocator.
func (m *Master) allocateAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() == nil {
		m.allocate(slices.Collect(maps.Values(m.agents)), nil)
	}
}

// allocateTo makes offers to one framework at once: it has just (re)subscribed or revived.
func (m *Master) allocateTo(f *framework) {
	m.allocate(slices.Collect(maps.Values(m.agents)), f)
}

// allocate offers what is free on the agents: for each, to the role and then the
// framework with the least dominant share that does not refuse it, and what is reserved
// for others to them. With only set, the cycle is for one framework.
func (m *Master) allocate(agents []*agent, only *framework) {
	now := m.opts.Clock.Now()
	for _, f := range m.frameworks {
		f.filters = slices.DeleteFunc(f.filters, func(x filter) bool { return !now.Before(x.until) })
	}
	rand.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
	shares := m.newShares()
	batches := map[*framework][]mesos.Offer{}
	for _, a := range agents {
		if !a.connected || a.deactivated {
			continue
		}
		free := a.total.Minus(a.used)
		if !worthOffering(free) {
			continue
		}
		for _, candidate := range shares.order(only) {
			share := free.For(candidate.role)
			if !worthOffering(share) || candidate.framework.refuses(candidate.role, a.id, share) {
				continue
			}
			o := m.offer(candidate.framework, candidate.role, a, share)
			shares.charge(candidate, share)
			batches[candidate.framework] = append(batches[candidate.framework], m.describe(o))
			if free = free.Minus(share); !worthOffering(free) {
				break
			}
		}
	}
	for f, offers := range batches {
		f.send(&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: offers}})
	}
	m.offerInversely(agents)
}

func worthOffering(free resources.Bundle) bool {
	return free.Scalar("cpus") >= minOfferCPUs || free.Scalar("mem") >= minOfferMem
}

// shares holds dominant shares during one cycle.
type shares struct {
	total      resources.Bundle
	candidates []*candidate
	roles      map[string]resources.Bundle
}

// candidate is a framework in one of its roles.
type candidate struct {
	framework *framework
	role      string
	allocated resources.Bundle
}

func (m *Master) newShares() *shares {
	s := &shares{roles: map[string]resources.Bundle{}}
	for _, a := range m.agents {
		s.total = s.total.Plus(a.total)
	}
	for _, f := range m.frameworks {
		for role, amount := range f.allocated {
			s.roles[role] = s.roles[role].Plus(amount)
		}
		if !f.connected {
			continue
		}
		for _, role := range f.roles {
			if !f.suppressed[role] {
				s.candidates = append(s.candidates, &candidate{f, role, f.allocated[role]})
			}
		}
	}
	return s
}

// order returns the candidates, the one with the least share first.
func (s *shares) order(only *framework) []*candidate {
	rand.Shuffle(len(s.candidates), func(i, j int) { // ties fall by chance
		s.candidates[i], s.candidates[j] = s.candidates[j], s.candidates[i]
	})
	slices.SortStableFunc(s.candidates, func(x, y *candidate) int {
		return cmp.Or(
			cmp.Compare(s.dominant(s.roles[x.role]), s.dominant(s.roles[y.role])),
			cmp.Compare(s.dominant(x.allocated), s.dominant(y.allocated)))
	})
	if only == nil {
		return s.candidates
	}
	var mine []*candidate
	for _, c := range s.candidates {
		if c.framework == only {
			mine = append(mine, c)
		}
	}
	return mine
}

func (s *shares) charge(c *candidate, amount resources.Bundle) {
	c.allocated = c.allocated.Plus(amount)
	s.roles[c.role] = s.roles[c.role].Plus(amount)
}

func (s *shares) dominant(amount resources.Bundle) float64 {
	share := 0.0
	for _, name := range []string{"cpus", "mem", "disk"} {
		if total := s.total.Scalar(name); total > 0 {
			share = max(share, amount.Scalar(name)/total)
		}
	}
	return share
}

// refuses tells whether a filter of the framework covers the resources.
func (f *framework) refuses(role, agentID string, free resources.Bundle) bool {
	return slices.ContainsFunc(f.filters, func(x filter) bool {
		return x.role == role && x.agent == agentID && x.refused.Contains(free)
	})
}

// refuse sets a filter; one that is over before the next cycle has no effect.
func (f *framework) refuse(role, agentID string, amount resources.Bundle, until time.Time) {
	f.filters = append(f.filters, filter{role: role, agent: agentID, refused: amount, until: until})
}

// filterUntil returns when a filter ends: never before the next allocation, unless it
// is zero.
func (m *Master) filterUntil(filters *mesos.Filters) time.Time {
	refuse := defaultRefusal
	if filters != nil && filters.RefuseSeconds != nil && *filters.RefuseSeconds >= 0 {
		refuse = time.Duration(min(*filters.RefuseSeconds, maxRefusal.Seconds()) * float64(time.Second))
	}
	return m.opts.Clock.Now().Add(refuse)
}

func (m *Master) revive(f *framework, roles []string) {
	roles = orAll(roles, f.roles)
	for _, role := range roles {
		delete(f.suppressed, role)
	}
	f.filters = slices.DeleteFunc(f.filters, func(x filter) bool { return slices.Contains(roles, x.role) })
	m.allocateTo(f)
}

func (m *Master) offer(f *framework, role string, a *agent, amount resources.Bundle) *offer {
	o := &offer{
		id: m.nextOfferID(), framework: f, agent: a, role: role, amount: amount,
	}
	m.offers[o.id], f.offers[o.id], a.offers[o.id] = o, o, o
	a.used = a.used.Plus(amount)
	f.charge(role, amount)
	if m.opts.OfferTimeout > 0 {
		o.timer = m.opts.Clock.AfterFunc(m.opts.OfferTimeout, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.offers[o.id] == o {
				m.rescind(o)
			}
		})
	}
	return o
}

// nextOfferID numbers offers and inverse offers.
func (m *Master) nextOfferID() string {
	m.counters.offers++
	return m.id + "-O" + strconv.Itoa(m.counters.offers-1)
}

func (a *agent) url() *mesos.URL {
	host, port := splitEndpoint(a.endpoint)
	return &mesos.URL{
		Scheme:  "http",
		Address: mesos.Address{Hostname: &a.info.Hostname, IP: &host, Port: port},
		Path:    new("/slave(1)"),
	}
}

func (m *Master) describe(o *offer) mesos.Offer {
	role, list := o.role, o.amount.Mesos(o.role)
	if !o.framework.has(mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT) {
		list = resources.Unrefined(list)
	}
	described := mesos.Offer{
		ID:             mesos.OfferID{Value: o.id},
		FrameworkID:    mesos.FrameworkID{Value: o.framework.id},
		AgentID:        mesos.AgentID{Value: o.agent.id},
		Hostname:       o.agent.info.Hostname,
		URL:            o.agent.url(),
		Resources:      list,
		Unavailability: o.agent.unavailability,
		Attributes:     o.agent.info.Attributes,
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: &role},
	}
	for id := range o.agent.executors[o.framework.id] {
		described.ExecutorIDs = append(described.ExecutorIDs, mesos.ExecutorID{Value: id})
	}
	return described
}

// withdraw removes an offer and frees what it held; the framework is not told.
func (m *Master) withdraw(o *offer) {
	if o.timer != nil {
		o.timer.Stop()
	}
	delete(m.offers, o.id)
	delete(o.framework.offers, o.id)
	delete(o.agent.offers, o.id)
	o.agent.used = o.agent.used.Minus(o.amount)
	o.framework.credit(o.role, o.amount)
}

// rescind withdraws an offer and tells its framework.
func (m *Master) rescind(o *offer) {
	m.withdraw(o)
	o.framework.send(&scheduler.Event{Type: scheduler.Event_RESCIND,
		Rescind: &scheduler.Event_Rescind{OfferID: mesos.OfferID{Value: o.id}}})
}

// claim takes the offers named in an ACCEPT, all of one agent, or says what is wrong.
func (m *Master) claim(f *framework, ids []mesos.OfferID) ([]*offer, error) {
	if len(ids) == 0 {
		return nil, fmt.Errorf("No offers specified")
	}
	var offers []*offer
	var fault error
	seen := map[string]bool{}
	for _, id := range ids {
		o := f.offers[id.Value]
		switch {
		case fault != nil:
		case seen[id.Value]:
			fault = fmt.Errorf("Duplicate offer %s in offer list", id.Value)
		case o == nil:
			fault = fmt.Errorf("Offer %s is no longer valid", id.Value)
		case len(offers) > 0 && offers[0].agent != o.agent:
			fault = fmt.Errorf("Aggregated offers must belong to one single agent. Offer %s uses agent %s and agent %s",
				o.id, o.agent.id, offers[0].agent.id)
		case len(offers) > 0 && offers[0].role != o.role:
			fault = fmt.Errorf("Aggregated offers must be allocated to the same role. Offer %s uses role %s but another is using role %s",
				o.id, o.role, offers[0].role)
		}
		if o != nil && !seen[id.Value] {
			offers = append(offers, o)
		}
		seen[id.Value] = true
	}
	for _, o := range offers { // used up either way
		m.withdraw(o)
	}
	if fault != nil {
		return nil, fault
	}
	if !offers[0].agent.connected {
		return nil, fmt.Errorf("Agent %s is disconnected", offers[0].agent.id)
	}
	return offers, nil
}

func splitEndpoint(endpoint string) (host string, port int32) {
	host, text, err := net.SplitHostPort(endpoint)
	if err != nil {
		return endpoint, 0
	}
	number, _ := strconv.ParseInt(text, 10, 32) // zero: no port
	return host, int32(number)
}
