// Package cassandratest gives tests a keyspace of their own on the run's
// Cassandra.
package cassandratest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
)

// Connection is the connection to the run's Cassandra; the test is skipped
// where there is none.
func Connection(t testing.TB) jobs.CassandraConnection {
	t.Helper()
	return jobs.CassandraConnection{Hosts: stacktest.Shared(t).Cassandra}
}

// Keyspace makes a keyspace with the data's tables and drops it at the test's
// end. It takes a second: make one for all tests of a package, as subtests,
// and tell their rows apart by random ids.
func Keyspace(t testing.TB) *cassandra.Session {
	t.Helper()
	return KeyspaceOf(t, cassandra.Data())
}

// KeyspaceOf is Keyspace with other tables.
func KeyspaceOf(t testing.TB, tables cassandra.TableSet) *cassandra.Session {
	t.Helper()
	conn := Connection(t)
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	name := fmt.Sprintf("test_%016x", rand.Uint64())
	schema := cassandra.Schema{Keyspace: name, Replication: cassandra.Replication{Simple: 1}, Tables: tables}
	if _, err := schema.Apply(t.Context(), conn, log); err != nil {
		t.Fatal(err)
	}
	s, err := cassandra.Connect(conn, name, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer s.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Query("DROP KEYSPACE " + name).WithContext(ctx).RetryPolicy(nil).Exec(); err != nil {
			t.Errorf("drop keyspace %s: %v", name, err)
		}
	})
	return s
}
