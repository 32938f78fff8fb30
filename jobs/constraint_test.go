package jobs

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestConstraintsAreReadAndWritten: what is written is read as the same.
func TestConstraintsAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]string{
		`["rack","like","r[12]"]`:     `["rack","LIKE","r[12]"]`,
		`["hostname", "unique"]`:      `["hostname","UNIQUE"]`,
		`["@zone","Group_By","3"]`:    `["@zone","GROUP_BY","3"]`,
		`["rack","equals",""]`:        `["rack","EQUALS",""]`,
		`["hostname","max_per",2]`:    `["hostname","MAX_PER","2"]`,
		`["num","equals",1.5]`:        `["num","EQUALS","1.5"]`,
		`["rack","equals",true]`:      "",
		`["rack"]`:                    "",
		`["rack","equals","a","b"]`:   "",
		`{"field":"rack"}`:            "",
		`["hostname","max_per","2"]`:  `["hostname","MAX_PER","2"]`,
		`["hostname","cluster",""]`:   `["hostname","CLUSTER"]`,
		`["hostname","unlike","a.*"]`: `["hostname","UNLIKE","a.*"]`,
	} {
		var c Constraint
		if err := json.Unmarshal([]byte(text), &c); (err == nil) != (want != "") {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := json.Marshal(c); want != "" && (err != nil || string(got) != want) {
			t.Errorf("%s is written as %s (%v), want %s", text, got, err, want)
		}
	}
}

// TestConstraintsAreCheckedAtTheDoor: a value that an operator has no use for
// is refused too.
func TestConstraintsAreCheckedAtTheDoor(t *testing.T) {
	for _, c := range []struct {
		constraint Constraint
		fault      string // "": none
	}{
		{Constraint{"rack", Equals, "a"}, ""},
		{Constraint{"rack", Like, "("}, "missing closing"},
		{Constraint{"hostname", Unique, ""}, ""},
		{Constraint{"hostname", Unique, "2"}, `[hostname, max_per, "2"]`},
		{Constraint{"hostname", MaxPer, "2"}, ""},
		{Constraint{"hostname", MaxPer, ""}, "whole number"},
		{Constraint{"hostname", MaxPer, "0"}, "whole number"},
		{Constraint{"rack", GroupBy, ""}, ""},
		{Constraint{"rack", GroupBy, "3"}, ""},
		{Constraint{"rack", GroupBy, "three"}, "whole number"},
		{Constraint{"rack", Cluster, "a"}, ""},
		{Constraint{"rack", "IS", "a"}, "unknown operator"},
		{Constraint{"", Unique, ""}, "names no field"},
	} {
		var e FieldErrors
		c.constraint.validate(&e, "placement.constraints[0]")
		if err := e.Err(); (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, want %q", c.constraint, err, c.fault)
		}
	}
}
