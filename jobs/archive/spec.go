// Package archive is the kind of job that copies what a Kafka topic holds to
// objects in S3, or to files, for restore to read back.
package archive

import (
	"cmp"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"tidemill/internal/s3"
	"tidemill/jobs"
)

// Name is the kind's name.
const Name = "archive"

// UntilEnd is where a run ends: at the offsets that its plan found.
const UntilEnd = "end"

// Spec is what a job of this kind says.
type Spec struct {
	Topic string `json:"topic,omitempty"` // "raw_events"
	To    string `json:"to"`              // s3://bucket/prefix or file:///dir

	Kafka string `json:"kafka,omitempty"` // connection; "default"
	S3    string `json:"s3,omitempty"`    // connection; "default"

	// Group is the consumer group whose committed offsets say how far the
	// archive is; "tidemill-<job>" by default.
	Group string `json:"group,omitempty"`
	// Until is "end", which is the default.
	Until string `json:"until,omitempty"`

	Cuts
}

// Cuts say where one object ends and the next begins. They look at the records
// alone and never at a clock, so that whoever archives them again cuts alike.
type Cuts struct {
	MaxRecords int           `json:"max_records,omitempty"` // of an object; 100,000
	MaxBytes   int64         `json:"max_bytes,omitempty"`   // of its records, uncompressed; 16 MiB
	Span       jobs.Duration `json:"span,omitempty"`        // from its first record's time; 24 h
}

var kafkaName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

// Parse decodes a spec, fills in its defaults and says everything that is
// wrong with it.
func Parse(doc json.RawMessage) (Spec, error) {
	var s Spec
	reading := jobs.DecodeStrict(doc, &s)
	s.Topic = cmp.Or(s.Topic, "raw_events")
	s.Kafka = cmp.Or(s.Kafka, jobs.DefaultConnection)
	s.S3 = cmp.Or(s.S3, jobs.DefaultConnection)
	s.Until = cmp.Or(s.Until, UntilEnd)
	s.MaxRecords = cmp.Or(s.MaxRecords, 100_000)
	s.MaxBytes = cmp.Or(s.MaxBytes, 16<<20)
	s.Span = cmp.Or(s.Span, jobs.Duration(24*time.Hour))
	return s, jobs.Findings(reading, s.validate())
}

func (s Spec) validate() error {
	var e jobs.FieldErrors
	if !kafkaName.MatchString(s.Topic) {
		e.Addf("topic", "%q may hold only letters, digits, '.', '_' and '-', at most 200", s.Topic)
	}
	if s.Group != "" && !kafkaName.MatchString(s.Group) {
		e.Addf("group", "%q may hold only letters, digits, '.', '_' and '-', at most 200", s.Group)
	}
	if s.To == "" {
		e.Addf("to", "is missing; write it like s3://bucket/prefix or file:///dir")
	} else if to, err := s3.ParseLocation(s.To); err != nil {
		e.Addf("to", "%v", err)
	} else if strings.ContainsAny(to.Path, "*?") {
		e.Addf("to", "%q is a pattern; name the one folder to write to", s.To)
	}
	if s.Until != UntilEnd {
		e.Addf("until", "%q is not known; leave it out or write end: a run ends at the offsets that its plan found", s.Until)
	}
	e.Within("max_records", int64(s.MaxRecords), 1, 1_000_000)
	e.Within("max_bytes", s.MaxBytes, 1, 256<<20)
	if s.Span.D() < time.Minute {
		e.Addf("span", "%s is shorter than 1m", s.Span)
	}
	return e.Err()
}

// GroupOf is the consumer group of a job with this spec.
func (s Spec) GroupOf(job jobs.Name) string { return cmp.Or(s.Group, "tidemill-"+string(job)) }
