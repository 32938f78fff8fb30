// Package ingest is the kind of job that takes events in: from HTTP to Kafka,
// and from Kafka to Cassandra.
package ingest

import (
	"cmp"
	"encoding/json"
	"regexp"
	"time"

	"tidemill/internal/cassandra"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// Name is the kind's name.
const Name = "ingest"

// Where events come from and go to.
const (
	FromHTTP    = "http"
	ToKafka     = "kafka"
	FromKafka   = "kafka"
	ToCassandra = "cassandra"
)

// UntilEnd ends a run at the offsets that its plan found.
const UntilEnd = "end"

// Spec is what a job of this kind says. Either from is http and to is kafka:
// a service that listens; or from is kafka and to is cassandra: a service, or
// with until: end a run that ends.
type Spec struct {
	From string `json:"from"`
	To   string `json:"to"`

	Kafka     string `json:"kafka,omitempty"`     // connection; "default"
	Cassandra string `json:"cassandra,omitempty"` // connection; "default"

	Topic     string `json:"topic,omitempty"`     // "raw_events"
	Instances int    `json:"instances,omitempty"` // of a service whose job does not say it under service; 1

	// Types of events that are accepted; view and click by default.
	Types []string `json:"types,omitempty"`

	HTTP *HTTP `json:"http,omitempty"` // only from http

	// What follows is for events on their way to Cassandra.
	Keyspace string `json:"keyspace,omitempty"` // "tidemill"
	// Rollups are the rollup jobs that have to count what is written: each
	// gets dirty marks of its own.
	Rollups []jobs.Name `json:"rollups,omitempty"`
	// Group is the consumer group; "tidemill-<job>" by default.
	Group string `json:"group,omitempty"`
	// Until is "end" for a run that ends, or empty for a service.
	Until string `json:"until,omitempty"`
	// Batch is how many records are written before their offsets are
	// committed.
	Batch int `json:"batch,omitempty"`
	// Buckets is over how many partitions a day's events are spread, for
	// days that have none yet.
	Buckets int `json:"buckets,omitempty"`
	// EachDC makes every data centre acknowledge before the marks are made:
	// needed where the rollups read in another one than this job writes to.
	EachDC bool `json:"each_dc,omitempty"`
}

// HTTP is the door's own part of the spec.
type HTTP struct {
	// Bind is the address to listen at; the agent's own where that is
	// loopback, else 127.0.0.1. The port comes from the offer.
	Bind string `json:"bind,omitempty"`
	// Oldest and Newest bound an event's ts relative to now.
	Oldest *jobs.Duration `json:"oldest,omitempty"` // 90 days
	Newest *jobs.Duration `json:"newest,omitempty"` // 10 minutes

	MaxBody   int64 `json:"max_body,omitempty"`   // bytes as sent; 1 MiB
	MaxPlain  int64 `json:"max_plain,omitempty"`  // bytes decompressed; 8 MiB
	MaxEvents int   `json:"max_events,omitempty"` // in one request; 1000
	MaxEvent  int   `json:"max_event,omitempty"`  // bytes; 64 KiB
	// Buffer bounds the events that wait for Kafka, beyond which clients
	// are told to come later.
	Buffer      int `json:"buffer,omitempty"`       // events; 50,000
	BufferBytes int `json:"buffer_bytes,omitempty"` // 64 MiB
	// AckTimeout is how long a request waits for Kafka's acknowledgement.
	AckTimeout *jobs.Duration `json:"ack_timeout,omitempty"` // 10 s
}

var (
	topicForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)
	groupForm = topicForm
)

// maxInstances bounds a service's instances: more doors or readers than this
// are a mistake.
const maxInstances = 100

// Parse decodes a spec, fills in its defaults and says everything that is
// wrong with it.
func Parse(doc json.RawMessage) (Spec, error) {
	var s Spec
	reading := jobs.DecodeStrict(doc, &s)
	s.defaults()
	return s, jobs.Findings(reading, s.validate())
}

func (s *Spec) defaults() {
	s.Kafka = cmp.Or(s.Kafka, jobs.DefaultConnection)
	s.Topic = cmp.Or(s.Topic, "raw_events")
	s.Instances = cmp.Or(s.Instances, 1)
	if s.From == FromHTTP {
		if s.HTTP == nil {
			s.HTTP = &HTTP{}
		}
		s.HTTP.defaults()
		return
	}
	s.Cassandra = cmp.Or(s.Cassandra, jobs.DefaultConnection)
	s.Keyspace = cmp.Or(s.Keyspace, "tidemill")
	s.Batch = cmp.Or(s.Batch, 2000)
	s.Buckets = cmp.Or(s.Buckets, cassandra.DefaultBuckets)
}

func (h *HTTP) defaults() {
	setDuration(&h.Oldest, 90*24*time.Hour)
	setDuration(&h.Newest, 10*time.Minute)
	setDuration(&h.AckTimeout, 10*time.Second)
	h.MaxBody = cmp.Or(h.MaxBody, 1<<20)
	h.MaxPlain = cmp.Or(h.MaxPlain, 8<<20)
	h.MaxEvents = cmp.Or(h.MaxEvents, 1000)
	h.MaxEvent = cmp.Or(h.MaxEvent, 64<<10)
	h.Buffer = cmp.Or(h.Buffer, 50_000)
	h.BufferBytes = cmp.Or(h.BufferBytes, 64<<20)
}

func setDuration(field **jobs.Duration, value time.Duration) {
	if *field == nil {
		d := jobs.Duration(value)
		*field = &d
	}
}

func (s Spec) validate() error {
	var e jobs.FieldErrors
	switch {
	case s.From == FromHTTP && s.To == ToKafka:
		s.validateDoor(&e)
	case s.From == FromKafka && s.To == ToCassandra:
		s.validateStream(&e)
	default:
		e.Addf("from", "from %q to %q is not possible; use from: http with to: kafka, or from: kafka with to: cassandra", s.From, s.To)
	}
	if !topicForm.MatchString(s.Topic) {
		e.Addf("topic", "%q may hold only letters, digits, '.', '_' and '-', at most 200", s.Topic)
	}
	e.Within("instances", int64(s.Instances), 1, maxInstances)
	for _, t := range s.Types {
		e.AddAll("types", event.CheckType(t))
	}
	return e.Err()
}

func (s Spec) validateDoor(e *jobs.FieldErrors) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"cassandra", s.Cassandra != ""}, {"keyspace", s.Keyspace != ""}, {"rollups", len(s.Rollups) > 0}, {"group", s.Group != ""},
		{"until", s.Until != ""}, {"batch", s.Batch != 0}, {"buckets", s.Buckets != 0}, {"each_dc", s.EachDC},
	} {
		if f.set {
			e.Addf(f.name, "belongs to ingest from kafka to cassandra only")
		}
	}
	h := s.HTTP
	e.Within("http.max_body", h.MaxBody, 1, 64<<20)
	e.Within("http.max_plain", h.MaxPlain, 1, 256<<20)
	e.Within("http.max_events", int64(h.MaxEvents), 1, 100_000)
	e.Within("http.max_event", int64(h.MaxEvent), 1, 512<<10) // a Kafka batch holds 1 MB
	e.Within("http.buffer", int64(h.Buffer), int64(h.MaxEvents), 10_000_000)
	e.Within("http.buffer_bytes", int64(h.BufferBytes), h.MaxPlain, 4<<30)
	for _, f := range []struct {
		name string
		d    jobs.Duration
	}{{"http.oldest", *h.Oldest}, {"http.newest", *h.Newest}} {
		if f.d < 0 {
			e.Addf(f.name, "%s is negative; 0 means no bound", f.d)
		}
	}
	if *h.AckTimeout <= 0 || h.AckTimeout.D() > time.Minute {
		e.Addf("http.ack_timeout", "%s is not within 0 and 1m", h.AckTimeout)
	}
}

func (s Spec) validateStream(e *jobs.FieldErrors) {
	if s.HTTP != nil {
		e.Addf("http", "belongs to ingest from http only")
	}
	e.AddAll("keyspace", cassandra.CheckKeyspace(s.Keyspace))
	e.CheckNames("rollups", s.Rollups)
	if s.Group != "" && !groupForm.MatchString(s.Group) {
		e.Addf("group", "%q may hold only letters, digits, '.', '_' and '-', at most 200", s.Group)
	}
	if s.Until != "" && s.Until != UntilEnd {
		e.Addf("until", "%q is not known; leave it out for a service, or write end for a run that ends", s.Until)
	}
	if s.Until == UntilEnd && s.Instances != 1 {
		e.Addf("instances", "belongs to services only; a run until the end has a split for each partition")
	}
	e.Within("batch", int64(s.Batch), 1, 50_000)
	e.Within("buckets", int64(s.Buckets), 1, 1024)
}

// GroupOf is the consumer group of a job with this spec.
func (s Spec) GroupOf(job jobs.Name) string {
	if s.Group != "" {
		return s.Group
	}
	return "tidemill-" + string(job)
}

func (s Spec) rules() event.Rules {
	r := event.Rules{Types: s.Types}
	if s.HTTP != nil {
		r.Oldest, r.Newest = s.HTTP.Oldest.D(), s.HTTP.Newest.D()
	}
	return r
}
