package jobs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Constraint is [field, operator, value] over an agent's hostname, @region,
// @zone or attributes, or the @role that the offer is for.
type Constraint struct {
	Field, Operator, Value string
}

// The operators, with Marathon's meaning. The first three look at the agent
// alone; the others count the run's tasks that are launching, running or
// unknown, by what their agents show of the field.
const (
	Equals  = "EQUALS"
	Like    = "LIKE"
	Unlike  = "UNLIKE"
	Unique  = "UNIQUE"   // no two tasks under one value
	Cluster = "CLUSTER"  // all tasks under one value, that one where it is given
	GroupBy = "GROUP_BY" // evenly over the values, of which there are at least so many
	MaxPer  = "MAX_PER"  // at most so many under one value
)

// Counted says whether the constraint depends on where the run's tasks are.
func (c Constraint) Counted() bool {
	return slices.Contains([]string{Unique, Cluster, GroupBy, MaxPer}, c.Operator)
}

// MarshalJSON writes the array form.
func (c Constraint) MarshalJSON() ([]byte, error) {
	if c.Value == "" && c.Counted() {
		return json.Marshal([]string{c.Field, c.Operator})
	}
	return json.Marshal([]string{c.Field, c.Operator, c.Value})
}

// UnmarshalJSON reads the array form, with the operator in any case and a
// number as the text that it is.
func (c *Constraint) UnmarshalJSON(b []byte) error {
	fault := fmt.Errorf("a constraint is [field, operator, value], like [rack, like, \"r[12]\"] or [hostname, unique], not %s", b)
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil || len(parts) < 2 || len(parts) > 3 {
		return fault
	}
	var text [3]string
	for i, part := range parts {
		var number json.Number
		if json.Unmarshal(part, &text[i]) == nil {
			continue
		}
		if i < 2 || json.Unmarshal(part, &number) != nil {
			return fault
		}
		text[i] = number.String()
	}
	*c = Constraint{Field: text[0], Operator: strings.ToUpper(text[1]), Value: text[2]}
	return nil
}

func (c Constraint) String() string {
	return strings.TrimSpace(c.Field + " " + c.Operator + " " + c.Value)
}

func (c Constraint) validate(e *FieldErrors, field string) {
	number := func(needed bool) {
		if n, err := strconv.Atoi(c.Value); (needed || c.Value != "") && (err != nil || n < 1) {
			e.Addf(field, "%s takes a whole number from 1 on, not %q", c.Operator, c.Value)
		}
	}
	switch c.Operator {
	case Equals, Cluster:
	case Like, Unlike:
		if _, err := regexp.Compile(c.Value); err != nil {
			e.Addf(field, "%v", err)
		}
	case Unique:
		if c.Value != "" {
			e.Addf(field, "%s takes no value; to allow more than one task use [%s, max_per, %q]", c.Operator, c.Field, c.Value)
		}
	case GroupBy:
		number(false)
	case MaxPer:
		number(true)
	default:
		e.Addf(field, "unknown operator %q; use equals, like, unlike, unique, cluster, group_by or max_per", c.Operator)
	}
	if c.Field == "" {
		e.Addf(field, "names no field; use hostname, @role, @region, @zone or an agent's attribute")
	}
}
