package mesoslocal

import (
	"fmt"
	"os"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// echoArgument makes this test binary an executor whose tasks finish at once.
const echoArgument = "echo-executor"

// BenchmarkWarmExecutor measures tasks through one warm executor, from ACCEPT to the
// acknowledged TASK_FINISHED, in batches. The framework is serial: it acknowledges one
// update after the other. Freed resources are offered again at the allocator's next tick,
// so with Mesos's interval of 1 s the waits between batches count; with one of 20 ms they
// hardly do, which shows what the servers themselves can do.
func BenchmarkWarmExecutor(b *testing.B) {
	for _, interval := range []time.Duration{time.Second, 20 * time.Millisecond} {
		b.Run("allocation="+interval.String(), func(b *testing.B) { benchmarkWarmExecutor(b, interval) })
	}
}

func benchmarkWarmExecutor(b *testing.B, interval time.Duration) {
	master, _ := startPairWith(b, MasterOptions{AllocationInterval: interval}, AgentOptions{Resources: "cpus:1000;mem:100000;disk:100000"})
	f := subscribe(b, master.Addr(), frameworkInfo("bench"))
	command := "exec " + os.Args[0] + " " + echoArgument
	executor := mesos.ExecutorInfo{
		Type: mesos.ExecutorInfo_CUSTOM, ExecutorID: mesos.ExecutorID{Value: "echo"}, FrameworkID: &f.id,
		Command: &mesos.CommandInfo{Value: &command}, Resources: smallResources(),
	}
	const batch = 250
	next, running := 0, 0
	for b.Loop() {
		if next < running { // finished in an earlier batch
			next++
			continue
		}
		var ids []mesos.OfferID
		var agentID mesos.AgentID
		for cpus := 0.0; cpus < batch; { // freed resources come back in pieces
			offer := f.offer()
			ids, agentID = append(ids, offer.ID), offer.AgentID
			for _, resource := range offer.Resources {
				if resource.Name == "cpus" {
					cpus += resource.Scalar.Value
				}
			}
		}
		var tasks []mesos.TaskInfo
		for i := range batch {
			id := fmt.Sprintf("t%d", running+i)
			tasks = append(tasks, mesos.TaskInfo{
				Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: agentID, Resources: smallResources(), Executor: &executor,
			})
		}
		f.launch(ids, tasks...)
		for finished := 0; finished < batch; {
			status := f.await("update", func(e *scheduler.Event) bool { return e.Type == scheduler.Event_UPDATE }).Update.Status
			if *status.State == mesos.TASK_FINISHED {
				finished++
			}
			f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE, Acknowledge: &scheduler.Call_Acknowledge{
				AgentID: *status.AgentID, TaskID: status.TaskID, UUID: status.UUID}})
		}
		running += batch
		next++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
