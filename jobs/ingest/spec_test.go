package ingest

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestCheck(t *testing.T) {
	cases := []struct {
		name, spec string
		fields     []string // at fault
		traits     jobs.Traits
	}{
		{name: "door", spec: `{"from":"http","to":"kafka","instances":2}`,
			traits: jobs.Traits{Service: true, Instances: 2, Health: &jobs.Health{HTTP: "/healthz"}, Near: jobs.NearNothing, Ports: 1,
				Connections: []string{"default"}}},
		{name: "stream", spec: `{"from":"kafka","to":"cassandra","cassandra":"analytics","rollups":["daily"]}`,
			traits: jobs.Traits{Service: true, Instances: 1, Near: jobs.NearCassandra, Keyspaces: []string{"tidemill"}, Connections: []string{"default", "analytics"}}},
		{name: "to the end", spec: `{"from":"kafka","to":"cassandra","until":"end","keyspace":"k"}`,
			traits: jobs.Traits{Planned: true, Near: jobs.NearCassandra, Keyspaces: []string{"k"}, Connections: []string{"default"}}},
		{name: "nothing", spec: ``, fields: []string{"from"}},
		{name: "wrong way", spec: `{"from":"cassandra","to":"http"}`, fields: []string{"from"}},
		{name: "unknown field", spec: `{"from":"http","to":"kafka","topics":"x"}`, fields: []string{"topics"}},
		{name: "all at once", spec: `{"from":"http","to":"kafka","topic":"a b","instances":0,"keyspace":"k","until":"end","http":{"max_event":-1,"oldest":"-1s"}}`,
			fields: []string{"http.max_event", "http.oldest", "keyspace", "topic", "until"}},
		{name: "stream's own", spec: `{"from":"kafka","to":"cassandra","http":{},"keyspace":"K-1","rollups":["a","a","b c"],"until":"now","group":"g g","batch":-1,"types":[""]}`,
			fields: []string{"batch", "group", "http", "keyspace", "rollups", "rollups", "types", "until"}},
		{name: "instances of a run that ends", spec: `{"from":"kafka","to":"cassandra","until":"end","instances":2}`, fields: []string{"instances"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			traits, err := Kind{}.Check([]byte(c.spec))
			var found jobs.FieldErrors
			if err != nil && !errors.As(err, &found) {
				t.Fatalf("%v", err)
			}
			var fields []string
			for _, f := range found {
				fields = append(fields, f.Field)
			}
			slices.Sort(fields)
			if diff := cmp.Diff(c.fields, fields); diff != "" {
				t.Errorf("fields at fault (-want +got):\n%s\n%v", diff, err)
			}
			if c.fields != nil {
				return
			}
			c.traits.Idempotent, c.traits.Isolation = true, jobs.IsolationShared
			if diff := cmp.Diff(c.traits, traits); diff != "" {
				t.Errorf("traits (-want +got):\n%s", diff)
			}
		})
	}
}
