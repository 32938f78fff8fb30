package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/config"
	"tidemill/internal/kafka"
	"tidemill/internal/s3"
	"tidemill/jobs"
)

// schemaCmd makes keyspace, tables, topics and bucket. No job ever does:
// concurrent CREATEs break Cassandra's schema.
type schemaCmd struct {
	Apply schemaApply `cmd:"" help:"Make the keyspace with its tables, the topics and the bucket, where they are missing."`
	Show  schemaShow  `cmd:"" help:"Print what apply makes."`
}

// schemaFlags name what is to be there.
type schemaFlags struct {
	Keyspace    string `default:"tidemill" env:"TIDEMILL_KEYSPACE" help:"Cassandra keyspace (default ${default})."`
	Replication string `default:"SimpleStrategy:1" placeholder:"SimpleStrategy:N|DC:N,..." help:"Replication of a keyspace that is made (default ${default})."`
	Topic       string `default:"raw_events" help:"Kafka topic of events (default ${default}); its quarantine is made too."`
	Partitions  int32  `default:"6" help:"Partitions of a topic that is made (default ${default})."`
	Replicas    int16  `placeholder:"N" help:"Replicas of a topic that is made (default: the brokers' own)."`
	Bucket      string `default:"tidemill" help:"S3 bucket of archives (default ${default})."`

	HistoryKeyspace string `env:"TIDEMILL_HISTORY_KEYSPACE" placeholder:"NAME" help:"Cassandra keyspace of finished runs, where schedulers keep them there."`
}

func (f schemaFlags) topics() []kafka.Topic {
	return []kafka.Topic{
		{Name: f.Topic, Partitions: f.Partitions, Replicas: f.Replicas},
		{Name: kafka.QuarantineTopic(f.Topic), Partitions: 1, Replicas: f.Replicas, Compact: true},
	}
}

// schemas are the data's and, where its keyspace is named, the run history's.
func (f schemaFlags) schemas() ([]cassandra.Schema, error) {
	r, err := cassandra.ParseReplication(f.Replication)
	if err != nil {
		return nil, &exitError{Code: exitUsage, Err: err}
	}
	list := []cassandra.Schema{{Keyspace: f.Keyspace, Replication: r, Tables: cassandra.Data()}}
	if f.HistoryKeyspace != "" {
		list = append(list, cassandra.Schema{Keyspace: f.HistoryKeyspace, Replication: r, Tables: cassandra.RunHistory()})
	}
	for _, s := range list {
		if err := cassandra.CheckKeyspace(s.Keyspace); err != nil {
			return nil, &exitError{Code: exitUsage, Err: err}
		}
	}
	return list, nil
}

type schemaApply struct {
	schemaFlags
	Cassandra   []string `env:"TIDEMILL_CASSANDRA" placeholder:"HOST[:PORT],..." help:"Cassandra nodes."`
	CassandraDC string   `name:"cassandra-dc" env:"TIDEMILL_CASSANDRA_DC" placeholder:"NAME" help:"Data centre to connect to."`
	Kafka       []string `env:"TIDEMILL_KAFKA" placeholder:"HOST:PORT,..." help:"Kafka brokers."`
	S3          string   `name:"s3" env:"TIDEMILL_S3" placeholder:"URL" help:"S3 as http://KEY:SECRET@host:port?region=NAME."`
	Config      string   `type:"existingfile" env:"TIDEMILL_CONFIG" placeholder:"FILE" help:"Configuration file whose default connections are used."`
}

// applyWait bounds the whole of apply: its servers answer within seconds, or
// are not there.
const applyWait = 3 * time.Minute

// made is one thing that apply looked after.
type made struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Made bool   `json:"made"` // false: it was there
}

// Run makes what is missing on each server that has an address.
func (c *schemaApply) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, applyWait)
	defer cancel()
	options, err := config.Flags{Config: c.Config, Cassandra: c.Cassandra, CassandraDC: c.CassandraDC, Kafka: c.Kafka, S3: c.S3}.Options("")
	if err != nil {
		return err
	}
	to := options.Connections
	var list []made
	c.HistoryKeyspace = cmp.Or(c.HistoryKeyspace, options.History.Keyspace)
	schemas, err := c.schemas()
	if err != nil {
		return err
	}
	for i, name := range []string{jobs.DefaultConnection, options.History.Cassandra}[:len(schemas)] {
		if conn, ok := to.Cassandra[name]; ok {
			if list, err = makeTables(ctx, schemas[i], conn, log, list); err != nil {
				return err
			}
		}
	}
	if conn, ok := to.Kafka[jobs.DefaultConnection]; ok {
		if list, err = c.makeTopics(ctx, conn, list); err != nil {
			return err
		}
	}
	if conn, ok := to.S3[jobs.DefaultConnection]; ok {
		if list, err = c.makeBucket(ctx, conn, list); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("no server to make a schema on: give --cassandra, --kafka or --s3; " +
			"development servers are started by: tidemill stack up, and named by: eval \"$(tidemill stack env)\"")}
	}
	return g.print(out, list, func(w io.Writer) {
		row(w, "KIND", "NAME", "STATE")
		for _, m := range list {
			state := "was there"
			if m.Made {
				state = "made"
			}
			row(w, m.Kind, m.Name, state)
		}
	})
}

func makeTables(ctx context.Context, s cassandra.Schema, conn jobs.CassandraConnection, log zerolog.Logger, list []made) ([]made, error) {
	names, err := s.Apply(ctx, conn, log)
	if err != nil {
		return list, err
	}
	fresh := set(names)
	list = append(list, made{"keyspace", s.Keyspace, fresh[s.Keyspace]})
	for _, t := range s.Tables.Names() {
		name := s.Keyspace + "." + t
		list = append(list, made{"table", name, fresh[name]})
	}
	return list, nil
}

func (c *schemaApply) makeTopics(ctx context.Context, conn jobs.KafkaConnection, list []made) ([]made, error) {
	client, err := kafka.New(conn)
	if err != nil {
		return list, err
	}
	defer client.Close()
	ping, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := kafka.Ping(ping, client); err != nil {
		return list, err
	}
	names, err := kafka.CreateTopics(ctx, client, c.topics()...)
	if err != nil {
		return list, err
	}
	fresh := set(names)
	for _, t := range c.topics() {
		list = append(list, made{"topic", t.Name, fresh[t.Name]})
	}
	return list, nil
}

func (c *schemaApply) makeBucket(ctx context.Context, conn jobs.S3Connection, list []made) ([]made, error) {
	bucket, err := s3.NewBucket(conn, c.Bucket)
	if err != nil {
		return list, err
	}
	fresh, err := bucket.Create(ctx)
	if err != nil {
		return list, err
	}
	return append(list, made{"bucket", c.Bucket, fresh}), nil
}

func set(names []string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}

type schemaShow struct{ schemaFlags }

// Run prints the statements; it needs no server.
func (c *schemaShow) Run(g *globals, out console) error {
	schemas, err := c.schemas()
	if err != nil {
		return err
	}
	doc := struct {
		CQL    []string `json:"cql"`
		Topics []string `json:"topics"`
		Bucket string   `json:"bucket"`
	}{Bucket: c.Bucket}
	for _, s := range schemas {
		doc.CQL = append(doc.CQL, s.Statements()...)
	}
	for _, t := range c.topics() {
		doc.Topics = append(doc.Topics, t.Name)
	}
	return g.print(out, doc, func(w io.Writer) {
		for _, s := range doc.CQL {
			_, _ = fmt.Fprintln(w, s+";")
		}
		for _, t := range doc.Topics {
			_, _ = fmt.Fprintln(w, "-- topic "+t)
		}
		_, _ = fmt.Fprintln(w, "-- bucket "+doc.Bucket)
	})
}
