package jobs

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Resources are amounts: cpus in cores, mem and disk in MiB, gpus in devices,
// ports as a count (asked for) or as ranges (offered).
type Resources struct {
	CPUs  float64 `json:"cpus,omitempty"`
	Mem   float64 `json:"mem,omitempty"`
	Disk  float64 `json:"disk,omitempty"`
	GPUs  float64 `json:"gpus,omitempty"`
	Ports int     `json:"ports,omitempty"`
}

// slack keeps sums of decimal fractions from failing by a rounding error;
// Mesos itself counts in thousandths.
const slack = 0.0005

// Fits says whether r can be taken out of free.
func (r Resources) Fits(free Resources) bool {
	return r.CPUs <= free.CPUs+slack && r.Mem <= free.Mem+slack && r.Disk <= free.Disk+slack &&
		r.GPUs <= free.GPUs+slack && r.Ports <= free.Ports
}

// Add is the sum.
func (r Resources) Add(o Resources) Resources {
	return Resources{CPUs: r.CPUs + o.CPUs, Mem: r.Mem + o.Mem, Disk: r.Disk + o.Disk, GPUs: r.GPUs + o.GPUs, Ports: r.Ports + o.Ports}
}

// Sub is the difference.
func (r Resources) Sub(o Resources) Resources {
	return Resources{CPUs: r.CPUs - o.CPUs, Mem: r.Mem - o.Mem, Disk: r.Disk - o.Disk, GPUs: r.GPUs - o.GPUs, Ports: r.Ports - o.Ports}
}

// Short says by how much free falls short of r: "cpus short by 0.5, mem short by 64".
func (r Resources) Short(free Resources) []string {
	var out []string
	say := func(name string, want, have float64) {
		if want > have+slack {
			out = append(out, name+" short by "+strconv.FormatFloat(math.Round(1000*(want-have))/1000, 'f', -1, 64))
		}
	}
	say("cpus", r.CPUs, free.CPUs)
	say("mem", r.Mem, free.Mem)
	say("disk", r.Disk, free.Disk)
	say("gpus", r.GPUs, free.GPUs)
	say("ports", float64(r.Ports), float64(free.Ports))
	return out
}

// String says what there is of which: "4 cpus, 1024 MiB of mem, 3 ports".
func (r Resources) String() string {
	var parts []string
	say := func(amount float64, unit string) {
		if amount > 0 {
			parts = append(parts, strconv.FormatFloat(amount, 'f', -1, 64)+unit)
		}
	}
	say(r.CPUs, " cpus")
	say(r.Mem, " MiB of mem")
	say(r.Disk, " MiB of disk")
	say(r.GPUs, " gpus")
	say(float64(r.Ports), " ports")
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// PortRange is an inclusive range of ports.
type PortRange struct {
	Begin uint64 `json:"begin"`
	End   uint64 `json:"end"`
}

// Offer is what one agent has free for us, until it is answered or rescinded.
type Offer struct {
	ID       string
	AgentID  string
	Hostname string
	// Address is the agent's own host:port, where its files are read.
	Address    string
	Region     string
	Zone       string
	Role       string
	Resources  Resources // Ports counts the ports of PortRanges
	PortRanges []PortRange
	Reserved   []Reservation // what of Resources is reserved to Role
	Attributes map[string]string
	Away       Unavailability
	// Executors are the ids of our executors that live on the agent.
	Executors []string
	// Executor is the shared executor that tasks would run in here; the
	// scheduler sets it.
	Executor string
}

// Reservation is a part of an offer's resources that is reserved: how much of
// which, and the reservation in the words of Mesos, which a launch repeats.
type Reservation struct {
	Resource string
	Amount   float64
	As       string
}

// Unavailability is when an operator plans to have an agent away; without a
// Duration, for good. The zero one is never.
type Unavailability struct {
	Start    time.Time
	Duration time.Duration
}

// IsZero says that nothing is planned.
func (u Unavailability) IsZero() bool { return u.Start.IsZero() }

// Equal says whether both are of one time.
func (u Unavailability) Equal(o Unavailability) bool {
	return u.Start.Equal(o.Start) && u.Duration == o.Duration
}

// Over says whether it lies behind, or is none.
func (u Unavailability) Over(now time.Time) bool {
	return u.IsZero() || (u.Duration > 0 && !now.Before(u.Start.Add(u.Duration)))
}

func (u Unavailability) String() string {
	text := "from " + u.Start.UTC().Format(time.RFC3339)
	if u.Duration > 0 {
		text += " for " + u.Duration.String()
	}
	return text
}

// unforeseen is how long before its agent is away nothing is begun there of
// which nobody knows how long it takes.
const unforeseen = time.Hour

// Allows says whether work that begins now, and lasts so long at most, ends
// before. Of zero length nobody knows how long it is.
func (u Unavailability) Allows(now time.Time, lasts time.Duration) bool {
	if lasts <= 0 {
		lasts = unforeseen
	}
	return u.Over(now) || !now.Add(lasts).After(u.Start)
}

// Attribute looks a constraint's field up; hostname, role, region and zone are
// pseudo-attributes.
func (o *Offer) Attribute(name string) (string, bool) {
	switch name {
	case "hostname":
		return o.Hostname, true
	case "@role":
		return o.Role, o.Role != ""
	case "@region":
		return o.Region, o.Region != ""
	case "@zone":
		return o.Zone, o.Zone != ""
	}
	v, ok := o.Attributes[name]
	return v, ok
}

// HasExecutor says whether our executor id lives on the offer's agent.
func (o *Offer) HasExecutor(id string) bool { return slices.Contains(o.Executors, id) }
