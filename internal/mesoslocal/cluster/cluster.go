// Package cluster runs a local Mesos as processes of their own, a master or more and
// agents, that can be killed, stopped and started again one by one.
package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"tidemill/internal/lifeline"
)

// startTimeout bounds how long a member may take until it serves.
const startTimeout = 30 * time.Second

// Options configure a Cluster.
type Options struct {
	Masters    int // default 1; more need ZooKeeper
	Agents     int
	ZooKeeper  string   // zk://…/mesos, or empty
	MasterPort int      // of the first master; 0: any that is free
	AgentPort  int      // of the first agent; 0: any that is free
	WorkDir    string   // required
	Attributes []string // of each agent in turn
	Resources  []string // of each agent in turn
	Hostnames  []string // of each agent in turn; default agent-1…
	MasterArgs []string // further arguments of `tidemill mesos master`
	AgentArgs  []string // further arguments of `tidemill mesos agent`

	Program []string  // argv prefix of `tidemill mesos`; default: this program with "mesos"
	Log     io.Writer // of the members' logs; nil: discarded
}

// Cluster is a running local Mesos.
type Cluster struct {
	Masters []*Member
	Agents  []*Member

	line *lifeline.Line
}

// Ready is what a member prints, as one line of JSON, when it serves.
type Ready struct {
	Addr string `json:"addr"`
}

// Member is one process of the cluster.
type Member struct {
	Name string

	cluster *Cluster
	options Options
	args    []string
	mu      sync.Mutex
	addr    string
	cmd     *exec.Cmd
	done    chan struct{} // the current process has ended
}

// Start starts all members and returns when they serve. The cluster ends with Stop, or
// with this process, however that ends.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	if len(options.Program) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("start the local Mesos: %w", err)
		}
		options.Program = []string{self, "mesos"}
	}
	options.Masters = max(options.Masters, 1)
	if options.Masters > 1 && options.ZooKeeper == "" {
		return nil, errors.New("start the local Mesos: several masters need ZooKeeper (give --zk)")
	}
	line, err := lifeline.New()
	if err != nil {
		return nil, fmt.Errorf("start the local Mesos: %w", err)
	}
	c := &Cluster{line: line}
	for i := range options.Masters {
		c.Masters = append(c.Masters, c.member("master-"+strconv.Itoa(i+1), options, masterArgs(options, i)))
	}
	if err := c.startAll(ctx, c.Masters); err != nil {
		c.Stop()
		return nil, err
	}
	for i := range options.Agents {
		c.Agents = append(c.Agents, c.member("agent-"+strconv.Itoa(i+1), options, agentArgs(options, i, c.MasterAddress(options))))
	}
	if err := c.startAll(ctx, c.Agents); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// MasterAddress is what agents and frameworks are given: the ZooKeeper address where
// there is one, else host:port of the master.
func (c *Cluster) MasterAddress(options Options) string {
	if options.ZooKeeper != "" {
		return options.ZooKeeper
	}
	return c.Masters[0].Addr()
}

func masterArgs(o Options, i int) []string {
	args := []string{"master", "--addr", listen(o.MasterPort, i), "--work-dir", filepath.Join(o.WorkDir, "master")}
	if o.ZooKeeper != "" {
		args = append(args, "--zk", o.ZooKeeper)
	}
	return append(args, o.MasterArgs...)
}

func agentArgs(o Options, i int, master string) []string {
	name := "agent-" + strconv.Itoa(i+1)
	args := []string{"agent", "--addr", listen(o.AgentPort, i), "--master", master,
		"--hostname", pick(o.Hostnames, i, name), "--work-dir", filepath.Join(o.WorkDir, name)}
	if attributes := pick(o.Attributes, i, ""); attributes != "" {
		args = append(args, "--attributes", attributes)
	}
	if resources := pick(o.Resources, i, ""); resources != "" {
		args = append(args, "--resources", resources)
	}
	return append(args, o.AgentArgs...)
}

func listen(first, i int) string {
	if first == 0 {
		return "127.0.0.1:0"
	}
	return "127.0.0.1:" + strconv.Itoa(first+i)
}

func pick(list []string, i int, otherwise string) string {
	if i < len(list) {
		return list[i]
	}
	return otherwise
}

func (c *Cluster) member(name string, options Options, args []string) *Member {
	return &Member{Name: name, cluster: c, options: options, args: args}
}

func (c *Cluster) startAll(ctx context.Context, members []*Member) error {
	failures := make([]error, len(members))
	var starts sync.WaitGroup
	for i, member := range members {
		starts.Go(func() { failures[i] = member.Start(ctx) })
	}
	starts.Wait()
	return errors.Join(failures...)
}

// Stop ends all members, agents first so that they unregister and end their executors.
func (c *Cluster) Stop() {
	for _, members := range [][]*Member{c.Agents, c.Masters} {
		var stops sync.WaitGroup
		for _, member := range members {
			stops.Go(member.Stop)
		}
		stops.Wait()
	}
	_ = c.line.Close() // whoever is left ends by it
}

// Addr returns host:port of the member.
func (m *Member) Addr() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addr
}

// Pid returns the process id, zero when the member does not run.
func (m *Member) Pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return 0
	}
	return m.cmd.Process.Pid
}

func (m *Member) running() bool {
	if m.cmd == nil {
		return false
	}
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// Done is closed when the process that runs now has ended.
func (m *Member) Done() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done
}

// Start starts the member, again too: on its former address and work directory.
func (m *Member) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running() {
		return nil
	}
	args := append([]string{}, m.args...)
	if m.addr != "" { // it keeps the port it was given
		args = append(args, "--addr", m.addr)
	}
	argv := append(append([]string{}, m.options.Program...), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = os.Environ()
	cmd.Stderr = m.options.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C goes to the parent alone
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	if err := m.cluster.line.Attach(cmd); err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	ready, done := make(chan Ready, 1), make(chan struct{})
	m.cmd, m.done = cmd, done
	go func() { // ends with the process, for which Stop and Kill wait
		defer close(done)
		defer close(ready)
		lines := bufio.NewReader(stdout)
		var first Ready
		if line, err := lines.ReadBytes('\n'); err == nil && json.Unmarshal(line, &first) == nil {
			ready <- first
		}
		_, _ = io.Copy(io.Discard, lines)
		_ = cmd.Wait() // how it ended shows in its log
	}()
	return m.await(ctx, ready)
}

func (m *Member) await(ctx context.Context, ready <-chan Ready) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case first, ok := <-ready:
		if !ok {
			return fmt.Errorf("start %s: it ended at once (its log says why; is its port taken?)", m.Name)
		}
		m.addr = first.Addr
		return nil
	case <-ctx.Done():
		_ = m.cmd.Process.Kill() // it is given up
		return fmt.Errorf("start %s: %w", m.Name, ctx.Err())
	}
}

// Signal sends a signal to the member.
func (m *Member) Signal(signal syscall.Signal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return fmt.Errorf("signal %s: it does not run", m.Name)
	}
	return m.cmd.Process.Signal(signal)
}

// Kill ends the member by SIGKILL and waits for that. An agent's executors live on.
func (m *Member) Kill() {
	m.end(syscall.SIGKILL)
}

// Stop ends the member in good order and waits for that: an agent unregisters and ends
// its executors.
func (m *Member) Stop() {
	m.end(syscall.SIGUSR1)
}

func (m *Member) end(signal syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return
	}
	_ = m.cmd.Process.Signal(signal) // it may just have ended
	select {
	case <-m.done:
	case <-time.After(startTimeout):
		_ = m.cmd.Process.Kill() // it does not listen
		<-m.done
	}
}
