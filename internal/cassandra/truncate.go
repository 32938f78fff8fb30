package cassandra

import (
	"context"
	"fmt"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// Truncate empties the data's tables in a keyspace, which must have them, and
// leaves no tombstones. Every node of every data centre must be up: that is
// checked before the first table is touched.
func Truncate(ctx context.Context, conn jobs.CassandraConnection, keyspace string, log zerolog.Logger) error {
	if err := CheckKeyspace(keyspace); err != nil {
		return &jobs.Error{Code: jobs.Invalid, Op: "truncate", Err: err}
	}
	sess, err := connect(conn, keyspace, log, true)
	if err != nil {
		return err
	}
	defer sess.Close()
	if err := sess.Verify(ctx, Data()); err != nil {
		return err
	}
	if err := sess.agreed(ctx); err != nil {
		return &jobs.Error{Code: jobs.Unavailable, Op: "truncate", Subject: "keyspace " + keyspace, Err: err,
			Hint: "nothing was removed; every node must be up"}
	}
	for _, t := range Data().Names() {
		if err := sess.Query("TRUNCATE " + keyspace + "." + t).WithContext(ctx).RetryPolicy(nil).Exec(); err != nil {
			return fmt.Errorf("truncate table %s.%s: %w (run the command again: tables before it are empty)", keyspace, t, err)
		}
	}
	return nil
}
