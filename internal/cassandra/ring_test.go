package cassandra

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tidemill/jobs"
)

func node(id, dc, rack string, tokens ...int64) Node {
	return Node{HostID: id, Address: "10.0.0." + id, DC: dc, Rack: rack, Tokens: tokens}
}

func holders(r *Ring) []string {
	var out []string
	for _, rr := range r.Ranges {
		s := fmt.Sprintf("(%d,%d]", rr.Start, rr.End)
		for _, n := range rr.Replicas {
			s += " " + n.HostID
		}
		out = append(out, s)
	}
	return out
}

func TestRing(t *testing.T) {
	const least, most = math.MinInt64, math.MaxInt64
	three := []Node{node("1", "a", "r1", -100), node("2", "a", "r1", 0), node("3", "a", "r2", 100)}
	cases := []struct {
		name        string
		nodes       []Node
		replication Replication
		want        []string
	}{
		{"one token owns all", three[:1], Replication{Simple: 1},
			[]string{fmt.Sprintf("(%d,-100] 1", least), fmt.Sprintf("(-100,%d] 1", most)}},
		{"simple walks on and wraps", three, Replication{Simple: 2},
			[]string{fmt.Sprintf("(%d,-100] 1 2", least), "(-100,0] 2 3", "(0,100] 3 1", fmt.Sprintf("(100,%d] 1 2", most)}},
		{"more replicas than nodes", three[:2], Replication{Simple: 3},
			[]string{fmt.Sprintf("(%d,-100] 1 2", least), "(-100,0] 2 1", fmt.Sprintf("(0,%d] 1 2", most)}},
		{"racks are taken in turn", three, Replication{DCs: map[string]int{"a": 2}},
			[]string{fmt.Sprintf("(%d,-100] 1 3", least), "(-100,0] 2 3", "(0,100] 3 1", fmt.Sprintf("(100,%d] 1 3", most)}},
		{"a rack repeats where there are too few", three, Replication{DCs: map[string]int{"a": 3}},
			[]string{fmt.Sprintf("(%d,-100] 1 2 3", least), "(-100,0] 2 3 1", "(0,100] 3 1 2", fmt.Sprintf("(100,%d] 1 2 3", most)}},
		{"each data centre by itself",
			[]Node{node("1", "a", "r1", -100), node("2", "b", "r1", 0), node("3", "a", "r1", 100)},
			Replication{DCs: map[string]int{"a": 1, "b": 1}},
			[]string{fmt.Sprintf("(%d,-100] 1 2", least), "(-100,0] 2 3", "(0,100] 3 2", fmt.Sprintf("(100,%d] 1 2", most)}},
		{"the least token ends the last range",
			[]Node{node("1", "a", "r1", least), node("2", "a", "r1", 0)}, Replication{Simple: 1},
			[]string{fmt.Sprintf("(%d,0] 2", least), fmt.Sprintf("(0,%d] 1", most)}},
		{"no nodes", nil, Replication{Simple: 1}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, holders(NewRing(c.nodes, c.replication, "a"))); diff != "" {
				t.Errorf("ranges (-want +got):\n%s", diff)
			}
		})
	}
}

// drawRing makes clusters with the tokens that go wrong: the ends, and
// neighbours.
func drawRing(t *rapid.T) *Ring {
	token := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64}))
	tokens := rapid.SliceOfNDistinct(token, 1, 40, rapid.ID[int64]).Draw(t, "tokens")
	count := rapid.IntRange(1, min(8, len(tokens))).Draw(t, "nodes")
	nodes := make([]Node, count)
	for i := range nodes {
		nodes[i] = node(fmt.Sprint(i), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "dc"), rapid.SampledFrom([]string{"r1", "r2"}).Draw(t, "rack"))
	}
	for i, tok := range tokens {
		nodes[i%count].Tokens = append(nodes[i%count].Tokens, tok)
	}
	replication := Replication{Simple: rapid.IntRange(0, 4).Draw(t, "simple")}
	if replication.Simple == 0 {
		replication.DCs = map[string]int{"a": rapid.IntRange(1, 3).Draw(t, "a"), "b": rapid.IntRange(1, 3).Draw(t, "b")}
	}
	return NewRing(nodes, replication, "a")
}

// covers fails unless the ranges, in any order, are an exact cover of
// the ring's tokens, each of which is above the minimum.
func covers(t *rapid.T, ranges []Range) {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b Range) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	at := int64(math.MinInt64)
	for _, r := range ranges {
		if r.Start != at || r.End <= r.Start {
			t.Fatalf("range (%d, %d] does not go on from %d", r.Start, r.End, at)
		}
		at = r.End
	}
	if at != math.MaxInt64 {
		t.Fatalf("the ranges end at %d", at)
	}
}

func TestRingCoversExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ring := drawRing(t)
		var ranges []Range
		for _, rr := range ring.Ranges {
			ranges = append(ranges, rr.Range)
			seen := map[string]bool{}
			for _, n := range rr.Replicas {
				if seen[n.HostID] {
					t.Fatalf("node %s holds (%d, %d] twice", n.HostID, rr.Start, rr.End)
				}
				seen[n.HostID] = true
			}
		}
		covers(t, ranges)
	})
}

func rangesOf(t *rapid.T, s jobs.Split) []Range {
	var p TokenRanges
	if err := json.Unmarshal(s.Payload, &p); err != nil {
		t.Fatal(err)
	}
	return p.Ranges
}

func TestSplitsCoverExactlyAndLieAtReplicas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ring := drawRing(t)
		limit := rapid.IntRange(1, 60).Draw(t, "limit")
		splits, err := ring.Splits(limit, rapid.Int64Range(0, 1<<40).Draw(t, "bytes"))
		if err != nil {
			t.Fatal(err)
		}
		if len(splits) > limit {
			t.Fatalf("%d splits, at most %d wanted", len(splits), limit)
		}
		var all []Range
		exact := len(ring.groupBy(func(rr ReplicaRange) []*Node { return ring.near(rr.Replicas) })) <= limit
		for i, s := range splits {
			if s.Number != i || s.Stage != 1 || i > 0 && s.Size > splits[i-1].Size {
				t.Fatalf("split %d is number %d of stage %d, size %d", i, s.Number, s.Stage, s.Size)
			}
			for _, r := range rangesOf(t, s) {
				all = append(all, r)
				if exact {
					atReplicas(t, ring, s, r)
				}
			}
		}
		covers(t, all)
	})
}

// atReplicas fails unless the split's hosts are just those that hold the range.
func atReplicas(t *rapid.T, ring *Ring, s jobs.Split, r Range) {
	for _, rr := range ring.Ranges {
		if r.Start < rr.Start || r.End > rr.End {
			continue
		}
		var want []string
		for _, n := range ring.near(rr.Replicas) {
			want = append(want, n.Address)
		}
		got := slices.Clone(s.Hosts)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("range (%d, %d] is held by %v, its split prefers %v", r.Start, r.End, want, got)
		}
		return
	}
	t.Fatalf("range (%d, %d] crosses a token", r.Start, r.End)
}

// Even tokens give even splits: the biggest is at most a little bigger than
// the smallest.
func TestSplitsAreEven(t *testing.T) {
	var nodes []Node
	for i := range 3 {
		n := node(fmt.Sprint(i), "a", "r1")
		for k := range 16 {
			n.Tokens = append(n.Tokens, math.MinInt64+int64(uint64(k*3+i)*(math.MaxUint64/48)))
		}
		nodes = append(nodes, n)
	}
	splits, err := NewRing(nodes, Replication{Simple: 1}, "a").Splits(24, 24<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(splits) != 24 {
		t.Fatalf("%d splits, want 24", len(splits))
	}
	for _, s := range splits {
		if s.Size < 9<<17 && s.Size < 7<<17 || s.Size > 9<<17 {
			t.Errorf("split %d has %d bytes of %d", s.Number, s.Size, 24<<20)
		}
		if len(s.Hosts) != 1 {
			t.Errorf("split %d lies at %v", s.Number, s.Hosts)
		}
	}
}

func TestHalves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		if a == b {
			return
		}
		r := Range{min(a, b), max(a, b)}
		halves := r.Halves()
		if halves[0].Start != r.Start || halves[len(halves)-1].End != r.End {
			t.Fatalf("%v became %v", r, halves)
		}
		if r.width() > 1 && (len(halves) != 2 || halves[0].End != halves[1].Start || halves[0].width() == 0 || halves[1].width() == 0) {
			t.Fatalf("%v became %v", r, halves)
		}
	})
}

func TestParseReplication(t *testing.T) {
	cases := map[string]string{
		"SimpleStrategy:1":    "{'class': 'SimpleStrategy', 'replication_factor': 1}",
		"dc1:3":               "{'class': 'NetworkTopologyStrategy', 'dc1': 3}",
		"write:2,analytics:1": "{'class': 'NetworkTopologyStrategy', 'analytics': 1, 'write': 2}",
		"":                    "", "dc1": "", "dc1:0": "", "dc1:x": "", ":3": "", "a':1": "", "SimpleStrategy:1,dc1:1": "",
	}
	for in, want := range cases {
		r, err := ParseReplication(in)
		if (err == nil) != (want != "") || err == nil && r.cql() != want {
			t.Errorf("%q: %s, %v; want %s", in, r.cql(), err, want)
		}
	}
	read, err := replicationFrom(map[string]string{"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc1": "3", "dc2": "2/1"})
	if diff := cmp.Diff(Replication{DCs: map[string]int{"dc1": 3, "dc2": 2}}, read); err != nil || diff != "" {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	if _, err := replicationFrom(map[string]string{"class": "org.apache.cassandra.locator.LocalStrategy"}); err == nil {
		t.Error("LocalStrategy was accepted")
	}
}

// Rows whose tokens lie with the same near nodes are neighbours, whichever
// comes first on the ring and wherever else they lie; the ring's ends meet.
func TestNearSets(t *testing.T) {
	nodes := []Node{
		node("1", "a", "r1", -100, 50), node("2", "a", "r2", 0, 200), node("3", "b", "r1", -50), node("4", "a", "r1", 300),
	}
	set := NewRing(nodes, Replication{DCs: map[string]int{"a": 2, "b": 1}}, "a").nearSets()
	for _, same := range [][]int64{{math.MinInt64 + 1, -100, -50, 0, 50, math.MaxInt64}, {51, 200, 201, 300}} {
		for _, token := range same {
			if set(token) != set(same[0]) {
				t.Errorf("tokens %d and %d lie with %q and %q", same[0], token, set(same[0]), set(token))
			}
		}
	}
	if set(50) == set(51) || set(50) != "1 2" || set(51) != "2 4" {
		t.Errorf("tokens 50 and 51 lie with %q and %q", set(50), set(51))
	}
}
