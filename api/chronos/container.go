package chronos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"tidemill/jobs"
)

// container is the image that a job runs in, in Chronos's own form.
type container struct {
	Type           string           `json:"type"` // DOCKER or MESOS
	Image          string           `json:"image"`
	Network        string           `json:"network"` // HOST, BRIDGE, or USER with a name
	NetworkName    string           `json:"networkName,omitempty"`
	NetworkInfos   []networkInfo    `json:"networkInfos"`
	Volumes        []volume         `json:"volumes"`
	ForcePullImage flag             `json:"forcePullImage"`
	Parameters     []jobs.Parameter `json:"parameters"`
}

type networkInfo struct {
	Name         string          `json:"name"`
	Protocol     string          `json:"protocol,omitempty"`
	Labels       json.RawMessage `json:"labels,omitempty"`
	PortMappings []portMapping   `json:"portMappings,omitempty"`
}

type portMapping struct {
	HostPort      number `json:"hostPort"`
	ContainerPort number `json:"containerPort"`
	Protocol      string `json:"protocol,omitempty"`
}

type volume struct {
	HostPath      string          `json:"hostPath,omitempty"`
	ContainerPath string          `json:"containerPath"`
	Mode          string          `json:"mode,omitempty"` // RW or RO
	External      json.RawMessage `json:"external,omitempty"`
}

const (
	userNetwork    = "USER"
	containerField = "container"
)

// readContainer is what the job's container is in Tidemill's words; what these
// lack is refused. A job without one gives nil.
func readContainer(doc json.RawMessage, e *jobs.FieldErrors) *jobs.Container {
	if len(doc) == 0 {
		return nil
	}
	c := container{Type: jobs.ContainerDocker, Network: jobs.NetworkHost}
	if err := json.Unmarshal(doc, &c); err != nil {
		e.Addf(containerField, "%s", strings.TrimPrefix(err.Error(), "json: "))
		return nil
	}
	out := jobs.Container{
		Type: strings.ToLower(c.Type), Image: c.Image, ForcePull: bool(c.ForcePullImage), Parameters: c.Parameters,
	}
	c.network(&out, e)
	for i, v := range c.Volumes {
		if present(v.External) {
			e.Addf(fmt.Sprintf("%s.volumes[%d].external", containerField, i), "external volumes are not supported; mount it on the agents and name its path as hostPath")
		}
		out.Volumes = append(out.Volumes, jobs.Volume{Container: v.ContainerPath, Host: v.HostPath, Mode: strings.ToLower(v.Mode)})
	}
	out = out.WithDefaults()
	return &out
}

func (c *container) network(out *jobs.Container, e *jobs.FieldErrors) {
	const infos = containerField + ".networkInfos"
	if len(c.NetworkInfos) > 1 {
		e.Addf(infos, "%d networks; a container is in one", len(c.NetworkInfos))
		return
	}
	name := c.NetworkName
	for _, n := range c.NetworkInfos {
		if name == "" {
			name = n.Name
		}
		if n.Name != "" && n.Name != name {
			e.Addf(infos, "%q and networkName %q are two networks; a container is in one", n.Name, name)
		}
		if n.Protocol != "" || present(n.Labels) {
			e.Addf(infos, "protocol and labels are not supported; leave them out")
		}
		for _, p := range n.PortMappings {
			if p.HostPort != 0 || p.Protocol != "" && !strings.EqualFold(p.Protocol, "tcp") {
				e.Addf(infos, "hostPort and protocol are not supported: the agent's port is one of the offer's, and TCP; leave them out")
			}
			out.Ports = append(out.Ports, int(p.ContainerPort))
		}
	}
	switch out.Network = strings.ToLower(c.Network); {
	case strings.EqualFold(c.Network, userNetwork), out.Type == jobs.ContainerMesos && name != "":
		out.Network = name
		if name == "" {
			e.Addf(containerField+".networkName", "network USER needs the name of one")
		}
	case out.Network != jobs.NetworkHost && out.Network != jobs.NetworkBridge && out.Network != jobs.NetworkNone:
		e.Addf(containerField+".network", "%q is not HOST, BRIDGE or USER", c.Network)
	}
}

// present says whether a field says anything.
func present(doc json.RawMessage) bool {
	switch string(bytes.TrimSpace(doc)) {
	case "", "null", "[]", "{}":
		return false
	}
	return true
}

// showContainer is a container in Chronos's form.
func showContainer(stored *jobs.Container) json.RawMessage {
	if stored == nil {
		return nil
	}
	box := stored.WithDefaults()
	c := container{
		Type: strings.ToUpper(box.Type), Image: box.Image, Network: strings.ToUpper(box.Network), ForcePullImage: flag(box.ForcePull),
		NetworkInfos: []networkInfo{}, Volumes: []volume{}, Parameters: append([]jobs.Parameter{}, box.Parameters...),
	}
	var info networkInfo
	switch box.Network {
	case jobs.NetworkHost, jobs.NetworkBridge, jobs.NetworkNone:
	default:
		c.Network, c.NetworkName, info.Name = userNetwork, box.Network, box.Network
	}
	for _, p := range box.Ports {
		info.PortMappings = append(info.PortMappings, portMapping{ContainerPort: number(p)})
	}
	if info.Name != "" || len(info.PortMappings) > 0 {
		c.NetworkInfos = append(c.NetworkInfos, info)
	}
	for _, v := range box.Volumes {
		c.Volumes = append(c.Volumes, volume{HostPath: v.Host, ContainerPath: v.Container, Mode: strings.ToUpper(v.Mode)})
	}
	return json.RawMessage(document(c))
}
