package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/gocql/gocql"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// archiveClasses makes the archives of parsed classes that are missing, which halve the time that
// a server takes to start: the servers do a little work, and write down what they loaded when they
// end. Servers start without archives too, so only what makes starting pointless is an error.
func (f fetcher) archiveClasses(ctx context.Context, o Options, p programs) error {
	if p.withoutArchive(o).isEmpty() {
		return nil
	}
	unlock, err := f.cache.lock(ctx, "class-archives")
	if err != nil {
		return err
	}
	defer unlock()
	missing := p.withoutArchive(o)
	if missing.isEmpty() {
		return nil
	}
	defer f.tell("preparing the servers to start fast")()
	if err := f.warmUp(ctx, missing, p); err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrNoJava) { // another JVM than the one that downloaded them
			return err
		}
		f.cache.say("the servers will start slowly: %v", err)
		return markFailed(missing, p, err)
	}
	return nil
}

// warmUp runs one server of each kind and puts the archives that they write in their places.
func (f fetcher) warmUp(ctx context.Context, kinds kinds, p programs) (err error) {
	dir, err := os.MkdirTemp(f.cache.dir, ".warm-up-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	warm := kinds.options()
	// A directory of its own makes Stop end the servers in good order, in which they archive.
	warm.Dir = filepath.Join(dir, "data")
	dumping := p
	for _, program := range dumping.java(kinds) {
		if err := program.java.check(ctx); err != nil {
			return err
		}
		program.dump = true
		program.archive = filepath.Join(dir, filepath.Base(program.dir)+".jsa")
	}
	s := newStack()
	err = s.run(ctx, warm, dumping)
	if err == nil {
		err = exercise(ctx, s.Addresses())
	}
	if err := errors.Join(err, s.Stop()); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	places := p.java(kinds)
	for i, program := range dumping.java(kinds) {
		if err := os.Rename(program.archive, places[i].archive); err != nil {
			return fmt.Errorf("warm up: keep the class archive: %w", err)
		}
	}
	return nil
}

// markFailed leaves empty files, which JVMs ignore, in the place of archives, so that a machine on
// which they cannot be made loses the time once and not at each start.
func markFailed(kinds kinds, p programs, cause error) error {
	for _, program := range p.java(kinds) {
		if err := os.WriteFile(program.archive, nil, 0o644); err != nil {
			return errors.Join(cause, err)
		}
	}
	return nil
}

// kinds are the Java servers that something is done for.
type kinds struct {
	zookeeper, kafka, cassandra bool
}

func (k kinds) isEmpty() bool { return k == kinds{} }

func (k kinds) options() Options {
	var o Options
	if k.zookeeper {
		o.ZooKeeper = 1
	}
	o.Kafka = k.kafka
	if k.cassandra {
		o.Cassandra = Nodes(1, nil, nil)
	}
	return o
}

func (p programs) withoutArchive(o Options) kinds {
	return kinds{
		zookeeper: o.ZooKeeper > 0 && !exists(p.zookeeper.archive),
		kafka:     o.Kafka && !exists(p.kafka.archive),
		cassandra: len(o.Cassandra) > 0 && !exists(p.cassandra.archive),
	}
}

func (p *programs) java(k kinds) []*program {
	var list []*program
	if k.zookeeper {
		list = append(list, &p.zookeeper)
	}
	if k.kafka {
		list = append(list, &p.kafka)
	}
	if k.cassandra {
		list = append(list, &p.cassandra)
	}
	return list
}

// exercise makes servers load the classes of ordinary work.
func exercise(ctx context.Context, a Addresses) error {
	var err error
	if a.ZooKeeper != "" {
		err = errors.Join(err, exerciseZooKeeper(a.ZooKeeper))
	}
	if len(a.Kafka) > 0 {
		err = errors.Join(err, exerciseKafka(ctx, a.Kafka))
	}
	if len(a.Cassandra) > 0 {
		err = errors.Join(err, exerciseCassandra(ctx, a.Cassandra[0]))
	}
	return err
}

func exerciseZooKeeper(address string) error {
	conn, _, err := zk.Connect([]string{address}, 10*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		return fmt.Errorf("exercise ZooKeeper: %w", err)
	}
	defer conn.Close()
	acl := zk.WorldACL(zk.PermAll)
	_, err = conn.CreateProtectedEphemeralSequential("/exercise-", nil, acl)
	if err == nil {
		_, err = conn.Multi(
			&zk.CreateRequest{Path: "/exercise", Acl: acl},
			&zk.SetDataRequest{Path: "/exercise", Data: []byte("done"), Version: -1},
			&zk.DeleteRequest{Path: "/exercise", Version: -1})
	}
	if err != nil {
		return fmt.Errorf("exercise ZooKeeper: %w", err)
	}
	return nil
}

func exerciseKafka(ctx context.Context, brokers []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const topic = "exercise"
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(topic))
	if err != nil {
		return fmt.Errorf("exercise Kafka: %w", err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, topic); err != nil {
		return fmt.Errorf("exercise Kafka: create a topic: %w", err)
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("done")}).FirstErr(); err != nil {
		return fmt.Errorf("exercise Kafka: produce: %w", err)
	}
	if err := client.PollFetches(ctx).Err(); err != nil {
		return fmt.Errorf("exercise Kafka: consume: %w", err)
	}
	if err := client.CommitUncommittedOffsets(ctx); err != nil {
		return fmt.Errorf("exercise Kafka: commit: %w", err)
	}
	return nil
}

func exerciseCassandra(ctx context.Context, address string) error {
	session, err := sessionTo(address)
	if err != nil {
		return fmt.Errorf("exercise Cassandra: %w", err)
	}
	defer session.Close()
	for _, statement := range []string{
		`CREATE KEYSPACE exercise WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
		`CREATE TABLE exercise.done (id uuid PRIMARY KEY, at timestamp)`,
		`INSERT INTO exercise.done (id, at) VALUES (uuid(), toTimestamp(now()))`,
	} {
		if err := session.Query(statement).WithContext(ctx).Exec(); err != nil {
			return fmt.Errorf("exercise Cassandra: %s: %w", statement, err)
		}
	}
	var rows int
	id := gocql.TimeUUID()
	err = session.Query(`INSERT INTO exercise.done (id, at) VALUES (?, ?)`, id, time.Now()).WithContext(ctx).Exec()
	if err == nil {
		err = session.Query(`SELECT count(*) FROM exercise.done WHERE token(id) > ?`, int64(-1<<63)).WithContext(ctx).Scan(&rows)
	}
	if err != nil {
		return fmt.Errorf("exercise Cassandra: %w", err)
	}
	return nil
}
