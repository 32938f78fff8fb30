package mesos

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/jobs"
)

// offerOf sums up what is usable in an offer. Its agent is called by its IP, for
// its name need not be known here; byName is for TLS, whose certificates name hosts.
func offerOf(o *mesos.Offer, byName bool) jobs.Offer {
	offer := jobs.Offer{
		ID:       o.ID.Value,
		AgentID:  o.AgentID.Value,
		Hostname: o.Hostname,
		Role:     o.GetAllocationInfo().GetRole(),
	}
	if o.URL != nil {
		host, other := o.URL.Address.GetIP(), o.URL.Address.GetHostname()
		if byName && other != "" || host == "" {
			host = other
		}
		offer.Address = net.JoinHostPort(host, strconv.Itoa(int(o.URL.Address.Port)))
	}
	if d := o.GetDomain().GetFaultDomain(); d != nil {
		offer.Region, offer.Zone = d.Region.Name, d.Zone.Name
	}
	if o.Unavailability != nil {
		offer.Away = awayOf(o.Unavailability)
	}
	if len(o.Attributes) > 0 {
		offer.Attributes = make(map[string]string, len(o.Attributes))
	}
	for i := range o.Attributes {
		offer.Attributes[o.Attributes[i].Name] = attributeText(&o.Attributes[i])
	}
	for _, id := range o.ExecutorIDs {
		offer.Executors = append(offer.Executors, id.Value)
	}
	p := newPool(offer.Role, usable(o.Resources))
	offer.Resources, offer.Reserved, offer.PortRanges = p.sum(), p.reservations(), p.portRanges()
	offer.Resources.Ports = countPorts(offer.PortRanges)
	return offer
}

func countPorts(ranges []jobs.PortRange) int {
	n := 0
	for _, r := range ranges {
		n += int(r.End-r.Begin) + 1
	}
	return n
}

// attributeText writes an attribute's value as the agent's command line has it.
func attributeText(a *mesos.Attribute) string {
	switch a.Type {
	case mesos.TEXT:
		return a.GetText().GetValue()
	case mesos.SCALAR:
		return strconv.FormatFloat(a.GetScalar().GetValue(), 'f', -1, 64)
	case mesos.SET:
		return "{" + strings.Join(a.GetSet().GetItem(), ",") + "}"
	case mesos.RANGES:
		var parts []string
		for _, r := range a.GetRanges().GetRange() {
			parts = append(parts, strconv.FormatUint(r.Begin, 10)+"-"+strconv.FormatUint(r.End, 10))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return ""
}

// held is what a launch needs to know of an offer.
type held struct {
	role      string
	executors []string
	resources []mesos.Resource // the usable ones
}

// book remembers the offers that are neither answered nor rescinded.
type book struct {
	mu     sync.Mutex
	offers map[string]held
}

func newBook() *book { return &book{offers: map[string]held{}} }

func (b *book) add(offers []mesos.Offer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range offers {
		o := &offers[i]
		h := held{role: o.GetAllocationInfo().GetRole(), resources: usable(o.Resources)}
		for _, id := range o.ExecutorIDs {
			h.executors = append(h.executors, id.Value)
		}
		b.offers[o.ID.Value] = h
	}
}

func (b *book) remove(ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		delete(b.offers, id)
	}
}

// take makes one pool of several offers of one agent. An offer that is gone
// adds nothing: Mesos refuses the whole ACCEPT because of it, and says so.
func (b *book) take(ids []string) (p *pool, executors []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var role string
	var all []mesos.Resource
	for _, id := range ids {
		h, ok := b.offers[id]
		if !ok {
			continue
		}
		role = h.role
		executors = append(executors, h.executors...)
		all = append(all, h.resources...)
	}
	return newPool(role, slices.Clone(all)), executors
}
