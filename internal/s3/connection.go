package s3

import (
	"fmt"
	"slices"

	"tidemill/jobs"
)

// Connection picks a named connection.
func Connection(c jobs.Connections, name string) (jobs.S3Connection, error) {
	if conn, ok := c.S3[name]; ok {
		return conn, nil
	}
	known := make([]string, 0, len(c.S3))
	for n := range c.S3 {
		known = append(known, n)
	}
	slices.Sort(known)
	return jobs.S3Connection{}, jobs.Permanent(&jobs.Error{
		Code: jobs.Invalid, Op: "connect", Subject: "s3 connection " + name,
		Message: fmt.Sprintf("the schedulers' configuration has none of this name, only %q", known),
		Hint:    "add it under connections.s3, or name another in the job's spec",
	})
}
