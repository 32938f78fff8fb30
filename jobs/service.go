package jobs

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Service says how the instances of a service are kept.
type Service struct {
	Instances *int `json:"instances,omitempty"`
	// MinimumHealthy is the share of the instances that stay healthy while
	// they are replaced after an edit. Where it leaves none to be stopped, one
	// more is started beside them.
	MinimumHealthy *float64 `json:"minimum_healthy,omitempty"`
	// Ports name the first of the ports that each instance gets.
	Ports  []string `json:"ports,omitempty"`
	Health *Health  `json:"health,omitempty"`
}

// Health is a check of a running instance: exactly one of Command, HTTP and TCP.
type Health struct {
	Command string `json:"command,omitempty"` // a text for /bin/sh that exits with 0
	HTTP    string `json:"http,omitempty"`    // a path that answers with 200 to 399
	TCP     bool   `json:"tcp,omitempty"`     // a connection
	// Port is the name of the port that is asked; the first one by default.
	Port     string   `json:"port,omitempty"`
	Interval Duration `json:"interval,omitempty"`
	Timeout  Duration `json:"timeout,omitempty"` // of one check
	// Failures in a row end the instance. Those within Grace after its start,
	// before the first success, do not count.
	Failures int      `json:"failures,omitempty"`
	Grace    Duration `json:"grace,omitempty"`
}

// HealthState is what the checks say of an attempt; empty where there are none.
type HealthState string

// The states of health.
const (
	HealthUnknown HealthState = "unknown" // not checked yet
	Healthy       HealthState = "healthy"
	Unhealthy     HealthState = "unhealthy"
)

// The bounds of a service, and the defaults of a health check.
const (
	MaxInstances          = MaxSplits
	DefaultHealthInterval = Duration(10 * time.Second)
	DefaultHealthTimeout  = Duration(5 * time.Second)
	DefaultHealthFailures = 3
	DefaultHealthGrace    = Duration(30 * time.Second)
)

// withDefaults fills in what the user left out, by the kind's traits. It
// shares nothing with s.
func (s *Service) withDefaults(t Traits) *Service {
	var full Service
	if s != nil {
		full = *s
	}
	if full.Instances == nil {
		full.Instances = new(max(t.Instances, 1))
	}
	if full.MinimumHealthy == nil {
		full.MinimumHealthy = new(1.0)
	}
	if full.Health == nil {
		full.Health = t.Health
	}
	if full.Health != nil {
		h := *full.Health
		h.Interval = cmp.Or(h.Interval, DefaultHealthInterval)
		h.Timeout = cmp.Or(h.Timeout, DefaultHealthTimeout)
		h.Failures = cmp.Or(h.Failures, DefaultHealthFailures)
		h.Grace = cmp.Or(h.Grace, DefaultHealthGrace)
		full.Health = &h
	}
	return &full
}

// Floor is how many instances stay healthy while they are replaced.
func (s *Service) Floor() int {
	return int(math.Ceil(*s.MinimumHealthy*float64(*s.Instances) - 1e-9))
}

// portName is what can stand in a DNS SRV record and, in capitals, in the name
// of a variable.
var portName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$`)

func (j Job) validateService(e *FieldErrors, t Traits) {
	s := j.Service
	if s == nil {
		return
	}
	if !t.Service {
		e.Addf("service", "belongs to services only; this job's runs end (kind service keeps a command running)")
		return
	}
	if n := s.Instances; n != nil {
		e.Within("service.instances", int64(*n), 0, MaxInstances)
	}
	if share := s.MinimumHealthy; share != nil && (*share < 0 || *share > 1) {
		e.Addf("service.minimum_healthy", "%g is not within 0 and 1: it is a share of the instances", *share)
	}
	for i, name := range s.Ports {
		field := fmt.Sprintf("service.ports[%d]", i)
		if !portName.MatchString(name) {
			e.Addf(field, "%q is no name for a port: 1 to 15 small letters, digits and '-', a letter first", name)
		}
		if slices.Index(s.Ports, name) < i {
			e.Addf(field, "%q is named twice", name)
		}
	}
	if s.Health != nil {
		s.Health.validate(e, t, s.Ports, max(j.Resources.Ports, t.Ports, len(s.Ports)))
	}
}

func (h *Health) validate(e *FieldErrors, t Traits, names []string, ports int) {
	given := 0
	for _, set := range []bool{h.Command != "", h.HTTP != "", h.TCP} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		e.Addf("service.health", "needs one of command, http and tcp: it has %d of them", given)
	case h.Command != "" && !t.ChecksCommands:
		e.Addf("service.health.command", "is not run for this kind; use http or tcp")
	case strings.ContainsRune(h.Command, 0):
		e.Addf("service.health.command", "holds a NUL byte, which no command can be given")
	case h.Command != "" && h.Port != "":
		e.Addf("service.health.port", "belongs to http and tcp; a command finds its ports in the environment")
	case h.Command == "" && ports == 0:
		e.Addf("service.health", "the service has no port to ask: name one in service.ports")
	case h.HTTP != "" && !strings.HasPrefix(h.HTTP, "/"):
		e.Addf("service.health.http", "%q is no path: it begins with /", h.HTTP)
	case h.Port != "" && !slices.Contains(names, h.Port):
		e.Addf("service.health.port", "%q is not among service.ports", h.Port)
	}
	e.NotNegative("service.health.interval", h.Interval)
	e.NotNegative("service.health.timeout", h.Timeout)
	e.NotNegative("service.health.grace", h.Grace)
	if h.Failures < 0 {
		e.Addf("service.health.failures", "%d is negative", h.Failures)
	}
}

// PortOf is the port that a check asks, of those that an instance was given.
func (h *Health) PortOf(names []string, ports []uint64) (uint64, bool) {
	i := max(slices.Index(names, h.Port), 0)
	if i >= len(ports) {
		return 0, false
	}
	return ports[i], true
}
