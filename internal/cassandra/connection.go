package cassandra

import (
	"fmt"

	"tidemill/jobs"
)

// Connection picks a named connection.
func Connection(c jobs.Connections, name string) (jobs.CassandraConnection, error) {
	if conn, ok := c.Cassandra[name]; ok {
		return conn, nil
	}
	return jobs.CassandraConnection{}, jobs.Permanent(&jobs.Error{
		Code: jobs.Invalid, Op: "connect", Subject: "cassandra connection " + name,
		Message: fmt.Sprintf("the schedulers' configuration has none of this name, only %q", sortedKeys(c.Cassandra)),
		Hint:    "add it under connections.cassandra, or name another in the job's spec",
	})
}
