package mesoslocal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/internal/golden"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal/container"
	"tidemill/internal/stack/stacktest"
)

// recording is how one recording is replayed.
type recording struct {
	name string
	skip []string // connections that are left out,
	why  string   // and why
	// resent counts an update that was sent again as one: where an agent restarts, how
	// often depends on its registration's random back-off.
	resent bool
	master MasterOptions // other than those of most recordings
	agents []string      // recorded ports; default: both
	// elected are the recorded ports of masters that ZooKeeper elects, in their order; it
	// needs the real one. One registry is shared by masters with a quorum.
	elected []string
	lost    bool // the first one cannot reach ZooKeeper
}

// recordings are replayed: the local Mesos must answer as the real one did.
var recordings = []recording{
	{name: "01_subscribe_fresh"},
	{name: "02_subscribe_variants"},
	{name: "03_bad_http", skip: []string{"unknown-path"},
		why: "any path below /api/v1 reaches the operator API of a real master, whose event stream the local one has not"},
	{name: "04_task_lifecycle"},
	{name: "04b_task_killing_state"},
	{name: "04k_kill"},
	{name: "05_decline_revive_suppress"},
	{name: "05b_accept_empty"},
	{name: "06_reconcile"},
	{name: "07_launch_invalid"},
	{name: "08_failover"},
	{name: "09_teardown"},
	{name: "11_agent_files", skip: []string{"files/download"}, why: "it downloads the log of an executor of C++"},
	{name: "20_custom_executor.scheduler"},
	{name: "21_agent_recovery.scheduler", resent: true},
	{name: "22_agent_restart_nocheckpoint.scheduler"},
	{name: "23_agent_lost_partition_aware"},
	{name: "23_agent_lost_plain"},
	{name: "24_agent_stop"},
	{name: "25_second_master_redirect_zk", elected: []string{"5050", "5055"}},
	{name: "26b_launch_group_custom"},
	{name: "27_reserve_volume_ops"},
	{name: "28_offer_rescind_by_operator"},
	{name: "30_http_connection", skip: []string{
		"subscribe Accept */*", "subscribe without Accept", "subscribe Accept protobuf (binary events)",
		"subscribe Accept json;q=0.1, protobuf", "subscribe Accept-Encoding gzip", "subscribe Connection close"},
		why: "they are recorded as raw bytes, which cannot be told apart into events"},
	{name: "31_update_framework"},
	{name: "32_two_frameworks"},
	{name: "33_auth_and_offer_timeout", master: MasterOptions{
		Credentials: map[string]string{"u": "p"}, OfferTimeout: 3 * time.Second}, agents: []string{"5051"}},
	{name: "34_two_agents_accept"},
	{name: "35_nockpt_partition_aware"},
	{name: "36_agent_new_workdir"},
	{name: "37_master_failover_quorum2", elected: []string{"5072", "5071", "5073"},
		agents: []string{"5074"}, master: MasterOptions{Quorum: 2}},
	{name: "38_no_leader", elected: []string{"5090"}, agents: []string{}, lost: true},
	{name: "39_executor_death.scheduler"},
	{name: "40_two_roles"},
}

// notReplayed are the others, and why.
var notReplayed = map[string]string{
	"10_state_endpoints": "the local endpoints show a part of what Mesos's show",
	"26_launch_group":    "the local Mesos has no default executor",
}

func TestEveryRecordingIsAccountedFor(t *testing.T) {
	names, err := golden.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		replayed := slices.ContainsFunc(recordings, func(r recording) bool {
			base, _, _ := strings.Cut(name, ".")
			return r.name == name || strings.HasPrefix(r.name, base) // an executor's side is replayed with its scheduler's
		})
		if _, excused := notReplayed[name]; replayed == excused {
			t.Errorf("%s: replayed %t, listed as not replayed %t", name, replayed, excused)
		}
	}
}

// replayVariable names the one recording that a process is to replay.
const replayVariable = "TIDEMILL_TEST_REPLAY"

func TestConformance(t *testing.T) {
	var same atomic.Int64
	t.Run("replays", func(t *testing.T) {
		for _, recording := range recordings {
			t.Run(recording.name, func(t *testing.T) {
				t.Parallel()
				if len(recording.elected) > 0 {
					stacktest.Shared(t)
				}
				if out, err := replayInProcess(t, recording.name); err != nil {
					t.Fatalf("%v:\n%s", err, out)
				}
				same.Add(1)
			})
		}
	})
	for _, r := range recordings {
		if len(r.skip) > 0 {
			t.Logf("conformance differs: %s, all but %q: %s", r.name, r.skip, r.why)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(notReplayed)) {
		t.Logf("conformance differs: %s: %s", name, notReplayed[name])
	}
	t.Logf("conformance: server %d of %d", same.Load(), len(recordings)+len(notReplayed))
}

// replayInProcess replays a recording in a process of its own.
func replayInProcess(t *testing.T, name string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestReplay$", "-test.v")
	cmd.Env = append(os.Environ(), replayVariable+"="+name, "TMPDIR="+t.TempDir())
	return cmd.CombinedOutput()
}

// TestReplay replays the recording that TestConformance asks for.
func TestReplay(t *testing.T) {
	name := os.Getenv(replayVariable)
	if name == "" {
		t.Skip("TestConformance runs this, once for each recording")
	}
	at := slices.IndexFunc(recordings, func(r recording) bool { return r.name == name })
	if at < 0 {
		t.Fatalf("no recording %q is replayed", name)
	}
	lines, err := golden.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	lines = slices.DeleteFunc(lines, func(line golden.Line) bool { return slices.Contains(recordings[at].skip, line.Conn) })
	replay(t, lines, recordings[at])
}

// site is the local Mesos of one replay, set up as the recorded one was.
type site struct {
	t       *testing.T
	clock   *replayClock
	socket  string // of the clock, for other processes
	options MasterOptions
	zk      string             // where masters are elected; empty: there is one
	masters map[string]*Master // by recorded port
	leader  string             // its recorded port
	agents  map[string]*Agent  // by recorded port
	dirs    map[string]string
	used    []string // all work directories, of wiped agents too
	results string   // where executors leave what they found
	flag    string   // a file whose existence makes checks fail
	player  *player
	stopped bool           // the agent is, by SIGSTOP
	line    *lifeline.Line // nothing outlives the replay
}

var recordedAgents = map[string]AgentOptions{
	"5051": {Hostname: "agent-a", Attributes: "rack:a;cassandra:true"},
	"5052": {Hostname: "agent-b", Attributes: "rack:b;cassandra:false;num:3;range:[1-5]"},
	"5074": {Hostname: "agent-q", Resources: "cpus:2;mem:1024;disk:4096;ports:[31000-32000]"},
}

// pingTimeout is the recorded one.
const pingTimeout = time.Second

func newSite(t *testing.T, r recording) *site {
	t.Helper()
	clock := &replayClock{start: time.Now()}
	s := &site{
		t: t, clock: clock, socket: clock.serve(t), options: r.master, results: t.TempDir(),
		flag: filepath.Join(t.TempDir(), "unhealthy"), agents: map[string]*Agent{}, dirs: map[string]string{}, masters: map[string]*Master{},
	}
	s.options.AllocationInterval = recordedCycle
	s.options.AgentPingTimeout, s.options.Clock, s.options.Log = pingTimeout, clock, testLog(t)
	if s.options.Quorum > 1 {
		s.options.WorkDir = t.TempDir()
	}
	t.Cleanup(func() {
		for _, master := range s.masters {
			master.Stop()
		}
	})
	ports := []string{"5050"}
	if len(r.elected) > 0 {
		ports = r.elected
		s.zk = fmt.Sprintf("zk://%s/replay-%s-%d", stacktest.Shared(t).ZooKeeper, r.name, os.Getpid())
	}
	if s.leader = ports[0]; r.lost {
		s.start(ports[0], "zk://127.0.0.1:1/mesos")
		ports = nil
	}
	for _, port := range ports {
		s.startMaster(port)
	}
	var err error
	if s.line, err = lifeline.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.line.Close() })
	if r.agents == nil {
		r.agents = []string{"5051", "5052"}
	}
	for _, port := range r.agents {
		s.dirs[port] = t.TempDir()
		s.startAgent(port)
	}
	t.Cleanup(func() {
		for _, agent := range s.agents {
			agent.Stop()
		}
	})
	return s
}

// startMaster starts a master; where they are elected it waits until it knows the leader.
func (s *site) startMaster(port string) {
	s.t.Helper()
	s.start(port, s.zk)
	eventually(s.t, "the master knows who leads", func() bool {
		return get(s.t, "http://"+s.masters[port].Addr()+"/redirect").StatusCode == http.StatusTemporaryRedirect
	})
}

func (s *site) start(port, zk string) {
	s.t.Helper()
	options := s.options
	options.ZooKeeper = zk
	if former := s.masters[port]; former != nil {
		former.Stop()
		options.Addr = former.Addr()
	}
	master, err := StartMaster(s.t.Context(), options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.masters[port] = master
}

// elect ends the session of the former leader, and waits until another one leads and,
// unless they are stopped, has the agents.
func (s *site) elect(port string) {
	s.t.Helper()
	s.masters[s.leader].Stop()
	s.leader = port
	eventually(s.t, "the next master leads", func() bool {
		return get(s.t, "http://"+s.masters[port].Addr()+"/state").StatusCode == http.StatusOK
	})
}

func testLog(t *testing.T) zerolog.Logger {
	if os.Getenv("REPLAY_LOG") == "" {
		return zerolog.Nop()
	}
	return zerolog.New(zerolog.NewTestWriter(t))
}

func (s *site) startAgent(port string) {
	s.t.Helper()
	s.used = append(s.used, s.dirs[port])
	options := recordedAgents[port]
	options.Master, options.WorkDir, options.Clock = cmp.Or(s.zk, s.masters[s.leader].Addr()), s.dirs[port], s.clock
	options.AgentPingTimeout, options.Log, options.Lifeline = pingTimeout, testLog(s.t), s.line
	if former := s.agents[port]; former != nil {
		options.Addr = former.Addr()
	}
	options.Helper = []string{os.Args[0], clockArgument, s.socket, "mesos"}
	agent, err := StartAgent(s.t.Context(), options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.agents[port] = agent
	if agent.Awaited() == 0 { // it registers at once, which must not be late on the clock
		eventually(s.t, "the agent registers", func() bool { return s.active(options.Hostname) })
	}
	for crept := time.Duration(0); agent.Awaited() > 0 && crept < recoveryTime; crept += 20 * time.Millisecond {
		<-time.After(50 * time.Millisecond)
		s.clock.pass(20 * time.Millisecond)
	}
}

// recoveryTime is most of the time that an agent's recovered executors have to come back.
const recoveryTime = 1900 * time.Millisecond

// recordedCycle is the real allocator's interval, with what its runs took.
const recordedCycle = 1001300 * time.Microsecond

// untilCycle returns how much time must pass before a replay so that offers are made when
// they were in the recording.
func untilCycle(lines []golden.Line) time.Duration {
	const soon, early = 60 * time.Millisecond, 5 * time.Millisecond
	asked := -soon // offers may come at once then
	for _, line := range lines {
		at := time.Duration(line.T * float64(time.Second))
		if line.Dir == golden.Note || line.What == golden.Request {
			asked = at
		}
		if line.What == golden.Chunk && strings.Contains(line.Raw, `"OFFERS"`) && at > asked+soon {
			return recordedCycle - (at-early)%recordedCycle
		}
	}
	return 0
}

func (s *site) resolve(host string) string {
	_, port, _ := strings.Cut(host, ":")
	if agent := s.agents[port]; agent != nil {
		return agent.Addr()
	}
	if master := s.masters[port]; master != nil {
		return master.Addr()
	}
	return s.masters[s.leader].Addr()
}

var (
	sleeping = regexp.MustCompile(`sleep (\d{1,2})\b`)
	recorder = regexp.MustCompile(`exec python3 /srv/mesos/exec\.py (\S+?)( \w*)?"`)
)

// rewrite adapts what tasks run: they sleep by the replay's clock, but for loops, which
// end when they are killed, and the recorded executor is one that replays its own recording.
func (s *site) rewrite(body string) string {
	if !strings.Contains(body, "while true") {
		body = sleeping.ReplaceAllStringFunc(body, func(text string) string {
			seconds, _ := strconv.Atoi(text[len("sleep "):]) // as matched
			until := s.clock.recorded() + time.Duration(seconds)*time.Second
			return fmt.Sprintf("%s %s %s %d", os.Args[0], sleepArgument, s.socket, until.Nanoseconds())
		})
	}
	body = strings.ReplaceAll(body, recordedFlag, s.flag)
	return recorder.ReplaceAllString(body, fmt.Sprintf(`exec %s %s $1 %s %s"`, os.Args[0], replayArgument, s.socket, s.results))
}

// recordedFlag is the file by which the recorder made a check fail.
const recordedFlag = "/srv/mesos/run/unhealthy"

func replay(t *testing.T, lines []golden.Line, r recording) {
	t.Helper()
	s := newSite(t, r)
	begin := untilCycle(lines)
	s.clock.pass(begin)
	s.clock.forget(begin)
	p := &player{
		lines: lines, time: s.clock, resent: r.resent,
		resolve: s.resolve, rewrite: s.rewrite, control: s.control, paths: func(text string) string {
			return strings.ReplaceAll(text, "/srv/mesos/run/agent1/work", s.dirs["5051"])
		},
	}
	s.player = p
	if err := p.play(); err != nil {
		t.Error(err)
	}
	for _, fault := range p.faults {
		t.Error(fault)
	}
	p.compare(t.Errorf)
	for _, agent := range s.agents {
		agent.Stop() // ends the executors, whose reports are read next
	}
	if err := s.line.Close(); err != nil {
		t.Error(err)
	}
	for _, dir := range s.used { // executors of wiped agents end by the lifeline
		eventually(t, "the executors end", func() bool { return nobodyIn(dir) })
	}
	s.executorReports()
}

// compare compares what each connection received: the updates of each task in order,
// and all else in order.
func (p *player) compare(errorf func(format string, arguments ...any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, label := range p.labels() {
		c := p.conns[label]
		for _, key := range keys(c) {
			if diff := gocmp.Diff(p.texts(c.recorded, key), p.texts(c.live, key)); diff != "" {
				errorf("%s: %s (-real +local):\n%s", label, key, diff)
			}
		}
	}
}

// keys lists what is compared as a sequence of its own: each task's updates, and each
// other type of event.
func keys(c *conn) []string {
	var list []string
	for _, e := range slices.Concat(c.recorded, c.live) {
		if e.Type != "OFFERS" && e.Type != "HEARTBEAT" && !slices.Contains(list, e.Key) {
			list = append(list, e.Key)
		}
	}
	return list
}

// racing is what the recordings themselves differ in: a shell that is killed while it
// starts may not have set its trap yet.
var racing = strings.NewReplacer("with signal Terminated", "with signal", "with signal Killed", "with signal")

func (p *player) texts(events []event, key string) []string {
	var list []string
	former := ""
	for _, e := range events {
		if e.Key == key && !(p.resent && e.UUID != "" && e.UUID == former) {
			former = e.UUID
			list = append(list, racing.Replace(e.Text))
		}
	}
	return list
}

// control does what the recorder did to the real Mesos besides sending calls.
func (s *site) control(note string) error {
	if s.zk != "" {
		s.controlMasters(note)
		return nil
	}
	port := "5051"
	if strings.Contains(note, "agent-b") || s.onAgentB(note) {
		port = "5052"
	}
	switch {
	case note == "make unhealthy":
		return os.WriteFile(s.flag, nil, 0o600)
	case strings.Contains(note, "wipe, restart"):
		s.agents[port].Crash()
		s.dirs[port] = s.t.TempDir()
		s.startAgent(port)
	case strings.Contains(note, "kill -9 agent-"), note == "signal TERM":
		s.agents[port].Crash()
		s.awaitLoss(port)
	case note == "signal USR1":
		s.agents[port].Stop()
		s.awaitLoss(port)
	case strings.HasPrefix(note, "restart agent-"):
		s.startAgent(port)
	case strings.HasPrefix(note, "kill -9 executor pid 17710"):
		return s.killExecutor("t-kill9")
	case strings.HasPrefix(note, "killed custom executor 17745"):
		return errors.Join(s.killExecutor("t-down"), s.killExecutor("t-cmd"))
	}
	return nil
}

var newLeader = regexp.MustCompile(`new leader (\d+)`)

// controlMasters does what the recorder did to masters that are elected.
func (s *site) controlMasters(note string) {
	s.t.Helper()
	switch match := newLeader.FindStringSubmatch(note); {
	case match != nil:
		s.elect(match[1])
		if !s.stopped {
			s.awaitRegistered()
		}
	case strings.Contains(note, "+9.8s /redirect"): // no agent has registered with it yet
		s.elect("5055")
	case strings.Contains(note, "kill -9 lead"):
		s.masters[s.leader].Crash()
		if s.stopped {
			s.agents["5074"].Crash()
		}
	case note == "restart master 5072":
		s.startMaster("5072")
	case note == "SIGSTOP agent": // to frameworks it is as one that is down
		s.stopped = true
	case note == "SIGCONT agent":
		s.startAgent("5074")
	case strings.HasPrefix(note, "start master 5050 again"):
		s.startMaster("5050")
		s.elect("5050")
	case strings.Contains(note, "--quorum=2 alone"):
		s.options.Quorum = 2
		s.startMaster("5090")
	}
}

// awaitRegistered waits until the leader has the agent, which time must pass for.
func (s *site) awaitRegistered() {
	s.t.Helper()
	eventually(s.t, "the agent registers with the next master", func() bool {
		s.clock.pass(20 * time.Millisecond)
		return s.active("agent-q")
	})
}

// awaitLoss waits until the master has noticed that an agent is gone.
func (s *site) awaitLoss(port string) {
	s.t.Helper()
	eventually(s.t, "the master notices the end of an agent", func() bool {
		return !s.active(recordedAgents[port].Hostname)
	})
}

// active tells whether an agent is registered and connected.
func (s *site) active(hostname string) bool {
	s.t.Helper()
	response, err := http.Get("http://" + s.masters[s.leader].Addr() + "/slaves")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var list struct {
		Agents []struct {
			Hostname string
			Active   bool
		} `json:"slaves"`
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		s.t.Fatal(err)
	}
	for _, agent := range list.Agents {
		if agent.Hostname == hostname {
			return agent.Active
		}
	}
	return false
}

func (s *site) onAgentB(note string) bool { return strings.HasPrefix(note, "signal ") }

// killExecutor kills the executor process of a task: the child of its container's
// supervisor, whose pid the task's updates carry.
func (s *site) killExecutor(task string) error {
	s.player.mu.Lock()
	pid := 0
	for _, c := range s.player.conns {
		for _, e := range c.live {
			if e.Task == task && e.Type == "UPDATE" {
				body, _ := e.Tree["update"].(map[string]any)
				status, _ := body["status"].(map[string]any)
				container, _ := status["container_status"].(map[string]any)
				number, _ := container["executor_pid"].(float64)
				pid = int(number)
			}
		}
	}
	s.player.mu.Unlock()
	for _, child := range container.Children(pid) {
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}

// executorReports fails for what the replayed executors found different.
func (s *site) executorReports() {
	s.t.Helper()
	reports, err := filepath.Glob(filepath.Join(s.results, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range reports {
		text, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(text) > 0 {
			s.t.Errorf("executor %s:\n%s", filepath.Base(path), text)
		}
	}
}
