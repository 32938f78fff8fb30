package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"tidemill/internal/cassandra"
	"tidemill/internal/kafka"
	"tidemill/internal/s3"
	"tidemill/internal/stack"
	"tidemill/jobs"
)

// names are what the demo owns on its servers.
type names struct {
	keyspace, topic, bucket, path string
}

// declared are the names in the jobs' files.
func declared() names {
	return names{keyspace: "tidemill_demo", topic: "tidemill_demo_events", bucket: "tidemill-demo", path: "/tidemill-demo"}
}

// own are the names on servers that others use too.
func own() names {
	n, suffix := declared(), strings.ToLower(rand.Text()[:8])
	return names{
		keyspace: n.keyspace + "_" + suffix, topic: "tidemill_demo_" + suffix + "_events",
		bucket: n.bucket + "-" + suffix, path: n.path + "-" + suffix,
	}
}

// group is the writer's consumer group, as its file names it.
func (n names) group() string { return n.topic + "-to-cassandra" }

// replacer gives a job's file the run's own names and addresses.
func (d *demo) replacer() *strings.Replacer {
	file := declared()
	return strings.NewReplacer(
		file.topic, d.names.topic, file.keyspace, d.names.keyspace, file.bucket, d.names.bucket,
		"http://127.0.0.1:8470", d.schedulers[0].url, "127.0.0.1:9042", strings.Join(d.at.Cassandra, ","),
		"[tidemill, data", "["+d.Program+", data",
	)
}

// racks of the three Cassandra nodes.
var racks = [...]string{"r1", "r2", "r3"}

// startServers starts the servers that the user has not named. One replica of
// each row, on one of three nodes, so that it matters where work runs.
func (d *demo) startServers(ctx context.Context) error {
	d.at, d.names = d.Servers, declared()
	o := stack.Options{
		Kafka: len(d.at.Kafka) == 0, S3: d.at.S3.Endpoint == "",
		Dir: filepath.Join(d.dir, "servers"), Log: d.Log, Progress: func(line string) { d.screen.say("%s", line) },
	}
	if d.at.ZooKeeper == "" {
		o.ZooKeeper = 1
	}
	if len(d.at.Cassandra) == 0 {
		o.Cassandra = stack.Nodes(len(racks), nil, racks[:])
	}
	if d.at.ZooKeeper != "" || !o.Kafka || len(d.at.Cassandra) > 0 || !o.S3 {
		d.names = own()
		d.screen.say("on your servers, this run makes keyspace %s, topic %s, bucket %s and path %s of ZooKeeper, and leaves them there", d.names.keyspace, d.names.topic, d.names.bucket, d.names.path)
	}
	if o.ZooKeeper > 0 || o.Kafka || len(o.Cassandra) > 0 || o.S3 {
		if err := os.Mkdir(o.Dir, 0o755); err != nil {
			return fmt.Errorf("make a folder for the servers: %w", err)
		}
		started, err := stack.Start(ctx, o)
		if err != nil {
			return err
		}
		d.onClose(func() { d.stopServers(started) })
		d.adopt(started.Addresses())
	}
	return nil
}

// stopServers kills them: nobody needs what they hold any more.
func (d *demo) stopServers(s *stack.Stack) {
	for _, server := range s.Servers() {
		if err := server.Kill(); err != nil {
			d.Log.Warn().Err(err).Str("server", server.Name()).Msg("cannot kill the server")
		}
	}
	if err := s.Stop(); err != nil {
		d.Log.Warn().Err(err).Msg("cannot end the servers")
	}
}

// adopt takes the addresses of what was started.
func (d *demo) adopt(started stack.Addresses) {
	if d.at.ZooKeeper == "" {
		d.at.ZooKeeper = started.ZooKeeper
	}
	if len(d.at.Kafka) == 0 {
		d.at.Kafka = started.Kafka
	}
	if len(d.at.Cassandra) == 0 {
		d.at.Cassandra = started.Cassandra
	}
	if d.at.S3.Endpoint == "" {
		d.at.S3 = started.S3
	}
}

// applySchema makes what the jobs need by the command that users have for it,
// and opens what the checks read by.
func (d *demo) applySchema(ctx context.Context) error {
	text, err := d.output(ctx, "schema", "apply", "--keyspace", d.names.keyspace, "--topic", d.names.topic, "--bucket", d.names.bucket)
	if err != nil {
		return err
	}
	d.screen.say("made %d tables, topics and a bucket", strings.Count(text, "table"))
	if d.session, err = cassandra.Open(ctx, jobs.CassandraConnection{Hosts: d.at.Cassandra}, d.names.keyspace, d.Log); err != nil {
		return err
	}
	d.onClose(d.session.Close)
	if d.kafka, err = kafka.New(jobs.KafkaConnection{Brokers: d.at.Kafka}); err != nil {
		return err
	}
	d.onClose(d.kafka.Close)
	at := d.at.S3
	d.bucket, err = s3.NewBucket(jobs.S3Connection{Endpoint: at.Endpoint, Region: at.Region, AccessKey: at.AccessKey, SecretKey: at.SecretKey}, d.names.bucket)
	return err
}

// output runs a command of the program on the demo's servers.
func (d *demo) output(ctx context.Context, args ...string) (string, error) {
	// The parent-death signal is tied to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, d.Program, args...)
	cmd.Env = environment(d.at.Environment(stack.UserPrefix))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("tidemill %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(problems.String()))
	}
	return string(out), nil
}
