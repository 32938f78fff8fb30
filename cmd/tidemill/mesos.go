package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal"
	"tidemill/internal/mesoslocal/cluster"
)

// mesosCmd runs the local Mesos: a cluster in processes of their own, or one of them.
type mesosCmd struct {
	Cluster mesosCluster `cmd:"" default:"withargs" help:"Run a master and agents, each in a process of its own, until interrupted."`
	Master  mesosMaster  `cmd:"" help:"Run one master in this process."`
	Agent   mesosAgent   `cmd:"" help:"Run one agent in this process."`
}

// mesosTiming are the intervals that matter when agents are lost.
type mesosTiming struct {
	AgentPingTimeout     time.Duration `default:"15s" help:"How often the master pings an agent."`
	MaxAgentPingTimeouts int           `default:"5" help:"How many pings may stay unanswered before the agent is unreachable."`
}

// mesosCluster is `tidemill mesos`.
type mesosCluster struct {
	mesosTiming
	Masters    int      `default:"1" help:"Number of masters; several need --zk."`
	Agents     int      `default:"1" help:"Number of agents."`
	Zk         string   `placeholder:"zk://HOST:PORT/PATH" help:"Let masters be elected and found through ZooKeeper."`
	Port       int      `default:"5050" help:"Port of the first master; 0 takes any."`
	AgentPort  int      `default:"5051" help:"Port of the first agent; 0 takes any."`
	WorkDir    string   `type:"path" placeholder:"DIR" help:"Directory of registry, checkpoints and sandboxes (default: a new temporary one)."`
	Attributes []string `sep:"none" placeholder:"NAME:VALUE;…" help:"Attributes of an agent, as in rack:a;cassandra:dc1; once per agent, in order."`
	Resources  []string `sep:"none" placeholder:"NAME:VALUE;…" help:"Resources of an agent, as in cpus:2;mem:1024; once per agent, in order."`
	Hostnames  []string `placeholder:"NAME" help:"Host names of the agents, in order (default agent-1…)."`
	PidFile    string   `type:"path" placeholder:"FILE" help:"Write the members' pids and addresses to this file, as JSON."`
}

// memberView is a member as the pid file shows it.
type memberView struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Addr string `json:"addr"`
}

// Run starts the cluster and waits for the interrupt.
func (cmd mesosCluster) Run(ctx context.Context, g *globals, c console) error {
	if cmd.Masters < 1 || cmd.Masters > 1 && cmd.Zk == "" {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("--masters %d: there is one, or several that elect their leader in ZooKeeper (give --zk)", cmd.Masters)}
	}
	if err := checkResources(cmd.Resources...); err != nil {
		return err
	}
	if cmd.WorkDir == "" {
		dir, err := os.MkdirTemp("", "tidemill-mesos-")
		if err != nil {
			return fmt.Errorf("make a work directory: %w", err)
		}
		cmd.WorkDir = dir
		defer os.RemoveAll(dir)
	}
	common := []string{"--log-level", g.LogLevel, "--log-format", g.LogFormat,
		"--agent-ping-timeout", cmd.AgentPingTimeout.String(), "--max-agent-ping-timeouts", fmt.Sprint(cmd.MaxAgentPingTimeouts)}
	running, err := cluster.Start(ctx, cluster.Options{
		Masters: cmd.Masters, Agents: cmd.Agents, ZooKeeper: cmd.Zk, MasterPort: cmd.Port, AgentPort: cmd.AgentPort,
		WorkDir: cmd.WorkDir, Attributes: cmd.Attributes, Resources: cmd.Resources, Hostnames: cmd.Hostnames,
		MasterArgs: common, AgentArgs: common, Log: c.Err,
	})
	if err != nil {
		return err
	}
	defer running.Stop()
	if err := cmd.show(g, c, running); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// show prints the members, and writes the pid file where one is wanted.
func (cmd mesosCluster) show(g *globals, c console, running *cluster.Cluster) error {
	var views []memberView
	for _, member := range slices.Concat(running.Masters, running.Agents) {
		views = append(views, memberView{Name: member.Name, PID: member.Pid(), Addr: member.Addr()})
	}
	err := g.print(c, views, func(w io.Writer) {
		row(w, "NAME", "PID", "ADDRESS")
		for _, v := range views {
			row(w, v.Name, v.PID, v.Addr)
		}
	})
	if err != nil {
		return err
	}
	if cmd.PidFile == "" {
		return nil
	}
	data, err := json.MarshalIndent(views, "", "  ")
	if err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	next := cmd.PidFile + ".next" // a reader never sees half of it
	if err := os.WriteFile(next, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return os.Rename(next, cmd.PidFile)
}

// mesosMaster is `tidemill mesos master`.
type mesosMaster struct {
	mesosTiming
	Addr     string `default:"127.0.0.1:5050" help:"Address to listen on."`
	Hostname string `placeholder:"NAME" help:"Host name to give (default: the address)."`
	Zk       string `placeholder:"zk://HOST:PORT/PATH" help:"Take part in elections there."`
	WorkDir  string `type:"path" placeholder:"DIR" help:"Directory of the registry of agents (default: in memory)."`

	AgentReregisterTimeout time.Duration `default:"10m" help:"How long a new leader waits for the agents of the former one."`
	HeartbeatInterval      time.Duration `default:"15s" help:"How often frameworks hear of the master when nothing else is to be told."`
	ZkSessionTimeout       time.Duration `default:"10s" help:"After how long without a word from it another master takes over from the leader."`
	OfferTimeout           time.Duration `help:"Rescind offers that are held for longer."`
}

// Run runs a master until a signal ends it.
func (cmd mesosMaster) Run(ctx context.Context, c console, log zerolog.Logger) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGUSR1)
	defer stop()
	if err := hangOnLifeline(); err != nil {
		return err
	}
	master, err := mesoslocal.StartMaster(ctx, mesoslocal.MasterOptions{
		Addr: cmd.Addr, Hostname: cmd.Hostname, ZooKeeper: cmd.Zk, WorkDir: cmd.WorkDir,
		AgentPingTimeout: cmd.AgentPingTimeout, MaxAgentPingTimeouts: cmd.MaxAgentPingTimeouts,
		AgentReregister: cmd.AgentReregisterTimeout, OfferTimeout: cmd.OfferTimeout,
		HeartbeatInterval: cmd.HeartbeatInterval, ZooKeeperSession: cmd.ZkSessionTimeout, Log: log,
	})
	if err != nil {
		return err
	}
	defer master.Stop()
	if err := sayReady(c, master.Addr()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// mesosAgent is `tidemill mesos agent`.
type mesosAgent struct {
	mesosTiming
	Addr       string `default:"127.0.0.1:5051" help:"Address to listen on."`
	Master     string `default:"127.0.0.1:5050" placeholder:"HOST:PORT|zk://…" help:"Where the master is (default: ${default})."`
	Hostname   string `placeholder:"NAME" help:"Host name to give (default: the address)."`
	WorkDir    string `type:"path" required:"" placeholder:"DIR" help:"Directory of checkpoints and sandboxes; what a former agent left there is taken over."`
	Attributes string `placeholder:"NAME:VALUE;…" help:"Attributes, as in rack:a;cassandra:dc1."`
	Resources  string `placeholder:"NAME:VALUE;…" help:"Resources, as in cpus:2;mem:1024;ports:[31000-31099]."`
}

// Run runs an agent. SIGUSR1 ends it with its executors, SIGTERM and SIGINT without: the
// next agent on the work directory takes them over, as with a real agent.
func (cmd mesosAgent) Run(ctx context.Context, c console, log zerolog.Logger) error {
	if err := checkResources(cmd.Resources); err != nil {
		return err
	}
	graceful, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGUSR1)
	defer stop()
	if err := hangOnLifeline(); err != nil {
		return err
	}
	agent, err := mesoslocal.StartAgent(ctx, mesoslocal.AgentOptions{
		Addr: cmd.Addr, Master: cmd.Master, Hostname: cmd.Hostname, WorkDir: filepath.Clean(cmd.WorkDir),
		Attributes: cmd.Attributes, Resources: cmd.Resources,
		AgentPingTimeout: cmd.AgentPingTimeout, MaxAgentPingTimeouts: cmd.MaxAgentPingTimeouts, Log: log,
	})
	if err != nil {
		return err
	}
	if err := sayReady(c, agent.Addr()); err != nil {
		agent.Crash()
		return err
	}
	select {
	case <-graceful.Done():
		agent.Stop()
	case <-ctx.Done():
		agent.Crash()
	}
	return nil
}

// hangOnLifeline ends this process at once when whoever started it for a while is gone.
func hangOnLifeline() error {
	return lifeline.Watch(func() { os.Exit(exitFailed) })
}

// sayReady prints the address for whoever waits for it.
func sayReady(c console, addr string) error {
	return json.NewEncoder(c.Out).Encode(cluster.Ready{Addr: addr})
}
