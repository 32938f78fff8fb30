package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/gocql/gocql"
)

// agreementPoll is how often all nodes are asked whether they agree.
const agreementPoll = 50 * time.Millisecond

// AwaitAgreement waits until each of the Cassandra nodes, given as host:port, knows all the others
// and has the same schema. Call it before and after a change of the schema: a driver asks one
// node only, and believes it too early.
func AwaitAgreement(ctx context.Context, addresses []string) error {
	nodes := make([]node, len(addresses))
	for i, address := range addresses {
		nodes[i].address = address
	}
	defer func() {
		for _, n := range nodes {
			n.close()
		}
	}()
	ticker := time.NewTicker(agreementPoll)
	defer ticker.Stop()
	for {
		err := agree(ctx, nodes)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for Cassandra's nodes to agree: %w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

// sessionTo connects to this one node and to no other that it knows.
func sessionTo(address string) (*gocql.Session, error) {
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("port of %s: %w", address, err)
	}
	cluster := gocql.NewCluster(host)
	cluster.Port = port
	cluster.ProtoVersion = 4
	cluster.NumConns = 1
	cluster.Consistency = gocql.One
	cluster.Timeout, cluster.ConnectTimeout = 10*time.Second, 10*time.Second
	cluster.DisableInitialHostLookup = true
	cluster.HostFilter = gocql.WhiteListHostFilter(host)
	// Events tell of hosts coming and going, this one too, and make the driver drop it for good.
	cluster.Events.DisableNodeStatusEvents = true
	cluster.Events.DisableTopologyEvents = true
	cluster.Events.DisableSchemaEvents = true
	cluster.Logger = quiet{}
	session, err := cluster.CreateSession()
	if err != nil {
		return nil, fmt.Errorf("connect to Cassandra at %s: %w", address, err)
	}
	return session, nil
}

// node is one of those that are to agree; it is connected to when it first answers.
type node struct {
	address string
	session *gocql.Session
}

func (n *node) close() {
	if n.session != nil {
		n.session.Close()
		n.session = nil
	}
}

// view is how many others the node knows, and its schema.
func (n *node) view(ctx context.Context) (peers int, schema gocql.UUID, err error) {
	if n.session == nil {
		if n.session, err = sessionTo(n.address); err != nil {
			return 0, schema, err
		}
	}
	err = errors.Join(
		n.session.Query("SELECT count(*) FROM system.peers_v2").WithContext(ctx).Scan(&peers),
		n.session.Query("SELECT schema_version FROM system.local").WithContext(ctx).Scan(&schema))
	if err != nil {
		// A session may never find its only host again: the next question has one of its own.
		n.close()
		return 0, schema, fmt.Errorf("ask Cassandra at %s: %w", n.address, err)
	}
	return peers, schema, nil
}

// agree reports how the nodes differ, or nil.
func agree(ctx context.Context, nodes []node) error {
	var first gocql.UUID
	for i := range nodes {
		n := &nodes[i]
		peers, schema, err := n.view(ctx)
		if err != nil {
			return err
		}
		if peers != len(nodes)-1 {
			return fmt.Errorf("%s knows %d of %d others", n.address, peers, len(nodes)-1)
		}
		if i == 0 {
			first = schema
		}
		if schema != first {
			return fmt.Errorf("%s has schema %s, %s has %s", n.address, schema, nodes[0].address, first)
		}
	}
	return nil
}

// quiet drops what the driver would print: what matters is returned as an error.
type quiet struct{}

func (quiet) Print(...any)          {}
func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}
