// Package netns makes a network of hosts on this machine: network namespaces on a bridge, whose
// packets can be dropped one way or both.
package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
)

// maxHosts is what fits beside the gateway in the network's 254 addresses.
const maxHosts = 200

// Network is a bridge in the namespace of this process, and the hosts on it. This process reaches
// all hosts whatever they drop, unless they drop its own address.
type Network struct {
	hosts []*Host
}

// New makes the bridge. It is for a process in a network namespace of its own (see Isolate), since
// the names of bridge and links are fixed.
func New(ctx context.Context) (*Network, error) {
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("make a network: %w (it is part of iproute2)", err)
	}
	err := configure(ctx, "link set lo up", "link add hub type bridge", "link set hub up", "addr add "+address(254).String()+"/24 dev hub")
	if err != nil {
		return nil, fmt.Errorf("make a network: %w", err)
	}
	return &Network{}, nil
}

// AddHost makes a host.
func (n *Network) AddHost(ctx context.Context, name string) (*Host, error) {
	if len(n.hosts) == maxHosts {
		return nil, fmt.Errorf("add host %s: the network has room for %d", name, maxHosts)
	}
	number := len(n.hosts) + 1
	h, err := newHost(name, address(number))
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	n.hosts = append(n.hosts, h)
	err = configure(ctx, fmt.Sprintf("link add %s type veth peer name eth0 netns %d", link(number), h.thread), "link set "+link(number)+" master hub up")
	if err == nil {
		err = h.configure(ctx, []string{
			// What is for the host itself is looked up after what is dropped, not before.
			fmt.Sprintf("rule add pref %d lookup local", afterDrops), "rule del pref 0 lookup local",
			"link set lo up", "addr add " + h.Addr.String() + "/24 dev eth0", "link set eth0 up",
		})
	}
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	return h, nil
}

// Heal undoes every Drop.
func (n *Network) Heal(ctx context.Context) error {
	var errs []error
	for _, h := range n.hosts {
		errs = append(errs, h.Accept(ctx))
	}
	return errors.Join(errs...)
}

// Close ends all hosts with their processes, and removes the bridge.
func (n *Network) Close(ctx context.Context) error {
	remove := []string{"link del hub"}
	for i := range n.hosts {
		remove = append(remove, "link del "+link(i+1)) // its other end goes with it, at once
	}
	err := configure(ctx, remove...)
	for _, h := range n.hosts {
		h.close()
	}
	n.hosts = nil
	return err
}

func link(number int) string { return "port" + strconv.Itoa(number) }

// Prefix is what all addresses of a network begin with.
const Prefix = "10.78.0"

func address(number int) netip.Addr { return netip.AddrFrom4([4]byte{10, 78, 0, byte(number)}) }

// configure has iproute2 do some lines in this process's own namespace.
func configure(ctx context.Context, lines ...string) error {
	if said, err := ipCommand(ctx, lines).CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, bytes.TrimSpace(said))
	}
	return nil
}
