package stack_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/gocql/gocql"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
)

// starterVariable makes the test binary start servers, print their pids and wait to be killed.
const starterVariable = "STACK_TEST_STARTER"

func TestMain(m *testing.M) {
	if os.Getenv(starterVariable) != "" {
		if err := playStarter(); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func playStarter() error {
	s, err := stack.Start(context.Background(), stack.Options{ZooKeeper: 1, S3: true})
	if err != nil {
		return err
	}
	var pids []string
	for _, server := range s.Servers() {
		pids = append(pids, strconv.Itoa(server.Pid()))
	}
	fmt.Println(strings.Join(pids, " "))
	<-s.Servers()[0].Done()
	return errors.New("a server ended before its starter")
}

func start(t *testing.T, o stack.Options) *stack.Stack {
	t.Helper()
	stacktest.Require(t)
	o.Log = zerolog.New(zerolog.NewTestWriter(t))
	o.Progress = func(line string) { t.Log(line) }
	began := time.Now()
	s, err := stack.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started after %.2f s", time.Since(began).Seconds())
	t.Cleanup(func() {
		if err := errors.Join(s.Stop(), s.Stop()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// crash kills a server and starts it again over the same data.
func crash(t *testing.T, server *stack.Server) {
	t.Helper()
	pid := server.Pid()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-server.Done():
	default:
		t.Fatalf("%s is not done after Kill", server.Name())
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("%s still lives after Kill: %v", server.Name(), err)
	}
	began := time.Now()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if server.Pid() == pid {
		t.Errorf("%s has pid %d as before its restart", server.Name(), pid)
	}
	t.Logf("%s: restarted after a kill in %.2f s", server.Name(), time.Since(began).Seconds())
}

func TestSingleServersKeepWhatTheyAcknowledgedThroughAKill(t *testing.T) {
	s := start(t, stack.Single())
	a := s.Addresses()
	for _, test := range []struct {
		server      string
		write, read func(*testing.T, stack.Addresses)
	}{
		{"zookeeper-1", writeZooKeeper, readZooKeeper},
		{"kafka", writeKafka, readKafka},
		{"cassandra-1", writeCassandra, readCassandra},
		{"s3", writeS3, readS3},
	} {
		t.Run(test.server, func(t *testing.T) {
			server := s.Server(test.server)
			if server == nil {
				t.Fatalf("no server %s in the stack", test.server)
			}
			test.write(t, a)
			crash(t, server)
			test.read(t, a)
		})
	}
	if got := s.Server("zookeeper-2"); got != nil {
		t.Errorf("got a server that is not there: %s", got.Name())
	}
}

func connectZooKeeper(t *testing.T, servers string) *zk.Conn {
	t.Helper()
	conn, _, err := zk.Connect(strings.Split(servers, ","), 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func writeZooKeeper(t *testing.T, a stack.Addresses) {
	if _, err := connectZooKeeper(t, a.ZooKeeper).Create("/kept", []byte("value"), 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
}

func readZooKeeper(t *testing.T, a stack.Addresses) {
	value, _, err := connectZooKeeper(t, a.ZooKeeper).Get("/kept")
	if err != nil || string(value) != "value" {
		t.Errorf("got %q, %v", value, err)
	}
}

const records = 100

func writeKafka(t *testing.T, a stack.Addresses) {
	client, err := kgo.NewClient(kgo.SeedBrokers(a.Kafka...), kgo.DefaultProduceTopic("kept"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, "kept"); err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(strconv.Itoa(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func readKafka(t *testing.T, a stack.Addresses) {
	client, err := kgo.NewClient(kgo.SeedBrokers(a.Kafka...), kgo.ConsumeTopics("kept"), kgo.FetchMaxWait(250*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for next := 0; next < records; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if string(record.Value) != strconv.Itoa(next) {
				t.Fatalf("record %d is %q", next, record.Value)
			}
			next++
		})
	}
}

func connectCassandra(t *testing.T, addresses ...string) *gocql.Session {
	t.Helper()
	cluster := gocql.NewCluster(addresses...)
	cluster.ProtoVersion, cluster.Timeout = 4, 10*time.Second
	// What a node knows is asked of that node: the driver would go on to the others.
	cluster.DisableInitialHostLookup = true
	session, err := cluster.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

func execute(t *testing.T, session *gocql.Session, statement string, values ...any) {
	t.Helper()
	if err := session.Query(statement, values...).WithContext(t.Context()).Exec(); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func writeCassandra(t *testing.T, a stack.Addresses) {
	session := connectCassandra(t, a.Cassandra...)
	execute(t, session, `CREATE KEYSPACE kept WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`)
	execute(t, session, `CREATE TABLE kept.row (id int PRIMARY KEY)`)
	for i := range records {
		execute(t, session, `INSERT INTO kept.row (id) VALUES (?)`, i)
	}
}

func readCassandra(t *testing.T, a stack.Addresses) {
	var got int
	err := connectCassandra(t, a.Cassandra...).Query(`SELECT count(*) FROM kept.row`).WithContext(t.Context()).Scan(&got)
	if err != nil || got != records {
		t.Errorf("got %d of %d rows, %v", got, records, err)
	}
}

func TestCassandraNodesKnowEachOtherAndTheirPlaces(t *testing.T) {
	nodes := stack.Nodes(3, []string{"write", "analytics"}, []string{"r1", "r2"})
	s := start(t, stack.Options{Cassandra: nodes})
	addresses := s.Addresses().Cassandra
	session := connectCassandra(t, addresses[0])
	execute(t, session, `CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'write': 2, 'analytics': 1}`)
	if err := stack.AwaitAgreement(t.Context(), addresses); err != nil {
		t.Fatal(err)
	}
	var got []stack.Node
	for _, table := range []string{"system.local", "system.peers_v2"} {
		rows := session.Query(`SELECT data_center, rack FROM ` + table).WithContext(t.Context()).Iter()
		var node stack.Node
		for rows.Scan(&node.DataCenter, &node.Rack) {
			got = append(got, node)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(got, func(a, b stack.Node) int { return strings.Compare(a.DataCenter+a.Rack, b.DataCenter+b.Rack) })
	want := []stack.Node{{"analytics", "r1"}, {"write", "r1"}, {"write", "r2"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places of the nodes (-want +got):\n%s", diff)
	}
}

func TestAnEnsembleServesWithoutOneOfItsServers(t *testing.T) {
	s := start(t, stack.Options{ZooKeeper: 3})
	conn := connectZooKeeper(t, s.Addresses().ZooKeeper)
	if _, err := conn.Create("/kept", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	if err := s.Servers()[2].Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a write with two of three servers", func() error {
		_, err := conn.Set("/kept", []byte("two"), -1)
		return err
	})
	if err := s.Servers()[2].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := connectZooKeeper(t, s.Servers()[2].Address())
	eventually(t, "the third server to catch up", func() error {
		if value, _, err := third.Get("/kept"); err != nil || string(value) != "two" {
			return fmt.Errorf("got %q, %v", value, err)
		}
		return nil
	})
}

// eventually tries until it works, for what real processes do in their own time.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("wait for %s: %v", what, err)
		case <-ticker.C:
		}
	}
}

func TestNothingOutlivesAKilledStarter(t *testing.T) {
	stacktest.Require(t)
	// What the starter cannot remove any more is removed with the test's directory.
	dir := t.TempDir()
	starter := exec.CommandContext(t.Context(), os.Args[0])
	starter.Env = append(os.Environ(), starterVariable+"=yes", "TMPDIR="+dir)
	starter.Stderr = os.Stderr
	output, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	if !lines.Scan() {
		t.Fatalf("the starter printed nothing: %v", lines.Err())
	}
	pids := strings.Fields(lines.Text())
	if len(pids) != 2 {
		t.Fatalf("the starter printed %q, want two pids", lines.Text())
	}
	if err := starter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = starter.Wait()
	for _, pid := range pids {
		eventually(t, "server "+pid+" to end", func() error { return gone(pid) })
	}
}

// gone says whether a process, or more than the zombie of one, is there.
func gone(pid string) error {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if errors.Is(err, os.ErrNotExist) || strings.Contains(string(stat), ") Z ") {
		return nil
	}
	return fmt.Errorf("process %s is there: %q, %v", pid, stat, err)
}

func TestATakenPortIsNamed(t *testing.T) {
	s := start(t, stack.Options{S3: true})
	host, port, _ := strings.Cut(strings.TrimPrefix(s.Addresses().S3.Endpoint, "http://"), ":")
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	listen(t, "127.0.0.1:"+port)
	_, err = stack.Start(t.Context(), stack.Options{S3: true, Ports: stack.Ports{S3: number}})
	var taken *stack.PortTakenError
	if !errors.As(err, &taken) {
		t.Fatalf("got %v, want a PortTakenError", err)
	}
	if diff := cmp.Diff(&stack.PortTakenError{Server: "S3", Host: "127.0.0.1", Port: number}, taken); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if host == "127.0.0.1" {
		t.Errorf("a stack without fixed ports took %s, where a user's own servers are", host)
	}
}

// listen takes an address until the test ends, unless something has it already.
func listen(t *testing.T, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
}

func TestWithoutJavaTheErrorSaysWhatToRun(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := stack.Start(t.Context(), stack.Options{ZooKeeper: 1, Cache: t.TempDir()})
	if !errors.Is(err, stack.ErrNoJava) || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("got %v, want ErrNoJava naming make setup", err)
	}
}

func TestAServerThatDiesWhileItStartsIsReported(t *testing.T) {
	stacktest.Require(t)
	dir := t.TempDir()
	// A file in the place of its data directory.
	if err := errors.Join(os.MkdirAll(dir+"/s3", 0o755), os.WriteFile(dir+"/s3/data", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Start(t.Context(), stack.Options{S3: true, Dir: dir}); err == nil || !strings.Contains(err.Error(), "s3") {
		t.Errorf("got %v, want an error naming s3", err)
	}
	cache := t.TempDir()
	bad := cache + "/versitygw-v1.8.0"
	script := []byte("#!/bin/sh\necho no such thing as a bucket\nexit 7\n")
	if err := errors.Join(os.MkdirAll(bad, 0o755), os.WriteFile(bad+"/versitygw", script, 0o755)); err != nil {
		t.Fatal(err)
	}
	_, err := stack.Start(t.Context(), stack.Options{S3: true, Cache: cache})
	for _, want := range []string{"s3", "exit status 7", "no such thing as a bucket"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestDataOfAnotherStackIsRefused(t *testing.T) {
	stacktest.Require(t)
	dir := t.TempDir()
	o := stack.Options{ZooKeeper: 1, Dir: dir}
	s, err := stack.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	o.ZooKeeper = 3
	if _, err := stack.Start(t.Context(), o); !errors.Is(err, stack.ErrOtherData) {
		t.Errorf("got %v, want ErrOtherData", err)
	}
}

func TestAServerCannotBeRestartedAfterItsStackWasStopped(t *testing.T) {
	// A directory of its own, which Stop keeps.
	s := start(t, stack.Options{S3: true, Dir: t.TempDir()})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Server("s3").Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("got %v, want an error saying that the stack was stopped", err)
	}
}

func TestASilentClientDoesNotHoldUpTheEnd(t *testing.T) {
	s := start(t, stack.Options{S3: true, Dir: t.TempDir()})
	conn, err := net.Dial("tcp", s.Server("s3").Address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	began := time.Now()
	if err := s.Server("s3").Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to stop", took)
	}
}

func TestAServerMayBeKilledWhileItStarts(t *testing.T) {
	s := start(t, stack.Options{Kafka: true})
	kafka := s.Server("kafka")
	first := kafka.Pid()
	restarted := make(chan error, 1)
	go func() { restarted <- kafka.Restart(t.Context()) }()
	eventually(t, "the new life", func() error {
		if kafka.Pid() == first {
			return errors.New("still the first life")
		}
		return nil
	})
	if err := kafka.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-restarted; err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
		t.Errorf("restart: got %v, want an error saying that it ended", err)
	}
	crash(t, kafka)
}

func TestOptionsAreValidated(t *testing.T) {
	for name, o := range map[string]stack.Options{
		"nothing":       {},
		"two ZooKeeper": {ZooKeeper: 2},
		"many nodes":    {Cassandra: stack.Nodes(100, nil, nil)},
	} {
		if _, err := stack.Start(t.Context(), o); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
