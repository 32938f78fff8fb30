package kafka

import (
	"fmt"
	"slices"

	"tidemill/jobs"
)

// Connection picks a named connection.
func Connection(c jobs.Connections, name string) (jobs.KafkaConnection, error) {
	if conn, ok := c.Kafka[name]; ok {
		return conn, nil
	}
	known := make([]string, 0, len(c.Kafka))
	for n := range c.Kafka {
		known = append(known, n)
	}
	slices.Sort(known)
	return jobs.KafkaConnection{}, jobs.Permanent(&jobs.Error{
		Code: jobs.Invalid, Op: "connect", Subject: "kafka connection " + name,
		Message: fmt.Sprintf("the schedulers' configuration has none of this name, only %q", known),
		Hint:    "add it under connections.kafka, or name another in the job's spec",
	})
}
