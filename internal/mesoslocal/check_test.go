package mesoslocal

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func portOf(t *testing.T, addr net.Addr) uint32 {
	t.Helper()
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		t.Fatalf("%s is no TCP address", addr)
	}
	return uint32(tcp.Port)
}

// The first outcome of a check is told; a task that fails its health checks is killed.
func TestChecks(t *testing.T) {
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	port := portOf(t, page.Listener.Addr())
	zero := new(float64)
	text := func(s string) *string { return &s }
	check := func(info mesos.CheckInfo) func(*mesos.TaskInfo) {
		info.DelaySeconds = zero
		return func(task *mesos.TaskInfo) { task.Check = &info }
	}
	health := func(info mesos.HealthCheck) func(*mesos.TaskInfo) {
		once := uint32(1)
		info.DelaySeconds, info.GracePeriodSeconds, info.ConsecutiveFailures = zero, zero, &once
		return func(task *mesos.TaskInfo) { task.HealthCheck = &info }
	}
	status := func(info mesos.CheckStatusInfo, kind mesos.CheckInfo_Type) *mesos.CheckStatusInfo {
		info.Type = &kind
		return &info
	}
	notFound, open, no, yes := uint32(404), true, false, true
	three := int32(3)
	tests := []struct {
		name    string
		set     func(*mesos.TaskInfo)
		status  *mesos.CheckStatusInfo
		healthy *bool
	}{
		{"command", check(mesos.CheckInfo{Type: mesos.CheckInfo_COMMAND,
			Command: &mesos.CheckInfo_Command{Command: mesos.CommandInfo{Value: text("exit 3")}}}),
			status(mesos.CheckStatusInfo{Command: &mesos.CheckStatusInfo_Command{ExitCode: &three}}, mesos.CheckInfo_COMMAND), nil},
		{"http", check(mesos.CheckInfo{Type: mesos.CheckInfo_HTTP, HTTP: &mesos.CheckInfo_Http{Port: port, Path: text("/none")}}),
			status(mesos.CheckStatusInfo{HTTP: &mesos.CheckStatusInfo_Http{StatusCode: &notFound}}, mesos.CheckInfo_HTTP), nil},
		{"tcp", check(mesos.CheckInfo{Type: mesos.CheckInfo_TCP, TCP: &mesos.CheckInfo_Tcp{Port: port}}),
			status(mesos.CheckStatusInfo{TCP: &mesos.CheckStatusInfo_Tcp{Succeeded: &open}}, mesos.CheckInfo_TCP), nil},
		{"healthy-tcp", health(mesos.HealthCheck{Type: mesos.HealthCheck_TCP, TCP: &mesos.HealthCheck_TCPCheckInfo{Port: port}}), nil, &yes},
		{"unhealthy-http", health(mesos.HealthCheck{Type: mesos.HealthCheck_HTTP,
			HTTP: &mesos.HealthCheck_HTTPCheckInfo{Port: port, Path: text("/none")}}), nil, &no},
		{"unhealthy-command", health(mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND,
			Command: &mesos.CommandInfo{Value: text("exit 1")}}), nil, &no},
	}
	master, _ := startPairWith(t, MasterOptions{AllocationInterval: 20 * time.Millisecond}, AgentOptions{}) // what is free is offered again soon
	f := subscribe(t, master.Addr(), frameworkInfo("checks"))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f.t = t
			offer := f.offer()
			task := commandTask(test.name, offer, "sleep 1000")
			test.set(&task)
			f.launch([]mesos.OfferID{offer.ID}, task)
			f.want(test.name, mesos.TASK_STARTING, mesos.TASK_RUNNING)
			told := f.want(test.name, mesos.TASK_RUNNING)
			if diff := gocmp.Diff(test.status, told.CheckStatus); diff != "" {
				t.Errorf("check status (-want +got):\n%s", diff)
			}
			if diff := gocmp.Diff(test.healthy, told.Healthy); diff != "" {
				t.Errorf("healthy (-want +got):\n%s", diff)
			}
			if test.healthy == nil || *test.healthy {
				f.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{TaskID: task.TaskID}})
			}
			last := f.want(test.name, mesos.TASK_KILLED)
			if unhealthy := last.Healthy != nil && !*last.Healthy; unhealthy != (test.healthy == &no) {
				t.Errorf("the last update says unhealthy %t", unhealthy)
			}
		})
	}
}
