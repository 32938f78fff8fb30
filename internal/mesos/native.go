package mesos

import (
	"maps"
	"path"
	"slices"

	"github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// native makes a task for Mesos's built-in executors: the docker executor, or
// the command executor within an image.
func native(t *mesos.TaskInfo, l *scheduler.Launch) {
	n := l.Native
	t.Command = nativeCommand(n)
	t.Container = containerInfo(&n.Container, l.Ports)
	t.HealthCheck = healthCheck(n, l.Ports)
	if n.MaxRun > 0 {
		t.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: int64(n.MaxRun)}
	}
}

// nativeCommand says a command in the words of the container's type: with
// docker the arguments follow the program, else they are the whole argv.
func nativeCommand(n *scheduler.NativeTask) *mesos.CommandInfo {
	shell := n.Command.Shell != ""
	c := &mesos.CommandInfo{Shell: &shell, User: optional(n.User), URIs: uris(n.Downloads), Environment: variables(n.Command.Env)}
	switch {
	case shell:
		c.Value = &n.Command.Shell
	case n.Command.Program != "":
		c.Value, c.Arguments = &n.Command.Program, n.Command.Arguments
		if n.Container.Type == jobs.ContainerMesos {
			c.Arguments = append([]string{n.Command.Program}, n.Command.Arguments...)
		}
	default: // the image's own program
		c.Arguments = n.Command.Arguments
	}
	return c
}

func containerInfo(c *jobs.Container, ports []uint64) *mesos.ContainerInfo {
	info := &mesos.ContainerInfo{Volumes: volumes(c.Volumes)}
	if c.Type == jobs.ContainerMesos {
		cached := !c.ForcePull
		info.Type = mesos.ContainerInfo_MESOS.Enum()
		info.Mesos = &mesos.ContainerInfo_MesosInfo{Image: &mesos.Image{
			Type: mesos.Image_DOCKER.Enum(), Docker: &mesos.Image_Docker{Name: c.Image}, Cached: &cached,
		}}
		if c.Network != jobs.NetworkHost {
			info.NetworkInfos = []mesos.NetworkInfo{{Name: &c.Network, PortMappings: cniPorts(c.Ports, ports)}}
		}
		return info
	}
	info.Type = mesos.ContainerInfo_DOCKER.Enum()
	info.Docker = &mesos.ContainerInfo_DockerInfo{
		Image: c.Image, ForcePullImage: &c.ForcePull, Privileged: &c.Privileged,
		PortMappings: dockerPorts(c.Ports, ports),
	}
	for _, p := range c.Parameters {
		info.Docker.Parameters = append(info.Docker.Parameters, mesos.Parameter{Key: p.Key, Value: p.Value})
	}
	switch c.Network {
	case jobs.NetworkHost:
		info.Docker.Network = mesos.ContainerInfo_DockerInfo_HOST.Enum()
	case jobs.NetworkBridge:
		info.Docker.Network = mesos.ContainerInfo_DockerInfo_BRIDGE.Enum()
	case jobs.NetworkNone:
		info.Docker.Network = mesos.ContainerInfo_DockerInfo_NONE.Enum()
	default:
		info.Docker.Network = mesos.ContainerInfo_DockerInfo_USER.Enum()
		info.NetworkInfos = []mesos.NetworkInfo{{Name: &c.Network}}
	}
	return info
}

// mappedPorts pairs the ports of an offer with those that an image listens on.
func mappedPorts(inside []int, ports []uint64, each func(host, container uint32)) {
	for i, p := range inside[:min(len(inside), len(ports))] {
		each(uint32(ports[i]), uint32(p))
	}
}

func dockerPorts(inside []int, ports []uint64) (out []mesos.ContainerInfo_DockerInfo_PortMapping) {
	mappedPorts(inside, ports, func(host, container uint32) {
		out = append(out, mesos.ContainerInfo_DockerInfo_PortMapping{HostPort: host, ContainerPort: container, Protocol: optional("tcp")})
	})
	return out
}

func cniPorts(inside []int, ports []uint64) (out []mesos.NetworkInfo_PortMapping) {
	mappedPorts(inside, ports, func(host, container uint32) {
		out = append(out, mesos.NetworkInfo_PortMapping{HostPort: host, ContainerPort: container, Protocol: optional("tcp")})
	})
	return out
}

func volumes(list []jobs.Volume) (out []mesos.Volume) {
	for _, v := range list {
		mode := mesos.RW
		if v.Mode == jobs.VolumeReadOnly {
			mode = mesos.RO
		}
		host := v.Host
		if host == "" { // Mesos refuses a volume that is of nothing
			host = path.Join("volumes", v.Container)
		}
		out = append(out, mesos.Volume{ContainerPath: v.Container, HostPath: &host, Mode: &mode})
	}
	return out
}

// healthCheck has Mesos check what our executor would. It asks from within the
// container's network, hence at the image's own ports where it has one.
func healthCheck(n *scheduler.NativeTask, ports []uint64) *mesos.HealthCheck {
	h := n.Health
	if h == nil {
		return nil
	}
	none, interval, timeout, grace := 0.0, h.Interval.D().Seconds(), h.Timeout.D().Seconds(), h.Grace.D().Seconds()
	failures := uint32(h.Failures)
	check := &mesos.HealthCheck{
		DelaySeconds: &none, IntervalSeconds: &interval, TimeoutSeconds: &timeout,
		GracePeriodSeconds: &grace, ConsecutiveFailures: &failures,
	}
	inside := slices.Clone(ports)
	for i := range min(len(n.Container.Ports), len(inside)) {
		inside[i] = uint64(n.Container.Ports[i])
	}
	port, _ := h.PortOf(n.PortNames, inside)
	switch {
	case h.Command != "":
		shell := true
		check.Type = mesos.HealthCheck_COMMAND
		check.Command = &mesos.CommandInfo{Shell: &shell, Value: &h.Command}
	case h.TCP:
		check.Type = mesos.HealthCheck_TCP
		check.TCP = &mesos.HealthCheck_TCPCheckInfo{Port: uint32(port)}
	default:
		check.Type = mesos.HealthCheck_HTTP
		check.HTTP = &mesos.HealthCheck_HTTPCheckInfo{Scheme: optional("http"), Port: uint32(port), Path: &h.HTTP}
	}
	return check
}

// discovery makes a service's instance known to the whole cluster.
func discovery(d *scheduler.Discovery) *mesos.DiscoveryInfo {
	if d == nil {
		return nil
	}
	info := &mesos.DiscoveryInfo{Visibility: mesos.CLUSTER, Name: &d.Name, Version: &d.Version}
	if len(d.Ports) > 0 {
		info.Ports = &mesos.Ports{}
	}
	for _, p := range d.Ports {
		info.Ports.Ports = append(info.Ports.Ports, mesos.Port{Number: uint32(p.Number), Name: optional(p.Name), Protocol: optional("tcp")})
	}
	return info
}

// variables are in the order of the names: one content has one form.
func variables(vars map[string]string) *mesos.Environment {
	if len(vars) == 0 {
		return nil
	}
	env := &mesos.Environment{}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		value := vars[name]
		env.Variables = append(env.Variables, mesos.Environment_Variable{Name: name, Value: &value})
	}
	return env
}
