package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"tidemill/jobs"
)

// spec is what a simulated job does.
type spec struct {
	Millis     int    `json:"millis"` // of each split, about
	Fail       int    `json:"fail,omitempty"`
	Splits     int    `json:"splits,omitempty"`
	Planned    bool   `json:"planned,omitempty"`
	Stages     int    `json:"stages,omitempty"` // of a plan
	Idempotent bool   `json:"idempotent,omitempty"`
	Service    bool   `json:"service,omitempty"` // its instances are its splits
	Host       string `json:"host,omitempty"`    // where the data of each split lies
}

func decodeSpec(raw json.RawMessage) spec {
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		panic(fmt.Sprintf("a spec of our own: %v", err))
	}
	return s
}

func (s spec) encode() json.RawMessage {
	raw, _ := json.Marshal(s) // our own type
	return raw
}

func (s spec) splits(stage int) []jobs.Split {
	out := make([]jobs.Split, max(s.Splits, 1))
	for i := range out {
		out[i] = jobs.Split{Stage: stage, Number: i}
		if s.Host != "" {
			out[i].Hosts = []string{s.Host}
		}
	}
	return out
}

// plan is what a planning task writes.
func (s spec) plan() []byte {
	var p jobs.Plan
	for stage := range max(s.Stages, 1) {
		p.Splits = append(p.Splits, s.splits(stage+1)...)
	}
	b, _ := json.Marshal(p) // our own type
	return b
}

// kind is the simulated jobs' kind: its work is done by the agents of the
// simulation.
type kind struct {
	careless bool // it says that all work may be repeated
}

func (kind) Name() string    { return "sim" }
func (kind) Summary() string { return "simulated work" }
func (k kind) Check(raw json.RawMessage) (jobs.Traits, error) {
	s := decodeSpec(raw)
	t := jobs.Traits{Planned: s.Planned, Idempotent: s.Idempotent || k.careless, Service: s.Service}
	switch {
	case s.Service:
		t.Instances = s.Splits
	case !s.Planned:
		t.Splits = s.splits(1)
	}
	return t, nil
}

func (kind) Work(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
	return jobs.Result{}, errors.ErrUnsupported
}

var registry = sync.OnceValue(func() *jobs.Registry { return registryOf(kind{}) })

func registryOf(k kind) *jobs.Registry {
	r, err := jobs.NewRegistry(k)
	if err != nil {
		panic(err) // one kind
	}
	return r
}
