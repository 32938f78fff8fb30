package noop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

type desk struct{ stdout bytes.Buffer }

func (*desk) Connections(context.Context) (jobs.Connections, error) { return jobs.Connections{}, nil }
func (*desk) Progress(jobs.Progress)                                {}
func (*desk) Sandbox() string                                       { return "" }
func (d *desk) Stdout() io.Writer                                   { return &d.stdout }
func (*desk) Stderr() io.Writer                                     { return io.Discard }

func TestCheck(t *testing.T) {
	two := []jobs.Split{{Stage: 1, Number: 0}, {Stage: 1, Number: 1}}
	tests := []struct {
		spec string
		want jobs.Traits
		ok   bool
	}{
		{``, jobs.Traits{Idempotent: true, Isolation: jobs.IsolationShared, Splits: two[:1]}, true},
		{`{"splits":2,"duration":"1s"}`, jobs.Traits{Idempotent: true, Isolation: jobs.IsolationShared, Splits: two}, true},
		{`{"splits":2,"planned":true}`, jobs.Traits{Idempotent: true, Isolation: jobs.IsolationShared, Planned: true}, true},
		{`{"splits":1001}`, jobs.Traits{}, false},
		{`{"duration":"-1s"}`, jobs.Traits{}, false},
		{`{"fail":-1}`, jobs.Traits{}, false},
		{`{"nap":1}`, jobs.Traits{}, false},
	}
	for _, tt := range tests {
		got, err := Kind{}.Check(json.RawMessage(tt.spec))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.spec, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.spec, diff)
		}
	}
}

func TestWorkDoesAsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		a := jobs.Assignment{Start: 2, Spec: json.RawMessage(`{"duration":"3s","fail":1,"lines":2}`)}
		began := time.Now()
		if _, err := (Kind{}).Work(t.Context(), a, d); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %s", took)
		}
		if got := d.stdout.String(); got != "line 1 of split 0\nline 2 of split 0\n" {
			t.Errorf("wrote %q", got)
		}
		a.Start = 1
		if _, err := (Kind{}).Work(t.Context(), a, d); err == nil {
			t.Error("the first start did not fail")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("killed"))
		if _, err := (Kind{}).Work(ctx, a, d); err == nil || err.Error() != "killed" {
			t.Errorf("killed: %v", err)
		}
	})
}

func TestPlanHasTheSplits(t *testing.T) {
	p, err := Kind{}.Plan(t.Context(), jobs.Assignment{Spec: json.RawMessage(`{"splits":1000,"planned":true}`)}, &desk{})
	if err != nil || len(p.Splits) != 1000 || p.Splits[999].Number != 999 || p.Splits[999].Stage != 1 {
		t.Errorf("%d splits, %v", len(p.Splits), err)
	}
}
