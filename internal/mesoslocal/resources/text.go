package resources

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Parse reads Mesos's text form: cpus:2;mem:1024;ports:[31000-31099]. What is reserved
// names its role: cpus(ingest):2.
func Parse(text string) (Bundle, error) {
	var list []mesos.Resource
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, ":")
		if !ok {
			return Bundle{}, fmt.Errorf("parse resources %q: %q has no value (write name:value, as in cpus:2)", text, part)
		}
		name, role, _ := strings.Cut(strings.TrimSpace(name), "(")
		role = strings.TrimSuffix(role, ")")
		one, err := parseOne(name, strings.TrimSpace(value))
		if err != nil {
			return Bundle{}, fmt.Errorf("parse resources %q: %s: %w", text, name, err)
		}
		if role != "" {
			one.Role = &role
		}
		list = append(list, one)
	}
	return Of(list), nil
}

func parseOne(name, value string) (mesos.Resource, error) {
	if !strings.HasPrefix(value, "[") {
		number, err := strconv.ParseFloat(value, 64)
		if err != nil || number < 0 || math.IsNaN(number) {
			return mesos.Resource{}, fmt.Errorf("%q is no amount", value)
		}
		return mesos.Resource{Name: name, Scalar: &mesos.Value_Scalar{Value: number}}, nil
	}
	ranges, err := ParseRanges(value)
	if err != nil {
		return mesos.Resource{}, err
	}
	resource := mesos.Resource{Name: name, Ranges: &mesos.Value_Ranges{}}
	for _, r := range ranges {
		resource.Ranges.Range = append(resource.Ranges.Range, mesos.Value_Range{Begin: r.Begin, End: r.End})
	}
	return resource, nil
}

// ParseRanges reads [1-5,7-9].
func ParseRanges(text string) ([]Range, error) {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(text, "["), "]")
	if !ok {
		return nil, fmt.Errorf("%q lacks a closing bracket", text)
	}
	var ranges []Range
	for part := range strings.SplitSeq(inner, ",") {
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

// Text renders resources as Mesos's messages do: "cpus(allocated: *):1; mem(allocated: *):32".
func Text(list []mesos.Resource) string {
	var parts []string
	for _, resource := range list {
		name := resource.Name
		if resource.AllocationInfo != nil {
			name += "(allocated: " + resource.AllocationInfo.GetRole() + ")"
		}
		one := partOf(resource)
		parts = append(parts, name+strings.TrimPrefix(kindText(one.like), resource.Name)+":"+one.amountText())
	}
	return strings.Join(parts, "; ")
}

func (p part) amountText() string {
	if p.ranges != nil {
		return rangesText(p.ranges)
	}
	return strconv.FormatFloat(float64(p.scalar)/1000, 'f', -1, 64)
}

func rangesText(ranges []Range) string {
	var parts []string
	for _, r := range ranges {
		parts = append(parts, fmt.Sprintf("%d-%d", r.Begin, r.End))
	}
	if parts == nil {
		return ""
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// kindText names a kind as Mesos does: "cpus(reservations: [(DYNAMIC,ingest,ops)])".
func kindText(kind mesos.Resource) string {
	if len(kind.Reservations) == 0 && kind.Disk == nil {
		return kind.Name
	}
	text := kind.Name
	if len(kind.Reservations) > 0 {
		var stack []string
		for _, reservation := range kind.Reservations {
			stack = append(stack, reservationText(reservation))
		}
		text += "(reservations: [" + strings.Join(stack, ",") + "])"
	}
	if kind.Disk != nil {
		text += "[" + kind.Disk.GetPersistence().GetID() + ":" + kind.Disk.GetVolume().GetContainerPath() + "]"
	}
	return text
}

func reservationText(reservation mesos.Resource_ReservationInfo) string {
	parts := []string{reservation.GetType().String(), reservation.GetRole()}
	if reservation.Principal != nil {
		parts = append(parts, *reservation.Principal)
	}
	if reservation.Labels != nil {
		var labels []string
		for _, label := range reservation.Labels.Labels {
			labels = append(labels, label.Key+": "+label.GetValue())
		}
		parts = append(parts, "{"+strings.Join(labels, ", ")+"}")
	}
	return "(" + strings.Join(parts, ",") + ")"
}
