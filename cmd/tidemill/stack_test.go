package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/internal/config"
	"tidemill/internal/stack"
	"tidemill/internal/stack/supervisor"
)

// onlyS3 is the one server that starts without Java, at once.
var onlyS3 = serverFlags{ZooKeeper: 1, CassandraNodes: 1, NoZooKeeper: true, NoKafka: true, NoCassandra: true}

func runUnderServers(t *testing.T, command ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil && os.Getenv("CI") == "" || testing.Short() {
		t.Skip("starts a real server: needs go to build it")
	}
	var out bytes.Buffer
	c := console{In: strings.NewReader(""), Out: &out, Err: t.Output()}
	err := (&stackRun{serverFlags: onlyS3, Command: command}).Run(t.Context(), c, zerolog.Nop())
	return out.String(), err
}

func TestStackRunGivesTheCommandItsServers(t *testing.T) {
	t.Setenv("TIDEMILL_ZK", "")
	out, err := runUnderServers(t, "--", "sh", "-c", `echo "$TIDEMILL_TEST_RUN $TIDEMILL_TEST_S3 $TIDEMILL_TEST_ZK$TIDEMILL_ZK"`)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out, "1 http://tidemill:") || !strings.HasSuffix(out, "region=us-east-1 \n") {
		t.Errorf("the command saw %q, want the S3 server and no other", out)
	}
}

func TestStackRunEndsWithTheCommandsExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 7": 7, "kill -9 $$": 128 + 9} {
		_, err := runUnderServers(t, "sh", "-c", script)
		var exit *exitError
		if !errors.As(err, &exit) || exit.Code != want {
			t.Errorf("%s: got %v, want exit code %d", script, err, want)
		}
	}
	if _, err := runUnderServers(t, "/no/such/command"); err == nil || !strings.Contains(err.Error(), "/no/such/command") {
		t.Errorf("got %v, want an error naming the command", err)
	}
}

// TestACommandEndsWithAKilledStackRun: its servers are gone, and nobody waits for it.
func TestACommandEndsWithAKilledStackRun(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil && os.Getenv("CI") == "" || testing.Short() {
		t.Skip("starts a real server: needs go to build it")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), self, "stack", "run", "--no-zookeeper", "--no-kafka", "--no-cassandra", "--",
		"sh", "-c", "echo started; exec sleep 1000")
	run.Stderr = t.Output()
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "started\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(lines); err != nil { // until nobody holds its output any more
		t.Error(err)
	}
	_ = run.Wait() // it was killed
}

func TestStackRunNeedsACommand(t *testing.T) {
	err := (&stackRun{serverFlags: onlyS3, Command: []string{"--"}}).Run(t.Context(), console{}, zerolog.Nop())
	if err == nil || !strings.Contains(err.Error(), "tidemill stack run") {
		t.Errorf("got %v, want an error that shows the usage", err)
	}
}

func TestServerFlagsChooseTheServers(t *testing.T) {
	all := serverFlags{ZooKeeper: 3, CassandraNodes: 2, Racks: []string{"a", "b"}}
	want := stack.Options{
		ZooKeeper: 3, Kafka: true, S3: true,
		Cassandra: []stack.Node{{DataCenter: "dc1", Rack: "a"}, {DataCenter: "dc1", Rack: "b"}},
	}
	if got := all.options(); !got.Same(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := onlyS3.options(), (stack.Options{S3: true}); !got.Same(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLocalStartsOnlyTheServersThatTheUserHasNot(t *testing.T) {
	kafka := missingServers(config.Flags{Cassandra: []string{"c"}, S3: "http://a:b@s:1"})
	if !kafka.Same(stack.Options{Kafka: true}) {
		t.Errorf("beside a Cassandra and an S3: %+v", kafka)
	}
	all := missingServers(config.Flags{})
	if want := (stack.Options{Kafka: true, S3: true, Cassandra: stack.Nodes(1, nil, nil)}); !all.Same(want) {
		t.Errorf("of nothing: %+v, want %+v", all, want)
	}
}

func TestLocalSaysThatItsPortIsTakenBeforeItStartsServers(t *testing.T) {
	other, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var said bytes.Buffer
	args := []string{"local", "--stack", "--dir", t.TempDir(), "--listen", other.Addr().String()}
	code := run(t.Context(), args, console{In: strings.NewReader(""), Out: io.Discard, Err: &said})
	if code != exitFailed || !strings.HasPrefix(said.String(), "tidemill: listen: ") {
		t.Errorf("exit code %d: %s", code, said.String())
	}
}

func TestWithoutServersTheErrorSaysWhatToRun(t *testing.T) {
	state := stateFlag{StateDir: t.TempDir()}
	for name, err := range map[string]error{
		"status": (&stackStatus{stateFlag: state}).Run(t.Context(), &globals{}, console{}),
		"env":    (&stackEnv{stateFlag: state}).Run(&globals{}, console{}),
	} {
		if err == nil || !strings.Contains(err.Error(), "tidemill stack up") {
			t.Errorf("%s: got %v, want an error naming stack up", name, err)
		}
	}
	var told bytes.Buffer
	if err := (&stackDown{stateFlag: state, Purge: true}).Run(t.Context(), console{Err: &told}); err != nil {
		t.Errorf("down: %v", err)
	}
	if told.String() != "No servers were up.\n" {
		t.Errorf("down said %q", told.String())
	}
}

func TestStatusNamesWhatIsWrong(t *testing.T) {
	var out bytes.Buffer
	servers := []serverStatus{
		{Server: supervisor.Server{Name: "s3", Address: "127.0.0.1:7070", Pid: 12, Log: "/s/out.log"}, Healthy: true},
		{Server: supervisor.Server{Name: "kafka", Address: "127.0.0.1:9092", Log: "/k/out.log"}, Reason: "connection refused"},
	}
	g := globals{Output: "table"}
	if err := g.print(console{Out: &out}, servers, func(w io.Writer) { statusRows(w, servers) }); err != nil {
		t.Fatal(err)
	}
	want := `SERVER  PID    ADDRESS         HEALTH              LOG
s3      12     127.0.0.1:7070  ok                  /s/out.log
kafka   ended  127.0.0.1:9092  connection refused  /k/out.log
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestAServerThatEndedOrIsSilentIsAnError(t *testing.T) {
	servers := []supervisor.Server{
		{Name: "s3", Pid: 12}, {Name: "kafka", Log: "/k/out.log"}, {Name: "cassandra-1", Log: "/c/out.log"},
	}
	err := fallen(supervisor.State{Servers: servers})
	if err == nil || !strings.Contains(err.Error(), "kafka, cassandra-1 ended") || !strings.Contains(err.Error(), "/k/out.log, /c/out.log") ||
		!strings.Contains(err.Error(), "`tidemill stack down`, then `tidemill stack up`") {
		t.Errorf("got %v, want the servers that ended, their logs and what to do", err)
	}
	if err := fallen(supervisor.State{Servers: servers[:1]}); err != nil {
		t.Errorf("all are there: %v", err)
	}
	status := []serverStatus{{Server: servers[0], Healthy: true}, {Server: servers[1]}}
	if err := silent(status); err != nil {
		t.Errorf("none is silent: %v", err)
	}
	status[0].Healthy = false
	if err := silent(status); err == nil || err.Error() != "no answer from s3" {
		t.Errorf("got %v, want the silent one", err)
	}
}

func TestFlagsThatNoStackCanHaveAreRefused(t *testing.T) {
	state := t.TempDir()
	for _, flags := range []string{
		"--zookeeper 2", "--no-zookeeper --no-kafka --no-cassandra --no-s3", "--cassandra-nodes 99",
		"--kafka-port 2180", "--s3-port 9043", "--zookeeper 3 --s3-port 2183", "--zk-port 65536", "--cassandra-port 65535", "--s3-port 0",
	} {
		var said bytes.Buffer
		args := append([]string{"stack", "up", "--state-dir", state}, strings.Fields(flags)...)
		if code := run(t.Context(), args, console{In: strings.NewReader(""), Out: io.Discard, Err: &said}); code != exitUsage {
			t.Errorf("%s: exit code %d, want %d: %s", flags, code, exitUsage, said.String())
		}
	}
	if left, err := os.ReadDir(state); err != nil || len(left) > 0 {
		t.Errorf("something was begun: %v, %v", left, err)
	}
}

func TestExportsInOtherForms(t *testing.T) {
	var out bytes.Buffer
	addresses := stack.Addresses{ZooKeeper: "127.0.0.1:2181", Kafka: []string{"127.0.0.1:9092"}}
	if err := (&globals{Output: "json"}).printExports(console{Out: &out}, addresses); err != nil {
		t.Fatal(err)
	}
	want := `{
  "TIDEMILL_KAFKA": "127.0.0.1:9092",
  "TIDEMILL_ZK": "127.0.0.1:2181"
}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
}

// TestTheGreetingCanBeTyped: above all what it says removes the state, where a folder's name has blanks.
func TestTheGreetingCanBeTyped(t *testing.T) {
	for dir, want := range map[string]string{"/home/me/state": "rm -r /home/me/state)", "/a b/it's": `rm -r '/a b/it'\''s')`, "/a*": "rm -r '/a*')"} {
		text := greeting{api: "http://127.0.0.1:1", dir: dir, program: "tidemill", exports: []string{"TIDEMILL_TOKEN_FILE=" + dir}}.text()
		if !strings.Contains(text, want) {
			t.Errorf("%s: %s lacks %s", dir, text, want)
		}
		line := text[strings.Index(text, "export "):]
		said, err := exec.CommandContext(t.Context(), "sh", "-c", line[:strings.Index(line, "\n")]+`; printf %s "$TIDEMILL_TOKEN_FILE"`).Output()
		if err != nil || string(said) != dir {
			t.Errorf("%s: a shell takes %q, %v", dir, said, err)
		}
	}
}

func TestExportsCanBeEvaluated(t *testing.T) {
	var out bytes.Buffer
	addresses := stack.Addresses{
		ZooKeeper: "127.0.0.1:2181",
		S3:        stack.S3{Endpoint: "http://127.0.0.1:7070", Region: "r", AccessKey: "k", SecretKey: "it's"},
	}
	if err := (&globals{Output: "table"}).printExports(console{Out: &out}, addresses); err != nil {
		t.Fatal(err)
	}
	got, err := exec.CommandContext(t.Context(), "sh", "-c", out.String()+`echo "$TIDEMILL_ZK $TIDEMILL_S3"`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if want := "127.0.0.1:2181 http://k:it%27s@127.0.0.1:7070?region=r\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
