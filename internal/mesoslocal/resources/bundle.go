// Package resources does arithmetic on what agents offer: scalars and ranges, with
// Mesos's fixed-point precision of a thousandth.
package resources

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Bundle is an amount of resources. The zero Bundle is empty. Bundles are values: no
// method changes its receiver.
type Bundle struct {
	parts map[string]part // by kind
}

// part is how much there is of one kind: what differs in its name, its reservations or
// its volume does not add up.
type part struct {
	like   mesos.Resource // the kind: a resource without its amount and its allocation
	scalar int64          // thousandths
	ranges []Range
}

// Range is a closed interval.
type Range struct {
	Begin, End uint64
}

// order is how Mesos lists the resources of an agent in offers.
var order = []string{"ports", "cpus", "mem", "disk", "gpus"}

// Of adds resources up, whomever they are allocated to.
func Of(list []mesos.Resource) Bundle {
	sum := Bundle{parts: make(map[string]part, len(list))}
	for _, resource := range list {
		one := partOf(resource)
		sum.add(kindText(one.like), one)
	}
	return sum
}

func partOf(resource mesos.Resource) part {
	one := part{like: kindOf(resource)}
	switch {
	case resource.Scalar != nil:
		one.scalar = int64(math.Round(resource.Scalar.Value * 1000))
	case resource.Ranges != nil:
		for _, r := range resource.Ranges.Range {
			one.ranges = append(one.ranges, Range{r.Begin, r.End})
		}
		one.ranges = normal(one.ranges)
	}
	return one
}

func (b Bundle) add(kind string, more part) {
	have := b.parts[kind]
	if have.ranges != nil {
		more.ranges = normal(slices.Concat(have.ranges, more.ranges))
	}
	more.scalar += have.scalar
	b.parts[kind] = more
}

func (b Bundle) clone() Bundle {
	if b.parts == nil {
		return Bundle{parts: map[string]part{}}
	}
	return Bundle{parts: maps.Clone(b.parts)}
}

// Plus adds.
func (b Bundle) Plus(other Bundle) Bundle {
	sum := b.clone()
	for kind, more := range other.parts {
		sum.add(kind, more)
	}
	return sum
}

// Minus subtracts; what is not there is not subtracted.
func (b Bundle) Minus(other Bundle) Bundle {
	rest := b.clone()
	for kind, less := range other.parts {
		have := rest.parts[kind]
		have.scalar -= less.scalar
		for _, r := range less.ranges {
			have.ranges = without(have.ranges, r)
		}
		if have.scalar <= 0 && len(have.ranges) == 0 {
			delete(rest.parts, kind)
		} else {
			rest.parts[kind] = have
		}
	}
	return rest
}

// Contains tells whether the other can be taken from b.
func (b Bundle) Contains(other Bundle) bool {
	for kind, wanted := range other.parts {
		have := b.parts[kind]
		if wanted.scalar > 0 && have.scalar < wanted.scalar {
			return false
		}
		for _, r := range wanted.ranges {
			if !slices.ContainsFunc(have.ranges, func(h Range) bool { return h.Begin <= r.Begin && r.End <= h.End }) {
				return false
			}
		}
	}
	return true
}

// Empty tells whether nothing is in it.
func (b Bundle) Empty() bool {
	for _, one := range b.parts {
		if one.scalar > 0 || len(one.ranges) > 0 {
			return false
		}
	}
	return true
}

// Scalar returns the amount of a scalar resource, reserved or not.
func (b Bundle) Scalar(name string) float64 {
	sum := int64(0)
	for _, one := range b.parts {
		if one.like.Name == name {
			sum += one.scalar
		}
	}
	return float64(sum) / 1000
}

// Ranges returns the ranges of a resource in Mesos's text form, or "".
func (b Bundle) Ranges(name string) string {
	var all []Range
	for _, one := range b.parts {
		if one.like.Name == name {
			all = append(all, one.ranges...)
		}
	}
	return rangesText(normal(all))
}

// Object renders the bundle as Mesos's endpoints do: always with the usual four.
func (b Bundle) Object() map[string]any {
	object := map[string]any{"cpus": 0.0, "mem": 0.0, "disk": 0.0, "gpus": 0.0}
	for _, one := range b.parts {
		if name := one.like.Name; one.ranges != nil {
			object[name] = b.Ranges(name)
		} else {
			object[name] = b.Scalar(name)
		}
	}
	return object
}

// sorted lists the parts as Mesos lists them in offers: ranges, what is reserved, the rest.
func (b Bundle) sorted() []part {
	yes := func(is bool) int {
		if is {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(maps.Values(b.parts), func(x, y part) int {
		return cmp.Or(
			cmp.Compare(yes(x.ranges != nil), yes(y.ranges != nil)),
			cmp.Compare(yes(len(x.like.Reservations) > 0), yes(len(y.like.Reservations) > 0)),
			cmp.Compare(rank(x.like.Name), rank(y.like.Name)),
			strings.Compare(kindText(x.like), kindText(y.like)))
	})
}

func rank(name string) int {
	if i := slices.Index(order, name); i >= 0 {
		return i
	}
	return len(order)
}

// String renders the bundle as Mesos prints it: "cpus:1; mem:32".
func (b Bundle) String() string {
	var parts []string
	for _, one := range b.sorted() {
		parts = append(parts, kindText(one.like)+":"+one.amountText())
	}
	return strings.Join(parts, "; ")
}

// Mesos renders the bundle as protobuf resources: with a role, as allocated to it and in
// the order of offers, else in that of agents, ranges last.
func (b Bundle) Mesos(role string) []mesos.Resource {
	var list, last []mesos.Resource
	for _, one := range b.sorted() {
		resource := one.like
		if role != "" {
			resource.AllocationInfo = &mesos.Resource_AllocationInfo{Role: &role}
		}
		if one.ranges == nil {
			resource.Type = mesos.SCALAR.Enum()
			resource.Scalar = &mesos.Value_Scalar{Value: float64(one.scalar) / 1000}
			list = append(list, resource)
			continue
		}
		resource.Type, resource.Ranges = mesos.RANGES.Enum(), &mesos.Value_Ranges{}
		for _, r := range one.ranges {
			resource.Ranges.Range = append(resource.Ranges.Range, mesos.Value_Range{Begin: r.Begin, End: r.End})
		}
		if role == "" {
			last = append(last, resource)
		} else {
			list = append(list, resource)
		}
	}
	return append(list, last...)
}

// Allocate marks resources as allocated to a role where they do not say so.
func Allocate(list []mesos.Resource, role string) {
	for i := range list {
		if list[i].AllocationInfo == nil {
			list[i].AllocationInfo = &mesos.Resource_AllocationInfo{Role: &role}
		}
	}
}

func normal(ranges []Range) []Range {
	slices.SortFunc(ranges, func(x, y Range) int { return cmp.Compare(x.Begin, y.Begin) })
	var merged []Range
	for _, r := range ranges {
		if n := len(merged); n > 0 && r.Begin <= merged[n-1].End+1 {
			merged[n-1].End = max(merged[n-1].End, r.End)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func without(ranges []Range, hole Range) []Range {
	var rest []Range
	for _, r := range ranges {
		if hole.End < r.Begin || r.End < hole.Begin {
			rest = append(rest, r)
			continue
		}
		if r.Begin < hole.Begin {
			rest = append(rest, Range{r.Begin, hole.Begin - 1})
		}
		if hole.End < r.End {
			rest = append(rest, Range{hole.End + 1, r.End})
		}
	}
	return rest
}
