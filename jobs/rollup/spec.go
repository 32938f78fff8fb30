// Package rollup is the kind of job that counts events: views and clicks of
// each campaign and day, as absolute values that bear being written again.
package rollup

import (
	"cmp"
	"encoding/json"

	"github.com/gocql/gocql"

	"tidemill/internal/cassandra"
	"tidemill/jobs"
)

// Name is the kind's name.
const Name = "rollup"

// The modes: count again what was marked, or everything.
const (
	Incremental = "incremental"
	Full        = "full"
)

// The consistencies of the reads that count. What was counted at LocalOne is
// approximate: one replica may lack rows.
const (
	LocalQuorum = "local_quorum"
	LocalOne    = "local_one"
)

// maxSplits leaves room in a plan for the splits that publish and compare.
const maxSplits = 900

// Spec is what a job of this kind says.
type Spec struct {
	Keyspace  string `json:"keyspace,omitempty"`  // "tidemill"
	Cassandra string `json:"cassandra,omitempty"` // connection; "default"
	// Mode is incremental (the default): the days and campaigns that writers
	// marked for this job are counted from event_by_day. Or full: everything
	// is counted from event, and event_by_day is repaired.
	Mode string `json:"mode,omitempty"`
	// Splits is how many tasks may share the counting; by the size of the
	// data and the number of nodes where it is not given.
	Splits int `json:"splits,omitempty"`
	// Consistency of the reads that count: local_quorum, or local_one for
	// approximate totals.
	Consistency string `json:"consistency,omitempty"`
	// Reports are the report jobs that are told which rows were written.
	Reports []jobs.Name `json:"reports,omitempty"`
	// Rollups are the incremental rollups that have to count again where a
	// full run repairs event_by_day.
	Rollups []jobs.Name `json:"rollups,omitempty"`
}

// Parse decodes a spec, fills in its defaults and says everything that is
// wrong with it.
func Parse(doc json.RawMessage) (Spec, error) {
	var s Spec
	reading := jobs.DecodeStrict(doc, &s)
	s.Keyspace = cmp.Or(s.Keyspace, "tidemill")
	s.Cassandra = cmp.Or(s.Cassandra, jobs.DefaultConnection)
	s.Mode = cmp.Or(s.Mode, Incremental)
	s.Consistency = cmp.Or(s.Consistency, LocalQuorum)
	return s, jobs.Findings(reading, s.validate())
}

func (s Spec) validate() error {
	var e jobs.FieldErrors
	e.AddAll("keyspace", cassandra.CheckKeyspace(s.Keyspace))
	if s.Mode != Incremental && s.Mode != Full {
		e.Addf("mode", "%q is not known; use %s or %s", s.Mode, Incremental, Full)
	}
	if s.Splits != 0 { // else the plan decides
		e.Within("splits", int64(s.Splits), 1, maxSplits)
	}
	if s.Consistency != LocalQuorum && s.Consistency != LocalOne {
		e.Addf("consistency", "%q is not known; use %s, or %s for approximate totals", s.Consistency, LocalQuorum, LocalOne)
	}
	if s.Mode != Full && len(s.Rollups) > 0 {
		e.Addf("rollups", "belongs to mode: %s only, which repairs what other rollups count", Full)
	}
	e.CheckNames("reports", s.Reports)
	e.CheckNames("rollups", s.Rollups)
	return e.Err()
}

func (s Spec) consistency() gocql.Consistency {
	if s.Consistency == LocalOne {
		return gocql.LocalOne
	}
	return gocql.LocalQuorum
}
