package jobs

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Container is the image that a command runs in, by Mesos's built-in
// executors.
type Container struct {
	Type      string `json:"type,omitempty"` // docker, or mesos for Mesos's own containerizer
	Image     string `json:"image"`
	ForcePull bool   `json:"force_pull,omitempty"`
	// Network is host, bridge or none, or the name of a user's network.
	Network string `json:"network,omitempty"`
	// Ports are those that the image listens on, where its network is not the
	// host's: the first is reached by the first port of the offer, and so on.
	Ports      []int       `json:"ports,omitempty"`
	Volumes    []Volume    `json:"volumes,omitempty"`
	Parameters []Parameter `json:"parameters,omitempty"` // of docker run
	Privileged bool        `json:"privileged,omitempty"`
}

// Volume is a path of the agent that is seen in the container.
type Volume struct {
	Container string `json:"container"`      // absolute
	Host      string `json:"host,omitempty"` // absolute, or below the sandbox; empty: a directory there
	Mode      string `json:"mode,omitempty"` // rw or ro
}

// Parameter is an option of docker run: --key=value.
type Parameter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// The types of containers, the networks that have a meaning of their own, and
// the modes of volumes.
const (
	ContainerDocker = "docker"
	ContainerMesos  = "mesos"

	NetworkHost   = "host"
	NetworkBridge = "bridge"
	NetworkNone   = "none"

	VolumeReadWrite = "rw"
	VolumeReadOnly  = "ro"
)

// WithDefaults fills in what the user left out. It shares nothing with c.
func (c Container) WithDefaults() Container {
	c.Type = cmp.Or(c.Type, ContainerDocker)
	c.Network = cmp.Or(c.Network, NetworkHost)
	c.Volumes = slices.Clone(c.Volumes)
	for i := range c.Volumes {
		c.Volumes[i].Mode = cmp.Or(c.Volumes[i].Mode, VolumeReadWrite)
	}
	return c
}

// Validate finds everything that is wrong with the container.
func (c Container) Validate() error {
	var e FieldErrors
	oneOf(&e, "type", c.Type, ContainerDocker, ContainerMesos)
	if strings.TrimSpace(c.Image) == "" || strings.ContainsAny(c.Image, " \t\n\x00") {
		e.Addf("image", "%q is no image's name", c.Image)
	}
	if strings.ContainsAny(c.Network, " \t\n\x00") {
		e.Addf("network", "%q is no network's name; use host, bridge, none or that of a user's network", c.Network)
	}
	if c.Type == ContainerMesos {
		c.validateMesos(&e)
	}
	if host := c.Network == "" || c.Network == NetworkHost; len(c.Ports) > 0 && (host || c.Network == NetworkNone) {
		e.Addf("ports", "belong to a network of the container's own; on the host's it listens on $PORT0")
	}
	for i, p := range c.Ports {
		e.Within(fmt.Sprintf("ports[%d]", i), int64(p), 1, 65535)
	}
	for i, v := range c.Volumes {
		v.validate(&e, fmt.Sprintf("volumes[%d].", i))
	}
	for i, p := range c.Parameters {
		switch field := fmt.Sprintf("parameters[%d].key", i); strings.TrimLeft(p.Key, "-") {
		case "":
			e.Addf(field, "%q is no option of docker run", p.Key)
		case "name":
			e.Addf(field, "%q is Mesos's to choose: it finds its containers by it", p.Key)
		}
	}
	return e.Err()
}

func (c Container) validateMesos(e *FieldErrors) {
	if len(c.Parameters) > 0 {
		e.Addf("parameters", "are options of docker run; type mesos takes none")
	}
	if c.Privileged {
		e.Addf("privileged", "belongs to type docker")
	}
	if c.Network == NetworkBridge || c.Network == NetworkNone {
		e.Addf("network", "%q belongs to type docker; with type mesos it is host or a CNI network's name", c.Network)
	}
}

func (v Volume) validate(e *FieldErrors, at string) {
	if !path.IsAbs(v.Container) {
		e.Addf(at+"container", "%q is not an absolute path", v.Container)
	}
	if v.Host != "" && !path.IsAbs(v.Host) && !localPath(v.Host) {
		e.Addf(at+"host", "%q is neither absolute nor below the sandbox", v.Host)
	}
	oneOf(e, at+"mode", v.Mode, VolumeReadWrite, VolumeReadOnly)
}

// localPath says whether a relative path stays below where it begins.
func localPath(p string) bool {
	clean := path.Clean(p)
	return clean != ".." && !strings.HasPrefix(clean, "../")
}
