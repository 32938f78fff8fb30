package executor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/executor"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesos"
	"tidemill/internal/mesoslocal"
	"tidemill/jobs"
	"tidemill/jobs/command"
	"tidemill/jobs/noop"
	"tidemill/scheduler"
)

// role makes the test binary an executor; its value says which.
const role = "EXECUTOR_TEST_ROLE"

func TestMain(m *testing.M) {
	if code, asked := mesoslocal.RunHelper(os.Args[1:]); asked {
		os.Exit(code)
	}
	if as := os.Getenv(role); as != "" {
		if err := serve(as == "shared"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve does what the program's command does.
func serve(shared bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := lifeline.Watch(stop); err != nil {
		return err
	}
	o, err := executor.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	o.Shared, o.Log = shared, zerolog.New(os.Stderr)
	if o.Agent, err = mesos.NewAgent(os.Getenv, mesos.Protobuf, o.Log); err != nil {
		return err
	}
	if o.Registry, err = jobs.NewRegistry(command.New(), noop.Kind{}); err != nil {
		return err
	}
	return executor.New(o).Run(ctx)
}

// cluster is a local Mesos with one agent, and a framework on it.
type cluster struct {
	t       testing.TB
	line    *lifeline.Line
	agent   *mesoslocal.Agent
	options mesoslocal.AgentOptions
	sub     scheduler.Subscription
	offers  []jobs.Offer
	updates map[jobs.TaskID][]jobs.Update
	lost    []scheduler.ExecutorLost
	mute    bool // ends are not acknowledged

	finished int // tasks
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	line, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	master, err := mesoslocal.StartMaster(t.Context(), mesoslocal.MasterOptions{AllocationInterval: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(master.Stop)
	c := &cluster{t: t, line: line, updates: map[jobs.TaskID][]jobs.Update{}, options: mesoslocal.AgentOptions{
		Master: master.Addr(), WorkDir: t.TempDir(), Hostname: "agent-a", Lifeline: line,
		Resources: "cpus:64;mem:65536;disk:65536;ports:[31000-31099]",
		// A loaded machine lets executors be late.
		ExecutorReregistration: 6 * time.Second,
	}}
	c.startAgent()
	t.Cleanup(func() { c.agent.Stop() })
	m := mesos.NewScheduler(mesos.Options{Masters: mesos.NewMasters(master.Addr()), User: "root", Log: zerolog.Nop()})
	if c.sub, err = m.Subscribe(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.sub.Close)
	return c
}

func (c *cluster) startAgent() {
	c.t.Helper()
	var err error
	if c.agent, err = mesoslocal.StartAgent(context.WithoutCancel(c.t.Context()), c.options); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) send(call scheduler.Call) {
	c.t.Helper()
	if err := c.sub.Send(c.t.Context(), call); err != nil {
		c.t.Fatalf("%T: %v", call, err)
	}
}

// until takes events until a condition holds.
func (c *cluster) until(what string, condition func() bool) {
	c.t.Helper()
	limit := time.After(time.Minute)
	for !condition() {
		select {
		case e, open := <-c.sub.Events():
			if !open {
				c.t.Fatalf("waiting for %s: the stream ended: %v", what, c.sub.Err())
			}
			c.take(e)
		case <-limit:
			c.t.Fatalf("waited in vain for %s; %d tasks are known", what, len(c.updates))
		}
	}
}

func (c *cluster) take(e scheduler.Event) {
	switch e := e.(type) {
	case scheduler.Offered:
		c.offers = append(c.offers, e.Offers...)
	case scheduler.Rescinded:
		c.offers = nil
	case scheduler.ExecutorLost:
		c.lost = append(c.lost, e)
	case scheduler.Updated:
		c.updates[e.Task] = append(c.updates[e.Task], e.Update)
		if e.State == jobs.TaskFinished {
			c.finished++
		}
		if len(e.UUID) > 0 && !(c.mute && e.State == jobs.TaskFinished) {
			c.send(scheduler.Acknowledge{Task: e.Task, Agent: e.Agent, UUID: e.UUID})
		}
	}
}

const taskCPUs = 0.01

// offer waits for one that is large enough. Smaller ones go back, to be joined.
func (c *cluster) offer(cpus float64) jobs.Offer {
	c.t.Helper()
	for {
		c.until("an offer", func() bool { return len(c.offers) > 0 })
		for _, o := range c.offers {
			if o.Resources.CPUs >= cpus {
				c.offers = nil
				return o
			}
		}
		var small []string
		for _, o := range c.offers {
			small = append(small, o.ID)
		}
		c.offers = nil
		c.send(scheduler.Decline{Offers: small, Refuse: 10 * time.Millisecond})
	}
}

func (c *cluster) launch(as string, assignments ...jobs.Assignment) scheduler.ExecutorSpec {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	return c.launchIn(scheduler.ExecutorSpec{
		ID: as, Name: as, Command: self, Env: map[string]string{role: as},
		Resources: jobs.Resources{CPUs: 0.1, Mem: 64},
	}, assignments...)
}

func (c *cluster) launchIn(spec scheduler.ExecutorSpec, assignments ...jobs.Assignment) scheduler.ExecutorSpec {
	c.t.Helper()
	offer := c.offer(taskCPUs*float64(len(assignments)) + spec.Resources.CPUs)
	accept := scheduler.Accept{Offers: []string{offer.ID}}
	for _, a := range assignments {
		data, err := json.Marshal(a)
		if err != nil {
			c.t.Fatal(err)
		}
		accept.Launches = append(accept.Launches, scheduler.Launch{
			Task: a.Task, Name: string(a.Task), Agent: offer.AgentID, Executor: spec, Data: data,
			Resources: jobs.Resources{CPUs: taskCPUs, Mem: 8},
		})
	}
	c.send(accept)
	return spec
}

func (c *cluster) state(id jobs.TaskID) string {
	if list := c.updates[id]; len(list) > 0 {
		return list[len(list)-1].State
	}
	return ""
}

func (c *cluster) outcome(id jobs.TaskID) (o jobs.Outcome) {
	c.t.Helper()
	c.until("the end of "+string(id), func() bool {
		s := c.state(id)
		return s != "" && s != jobs.TaskStarting && s != jobs.TaskRunning && s != jobs.TaskKilling
	})
	last := c.updates[id][len(c.updates[id])-1]
	if err := json.Unmarshal(last.Data, &o); err != nil {
		c.t.Fatalf("%s ended with %+v: %v", id, last, err)
	}
	return o
}

func shell(id, text string) jobs.Assignment {
	spec, err := json.Marshal(command.Spec{Command: text})
	if err != nil {
		panic(err)
	}
	return jobs.Assignment{Task: jobs.TaskID(id), Job: "e2e", Kind: "command", Stage: 1, Start: 1, Spec: spec, KillGrace: jobs.Duration(2 * time.Second), Host: "agent-a"}
}

func TestACommandThroughMesos(t *testing.T) {
	c := newCluster(t)
	c.launch("own", shell("t1", `echo "hello from $TIDEMILL_TASK on $HOST"; echo rows=7 > $TIDEMILL_RESULTS`))
	o := c.outcome("t1")
	if !o.OK || o.Values["rows"] != "7" {
		t.Errorf("outcome %+v", o)
	}
	// An own executor ends by itself, and well.
	c.until("the end of the executor", func() bool { return len(c.lost) > 0 })
	if c.lost[0].Status != 0 {
		t.Errorf("the executor ended with %d", c.lost[0].Status)
	}
	logs, err := filepath.Glob(filepath.Join(c.options.WorkDir, "slaves/*/frameworks/*/executors/own/runs/*", jobs.TaskDir("t1"), jobs.StdoutFile))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log: %v, %v", logs, err)
	}
	if b, err := os.ReadFile(logs[0]); err != nil || string(b) != "hello from t1 on agent-a\n" {
		t.Errorf("log %q, %v", b, err)
	}
}

func TestAWarmExecutorThroughMesos(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	spec := c.launch("shared", shell("measure", `echo pid=$PPID > $TIDEMILL_RESULTS`), shell("long", `setsid sleep 1000 & wait`))
	pid := c.outcome("measure").Values["pid"]
	c.until("the long task", func() bool { return c.state("long") == jobs.TaskRunning })

	// The agent restarts: the work goes on, and the executor comes back.
	c.restartAgent(func() {})
	c.launch("shared", shell("after", `echo pid=$PPID > $TIDEMILL_RESULTS`))
	if got := c.outcome("after").Values["pid"]; got != pid {
		t.Errorf("executor %s became %s", pid, got)
	}
	if n := residentMiB(t, pid); n >= 64 {
		t.Errorf("the executor holds %d MiB; below 64 are promised", n)
	} else {
		t.Logf("the executor holds %d MiB", n)
	}
	agent := c.updates["after"][0].Agent
	c.send(scheduler.Kill{Task: "long", Agent: agent})
	if o := c.outcome("long"); !o.Killed {
		t.Errorf("outcome %+v, want it killed", o)
	}
	if !slices.ContainsFunc(c.updates["long"], func(u jobs.Update) bool { return u.State == jobs.TaskKilling }) {
		t.Errorf("nobody was told that the kill had begun: %+v", c.updates["long"])
	}
	c.send(scheduler.Shutdown{Agent: agent, Executor: spec.ID})
	c.until("the end of the executor", func() bool { return len(c.lost) > 0 })
}

// restartAgent has the agent die and come back; meanwhile something happens.
func (c *cluster) restartAgent(meanwhile func()) {
	c.t.Helper()
	c.options.Addr = c.agent.Addr() // where its executors look for it
	c.agent.Crash()
	c.offers = nil
	meanwhile()
	c.startAgent()
}

// What ends while its agent is away is told when that is back; and what the
// framework has not acknowledged is told again, as the same update.
func TestUpdatesOutliveTheAgent(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	c.launch("shared", shell("away", `read word < `+gate+`; echo word=$word > $TIDEMILL_RESULTS`))
	c.until("the task", func() bool { return c.state("away") == jobs.TaskRunning })
	c.restartAgent(func() {
		if err := os.WriteFile(gate, []byte("done\n"), 0); err != nil {
			t.Fatal(err)
		}
	})
	c.mute = true // the acknowledgement of the start may have been lost with the agent: that is given again
	if o := c.outcome("away"); !o.OK || o.Values["word"] != "done" {
		t.Errorf("outcome %+v", o)
	}
	told := c.updates["away"][len(c.updates["away"])-1]
	c.restartAgent(func() { c.updates["away"] = nil })
	c.until("the update again", func() bool { return c.state("away") == jobs.TaskFinished })
	if again := c.updates["away"][len(c.updates["away"])-1]; !slices.Equal(again.UUID, told.UUID) || !slices.Equal(again.Data, told.Data) {
		t.Errorf("it is told as another update: %+v, first %+v", again, told)
	}
	c.mute = false
	c.send(scheduler.Acknowledge{Task: "away", Agent: told.Agent, UUID: told.UUID})
	c.launch("shared", shell("next", "true"))
	if o := c.outcome("next"); !o.OK {
		t.Errorf("the task after it: %+v", o)
	}
}

func residentMiB(t *testing.T, pid string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatalf("no VmRSS in %s", b)
	return 0
}

// Executors of two users on one agent are two processes, and each user's files
// are that user's.
func TestEachUserHasAnExecutor(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root runs what others own")
	}
	c := newCluster(t)
	open := openDir(t, c.options.WorkDir)
	for _, user := range []string{"root", "nobody"} {
		spec := scheduler.ExecutorSpec{
			ID: user, Name: user, User: user, Command: open, Env: map[string]string{role: "shared"}, Resources: jobs.Resources{CPUs: 0.1, Mem: 64},
		}
		id := "as-" + user
		c.launchIn(spec, shell(id, `echo me=$(id -un) owner=$(stat -c %U .) executor=$(stat -c %U /proc/$PPID) | tr ' ' '\n' > $TIDEMILL_RESULTS`))
		o := c.outcome(jobs.TaskID(id))
		for _, what := range []string{"me", "owner", "executor"} {
			if o.Values[what] != user {
				t.Errorf("%s is %q, want %q (%+v)", what, o.Values[what], user, o)
			}
		}
	}
}

// openDir lets everybody into a directory of the test, and puts the test's
// program there.
func openDir(t *testing.T, dir string) (program string) {
	t.Helper()
	for at := dir; at != os.TempDir(); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "program")
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestACommandDiesWithItsExecutor(t *testing.T) {
	c := newCluster(t)
	pids := filepath.Join(t.TempDir(), "pids")
	if err := syscall.Mkfifo(pids, 0o600); err != nil {
		t.Fatal(err)
	}
	c.launch("own", shell("t1", `trap '' TERM HUP; setsid sleep 1000 & echo $PPID $$ $! > `+pids+`; while :; do sleep 0.05; done`))
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	var executorPID, commandPID, childPID int // the child is in a session of its own
	if _, err := fmt.Sscan(string(b), &executorPID, &commandPID, &childPID); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	if err := syscall.Kill(executorPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.until("the agent's word", func() bool { return c.state("t1") == jobs.TaskFailed })
	for _, pid := range []int{commandPID, childPID} {
		if err := syscall.Kill(pid, 0); err != nil {
			continue
		}
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); !strings.Contains(string(b), ") Z ") {
			t.Errorf("a process of the command lives on: %s", b)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// BenchmarkThroughMesos measures noop tasks through the local Mesos, its
// journals and this framework's acknowledgements included, on one warm executor.
func BenchmarkThroughMesos(b *testing.B) {
	c := newCluster(b)
	next := 0
	batch := func(size int) {
		var list []jobs.Assignment
		for range size {
			id := fmt.Sprint("t", next)
			next++
			list = append(list, jobs.Assignment{Task: jobs.TaskID(id), Kind: "noop", Stage: 1, Start: 1})
		}
		c.launch("shared", list...)
		c.until("the end of a batch", func() bool { return c.finished == next })
	}
	batch(1) // warm
	b.ResetTimer()
	for done := 0; done < b.N; {
		size := min(500, b.N-done)
		batch(size)
		done += size
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
