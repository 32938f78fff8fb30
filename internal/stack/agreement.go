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
	sessions := make([]*gocql.Session, 0, len(addresses))
	defer func() {
		for _, session := range sessions {
			session.Close()
		}
	}()
	for _, address := range addresses {
		session, err := sessionTo(address)
		if err != nil {
			return fmt.Errorf("wait for Cassandra's nodes to agree: %w", err)
		}
		sessions = append(sessions, session)
	}
	ticker := time.NewTicker(agreementPoll)
	defer ticker.Stop()
	for {
		err := agree(ctx, sessions)
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
	cluster.Logger = quiet{}
	session, err := cluster.CreateSession()
	if err != nil {
		return nil, fmt.Errorf("connect to Cassandra at %s: %w", address, err)
	}
	return session, nil
}

// agree reports how the nodes differ, or nil.
func agree(ctx context.Context, sessions []*gocql.Session) error {
	var first gocql.UUID
	for i, session := range sessions {
		var peers int
		var schema gocql.UUID
		err := errors.Join(
			session.Query("SELECT count(*) FROM system.peers_v2").WithContext(ctx).Scan(&peers),
			session.Query("SELECT schema_version FROM system.local").WithContext(ctx).Scan(&schema))
		if err != nil {
			return fmt.Errorf("ask node %d: %w", i+1, err)
		}
		if peers != len(sessions)-1 {
			return fmt.Errorf("node %d knows %d of %d others", i+1, peers, len(sessions)-1)
		}
		if i == 0 {
			first = schema
		}
		if schema != first {
			return fmt.Errorf("node %d has schema %s, node 1 has %s", i+1, schema, first)
		}
	}
	return nil
}

// quiet drops what the driver would print: what matters is returned as an error.
type quiet struct{}

func (quiet) Print(...any)          {}
func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}
