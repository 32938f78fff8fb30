package rollup

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
	"tidemill/jobs/event"
)

func TestSpec(t *testing.T) {
	tests := []struct {
		doc  string
		want Spec
		bad  string // part of the error
	}{
		{doc: `{}`, want: Spec{Keyspace: "tidemill", Cassandra: "default", Mode: Incremental, Consistency: LocalQuorum}},
		{doc: `{"keyspace":"ads","cassandra":"analytics","mode":"full","splits":9,"consistency":"local_one","reports":["r"],"rollups":["daily"]}`,
			want: Spec{Keyspace: "ads", Cassandra: "analytics", Mode: Full, Splits: 9, Consistency: LocalOne, Reports: []jobs.Name{"r"}, Rollups: []jobs.Name{"daily"}}},
		{doc: `{"keyspace":"Ads"}`, bad: "keyspace"},
		{doc: `{"mode":"some"}`, bad: "incremental or full"},
		{doc: `{"splits":901}`, bad: "splits"},
		{doc: `{"splits":-1}`, bad: "splits"},
		{doc: `{"consistency":"all"}`, bad: "local_quorum"},
		{doc: `{"rollups":["daily"]}`, bad: "mode: full only"},
		{doc: `{"reports":["a","a"]}`, bad: "named twice"},
		{doc: `{"reports":["a b"]}`, bad: "reports"},
		{doc: `{"nonsense":1}`, bad: "nonsense"},
	}
	for _, tt := range tests {
		got, err := Parse(json.RawMessage(tt.doc))
		if tt.bad != "" {
			if err == nil || !strings.Contains(err.Error(), tt.bad) {
				t.Errorf("%s: error %v, want one with %q", tt.doc, err, tt.bad)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.doc, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.doc, diff)
		}
	}
}

func TestTraits(t *testing.T) {
	got, err := Kind{}.Check(json.RawMessage(`{"keyspace":"ads","cassandra":"analytics"}`))
	want := jobs.Traits{Planned: true, Idempotent: true, Isolation: jobs.IsolationShared, Near: jobs.NearCassandra,
		Targets: []string{"ads/campaign"}, Keyspaces: []string{"ads"}, Connections: []string{"analytics"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestDeal: whatever the partitions, their replicas and the limit, each
// partition is in exactly one split, and the splits are not too many.
func TestDeal(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		partitions := make([]partition, random.IntN(200))
		for i := range partitions {
			partitions[i] = partition{day: event.Day(i / 16), bucket: i % 16}
			for _, h := range random.Perm(4)[:1+random.IntN(2)] {
				partitions[i].hosts = append(partitions[i].hosts, string(rune('a'+h)))
			}
		}
		all := slices.Clone(partitions)
		limit := random.IntN(12)
		splits, err := deal(partitions, "dc1", limit, func(d []dayBuckets) payload { return payload{Count: d} })
		if err != nil {
			t.Fatal(err)
		}
		if len(splits) > max(limit, 1) {
			t.Fatalf("%d splits of %d partitions, at most %d are wanted", len(splits), len(all), limit)
		}
		seen := map[place]int{}
		for n, s := range splits {
			if s.Number != n || s.Stage != 1 || n > 0 && s.Size > splits[n-1].Size {
				t.Fatalf("split %d is %+v", n, s)
			}
			var p payload
			if err := json.Unmarshal(s.Payload, &p); err != nil {
				t.Fatal(err)
			}
			for _, d := range p.Count {
				for _, b := range d.Buckets {
					at := place{d.Day, b}
					seen[at]++
					if p := all[int(d.Day)*16+b]; len(s.Hosts) > 0 && !slices.Contains(p.hosts, s.Hosts[0]) {
						t.Fatalf("partition %v of %v is in a split beside %v", at, p.hosts, s.Hosts)
					}
				}
			}
		}
		for _, p := range all {
			if seen[place{p.day, p.bucket}] != 1 {
				t.Fatalf("partition %v is in %d splits", p, seen[place{p.day, p.bucket}])
			}
		}
	}
}
