package jobs

import (
	"fmt"
	"maps"
	"slices"
)

// Connections are the addresses and credentials of the configuration, by name.
type Connections struct {
	Kafka     map[string]KafkaConnection     `json:"kafka,omitempty"`
	Cassandra map[string]CassandraConnection `json:"cassandra,omitempty"`
	S3        map[string]S3Connection        `json:"s3,omitempty"`
}

// DefaultConnection is the name a spec means when it names none.
const DefaultConnection = "default"

// KafkaConnection reaches a Kafka cluster.
type KafkaConnection struct {
	Brokers []string `json:"brokers"`
}

// CassandraConnection reaches the nodes of one data centre.
type CassandraConnection struct {
	Hosts    []string `json:"hosts"`        // host or host:port
	DC       string   `json:"dc,omitempty"` // the data centre to talk to; LOCAL_* consistency; the hosts' own if empty
	Username string   `json:"username,omitempty"`
	Password string   `json:"password,omitempty"`
}

// S3Connection reaches an S3 endpoint.
type S3Connection struct {
	Endpoint  string `json:"endpoint,omitempty"` // empty: AWS
	Region    string `json:"region,omitempty"`
	AccessKey string `json:"access_key,omitempty"`
	SecretKey string `json:"secret_key,omitempty"`
}

// KafkaNamed picks a connection.
func (c Connections) KafkaNamed(name string) (KafkaConnection, error) {
	return named("kafka", c.Kafka, name)
}

// CassandraNamed picks a connection.
func (c Connections) CassandraNamed(name string) (CassandraConnection, error) {
	return named("cassandra", c.Cassandra, name)
}

// S3Named picks a connection.
func (c Connections) S3Named(name string) (S3Connection, error) { return named("s3", c.S3, name) }

func named[C any](system string, all map[string]C, name string) (C, error) {
	conn, ok := all[name]
	if ok {
		return conn, nil
	}
	return conn, Permanent(&Error{
		Code: Invalid, Op: "connect", Subject: system + " connection " + name,
		Message: fmt.Sprintf("the schedulers' configuration has none of this name, only %q", slices.Sorted(maps.Keys(all))),
		Hint:    "add it under connections." + system + ", or name another in the job's spec",
	})
}
