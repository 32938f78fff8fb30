package cassandra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// agreementWait bounds how long the nodes may take to agree on a schema.
const agreementWait = time.Minute

// Replication is a keyspace's replication: a simple factor, or one per data centre.
type Replication struct {
	Simple int            // SimpleStrategy, where it is not 0
	DCs    map[string]int // NetworkTopologyStrategy
}

// ParseReplication reads "SimpleStrategy:1", or "dc1:3" or "dc1:3,dc2:2".
func ParseReplication(s string) (Replication, error) {
	r := Replication{DCs: map[string]int{}}
	for part := range strings.SplitSeq(s, ",") {
		name, factor, _ := strings.Cut(strings.TrimSpace(part), ":")
		n, err := strconv.Atoi(factor)
		if err != nil || n < 1 || name == "" || strings.ContainsAny(name, `'"\`) {
			return Replication{}, fmt.Errorf("replication %q is neither like SimpleStrategy:1 nor like dc1:3,dc2:2", s)
		}
		r.DCs[name] = n
	}
	if n, ok := r.DCs["SimpleStrategy"]; ok {
		if len(r.DCs) > 1 {
			return Replication{}, fmt.Errorf("replication %q mixes SimpleStrategy with data centres", s)
		}
		return Replication{Simple: n}, nil
	}
	return r, nil
}

func (r Replication) cql() string {
	if r.Simple > 0 {
		return fmt.Sprintf("{'class': 'SimpleStrategy', 'replication_factor': %d}", r.Simple)
	}
	parts := []string{"'class': 'NetworkTopologyStrategy'"}
	for _, dc := range slices.Sorted(maps.Keys(r.DCs)) {
		parts = append(parts, fmt.Sprintf("'%s': %d", dc, r.DCs[dc]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// Schema is a keyspace with its tables.
type Schema struct {
	Keyspace    string
	Replication Replication
	Tables      TableSet
}

var keyspaceForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// CheckKeyspace says what is wrong with a keyspace's name. Names that would
// need quotes are refused: every tool gets them wrong once.
func CheckKeyspace(name string) error {
	if !keyspaceForm.MatchString(name) {
		return fmt.Errorf("keyspace %q is not a lower-case letter followed by up to 47 lower-case letters, digits or '_'", name)
	}
	return nil
}

// Statements are the CQL statements that make the schema.
func (s Schema) Statements() []string {
	out := []string{fmt.Sprintf("CREATE KEYSPACE IF NOT EXISTS %s WITH replication = %s", s.Keyspace, s.Replication.cql())}
	for _, t := range s.Tables {
		out = append(out, t.create(s.Keyspace))
	}
	return out
}

// Apply makes what is missing and gives the names of what it made; it changes
// nothing that is there. It must not run twice at once: concurrent CREATEs
// break Cassandra's schema, which is why no job makes tables.
func (s Schema) Apply(ctx context.Context, conn jobs.CassandraConnection, log zerolog.Logger) ([]string, error) {
	if err := CheckKeyspace(s.Keyspace); err != nil {
		return nil, err
	}
	sess, err := connect(conn, "", log, true)
	if err != nil {
		return nil, err
	}
	defer sess.Close()
	if err := sess.AwaitAgreement(ctx); err != nil {
		return nil, err
	}
	have, err := columnsOf(ctx, sess, s.Keyspace)
	if err != nil {
		return nil, fmt.Errorf("apply schema: %w", err)
	}
	var made []string
	create := func(name, cql string) error {
		// A DDL statement is never repeated by itself.
		if err := sess.Query(cql).WithContext(ctx).RetryPolicy(nil).Exec(); err != nil {
			return fmt.Errorf("apply schema: create %s: %w", name, err)
		}
		made = append(made, name)
		return sess.AwaitAgreement(ctx)
	}
	if len(have) == 0 {
		if err := create(s.Keyspace, s.Statements()[0]); err != nil {
			return made, err
		}
	}
	for _, t := range s.Tables {
		if _, ok := have[t.name]; ok {
			continue
		}
		if err := create(s.Keyspace+"."+t.name, t.create(s.Keyspace)); err != nil {
			return made, err
		}
	}
	sess.Keyspace = s.Keyspace
	return made, sess.Verify(ctx, s.Tables)
}

// Verify says what the session's keyspace lacks of the tables.
func (s *Session) Verify(ctx context.Context, set TableSet) error {
	have, err := columnsOf(ctx, s, s.Keyspace)
	if err != nil {
		return fmt.Errorf("verify schema of keyspace %s: %w", s.Keyspace, err)
	}
	var missing []string
	for _, t := range set {
		columns, ok := have[t.name]
		if !ok {
			missing = append(missing, "table "+t.name)
			continue
		}
		for _, c := range t.columns {
			switch found, ok := columns[c[0]]; {
			case !ok:
				missing = append(missing, "column "+t.name+"."+c[0])
			case found != c[1]:
				return jobs.Permanent(&jobs.Error{
					Code: jobs.Conflict, Op: "verify schema", Subject: "keyspace " + s.Keyspace,
					Message: fmt.Sprintf("column %s.%s is %s, not %s", t.name, c[0], found, c[1]),
					Hint:    "use another keyspace: --keyspace",
				})
			}
		}
	}
	if len(missing) > 0 {
		return missingSchema(s.Keyspace, strings.Join(missing, ", ")+" missing")
	}
	return nil
}

// columnsOf gives the type of each column of each table.
func columnsOf(ctx context.Context, s *Session, keyspace string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	iter := s.Query(`SELECT table_name, column_name, type FROM system_schema.columns WHERE keyspace_name = ?`, keyspace).
		WithContext(ctx).Consistency(gocql.LocalOne).Iter()
	var table, column, typ string
	for iter.Scan(&table, &column, &typ) {
		if out[table] == nil {
			out[table] = map[string]string{}
		}
		out[table][column] = typ
	}
	return out, iter.Close()
}

// AwaitAgreement waits until every node that the session reaches knows every
// other and all have the same schema. The driver's own wait asks one node only,
// which says yes too early right after a start.
func (s *Session) AwaitAgreement(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, agreementWait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.agreed(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return &jobs.Error{
				Code: jobs.Unavailable, Op: "await schema agreement", Subject: "data centre " + s.DC, Err: err,
				Hint: "every node must be up before the schema is changed",
			}
		case <-tick.C:
		}
	}
}

func (s *Session) agreed(ctx context.Context) error {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return err
	}
	versions := map[string][]string{}
	for _, n := range nodes {
		if n.DC != s.DC && !s.everywhere {
			continue
		}
		on := OnNode(ctx, n.HostID)
		var version gocql.UUID
		var peers int
		if err := s.Query(`SELECT schema_version FROM system.local`).WithContext(on).Consistency(gocql.One).Scan(&version); err != nil {
			return fmt.Errorf("node %s: %w", n.Address, err)
		}
		if err := s.Query(`SELECT count(*) FROM system.peers`).WithContext(on).Consistency(gocql.One).Scan(&peers); err != nil {
			return fmt.Errorf("node %s: %w", n.Address, err)
		}
		if peers != len(nodes)-1 {
			return fmt.Errorf("node %s knows %d of %d other nodes", n.Address, peers, len(nodes)-1)
		}
		versions[version.String()] = append(versions[version.String()], n.Address)
	}
	if len(versions) > 1 {
		return fmt.Errorf("the nodes have %d different schemas: %v", len(versions), versions)
	}
	return nil
}

// replicationOf reads a keyspace's replication.
func (s *Session) replicationOf(ctx context.Context, keyspace string) (Replication, error) {
	var options map[string]string
	err := s.Query(`SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?`, keyspace).
		WithContext(ctx).Consistency(gocql.LocalOne).Scan(&options)
	if errors.Is(err, gocql.ErrNotFound) {
		return Replication{}, missingSchema(keyspace, "the keyspace does not exist")
	}
	if err != nil {
		return Replication{}, fmt.Errorf("read replication of keyspace %s: %w", keyspace, err)
	}
	return replicationFrom(options)
}

func replicationFrom(options map[string]string) (Replication, error) {
	class := options["class"]
	class = class[strings.LastIndexByte(class, '.')+1:]
	r := Replication{DCs: map[string]int{}}
	for name, value := range options {
		if name == "class" {
			continue
		}
		// "3/1" is three replicas of which one is transient.
		full, _, _ := strings.Cut(value, "/")
		n, err := strconv.Atoi(full)
		if err != nil {
			return Replication{}, fmt.Errorf("replication option %s: %q is no number", name, value)
		}
		r.DCs[name] = n
	}
	switch class {
	case "SimpleStrategy":
		return Replication{Simple: r.DCs["replication_factor"]}, nil
	case "NetworkTopologyStrategy":
		return r, nil
	}
	return Replication{}, fmt.Errorf("replication by %s is not known here; use SimpleStrategy or NetworkTopologyStrategy", class)
}
