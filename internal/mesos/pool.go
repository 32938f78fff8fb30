package mesos

import (
	"encoding/json"
	"math"
	"slices"

	"github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// The resources' names.
const (
	cpus  = "cpus"
	mem   = "mem"
	disk  = "disk"
	gpus  = "gpus"
	ports = "ports"
)

// usable leaves out what a task could not just take: volumes and mounted disks,
// shared and revocable resources, and other providers'.
func usable(all []mesos.Resource) []mesos.Resource {
	out := make([]mesos.Resource, 0, len(all))
	for _, r := range all {
		if r.Disk == nil && r.Revocable == nil && r.Shared == nil && r.ProviderID == nil {
			out = append(out, r)
		}
	}
	return out
}

// pool is what offers of one agent hold, and what is left of it. A resource
// keeps its role, reservations and allocation when a part of it is taken: Mesos
// compares them all.
type pool struct {
	role  string
	parts []part
}

type part struct {
	of     mesos.Resource
	amount int64               // thousandths, as Mesos counts
	ranges []mesos.Value_Range // what is left of the ports
}

// newPool puts what is reserved first: it is used up before what others could use.
func newPool(role string, resources []mesos.Resource) *pool {
	p := &pool{role: role, parts: make([]part, 0, len(resources))}
	for _, r := range resources {
		p.parts = append(p.parts, part{of: r, amount: milli(r.GetScalar().GetValue()), ranges: r.GetRanges().GetRange()})
	}
	slices.SortStableFunc(p.parts, func(a, b part) int { return rank(&a.of) - rank(&b.of) })
	return p
}

func rank(r *mesos.Resource) int {
	if reserved(r) {
		return 0
	}
	return 1
}

func reserved(r *mesos.Resource) bool {
	return len(r.Reservations) > 0 || r.Reservation != nil || (r.Role != nil && *r.Role != "*")
}

func milli(v float64) int64 { return int64(math.Round(v * 1000)) }

// sum is what is left, but for the ports.
func (p *pool) sum() jobs.Resources {
	total := map[string]int64{}
	for i := range p.parts {
		total[p.parts[i].of.Name] += p.parts[i].amount
	}
	amount := func(name string) float64 { return float64(total[name]) / 1000 }
	return jobs.Resources{CPUs: amount(cpus), Mem: amount(mem), Disk: amount(disk), GPUs: amount(gpus)}
}

// reservations are the reserved parts of an offer, but for the ports.
func (p *pool) reservations() []jobs.Reservation {
	var out []jobs.Reservation
	for i := range p.parts {
		if r := &p.parts[i].of; reserved(r) && p.parts[i].amount > 0 {
			out = append(out, jobs.Reservation{Resource: r.Name, Amount: float64(p.parts[i].amount) / 1000, As: reservationText(r)})
		}
	}
	return out
}

// reservationText is a reserved resource without its amount and allocation.
func reservationText(r *mesos.Resource) string {
	doc, err := json.Marshal(&mesos.Resource{
		Name: r.Name, Type: r.Type, Role: r.Role, Reservation: r.Reservation, Reservations: r.Reservations,
	})
	if err != nil { // it holds nothing that JSON has no form for
		return ""
	}
	return string(doc)
}

// portRanges are the ports that are left, sorted.
func (p *pool) portRanges() []jobs.PortRange {
	var out []jobs.PortRange
	for i := range p.parts {
		if p.parts[i].of.Name == ports {
			for _, r := range p.parts[i].ranges {
				out = append(out, jobs.PortRange{Begin: r.Begin, End: r.End})
			}
		}
	}
	slices.SortFunc(out, func(a, b jobs.PortRange) int { return int(int64(a.Begin) - int64(b.Begin)) })
	return out
}

// take picks a task's resources out of the pool. What is missing is asked for
// all the same, unreserved: Mesos then refuses the task and says what was short.
func (p *pool) take(want jobs.Resources, portNumbers []uint64) []mesos.Resource {
	var out []mesos.Resource
	for _, w := range amounts(want) {
		out = append(out, p.takeScalar(w.name, w.amount)...)
	}
	return append(out, p.takePorts(portNumbers)...)
}

// spend takes an executor's resources away, which Mesos charges to the offer
// along with the executor's first task.
func (p *pool) spend(spec *scheduler.ExecutorSpec) {
	for _, w := range amounts(spec.Resources) {
		need, from := milli(w.amount), spec.Reserved[w.name]
		for i := range p.parts {
			part := &p.parts[i]
			if part.of.Name != w.name || reserved(&part.of) != (from != "") || (from != "" && reservationText(&part.of) != from) {
				continue
			}
			taken := min(need, part.amount)
			part.amount -= taken
			need -= taken
		}
	}
}

func (p *pool) takeScalar(name string, amount float64) []mesos.Resource {
	need := milli(amount)
	var out []mesos.Resource
	for i := range p.parts {
		part := &p.parts[i]
		if need == 0 || part.of.Name != name || part.amount <= 0 {
			continue
		}
		taken := min(need, part.amount)
		part.amount -= taken
		need -= taken
		r := part.of
		r.Scalar = &mesos.Value_Scalar{Value: float64(taken) / 1000}
		out = append(out, r)
	}
	if need > 0 {
		out = append(out, scalar(name, float64(need)/1000, p.role))
	}
	return out
}

func (p *pool) takePorts(numbers []uint64) []mesos.Resource {
	left := slices.Clone(numbers)
	slices.Sort(left)
	var out []mesos.Resource
	for i := range p.parts {
		part := &p.parts[i]
		if part.of.Name != ports {
			continue
		}
		mine := slices.DeleteFunc(slices.Clone(left), func(n uint64) bool { return !holds(part.ranges, n) })
		if len(mine) == 0 {
			continue
		}
		left = slices.DeleteFunc(left, func(n uint64) bool { return holds(part.ranges, n) })
		for _, n := range mine {
			part.ranges = without(part.ranges, n)
		}
		r := part.of
		r.Ranges = &mesos.Value_Ranges{Range: rangesOf(mine)}
		out = append(out, r)
	}
	if len(left) > 0 {
		out = append(out, mesos.Resource{
			Name: ports, Type: mesos.RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: rangesOf(left)},
			AllocationInfo: allocation(p.role),
		})
	}
	return out
}

func holds(ranges []mesos.Value_Range, n uint64) bool {
	return slices.ContainsFunc(ranges, func(r mesos.Value_Range) bool { return r.Begin <= n && n <= r.End })
}

func without(ranges []mesos.Value_Range, n uint64) []mesos.Value_Range {
	var out []mesos.Value_Range
	for _, r := range ranges {
		if n < r.Begin || r.End < n {
			out = append(out, r)
			continue
		}
		if r.Begin < n {
			out = append(out, mesos.Value_Range{Begin: r.Begin, End: n - 1})
		}
		if n < r.End {
			out = append(out, mesos.Value_Range{Begin: n + 1, End: r.End})
		}
	}
	return out
}

// rangesOf joins sorted numbers that follow each other.
func rangesOf(numbers []uint64) []mesos.Value_Range {
	var out []mesos.Value_Range
	for _, n := range numbers {
		if last := len(out) - 1; last >= 0 && out[last].End+1 >= n {
			out[last].End = n
			continue
		}
		out = append(out, mesos.Value_Range{Begin: n, End: n})
	}
	return out
}

type amount struct {
	name   string
	amount float64
}

// amounts are the scalars that are not zero, always in one order.
func amounts(r jobs.Resources) []amount {
	all := []amount{{cpus, r.CPUs}, {mem, r.Mem}, {disk, r.Disk}, {gpus, r.GPUs}}
	return slices.DeleteFunc(all, func(a amount) bool { return milli(a.amount) <= 0 })
}

func scalar(name string, value float64, role string) mesos.Resource {
	return mesos.Resource{
		Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: value},
		AllocationInfo: allocation(role),
	}
}

func allocation(role string) *mesos.Resource_AllocationInfo {
	if role == "" {
		return nil
	}
	return &mesos.Resource_AllocationInfo{Role: &role}
}
