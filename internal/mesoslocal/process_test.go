package mesoslocal

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal/cluster"
	"tidemill/internal/mesoslocal/container"
)

// memberArgument makes this test binary a member of a cluster: "tidemill mesos" in small.
const memberArgument = "cluster-member"

// eventually waits for a condition of another process.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// pidIn reads a pid that a task wrote to its sandbox.
func pidIn(t testing.TB, workDir, task, name string) int {
	t.Helper()
	pid := 0
	eventually(t, name+" is written", func() bool {
		found, err := filepath.Glob(filepath.Join(workDir, "slaves/*/frameworks/*/executors", task, "runs/latest", name))
		if err != nil || len(found) != 1 {
			return false
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	return pid
}

// nobodyIn tells whether no process works in a directory any more.
func nobodyIn(dir string) bool {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return false
	}
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			return false
		}
	}
	return true
}

func gone(pid int) bool {
	stat, ok := container.ReadStat(pid)
	return !ok || stat.State == 'Z'
}

// A daemon that left its session, its environment and its parent is still ended with
// the container.
func TestContainerEndsDaemons(t *testing.T) {
	dir := t.TempDir()
	master, _ := startPairWith(t, MasterOptions{}, AgentOptions{WorkDir: dir})
	f := subscribe(t, master.Addr(), frameworkInfo("daemons"))
	offer := f.offer()
	const daemon = `env -i setsid /bin/sh -c 'cd /; /bin/sh -c "echo \$\$ > '$PWD'/pid; exec sleep 1000" > /dev/null 2>&1 &'`
	f.launch([]mesos.OfferID{offer.ID}, commandTask("daemon", offer, daemon+"; sleep 1000"))
	f.want("daemon", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	pid := pidIn(t, dir, "daemon", "pid")
	if gone(pid) {
		t.Fatal("the daemon did not start")
	}
	f.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{TaskID: mesos.TaskID{Value: "daemon"}}})
	f.want("daemon", mesos.TASK_KILLED)
	eventually(t, "the daemon ends", func() bool { return gone(pid) })
}

// startCluster starts a master and an agent as processes.
func startCluster(t *testing.T, dir string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{
		Agents: 1, WorkDir: dir, Program: []string{os.Args[0], memberArgument}, Log: os.Stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// Executors outlive an agent that is killed, and the next agent takes them over.
func TestAgentKilledAndRestarted(t *testing.T) {
	dir := t.TempDir()
	c := startCluster(t, dir)
	f := subscribe(t, c.Masters[0].Addr(), frameworkInfo("recovery"))
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("lasting", offer, "echo $$ > pid; while [ ! -e end ]; do sleep 0.05; done"))
	f.want("lasting", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	pid := pidIn(t, filepath.Join(dir, "agent-1"), "lasting", "pid")
	c.Agents[0].Kill()
	if gone(pid) {
		t.Fatal("the task ended with its agent")
	}
	if err := c.Agents[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	sandboxes, err := filepath.Glob(filepath.Join(dir, "agent-1/slaves/*/frameworks/*/executors/lasting/runs/latest"))
	if err != nil || len(sandboxes) != 1 {
		t.Fatalf("sandboxes %v, %v", sandboxes, err)
	}
	if err := os.WriteFile(filepath.Join(sandboxes[0], "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	status := f.update("lasting")
	for *status.State == mesos.TASK_RUNNING { // the kill may have overtaken its acknowledgement
		status = f.update("lasting")
	}
	if *status.State != mesos.TASK_FINISHED {
		t.Errorf("%s: %s", status.State, status.GetMessage())
	}
}

// An executor that does not come back to its restarted agent is ended, and its tasks are gone.
func TestExecutorMissesItsAgentsReturn(t *testing.T) {
	options := AgentOptions{WorkDir: t.TempDir(), ExecutorReregistration: 200 * time.Millisecond}
	master, agent := startPairWith(t, MasterOptions{}, options)
	info := frameworkInfo("missed")
	info.Capabilities = append(info.Capabilities, mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE})
	f := subscribe(t, master.Addr(), info)
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("hung", offer, "echo $PPID > executor; exec sleep 1000"))
	f.want("hung", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	executor := pidIn(t, options.WorkDir, "hung", "executor")
	if err := syscall.Kill(executor, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	agent.Crash()
	options.Master, options.Addr, options.Hostname = master.Addr(), agent.Addr(), "agent-a"
	again, err := StartAgent(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Stop)
	status := f.update("hung")
	for *status.State == mesos.TASK_RUNNING { // the crash may have overtaken its acknowledgement
		status = f.update("hung")
	}
	if *status.State != mesos.TASK_GONE || status.GetReason() != mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT || status.GetSource() != mesos.SOURCE_AGENT {
		t.Errorf("%s, %s, %s: %s", status.State, status.GetSource(), status.GetReason(), status.GetMessage())
	}
	eventually(t, "the executor ends", func() bool { return gone(executor) })
}

// A master that is killed and started again gets its agent and the task back.
func TestMasterKilledAndRestarted(t *testing.T) {
	c := startCluster(t, t.TempDir())
	f := subscribe(t, c.Masters[0].Addr(), frameworkInfo("failover"))
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("kept", offer, "sleep 1000"))
	f.want("kept", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	c.Masters[0].Kill()
	if err := c.Masters[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	info := frameworkInfo("failover")
	info.ID = &f.id
	again := subscribe(t, c.Masters[0].Addr(), info)
	again.offer() // the agent is back
	again.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{}})
	status := again.want("kept", mesos.TASK_RUNNING)
	for status.Reason == nil { // told again: the kill may have overtaken its acknowledgement
		status = again.want("kept", mesos.TASK_RUNNING)
	}
	if status.GetReason() != mesos.REASON_RECONCILIATION {
		t.Errorf("reason %s", status.GetReason())
	}
}

// Nothing outlives the owner of the lifeline, executors and their daemons included.
func TestLifelineEndsExecutors(t *testing.T) {
	line, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	master, _ := startPairWith(t, MasterOptions{}, AgentOptions{WorkDir: dir, Lifeline: line})
	f := subscribe(t, master.Addr(), frameworkInfo("lifeline"))
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("held", offer, "echo $$ > pid; exec sleep 1000"))
	f.want("held", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	pid := pidIn(t, dir, "held", "pid")
	if err := line.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the task ends", func() bool { return gone(pid) })
}

// A supervisor that is killed itself takes its container along.
func TestSupervisorKilled(t *testing.T) {
	dir := t.TempDir()
	master, _ := startPairWith(t, MasterOptions{}, AgentOptions{WorkDir: dir})
	f := subscribe(t, master.Addr(), frameworkInfo("supervisor"))
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("orphan", offer, "echo $$ > pid; exec sleep 1000"))
	status := f.want("orphan", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	pid := pidIn(t, dir, "orphan", "pid")
	if err := syscall.Kill(int(status.ContainerStatus.GetExecutorPID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := f.want("orphan", mesos.TASK_FAILED); status.GetMessage() != "Executor terminated" {
		t.Errorf("message %q", status.GetMessage())
	}
	eventually(t, "the task ends", func() bool { return gone(pid) })
}
