// Package report is the kind of job that sums each campaign's days up: views
// and clicks of the whole campaign, after rollups have written its days.
package report

import (
	"cmp"
	"encoding/json"

	"tidemill/internal/cassandra"
	"tidemill/jobs"
)

// Name is the kind's name.
const Name = "report"

// Spec is what a job of this kind says. The rollups whose rows it sums up name
// it in their reports.
type Spec struct {
	Keyspace  string `json:"keyspace,omitempty"`  // "tidemill"
	Cassandra string `json:"cassandra,omitempty"` // connection; "default"
	// Splits is how many tasks share the work; by the number of changed rows
	// where it is not given.
	Splits int `json:"splits,omitempty"`
}

// Parse decodes a spec, fills in its defaults and says everything that is
// wrong with it.
func Parse(doc json.RawMessage) (Spec, error) {
	var s Spec
	reading := jobs.DecodeStrict(doc, &s)
	s.Keyspace = cmp.Or(s.Keyspace, "tidemill")
	s.Cassandra = cmp.Or(s.Cassandra, jobs.DefaultConnection)
	var e jobs.FieldErrors
	e.AddAll("keyspace", cassandra.CheckKeyspace(s.Keyspace))
	if s.Splits != 0 { // else the plan decides
		e.Within("splits", int64(s.Splits), 1, cassandra.DirtyShards)
	}
	return s, jobs.Findings(reading, e.Err())
}
