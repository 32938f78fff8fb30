package stack

import (
	"context"
	"path/filepath"
)

// Command is how to start one server.
type Command struct {
	Name    string // such as "zookeeper-1"
	Address string // host:port for clients
	Dir     string // to start it in
	Argv    []string
}

// EnsembleCommands gets ZooKeeper, and says how to start an ensemble on hosts that are not of this
// machine's loopback, for whoever starts it there: the servers are network.1, network.2 and so on,
// on ZooKeeper's usual ports, and keep their data below dir.
func EnsembleCommands(ctx context.Context, o Options, network, dir string) ([]Command, error) {
	children := newNursery()
	defer children.close()
	o = Options{ZooKeeper: o.ZooKeeper, Cache: o.Cache, Progress: o.Progress}
	if err := o.Check(); err != nil {
		return nil, err
	}
	programs, err := fetchPrograms(ctx, o, children)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	recipes, err := programs.recipes(place{network: network, ports: DefaultPorts()}, dir, o)
	if err != nil {
		return nil, err
	}
	commands := make([]Command, len(recipes))
	for i, r := range recipes {
		commands[i] = Command{Name: r.name, Address: r.address, Dir: r.dir, Argv: r.argv}
	}
	return commands, nil
}
