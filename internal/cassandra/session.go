// Package cassandra is Tidemill's way to Cassandra: sessions, the schema, the
// writer of events, and the ring with its token ranges.
package cassandra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"github.com/rs/zerolog"

	"tidemill/jobs"
	"tidemill/jobs/event"
)

// DefaultPort is Cassandra's CQL port.
const DefaultPort = 9042

// Bounds of a session's patience. Cassandra's own write timeout is 2 s by
// default and 10 s in a development stack; ours must be longer than the
// server's, or a write that was late counts as one that was lost.
const (
	requestTimeout = 12 * time.Second
	connectTimeout = 5 * time.Second
	reconnectEvery = time.Second
	retries        = 4
)

// Session talks to the nodes of one data centre, at LOCAL_QUORUM unless a
// query says otherwise. Queries are retried on the next node where another
// node may answer. Every statement of ours that writes names its timestamp;
// the driver adds none.
type Session struct {
	*gocql.Session
	Keyspace string
	DC       string // the data centre it talks to

	everywhere bool // it is connected to the other data centres too
}

// Connect opens a session; keyspace may be empty. Where the connection names
// no data centre, it is that of the node that answers first.
func Connect(conn jobs.CassandraConnection, keyspace string, log zerolog.Logger) (*Session, error) {
	return connect(conn, keyspace, log, false)
}

// connect opens a session to one data centre, or to all nodes: what is sent to
// no particular node still goes to the one.
func connect(conn jobs.CassandraConnection, keyspace string, log zerolog.Logger, everywhere bool) (*Session, error) {
	dc, err := probe(conn, keyspace, log)
	if err != nil {
		return nil, err
	}
	cluster := config(conn, log)
	cluster.Keyspace = keyspace
	if !everywhere {
		cluster.HostFilter = gocql.DataCentreHostFilter(dc)
	}
	cluster.PoolConfig.HostSelectionPolicy = newPinning(gocql.TokenAwareHostPolicy(gocql.DCAwareRoundRobinPolicy(dc), gocql.ShuffleReplicas()))
	s, err := cluster.CreateSession()
	if err != nil {
		return nil, connectError(conn, err)
	}
	return &Session{Session: s, Keyspace: keyspace, DC: dc, everywhere: everywhere}, nil
}

// Open connects to a keyspace whose schema must be there: what jobs do.
func Open(ctx context.Context, conn jobs.CassandraConnection, keyspace string, log zerolog.Logger) (*Session, error) {
	s, err := Connect(conn, keyspace, log)
	if err != nil {
		return nil, err
	}
	if err := s.Verify(ctx, Data()); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// OpenNamed opens a session for a work, by the connection its spec names.
func OpenNamed(ctx context.Context, rt jobs.Runtime, name, keyspace string, log zerolog.Logger) (*Session, error) {
	conns, err := rt.Connections(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := conns.CassandraNamed(name)
	if err != nil {
		return nil, err
	}
	return Open(ctx, conn, keyspace, log)
}

// probe finds the local data centre, and whether the keyspace exists: gocql
// says of a missing one only that no connection could be made.
func probe(conn jobs.CassandraConnection, keyspace string, log zerolog.Logger) (string, error) {
	cluster := config(conn, log)
	cluster.NumConns = 1
	cluster.DisableInitialHostLookup = true
	cluster.Events.DisableNodeStatusEvents = true
	cluster.Events.DisableTopologyEvents = true
	cluster.Events.DisableSchemaEvents = true
	s, err := cluster.CreateSession()
	if err != nil {
		return "", connectError(conn, err)
	}
	defer s.Close()
	dc := conn.DC
	if dc == "" {
		if err := s.Query(`SELECT data_center FROM system.local`).Consistency(gocql.One).Scan(&dc); err != nil {
			return "", connectError(conn, err)
		}
	}
	if keyspace == "" {
		return dc, nil
	}
	var name string
	err = s.Query(`SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?`, keyspace).Consistency(gocql.One).Scan(&name)
	switch {
	case errors.Is(err, gocql.ErrNotFound):
		return "", missingSchema(keyspace, "the keyspace does not exist")
	case err != nil:
		return "", connectError(conn, err)
	}
	return dc, nil
}

func config(conn jobs.CassandraConnection, log zerolog.Logger) *gocql.ClusterConfig {
	cluster := gocql.NewCluster(conn.Hosts...)
	cluster.ProtoVersion = 4
	cluster.Port = port(conn.Hosts)
	cluster.Consistency = gocql.LocalQuorum
	cluster.SerialConsistency = gocql.LocalSerial
	cluster.DefaultIdempotence = true
	cluster.DefaultTimestamp = false
	cluster.RetryPolicy = nextNode{}
	cluster.Timeout = requestTimeout
	cluster.WriteTimeout = requestTimeout
	cluster.ConnectTimeout = connectTimeout
	cluster.ReconnectInterval = reconnectEvery
	cluster.PageSize = 5000
	cluster.Logger = driverLog{log}
	if conn.Username != "" {
		cluster.Authenticator = gocql.PasswordAuthenticator{Username: conn.Username, Password: conn.Password}
	}
	return cluster
}

// port is that of the first host that names one: the nodes a driver finds by
// itself are listed without theirs.
func port(hosts []string) int {
	for _, h := range hosts {
		if _, p, err := net.SplitHostPort(h); err == nil {
			if n, err := strconv.Atoi(p); err == nil {
				return n
			}
		}
	}
	return DefaultPort
}

// ErrAway is in the errors of a session that could not be opened since no node
// answered. The driver's own errors do not tell.
var ErrAway = errors.New("no node answers")

func connectError(conn jobs.CassandraConnection, err error) error {
	return &jobs.Error{
		Code: jobs.Unavailable, Op: "connect", Subject: "cassandra " + strings.Join(conn.Hosts, ","), Err: fmt.Errorf("%w: %w", ErrAway, err),
		Hint: "check that it runs at this address; a development one is started by: tidemill stack up",
	}
}

func missingSchema(keyspace, what string) error {
	return &jobs.Error{
		Code: jobs.Unavailable, Op: "verify schema", Subject: "keyspace " + keyspace, Message: what,
		Hint: "make it by: tidemill schema apply --keyspace " + keyspace,
	}
}

// nextNode retries what another node, or the same one a little later, may
// answer. gocql asks it for every query, idempotent or not: statements that
// may not be repeated must be run with RetryPolicy(nil).
type nextNode struct{}

func (nextNode) Attempt(q gocql.RetryableQuery) bool {
	if q.Attempts() > retries {
		return false
	}
	wait := time.NewTimer(time.Duration(q.Attempts()) * 50 * time.Millisecond)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-q.Context().Done():
		return false
	}
}

func (nextNode) GetRetryType(err error) gocql.RetryType {
	if Transient(err) {
		return gocql.RetryNextHost
	}
	return gocql.Rethrow
}

// Transient says whether err speaks of Cassandra's health and not of the
// request: nodes down, timeouts, lost connections. The same request may
// succeed later.
func Transient(err error) bool {
	var (
		unavailable  *gocql.RequestErrUnavailable
		readTimeout  *gocql.RequestErrReadTimeout
		writeTimeout *gocql.RequestErrWriteTimeout
		readFailure  *gocql.RequestErrReadFailure
		writeFailure *gocql.RequestErrWriteFailure
		casUnknown   *gocql.RequestErrCASWriteUnknown
		network      net.Error
		reply        gocql.RequestError
	)
	switch {
	case errors.As(err, &unavailable), errors.As(err, &readTimeout), errors.As(err, &writeTimeout),
		errors.As(err, &readFailure), errors.As(err, &writeFailure), errors.As(err, &casUnknown):
		return true
	case errors.As(err, &reply):
		switch reply.Code() {
		case gocql.ErrCodeOverloaded, gocql.ErrCodeBootstrapping, gocql.ErrCodeServer, gocql.ErrCodeTruncate:
			return true
		}
		return false
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return true
	}
	for _, known := range []error{
		ErrAway, gocql.ErrNoConnections, gocql.ErrNoConnectionsStarted, gocql.ErrTimeoutNoResponse, gocql.ErrConnectionClosed,
		gocql.ErrNoStreams, gocql.ErrUnavailable,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// uuid is the driver's form of ours.
func uuid(u event.UUID) gocql.UUID { return gocql.UUID(u) }

// driverLog hands the driver's lines to our log: they tell of nodes that come
// and go, which every query that suffers from it reports as well.
type driverLog struct{ log zerolog.Logger }

func (l driverLog) Print(v ...any) { l.log.Debug().Str("driver", "gocql").Msg(fmt.Sprint(v...)) }
func (l driverLog) Printf(format string, v ...any) {
	l.log.Debug().Str("driver", "gocql").Msgf(strings.TrimSpace(format), v...)
}
func (l driverLog) Println(v ...any) { l.Print(v...) }
