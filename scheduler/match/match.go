// Package match decides which waiting task takes which offer. It is pure:
// tasks, offers and the time in; placements and reasons out.
//
//	offers + waiting tasks ─► filter (constraints, resources) ─► rank (locality, warm executor, spread) ─► explain
package match

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"tidemill/jobs"
)

// Task is a split that waits for an offer.
type Task struct {
	Need        jobs.Resources // of the task alone
	PastPorts   int            // how many of an offer's ports are passed over, and come last
	Executor    Executor
	Near        string   // jobs.NearCassandra: an agent beside Cassandra is preferred
	Hosts       []string // of the split's replicas; more particular than Near
	Racks       []string
	DC          string
	Constraints *Constraints
	Run         string        // whose tasks are counted, where constraints count them
	Placed      *Tally        // where those are
	Avoid       string        // the agent on which it failed last; taken only after Wait
	Since       time.Time     // when it began to wait
	Lasts       time.Duration // at most; zero: nobody knows
	Wait        time.Duration // for locality, in all
}

// Executor is what the task runs in: its share is taken once an agent.
type Executor struct {
	Shared    bool // the offer's; or one of the task's own
	Resources jobs.Resources
}

// Placement gives a task an offer (by its index).
type Placement struct {
	Offer int
	Level jobs.Locality
	Ports []uint64
	Cold  bool // the executor is to be started with it
}

// levels are what a task may be offered, nearest first, and from when on.
func levels(t *Task) []jobs.Locality {
	switch {
	case len(t.Hosts) > 0:
		out := []jobs.Locality{jobs.LocalReplica}
		if len(t.Racks) > 0 {
			out = append(out, jobs.LocalRack)
		}
		if t.DC != "" {
			out = append(out, jobs.LocalDC)
		}
		return append(out, jobs.LocalAny)
	case t.Near == jobs.NearCassandra:
		return []jobs.Locality{jobs.LocalReplica, jobs.LocalAny}
	}
	return []jobs.Locality{jobs.LocalAny}
}

// widest is the index of the worst level that is allowed now, and when the
// next one will be: the wait is split evenly over the steps between levels.
func widest(t *Task, all []jobs.Locality, now time.Time) (level int, next time.Time) {
	steps := len(all) - 1
	if steps == 0 || t.Wait <= 0 {
		return steps, time.Time{}
	}
	step := t.Wait / time.Duration(steps)
	waited := max(now.Sub(t.Since), 0)
	level = steps
	if step > 0 {
		level = min(int(waited/step), steps)
	}
	if level == steps {
		return level, time.Time{}
	}
	return level, t.Since.Add(step * time.Duration(level+1))
}

// Round gives the offers of one moment to tasks, one after the other.
// Nothing is placed twice, and no offer gives more than it holds.
type Round struct {
	now    time.Time
	offers []jobs.Offer
	free   []jobs.Resources
	ports  [][]jobs.PortRange
	warm   []bool // the offer's shared executor lives, or was placed now
	byHost map[string][]int
	byRack map[string][]int
	byDC   map[string][]int
	shapes map[shape]*candidates
	why    map[shape][]jobs.Refusal
	closed map[int]jobs.Refusal // offers that nothing is placed on
	wanted []int                // by how many tasks, for being beside their data
}

// NewRound begins one.
func NewRound(now time.Time, offers []jobs.Offer) *Round {
	r := &Round{
		now: now, offers: offers,
		free: make([]jobs.Resources, len(offers)), ports: make([][]jobs.PortRange, len(offers)),
		warm:   make([]bool, len(offers)),
		byHost: map[string][]int{}, byRack: map[string][]int{}, byDC: map[string][]int{},
		shapes: map[shape]*candidates{}, why: map[shape][]jobs.Refusal{}, closed: map[int]jobs.Refusal{}, wanted: make([]int, len(offers)),
	}
	for i := range offers {
		o := &offers[i]
		r.free[i] = o.Resources
		r.ports[i] = append([]jobs.PortRange(nil), o.PortRanges...)
		r.warm[i] = o.HasExecutor(o.Executor)
		r.byHost[o.Hostname] = append(r.byHost[o.Hostname], i)
		if ip := hostOf(o.Address); ip != "" && ip != o.Hostname {
			r.byHost[ip] = append(r.byHost[ip], i)
		}
		if rack := o.Attributes["rack"]; rack != "" {
			r.byRack[rack] = append(r.byRack[rack], i)
		}
		if dc, ok := cassandraOf(o); ok {
			r.byDC[dc] = append(r.byDC[dc], i)
		}
	}
	return r
}

// Close keeps an offer from all tasks, before the first is placed.
func (r *Round) Close(offer int, why jobs.Refusal) { r.closed[offer] = why }

// cassandraOf reads the attribute cassandra:<dc>; "false" and "" say no.
func cassandraOf(o *jobs.Offer) (dc string, ok bool) {
	v := o.Attributes["cassandra"]
	return v, v != "" && v != "false"
}

func hostOf(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		return strings.Trim(address[:i], "[]")
	}
	return address
}

// Place finds the best offer that is allowed now, and books it.
func (r *Round) Place(t *Task) (Placement, bool) {
	all := levels(t)
	allowed, _ := widest(t, all, r.now)
	_, avoiding := r.avoids(t)
	for _, level := range all[:allowed+1] {
		i := r.best(t, level, avoiding)
		if i < 0 {
			continue
		}
		p := Placement{Offer: i, Level: r.levelAt(t, i), Cold: r.take(t, i)}
		p.Ports = r.takePorts(i, t.Need.Ports, t.PastPorts)
		r.want(t, -1)
		return p, true
	}
	return Placement{}, false
}

// Near counts the places beside a task's replicas, for an order in which those
// with the rarest go first: one that would take any place by now counts as
// having none, one for which nothing near is offered as having all there are.
// It also has the others leave to it what it wants, where they can.
func (r *Round) Near(t *Task) int {
	if at := r.Widens(t); at.IsZero() {
		return 0
	}
	near := 0
	for _, host := range t.Hosts {
		for _, i := range r.byHost[host] {
			if r.fits(t, i) && r.allows(t, i) {
				near += places(r.need(t, i), r.free[i])
			}
		}
	}
	if near == 0 {
		return math.MaxInt
	}
	r.want(t, 1)
	return near
}

// want counts a task in or out of those that want to be beside their data.
func (r *Round) want(t *Task, n int) {
	for _, host := range t.Hosts {
		for _, i := range r.byHost[host] {
			r.wanted[i] = max(r.wanted[i]+n, 0)
		}
	}
}

// places is how many tasks of a need fit.
func places(need, free jobs.Resources) int {
	n := math.MaxInt
	for _, p := range [][2]float64{{need.CPUs, free.CPUs}, {need.Mem, free.Mem}, {need.Disk, free.Disk}, {need.GPUs, free.GPUs}, {float64(need.Ports), float64(free.Ports)}} {
		if p[0] > 0 {
			n = min(n, int(p[1]/p[0]))
		}
	}
	return n
}

// best is the offer to take at a level, or -1.
func (r *Round) best(t *Task, level jobs.Locality, avoiding bool) int {
	switch {
	case level == jobs.LocalAny || len(t.Hosts) == 0:
		return r.shapeOf(t).next(r, t, level == jobs.LocalReplica, avoiding)
	case level == jobs.LocalReplica:
		return r.roomiest(t, r.byHost, t.Hosts, avoiding)
	case level == jobs.LocalRack:
		return r.roomiest(t, r.byRack, t.Racks, avoiding)
	default:
		return r.roomiest(t, r.byDC, []string{t.DC}, avoiding)
	}
}

// roomiest is the offer under the given names with the most room for each
// task that wants to be there.
func (r *Round) roomiest(t *Task, index map[string][]int, names []string, avoiding bool) int {
	best, most := -1, 0.0
	for _, name := range names {
		for _, i := range index[name] {
			if avoiding && r.offers[i].AgentID == t.Avoid || !r.fits(t, i) || !r.allows(t, i) {
				continue
			}
			if room := r.free[i].CPUs / float64(1+r.wanted[i]); best < 0 || room > most {
				best, most = i, room
			}
		}
	}
	return best
}

// levelAt is how near an offer is to a task's data, whatever was asked for.
func (r *Round) levelAt(t *Task, i int) jobs.Locality {
	o := &r.offers[i]
	dc, beside := cassandraOf(o)
	if len(t.Hosts) == 0 {
		if t.Near == jobs.NearCassandra && beside {
			return jobs.LocalReplica
		}
		return jobs.LocalAny
	}
	for _, h := range t.Hosts {
		if h == o.Hostname || h == hostOf(o.Address) {
			return jobs.LocalReplica
		}
	}
	if slices.Contains(t.Racks, o.Attributes["rack"]) {
		return jobs.LocalRack
	}
	if beside && dc == t.DC {
		return jobs.LocalDC
	}
	return jobs.LocalAny
}

// need is what the task takes from an offer, its executor's share included
// where the executor does not live there yet.
func (r *Round) need(t *Task, i int) jobs.Resources {
	if t.Executor.Shared && r.warm[i] {
		return t.Need
	}
	return t.Need.Add(t.Executor.Resources)
}

func (r *Round) fits(t *Task, i int) bool { return r.need(t, i).Fits(r.free[i]) }

func (r *Round) allows(t *Task, i int) bool {
	return r.suits(t, i) && t.Constraints.spreads(&r.offers[i], t.Placed)
}

// suits is the part of allows that stays the same for all of a round.
func (r *Round) suits(t *Task, i int) bool {
	if _, closed := r.closed[i]; closed {
		return false
	}
	return r.offers[i].Away.Allows(r.now, t.Lasts) && t.Constraints.Suits(&r.offers[i])
}

// take books the task on the offer, and says whether its executor is new there.
func (r *Round) take(t *Task, i int) (cold bool) {
	r.free[i] = r.free[i].Sub(r.need(t, i))
	cold = !t.Executor.Shared || !r.warm[i]
	r.warm[i] = r.warm[i] || t.Executor.Shared
	return cold
}

// takePorts picks n ports, the lowest first of those that are not passed over.
// What was booked is there: the offer's count of ports comes from its ranges.
func (r *Round) takePorts(i, n, past int) []uint64 {
	if n == 0 {
		return nil
	}
	r.ports[i] = turned(r.ports[i], past)
	var out []uint64
	for n > 0 && len(r.ports[i]) > 0 {
		first := &r.ports[i][0]
		out = append(out, first.Begin)
		n--
		if first.Begin == first.End {
			r.ports[i] = r.ports[i][1:]
		} else {
			first.Begin++
		}
	}
	slices.SortFunc(r.ports[i], func(a, b jobs.PortRange) int { return cmp.Compare(a.Begin, b.Begin) })
	return out
}

// turned puts the first ports of ranges to their end, round and round.
func turned(ranges []jobs.PortRange, past int) []jobs.PortRange {
	total := uint64(0)
	for _, p := range ranges {
		total += p.End - p.Begin + 1
	}
	if total == 0 {
		return ranges
	}
	left := uint64(past) % total
	for at, p := range ranges {
		if size := p.End - p.Begin + 1; left >= size {
			left -= size
			continue
		}
		if left == 0 {
			return slices.Concat(ranges[at:], ranges[:at])
		}
		return slices.Concat([]jobs.PortRange{{Begin: p.Begin + left, End: p.End}}, ranges[at+1:], ranges[:at], []jobs.PortRange{{Begin: p.Begin, End: p.Begin + left - 1}})
	}
	return ranges
}
