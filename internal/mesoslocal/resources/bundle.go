// Package resources does arithmetic on what agents offer: scalars and ranges, with
// Mesos's fixed-point precision of a thousandth.
package resources

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Bundle is an amount of resources. The zero Bundle is empty. Bundles are values: no
// method changes its receiver.
type Bundle struct {
	scalars map[string]int64 // thousandths
	ranges  map[string][]Range
}

// Range is a closed interval.
type Range struct {
	Begin, End uint64
}

// order is how Mesos lists the resources of an agent in offers.
var order = []string{"ports", "cpus", "mem", "disk", "gpus"}

// Of adds resources up, whatever their role.
func Of(list []mesos.Resource) Bundle {
	sum := Bundle{}
	for _, resource := range list {
		switch {
		case resource.Scalar != nil:
			sum = sum.Plus(Bundle{scalars: map[string]int64{resource.Name: fixed(resource.Scalar.Value)}})
		case resource.Ranges != nil:
			var ranges []Range
			for _, r := range resource.Ranges.Range {
				ranges = append(ranges, Range{r.Begin, r.End})
			}
			sum = sum.Plus(Bundle{ranges: map[string][]Range{resource.Name: normal(ranges)}})
		}
	}
	return sum
}

func fixed(value float64) int64 { return int64(math.Round(value * 1000)) }

// Parse reads Mesos's text form: cpus:2;mem:1024;ports:[31000-31099].
func Parse(text string) (Bundle, error) {
	sum := Bundle{}
	for _, part := range strings.Split(text, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, ":")
		if !ok {
			return Bundle{}, fmt.Errorf("parse resources %q: %q has no value (write name:value, as in cpus:2)", text, part)
		}
		name, _, _ = strings.Cut(strings.TrimSpace(name), "(")
		one, err := parseOne(name, strings.TrimSpace(value))
		if err != nil {
			return Bundle{}, fmt.Errorf("parse resources %q: %s: %w", text, name, err)
		}
		sum = sum.Plus(one)
	}
	return sum, nil
}

func parseOne(name, value string) (Bundle, error) {
	if !strings.HasPrefix(value, "[") {
		number, err := strconv.ParseFloat(value, 64)
		if err != nil || number < 0 {
			return Bundle{}, fmt.Errorf("%q is no amount", value)
		}
		return Bundle{scalars: map[string]int64{name: fixed(number)}}, nil
	}
	ranges, err := ParseRanges(value)
	if err != nil {
		return Bundle{}, err
	}
	return Bundle{ranges: map[string][]Range{name: normal(ranges)}}, nil
}

// ParseRanges reads [1-5,7-9].
func ParseRanges(text string) ([]Range, error) {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(text, "["), "]")
	if !ok {
		return nil, fmt.Errorf("%q lacks a closing bracket", text)
	}
	var ranges []Range
	for _, part := range strings.Split(inner, ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			last = first
		}
		begin, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 64)
		end, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 64)
		if err1 != nil || err2 != nil || end < begin {
			return nil, fmt.Errorf("%q is no range (write begin-end)", part)
		}
		ranges = append(ranges, Range{begin, end})
	}
	return ranges, nil
}

// Plus adds.
func (b Bundle) Plus(other Bundle) Bundle {
	sum := b.clone()
	for name, amount := range other.scalars {
		sum.scalars[name] += amount
	}
	for name, ranges := range other.ranges {
		sum.ranges[name] = normal(append(slices.Clone(sum.ranges[name]), ranges...))
	}
	return sum
}

// Minus subtracts; what is not there is not subtracted.
func (b Bundle) Minus(other Bundle) Bundle {
	rest := b.clone()
	for name, amount := range other.scalars {
		if rest.scalars[name] -= amount; rest.scalars[name] <= 0 {
			delete(rest.scalars, name)
		}
	}
	for name, ranges := range other.ranges {
		for _, r := range ranges {
			rest.ranges[name] = without(rest.ranges[name], r)
		}
		if len(rest.ranges[name]) == 0 {
			delete(rest.ranges, name)
		}
	}
	return rest
}

func (b Bundle) clone() Bundle {
	c := Bundle{scalars: maps.Clone(b.scalars), ranges: maps.Clone(b.ranges)}
	if c.scalars == nil {
		c.scalars = map[string]int64{}
	}
	if c.ranges == nil {
		c.ranges = map[string][]Range{}
	}
	return c
}

// Contains tells whether the other can be taken from b.
func (b Bundle) Contains(other Bundle) bool {
	for name, amount := range other.scalars {
		if amount > 0 && b.scalars[name] < amount {
			return false
		}
	}
	for name, ranges := range other.ranges {
		for _, r := range ranges {
			if !slices.ContainsFunc(b.ranges[name], func(have Range) bool { return have.Begin <= r.Begin && r.End <= have.End }) {
				return false
			}
		}
	}
	return true
}

// Empty tells whether nothing is in it.
func (b Bundle) Empty() bool {
	for _, amount := range b.scalars {
		if amount > 0 {
			return false
		}
	}
	return len(b.ranges) == 0
}

// Scalar returns the amount of a scalar resource.
func (b Bundle) Scalar(name string) float64 { return float64(b.scalars[name]) / 1000 }

// Ranges returns the ranges of a resource in Mesos's text form, or "".
func (b Bundle) Ranges(name string) string {
	var parts []string
	for _, r := range b.ranges[name] {
		parts = append(parts, fmt.Sprintf("%d-%d", r.Begin, r.End))
	}
	if parts == nil {
		return ""
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Names returns the names in Mesos's order of listing.
func (b Bundle) Names() []string {
	names := slices.Concat(slices.Collect(maps.Keys(b.scalars)), slices.Collect(maps.Keys(b.ranges)))
	slices.SortFunc(names, func(x, y string) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(x, y))
	})
	return slices.Compact(names)
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
	for _, name := range b.Names() {
		if ranges := b.Ranges(name); ranges != "" {
			parts = append(parts, name+":"+ranges)
		} else {
			parts = append(parts, name+":"+strconv.FormatFloat(b.Scalar(name), 'f', -1, 64))
		}
	}
	return strings.Join(parts, "; ")
}

// Mesos renders the bundle as protobuf resources; with a role, as allocated to it, and
// in the order of offers, else in that of agents: ranges last.
func (b Bundle) Mesos(role string) []mesos.Resource {
	var list []mesos.Resource
	names := b.Names()
	if role == "" {
		slices.SortStableFunc(names, func(x, y string) int { return cmp.Compare(len(b.ranges[x]), len(b.ranges[y])) })
	}
	for _, name := range names {
		resource := mesos.Resource{Name: name}
		if role != "" {
			star := "*"
			resource.Role = &star
			resource.AllocationInfo = &mesos.Resource_AllocationInfo{Role: &role}
		}
		if ranges, ok := b.ranges[name]; ok {
			resource.Type = mesos.RANGES.Enum()
			resource.Ranges = &mesos.Value_Ranges{}
			for _, r := range ranges {
				resource.Ranges.Range = append(resource.Ranges.Range, mesos.Value_Range{Begin: r.Begin, End: r.End})
			}
		} else {
			resource.Type = mesos.SCALAR.Enum()
			resource.Scalar = &mesos.Value_Scalar{Value: b.Scalar(name)}
		}
		list = append(list, resource)
	}
	return list
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
