package demo

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"tidemill/internal/cassandra"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal/cluster"
	"tidemill/internal/stack"
)

// An agent that is silent for so many pings, a second apart, counts as lost:
// Mesos's own 75 s would be most of the demo.
const (
	pingEvery = time.Second
	maxPings  = 5
)

// leastAgents are two to work on when one is killed.
const leastAgents = 3

// elsewhere is the host of the agent that has no Cassandra node beside it.
const elsewhere = "127.0.0.1"

// startCluster starts the master, the agents and the schedulers.
func (d *demo) startCluster(ctx context.Context) error {
	if err := d.startMesos(ctx); err != nil {
		return err
	}
	if err := d.startSchedulers(ctx); err != nil {
		return err
	}
	return d.await(ctx, "a scheduler that leads", patience, func(ctx context.Context) (bool, string, error) {
		for _, p := range d.schedulers {
			if p.ended() {
				return false, "", fmt.Errorf("%s ended at once; %s says why", p.name, p.log)
			}
		}
		s, err := d.api.status(ctx)
		if err != nil || !s.Subscribed {
			return false, "waiting for a scheduler to lead", err
		}
		d.screen.say("%s leads (%s), the other one stands by", d.nameOf(s.Leader), s.Leader)
		return true, "", nil
	})
}

// startMesos starts an agent beside each Cassandra node and one elsewhere.
func (d *demo) startMesos(ctx context.Context) error {
	o, err := d.mesosOptions(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.WorkDir, 0o755); err != nil {
		return fmt.Errorf("make a folder for Mesos: %w", err)
	}
	log, err := os.Create(filepath.Join(d.dir, "mesos.log"))
	if err != nil {
		return fmt.Errorf("make the log of Mesos: %w", err)
	}
	d.onClose(func() { _ = log.Close() }) // its writers are processes, with descriptors of their own
	o.Log = log
	if d.mesos, err = cluster.Start(ctx, o); err != nil {
		return err
	}
	d.onClose(d.mesos.Stop)
	d.screen.say("a master, pid %d, at %s", d.mesos.Masters[0].Pid(), d.mesos.Masters[0].Addr())
	for i, a := range d.mesos.Agents {
		d.screen.say("%s, pid %d, on %s: %s", a.Name, a.Pid(), o.Hostnames[i], o.Attributes[i])
	}
	return nil
}

func (d *demo) mesosOptions(ctx context.Context) (cluster.Options, error) {
	args := []string{"--agent-ping-timeout", pingEvery.String(), "--max-agent-ping-timeouts", fmt.Sprint(maxPings)}
	o := cluster.Options{
		ZooKeeper: d.mesosAddress(), WorkDir: filepath.Join(d.dir, "mesos"),
		Program: []string{d.Program, "mesos"}, MasterArgs: args, AgentArgs: args,
	}
	nodes, err := d.session.Nodes(ctx)
	if err != nil {
		return o, err
	}
	slices.SortFunc(nodes, func(a, b cassandra.Node) int { return cmp.Compare(a.Address, b.Address) })
	agent := func(host, attributes string) {
		o.Hostnames, o.Attributes = append(o.Hostnames, host), append(o.Attributes, attributes)
	}
	for _, n := range nodes {
		// No agent of this machine is beside a node of another one.
		if ip := net.ParseIP(n.Address); ip != nil && ip.IsLoopback() {
			agent(n.Address, fmt.Sprintf("rack:%s;cassandra:%s", n.Rack, n.DC))
		}
	}
	for agent(elsewhere, "rack:elsewhere"); len(o.Hostnames) < leastAgents; {
		agent(elsewhere, "rack:elsewhere")
	}
	o.Agents = len(o.Hostnames)
	// Agents of one host share its ports, and those of other programs are taken.
	first := 20000 + 100*rand.IntN(100)
	for i := range o.Agents {
		o.Resources = append(o.Resources, fmt.Sprintf("cpus:4;mem:2048;disk:8192;ports:[%d-%d]", first+20*i, first+20*i+19))
	}
	return o, nil
}

// startSchedulers starts two, which find each other and the master by ZooKeeper.
func (d *demo) startSchedulers(ctx context.Context) error {
	line, err := lifeline.New()
	if err != nil {
		return err
	}
	d.onClose(func() { _ = line.Close() }) // who is left ends by it
	who, err := user.Current()
	if err != nil {
		return fmt.Errorf("find out who runs this: %w", err)
	}
	var urls []string
	for i := range 2 {
		listen, err := freeAddress(ctx)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("scheduler-%d", i+1)
		p := &process{
			name: name, url: "http://" + listen, line: line, log: filepath.Join(d.dir, name+".log"),
			argv: []string{d.Program, "scheduler", "--start-by", "20s", "--master-settle", "10s"},
			env: append(d.at.Environment(stack.UserPrefix),
				"TIDEMILL_ZK=zk://"+d.at.ZooKeeper+d.names.path+"/tidemill", "TIDEMILL_MASTER="+d.mesosAddress(),
				"TIDEMILL_LISTEN="+listen, "TIDEMILL_USER="+who.Username,
				// The agents are on this machine, where the program lies.
				"TIDEMILL_ARTIFACT_URL="+d.Program,
				"TIDEMILL_LOG_FORMAT=json"),
		}
		if err := p.start(); err != nil {
			return err
		}
		d.onClose(p.stop)
		d.screen.say("%s, pid %d, at %s", p.name, p.pid(), p.url)
		d.schedulers = append(d.schedulers, p)
		urls = append(urls, p.url)
	}
	if d.api, err = newAPI(urls...); err != nil {
		return err
	}
	d.onClose(d.api.close)
	return nil
}

func (d *demo) mesosAddress() string { return "zk://" + d.at.ZooKeeper + d.names.path + "/mesos" }

// freeAddress finds a port. Another program may take it before the scheduler
// does; then that one says so.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// nameOf names the scheduler at an address of the API.
func (d *demo) nameOf(url string) string {
	if p := d.schedulerAt(url); p != nil {
		return p.name
	}
	return url
}

func (d *demo) schedulerAt(url string) *process {
	i := slices.IndexFunc(d.schedulers, func(p *process) bool { return p.url == url })
	if i < 0 {
		return nil
	}
	return d.schedulers[i]
}

// agentAt is the agent that listens at an address.
func (d *demo) agentAt(addr string) *cluster.Member {
	i := slices.IndexFunc(d.mesos.Agents, func(m *cluster.Member) bool { return m.Addr() == addr })
	if i < 0 {
		return nil
	}
	return d.mesos.Agents[i]
}
