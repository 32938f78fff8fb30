package mesos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/jobs"
	"tidemill/scheduler"
)

func nativeLaunch(n scheduler.NativeTask) scheduler.Launch {
	return scheduler.Launch{
		Task: "web.1.service.1.1.0.1", Name: "web", Agent: "S1", Native: &n, KillGrace: 7 * time.Second,
		Resources: jobs.Resources{CPUs: 0.5, Mem: 128, Ports: 2}, Ports: []uint64{31003, 31004},
		Labels: map[string]string{"tidemill_job": "web"},
		Discovery: &scheduler.Discovery{Name: "web", Version: "4", Ports: []scheduler.Port{
			{Number: 31003, Name: "http"}, {Number: 31004},
		}},
	}
}

// launchedTask gives the one task of an ACCEPT as a master reads it: encoded to
// protobuf and decoded again.
func launchedTask(t *testing.T, l scheduler.Launch) mesos.TaskInfo {
	t.Helper()
	b := newBook()
	b.add([]mesos.Offer{offerWith("O1", resource(cpus, 2), resource(mem, 1024), portsOf(31000, 31099))})
	call, _, err := encodeCall(scheduler.Accept{Offers: []string{"O1"}, Launches: []scheduler.Launch{l}}, b)
	if err != nil {
		t.Fatal(err)
	}
	task := call.Accept.Operations[0].Launch.TaskInfos[0]
	wire, err := task.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var read mesos.TaskInfo
	if err := read.Unmarshal(wire); err != nil {
		t.Fatal(err)
	}
	if !task.Equal(&read) {
		t.Errorf("the wire changed the task:\n%s", cmp.Diff(task.String(), read.String()))
	}
	return read
}

// TestNativeTask compares a task for the built-in executors with what it must
// be, field by field.
func TestNativeTask(t *testing.T) {
	no := false
	got := launchedTask(t, nativeLaunch(scheduler.NativeTask{
		User: "mill", Downloads: []jobs.Download{{URI: "http://files/site.tgz", Cache: true}, {URI: "http://files/a.zip", Extract: &no}, {URI: "http://files/run", File: "bin/run", Executable: true}}, MaxRun: time.Hour, PortNames: []string{"http", "admin"},
		Command: jobs.Command{Program: "/bin/web", Arguments: []string{"-p", "80"}, Env: map[string]string{"B": "", "A": "1"}},
		Container: jobs.Container{
			Type: jobs.ContainerDocker, Image: "nginx:1.27", ForcePull: true, Network: jobs.NetworkBridge, Ports: []int{80, 8080}, Privileged: true,
			Volumes:    []jobs.Volume{{Container: "/data/", Host: "/srv/data", Mode: jobs.VolumeReadOnly}, {Container: "/tmp", Mode: jobs.VolumeReadWrite}},
			Parameters: []jobs.Parameter{{Key: "cap-drop", Value: "ALL"}, {Key: "label", Value: "a=b"}},
		},
		Health: &jobs.Health{HTTP: "/up", Port: "admin", Interval: jobs.Duration(3 * time.Second), Timeout: jobs.Duration(1500 * time.Millisecond),
			Failures: 4, Grace: jobs.Duration(time.Minute)},
	}))
	want := mesos.TaskInfo{
		Name: "web", TaskID: mesos.TaskID{Value: "web.1.service.1.1.0.1"}, AgentID: mesos.AgentID{Value: "S1"},
		Resources: []mesos.Resource{resource(cpus, 0.5), resource(mem, 128), portsOf(31003, 31004)},
		Command: &mesos.CommandInfo{
			Shell: new(false), Value: new("/bin/web"), Arguments: []string{"-p", "80"}, User: new("mill"),
			URIs: []mesos.CommandInfo_URI{
				{Value: "http://files/site.tgz", Executable: new(false), Extract: new(true), Cache: new(true)},
				{Value: "http://files/a.zip", Executable: new(false), Extract: new(false), Cache: new(false)},
				{Value: "http://files/run", Executable: new(true), Extract: new(false), Cache: new(false), OutputFile: new("bin/run")},
			},
			Environment: &mesos.Environment{Variables: []mesos.Environment_Variable{{Name: "A", Value: new("1")}, {Name: "B", Value: new("")}}},
		},
		Container: &mesos.ContainerInfo{
			Type: mesos.ContainerInfo_DOCKER.Enum(),
			Volumes: []mesos.Volume{
				{ContainerPath: "/data/", HostPath: new("/srv/data"), Mode: mesos.RO.Enum()},
				{ContainerPath: "/tmp", HostPath: new("volumes/tmp"), Mode: mesos.RW.Enum()},
			},
			Docker: &mesos.ContainerInfo_DockerInfo{
				Image: "nginx:1.27", Network: mesos.ContainerInfo_DockerInfo_BRIDGE.Enum(), Privileged: new(true), ForcePullImage: new(true),
				PortMappings: []mesos.ContainerInfo_DockerInfo_PortMapping{
					{HostPort: 31003, ContainerPort: 80, Protocol: new("tcp")}, {HostPort: 31004, ContainerPort: 8080, Protocol: new("tcp")},
				},
				Parameters: []mesos.Parameter{{Key: "cap-drop", Value: "ALL"}, {Key: "label", Value: "a=b"}},
			},
		},
		HealthCheck: &mesos.HealthCheck{
			DelaySeconds: new(0.0), IntervalSeconds: new(3.0), TimeoutSeconds: new(1.5), ConsecutiveFailures: new(uint32(4)), GracePeriodSeconds: new(60.0),
			Type: mesos.HealthCheck_HTTP, HTTP: &mesos.HealthCheck_HTTPCheckInfo{Scheme: new("http"), Port: 8080, Path: new("/up")},
		},
		KillPolicy: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: 7e9}},
		Labels:     &mesos.Labels{Labels: []mesos.Label{{Key: "tidemill_job", Value: new("web")}}},
		Discovery: &mesos.DiscoveryInfo{
			Visibility: mesos.CLUSTER, Name: new("web"), Version: new("4"),
			Ports: &mesos.Ports{Ports: []mesos.Port{{Number: 31003, Name: new("http"), Protocol: new("tcp")}, {Number: 31004, Protocol: new("tcp")}}},
		},
		MaxCompletionTime: &mesos.DurationInfo{Nanoseconds: int64(time.Hour)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("task (-want +got):\n%s", diff)
	}
}

// TestContainers says each type and network in Mesos's words.
func TestContainers(t *testing.T) {
	docker := func(network mesos.ContainerInfo_DockerInfo_Network) *mesos.ContainerInfo_DockerInfo {
		return &mesos.ContainerInfo_DockerInfo{Image: "i", Network: &network, Privileged: new(false), ForcePullImage: new(false)}
	}
	image := func(cached bool) *mesos.ContainerInfo_MesosInfo {
		return &mesos.ContainerInfo_MesosInfo{Image: &mesos.Image{
			Type: mesos.Image_DOCKER.Enum(), Docker: &mesos.Image_Docker{Name: "i"}, Cached: &cached,
		}}
	}
	tests := []struct {
		name string
		give jobs.Container
		want mesos.ContainerInfo
	}{
		{"docker on the host's network", jobs.Container{Image: "i"},
			mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: docker(mesos.ContainerInfo_DockerInfo_HOST)}},
		{"docker without a network", jobs.Container{Image: "i", Network: "none"},
			mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: docker(mesos.ContainerInfo_DockerInfo_NONE)}},
		{"docker on a user's network", jobs.Container{Image: "i", Network: "blue"},
			mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: docker(mesos.ContainerInfo_DockerInfo_USER),
				NetworkInfos: []mesos.NetworkInfo{{Name: new("blue")}}}},
		{"mesos on the host's network", jobs.Container{Type: "mesos", Image: "i"},
			mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Mesos: image(true)}},
		{"mesos on a cni network, pulled anew", jobs.Container{Type: "mesos", Image: "i", ForcePull: true, Network: "blue", Ports: []int{80}},
			mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Mesos: image(false), NetworkInfos: []mesos.NetworkInfo{{
				Name: new("blue"), PortMappings: []mesos.NetworkInfo_PortMapping{{HostPort: 31003, ContainerPort: 80, Protocol: new("tcp")}},
			}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := launchedTask(t, nativeLaunch(scheduler.NativeTask{Container: tt.give.WithDefaults()}))
			if diff := cmp.Diff(&tt.want, got.Container); diff != "" {
				t.Errorf("container (-want +got):\n%s", diff)
			}
			if got.Executor != nil || got.Data != nil {
				t.Errorf("executor %v, data %q: a built-in executor has neither", got.Executor, got.Data)
			}
		})
	}
}

// TestNativeCommands: docker appends the arguments to the program, Mesos's own
// containerizer takes them as the whole argv.
func TestNativeCommands(t *testing.T) {
	tests := []struct {
		name    string
		typ     string
		command jobs.Command
		want    mesos.CommandInfo
	}{
		{"a text", "docker", jobs.Command{Shell: "exec web"}, mesos.CommandInfo{Shell: new(true), Value: new("exec web")}},
		{"a program in docker", "docker", jobs.Command{Program: "web", Arguments: []string{"a"}},
			mesos.CommandInfo{Shell: new(false), Value: new("web"), Arguments: []string{"a"}}},
		{"a program in mesos", "mesos", jobs.Command{Program: "web", Arguments: []string{"a"}},
			mesos.CommandInfo{Shell: new(false), Value: new("web"), Arguments: []string{"web", "a"}}},
		{"the image's own", "docker", jobs.Command{Arguments: []string{"a"}}, mesos.CommandInfo{Shell: new(false), Arguments: []string{"a"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := launchedTask(t, nativeLaunch(scheduler.NativeTask{Command: tt.command, Container: jobs.Container{Type: tt.typ, Image: "i"}}))
			if diff := cmp.Diff(&tt.want, got.Command); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNativeHealthChecks(t *testing.T) {
	tests := []struct {
		name  string
		check jobs.Health
		want  mesos.HealthCheck
	}{
		{"a command", jobs.Health{Command: "true"},
			mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND, Command: &mesos.CommandInfo{Shell: new(true), Value: new("true")}}},
		{"a connection to the first port", jobs.Health{TCP: true},
			mesos.HealthCheck{Type: mesos.HealthCheck_TCP, TCP: &mesos.HealthCheck_TCPCheckInfo{Port: 31003}}},
		{"a connection to a named port", jobs.Health{TCP: true, Port: "admin"},
			mesos.HealthCheck{Type: mesos.HealthCheck_TCP, TCP: &mesos.HealthCheck_TCPCheckInfo{Port: 31004}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := launchedTask(t, nativeLaunch(scheduler.NativeTask{
				Container: jobs.Container{Image: "i"}.WithDefaults(), PortNames: []string{"http", "admin"}, Health: &tt.check,
			})).HealthCheck
			got.DelaySeconds, got.IntervalSeconds, got.TimeoutSeconds, got.GracePeriodSeconds, got.ConsecutiveFailures = nil, nil, nil, nil, nil
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("health check (-want +got):\n%s", diff)
			}
		})
	}
}

// TestServicesAreDiscovered: a task of our executor, too, says where it is.
func TestServicesAreDiscovered(t *testing.T) {
	l := nativeLaunch(scheduler.NativeTask{})
	l.Native, l.Executor, l.Data = nil, specWithEverything(), []byte("{}")
	got := launchedTask(t, l)
	if got.Executor == nil || got.Command != nil || got.Container != nil || got.HealthCheck != nil {
		t.Errorf("task %v; want it run and checked by our executor", got.String())
	}
	if got.Discovery.GetName() != "web" || got.Discovery.GetVisibility() != mesos.CLUSTER || len(got.Discovery.GetPorts().GetPorts()) != 2 {
		t.Errorf("discovery %v", got.Discovery)
	}
}
