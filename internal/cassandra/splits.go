package cassandra

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/gocql/gocql"

	"tidemill/jobs"
)

// TokenRanges is the payload of a split of a table scan.
type TokenRanges struct {
	Ranges []Range `json:"ranges"`
}

// splitBytes is the size of a split that is worth a task of its own, as the
// Spark connector has it.
const splitBytes = 512 << 20

// Estimate is what the nodes' own statistics say of a table.
type Estimate struct {
	Bytes      int64 // of the whole table, one replica
	Partitions int64
	Fraction   float64 // of the ring that the statistics cover
}

// EstimateSize asks every node of the data centre for the sizes of its primary
// ranges of a table, and extends the sum to the whole ring. Nodes count only
// what they have flushed, so a young table has an estimate of 0.
func (s *Session) EstimateSize(ctx context.Context, table string) (Estimate, error) {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return Estimate{}, err
	}
	seen := map[Range]bool{}
	var sum Estimate
	for _, n := range nodes {
		if n.DC != s.DC {
			continue
		}
		err := s.sizesOn(ctx, n, table, seen, &sum)
		if Transient(err) { // a node that is down is a part of the ring not covered
			continue
		}
		if err != nil {
			return Estimate{}, err
		}
	}
	if sum.Fraction > 0 {
		sum.Bytes = int64(float64(sum.Bytes) / min(sum.Fraction, 1))
		sum.Partitions = int64(float64(sum.Partitions) / min(sum.Fraction, 1))
	}
	return sum, nil
}

func (s *Session) sizesOn(ctx context.Context, n Node, table string, seen map[Range]bool, sum *Estimate) error {
	iter := s.Query(`SELECT range_start, range_end, mean_partition_size, partitions_count FROM system.size_estimates
		WHERE keyspace_name = ? AND table_name = ?`, s.Keyspace, table).
		WithContext(OnNode(ctx, n.HostID)).Consistency(gocql.One).Iter()
	var start, end string
	var mean, count int64
	for iter.Scan(&start, &end, &mean, &count) {
		ends, err := parseTokens([]string{start, end})
		if err != nil {
			return errors.Join(err, iter.Close())
		}
		r := Range{ends[0], ends[1]} // may wrap: widths are modulo 2^64
		if r.Start == r.End {        // a node with one token has all
			r = Range{math.MinInt64, math.MaxInt64}
		}
		if seen[r] {
			continue
		}
		seen[r] = true
		sum.Bytes += mean * count
		sum.Partitions += count
		sum.Fraction += r.Fraction()
	}
	if err := iter.Close(); err != nil {
		return fmt.Errorf("read size estimates of node %s: %w", n.Address, err)
	}
	return nil
}

// SplitCount is how many splits a table of a size deserves where so many
// tasks can run at once.
func SplitCount(bytes int64, parallel int) int {
	return int(min(max(bytes/splitBytes, int64(1+2*parallel)), jobs.MaxSplits))
}

// Splits cuts the ring into at most limit splits, or one for each replica set
// where these are more but limit is not exceeded, each of ranges that the same
// nodes hold, so that it can run beside any of them; the biggest come first.
// Together they cover the ring exactly. bytes is the table's size, if known.
func (r *Ring) Splits(limit int, bytes int64) ([]jobs.Split, error) {
	groups := r.grouped(limit)
	share(groups, limit)
	var out []jobs.Split
	for _, g := range groups {
		for _, ranges := range cut(g.ranges, g.parts) {
			payload, err := json.Marshal(TokenRanges{Ranges: ranges})
			if err != nil {
				return nil, fmt.Errorf("write split: %w", err)
			}
			size := int64(width(ranges) >> 1)
			if bytes > 0 {
				size = int64(float64(bytes) * float64(width(ranges)) / float64(1<<64))
			}
			split := jobs.Split{Stage: 1, Size: size, DC: r.DC, Payload: payload}
			split.Hosts, split.Racks = g.places(r.DC)
			out = append(out, split)
		}
	}
	slices.SortStableFunc(out, func(a, b jobs.Split) int { return cmp.Compare(b.Size, a.Size) })
	for i := range out {
		out[i].Number = i
	}
	return out, nil
}

// group is the ranges of one replica set.
type group struct {
	nodes  []*Node
	ranges []Range
	parts  int
}

func width(ranges []Range) uint64 {
	var sum uint64
	for _, r := range ranges {
		sum += r.width()
	}
	return sum
}

// grouped gathers the ranges by replica set; where that makes more groups
// than may be, by primary replica; where even the nodes are too many, the
// smallest groups are put together.
func (r *Ring) grouped(limit int) []*group {
	groups := r.groupBy(func(rr ReplicaRange) []*Node { return r.near(rr.Replicas) })
	if len(groups) > limit {
		groups = r.groupBy(func(rr ReplicaRange) []*Node { near := r.near(rr.Replicas); return near[:min(1, len(near))] })
	}
	for len(groups) > max(limit, 1) {
		slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(width(b.ranges), width(a.ranges)) })
		last, before := groups[len(groups)-1], groups[len(groups)-2]
		before.ranges = append(before.ranges, last.ranges...)
		before.nodes = append(before.nodes, last.nodes...)
		groups = groups[:len(groups)-1]
	}
	return groups
}

func (r *Ring) groupBy(holders func(ReplicaRange) []*Node) []*group {
	byKey := map[string]*group{}
	var out []*group
	for _, rr := range r.Ranges {
		nodes := holders(rr)
		key := setOf(nodes)
		g := byKey[key]
		if g == nil {
			g = &group{nodes: slices.Clone(nodes)}
			byKey[key] = g
			out = append(out, g)
		}
		g.ranges = append(g.ranges, rr.Range)
	}
	return out
}

// setOf is the same for the same nodes, in whichever order.
func setOf(nodes []*Node) string {
	ids := make([]string, len(nodes))
	for i, n := range nodes {
		ids[i] = n.HostID
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// near leaves the replicas of the ring's own data centre.
func (r *Ring) near(nodes []*Node) []*Node {
	var out []*Node
	for _, n := range nodes {
		if n.DC == r.DC {
			out = append(out, n)
		}
	}
	return out
}

func (g *group) places(dc string) (hosts, racks []string) {
	for _, n := range g.nodes {
		if n.DC != dc {
			continue
		}
		if !slices.Contains(hosts, n.Address) {
			hosts = append(hosts, n.Address)
		}
		if !slices.Contains(racks, n.Rack) {
			racks = append(racks, n.Rack)
		}
	}
	return hosts, racks
}

// share gives each group as many of the splits as its share of the ring is worth.
func share(groups []*group, limit int) {
	for _, g := range groups {
		g.parts = 1
	}
	perPart := func(g *group) uint64 { return width(g.ranges) / uint64(g.parts) }
	for range limit - len(groups) {
		big := slices.MaxFunc(groups, func(a, b *group) int { return cmp.Compare(perPart(a), perPart(b)) })
		if perPart(big) < 2 {
			return
		}
		big.parts++
	}
}

// cut divides ranges into n lists of about equal width.
func cut(ranges []Range, n int) [][]Range {
	total := width(ranges)
	out := make([][]Range, 0, n)
	var now []Range
	var done uint64
	for _, r := range ranges {
		for {
			// The next boundary is at total * (lists made + 1) / n.
			hi, lo := bits.Mul64(total, uint64(len(out)+1))
			boundary, _ := bits.Div64(hi, lo, uint64(n))
			room := boundary - done
			if len(out) == n-1 || r.width() < room {
				break
			}
			now = append(now, Range{r.Start, int64(uint64(r.Start) + room)})
			out, now = append(out, now), nil
			done += room
			r.Start = int64(uint64(r.Start) + room)
			if r.width() == 0 {
				break
			}
		}
		if r.width() > 0 {
			now = append(now, r)
			done += r.width()
		}
	}
	if len(now) > 0 {
		out = append(out, now)
	}
	return out
}
