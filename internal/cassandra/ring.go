package cassandra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/gocql/gocql"
)

// Node is one node of the cluster.
type Node struct {
	HostID  string
	Address string // where clients reach it, without the port
	DC      string
	Rack    string
	Tokens  []int64
}

// Range is the tokens in (Start, End]. It never wraps: Start < End, and
// Start may be the ring's minimum, which no key has.
type Range struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// width is the number of tokens in the range; the whole ring has 2^64-1.
func (r Range) width() uint64 { return uint64(r.End) - uint64(r.Start) }

// Fraction is the range's share of the ring.
func (r Range) Fraction() float64 { return float64(r.width()) / math.MaxUint64 }

// Halves cuts the range in two; a range of one token cannot be cut.
func (r Range) Halves() []Range {
	if r.width() < 2 {
		return []Range{r}
	}
	middle := r.Start + int64(r.width()/2)
	return []Range{{r.Start, middle}, {middle, r.End}}
}

// ReplicaRange is a range with the nodes that hold it, the primary first.
type ReplicaRange struct {
	Range
	Replicas []*Node
}

// Nodes reads the cluster's nodes, of all data centres, from one node.
func (s *Session) Nodes(ctx context.Context) ([]Node, error) {
	var local Node
	var id gocql.UUID
	var address net.IP
	var tokens []string
	err := s.Query(`SELECT host_id, rpc_address, data_center, rack, tokens FROM system.local`).WithContext(ctx).
		Consistency(gocql.One).Scan(&id, &address, &local.DC, &local.Rack, &tokens)
	if err != nil {
		return nil, fmt.Errorf("read system.local: %w", err)
	}
	local.HostID, local.Address = id.String(), address.String()
	if local.Tokens, err = parseTokens(tokens); err != nil {
		return nil, err
	}
	// Another coordinator may answer the second query; then the node of the
	// first is among its peers, and it itself is asked for by name.
	peers, err := s.peers(OnNode(ctx, local.HostID))
	if err != nil {
		return nil, err
	}
	return append([]Node{local}, peers...), nil
}

func (s *Session) peers(ctx context.Context) ([]Node, error) {
	nodes, err := s.readPeers(ctx, `SELECT host_id, native_address, data_center, rack, tokens FROM system.peers_v2`)
	var reply gocql.RequestError
	if errors.As(err, &reply) && reply.Code() == gocql.ErrCodeInvalid { // before Cassandra 4.0
		nodes, err = s.readPeers(ctx, `SELECT host_id, rpc_address, data_center, rack, tokens FROM system.peers`)
	}
	if err != nil {
		return nil, fmt.Errorf("read the node's peers: %w", err)
	}
	return nodes, nil
}

func (s *Session) readPeers(ctx context.Context, cql string) ([]Node, error) {
	iter := s.Query(cql).WithContext(ctx).Consistency(gocql.One).Iter()
	var nodes []Node
	for {
		var n Node
		var id gocql.UUID
		var address net.IP
		var tokens []string
		if !iter.Scan(&id, &address, &n.DC, &n.Rack, &tokens) {
			return nodes, iter.Close()
		}
		if len(tokens) == 0 || address == nil { // still joining
			continue
		}
		n.HostID, n.Address = id.String(), address.String()
		var err error
		if n.Tokens, err = parseTokens(tokens); err != nil {
			return nil, errors.Join(err, iter.Close())
		}
		nodes = append(nodes, n)
	}
}

func parseTokens(list []string) ([]int64, error) {
	out := make([]int64, len(list))
	for i, t := range list {
		v, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("token %q is not of Murmur3Partitioner, the only partitioner that is supported", t)
		}
		out[i] = v
	}
	return out, nil
}

// Ring is the token ring as a keyspace sees it.
type Ring struct {
	Nodes  []Node
	Ranges []ReplicaRange // an exact cover of the ring, in token order
	DC     string         // the data centre whose replicas count as near
}

// Ring reads the ring for the session's keyspace.
func (s *Session) Ring(ctx context.Context) (*Ring, error) {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("read ring: %w", err)
	}
	replication, err := s.replicationOf(ctx, s.Keyspace)
	if err != nil {
		return nil, err
	}
	ring := NewRing(nodes, replication, s.DC)
	if len(ring.Ranges) == 0 {
		return nil, fmt.Errorf("read ring: no node has a token")
	}
	return ring, nil
}

// Near gives the hosts and racks of the nodes of the ring's own data centre
// that hold a token.
func (r *Ring) Near(token int64) (hosts, racks []string) {
	i := r.rangeOf(token)
	if i == len(r.Ranges) {
		return nil, nil
	}
	g := group{nodes: r.Ranges[i].Replicas}
	return g.places(r.DC)
}

// rangeOf is the number of the range that holds a token.
func (r *Ring) rangeOf(token int64) int {
	i, _ := slices.BinarySearchFunc(r.Ranges, token, func(rr ReplicaRange, t int64) int { return cmp.Compare(rr.End, t) })
	return i
}

// nearSets tells the sets of near replicas apart, by the tokens that they hold.
func (r *Ring) nearSets() func(token int64) string {
	sets := make([]string, len(r.Ranges))
	for i, rr := range r.Ranges {
		sets[i] = setOf(r.near(rr.Replicas))
	}
	return func(token int64) string { return sets[r.rangeOf(token)] }
}

// NewRing places the ranges of the nodes' tokens.
func NewRing(nodes []Node, replication Replication, dc string) *Ring {
	r := &Ring{Nodes: nodes, DC: dc}
	var points []point
	for i := range r.Nodes {
		for _, t := range r.Nodes[i].Tokens {
			points = append(points, point{t, &r.Nodes[i]})
		}
	}
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.token, b.token), strings.Compare(a.node.HostID, b.node.HostID))
	})
	points = slices.CompactFunc(points, func(a, b point) bool { return a.token == b.token })
	if len(points) == 0 {
		return r
	}
	add := func(start, end int64, owner int) {
		if start < end {
			r.Ranges = append(r.Ranges, ReplicaRange{Range{start, end}, replication.replicas(points, owner)})
		}
	}
	// A token ends its range; the first one's wraps around the ring's ends.
	add(math.MinInt64, points[0].token, 0)
	for i := 1; i < len(points); i++ {
		add(points[i-1].token, points[i].token, i)
	}
	add(points[len(points)-1].token, math.MaxInt64, 0)
	return r
}

// point is a token on the ring and its node.
type point struct {
	token int64
	node  *Node
}

// replicas walks the ring from a token on, as Cassandra's strategies do.
func (r Replication) replicas(points []point, from int) []*Node {
	if r.Simple > 0 {
		return walk(points, from, r.Simple, func(*Node) bool { return true })
	}
	var found []*Node
	for _, dc := range slices.Sorted(maps.Keys(r.DCs)) {
		found = append(found, rackAware(points, from, dc, r.DCs[dc])...)
	}
	// In the order of the ring, whatever their data centres.
	order := map[*Node]int{}
	for i := range points {
		n := points[(from+i)%len(points)].node
		if _, ok := order[n]; !ok {
			order[n] = i
		}
	}
	slices.SortFunc(found, func(a, b *Node) int { return order[a] - order[b] })
	return found
}

func walk(points []point, from, want int, accept func(*Node) bool) []*Node {
	var out []*Node
	for i := 0; i < len(points) && len(out) < want; i++ {
		n := points[(from+i)%len(points)].node
		if !slices.Contains(out, n) && accept(n) {
			out = append(out, n)
		}
	}
	return out
}

// rackAware is NetworkTopologyStrategy's choice in one data centre: a node of
// a rack that has one already is taken only as far as there are fewer racks
// than replicas.
func rackAware(points []point, from int, dc string, factor int) []*Node {
	racks, nodes := map[string]bool{}, map[*Node]bool{}
	for _, p := range points {
		if p.node.DC == dc {
			racks[p.node.Rack], nodes[p.node] = true, true
		}
	}
	want := min(factor, len(nodes))
	repeats := factor - len(racks)
	used := map[string]bool{}
	return walk(points, from, want, func(n *Node) bool {
		if n.DC != dc {
			return false
		}
		if used[n.Rack] {
			repeats--
			return repeats >= 0
		}
		used[n.Rack] = true
		return true
	})
}
