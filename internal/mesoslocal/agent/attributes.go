package agent

import (
	"fmt"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/resources"
)

// ParseAttributes reads Mesos's text form: rack:a;num:3;range:[1-5]. A number is a
// scalar, brackets are ranges, all else is text.
func ParseAttributes(text string) ([]mesos.Attribute, error) {
	var list []mesos.Attribute
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, ":")
		if !ok {
			return nil, fmt.Errorf("parse attributes %q: %q has no value (write name:value, as in rack:a)", text, part)
		}
		attribute, err := parseAttribute(strings.TrimSpace(name), strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("parse attributes %q: %s: %w", text, name, err)
		}
		list = append(list, attribute)
	}
	return list, nil
}

func parseAttribute(name, value string) (mesos.Attribute, error) {
	if strings.HasPrefix(value, "[") {
		ranges, err := resources.ParseRanges(value)
		if err != nil {
			return mesos.Attribute{}, err
		}
		attribute := mesos.Attribute{Name: name, Type: mesos.RANGES, Ranges: &mesos.Value_Ranges{}}
		for _, r := range ranges {
			attribute.Ranges.Range = append(attribute.Ranges.Range, mesos.Value_Range{Begin: r.Begin, End: r.End})
		}
		return attribute, nil
	}
	if number, err := strconv.ParseFloat(value, 64); err == nil {
		return mesos.Attribute{Name: name, Type: mesos.SCALAR, Scalar: &mesos.Value_Scalar{Value: number}}, nil
	}
	return mesos.Attribute{Name: name, Type: mesos.TEXT, Text: &mesos.Value_Text{Value: value}}, nil
}
