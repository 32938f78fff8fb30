// Package restore is the kind of job that writes archived events, in S3 or in
// files, back to Cassandra.
package restore

import (
	"cmp"
	"encoding/json"
	"path"
	"strings"

	"tidemill/internal/cassandra"
	"tidemill/internal/s3"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// Name is the kind's name.
const Name = "restore"

// Spec is what a job of this kind says.
type Spec struct {
	From string `json:"from"` // s3://bucket/2015/*/*.gz or file:///dir/*/*.gz
	// Quarantine is the folder to which broken lines go: s3://bucket/folder
	// or file:///dir, outside of what From selects.
	Quarantine string `json:"quarantine"`
	// MaxErrors is how many broken lines the run bears: a count, or a share
	// like "1 %"; 100.
	MaxErrors *Limit `json:"max_errors,omitempty"`
	// OverDeletes writes events again that were deleted meanwhile. Without
	// it they stay deleted, and are counted as shadowed.
	OverDeletes bool `json:"over_deletes,omitempty"`

	S3        string `json:"s3,omitempty"`        // connection; "default"
	Cassandra string `json:"cassandra,omitempty"` // connection; "default"
	Keyspace  string `json:"keyspace,omitempty"`  // "tidemill"
	// Rollups are the rollup jobs that have to count what is written: each
	// gets dirty marks of its own.
	Rollups []jobs.Name `json:"rollups,omitempty"`
	// Types of events that are accepted; view and click by default.
	Types []string `json:"types,omitempty"`

	Batch    int   `json:"batch,omitempty"`     // lines written before the manifest says so; 2000
	MaxLine  int   `json:"max_line,omitempty"`  // bytes; 1 MiB
	MaxPlain int64 `json:"max_plain,omitempty"` // bytes of an object, decompressed; 16 GiB
	// Buckets is over how many partitions a day's events are spread, for
	// days that have none yet.
	Buckets int `json:"buckets,omitempty"`
	// EachDC makes every data centre acknowledge before the marks are made.
	EachDC bool `json:"each_dc,omitempty"`
}

// Parse decodes a spec, fills in its defaults and says everything that is
// wrong with it.
func Parse(doc json.RawMessage) (Spec, error) {
	var s Spec
	reading := jobs.DecodeStrict(doc, &s)
	if s.MaxErrors == nil {
		s.MaxErrors = &Limit{Count: 100}
	}
	s.S3 = cmp.Or(s.S3, jobs.DefaultConnection)
	s.Cassandra = cmp.Or(s.Cassandra, jobs.DefaultConnection)
	s.Keyspace = cmp.Or(s.Keyspace, "tidemill")
	s.Batch = cmp.Or(s.Batch, 2000)
	s.MaxLine = cmp.Or(s.MaxLine, 1<<20)
	s.MaxPlain = cmp.Or(s.MaxPlain, 16<<30)
	s.Buckets = cmp.Or(s.Buckets, cassandra.DefaultBuckets)
	return s, jobs.Findings(reading, s.validate())
}

func (s Spec) validate() error {
	var e jobs.FieldErrors
	s.validatePlaces(&e)
	e.AddAll("keyspace", cassandra.CheckKeyspace(s.Keyspace))
	e.CheckNames("rollups", s.Rollups)
	for _, t := range s.Types {
		e.AddAll("types", event.CheckType(t))
	}
	e.Within("batch", int64(s.Batch), 1, 50_000)
	e.Within("max_line", int64(s.MaxLine), 1, 64<<20)
	e.Within("max_plain", s.MaxPlain, 1, 1<<40)
	e.Within("buckets", int64(s.Buckets), 1, 1024)
	return e.Err()
}

func (s Spec) validatePlaces(e *jobs.FieldErrors) {
	from, fromErr := s3.ParseLocation(s.From)
	if s.From == "" {
		e.Addf("from", "is missing; write it like s3://bucket/2015/*/*.gz or file:///dir/*/*.gz")
	} else if fromErr != nil {
		e.Addf("from", "%v", fromErr)
	}
	to, err := s3.ParseLocation(s.Quarantine)
	switch {
	case s.Quarantine == "":
		e.Addf("quarantine", "is missing: name a folder for lines that are no events, like s3://bucket/quarantine")
	case err != nil:
		e.Addf("quarantine", "%v", err)
	case strings.ContainsAny(to.Path, "*?"):
		e.Addf("quarantine", "%q is a pattern; name the one folder to write to", s.Quarantine)
	case fromErr == nil && s.From != "" && overlaps(from, to):
		e.Addf("quarantine", "%q lies within what from selects, %q: the next restore would read it; name a folder beside it", s.Quarantine, s.From)
	}
}

// overlaps says whether the pattern may select something in a folder. It
// compares the elements that both have, so it may say yes too often, but never
// no too often.
func overlaps(pattern, folder s3.Location) bool {
	if pattern.Bucket != folder.Bucket {
		return false
	}
	want := strings.Split(strings.TrimSuffix(pattern.Path, "/"), "/")
	have := strings.Split(strings.Trim(folder.Path, "/"), "/")
	whole := strings.HasSuffix(pattern.Path, "/") || pattern.Path == "" // all below it
	if !whole && len(have) >= len(want) && folder.Path != "" {
		return false // too deep for the pattern
	}
	for i := range min(len(want), len(have)) {
		if want[i] == "" || have[i] == "" {
			continue
		}
		if ok, err := path.Match(strings.NewReplacer(`\`, `\\`, `[`, `\[`).Replace(want[i]), have[i]); err == nil && !ok {
			return false
		}
	}
	return true
}

func (s Spec) usesS3() bool {
	return strings.HasPrefix(s.From, "s3:") || strings.HasPrefix(s.Quarantine, "s3:")
}

func (s Spec) rules() event.Rules { return event.Rules{Types: s.Types} }
