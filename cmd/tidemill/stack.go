package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/stack"
	"tidemill/internal/stack/supervisor"
)

// stackCmd starts the real servers: `tidemill stack up` for a user, `stack run` for tests.
type stackCmd struct {
	Up        stackUp        `cmd:"" help:"Start the servers in the background, or say that they run."`
	Down      stackDown      `cmd:"" help:"End the servers that up started."`
	Status    stackStatus    `cmd:"" help:"Show the servers and whether they answer."`
	Env       stackEnv       `cmd:"" help:"Print the servers' addresses as shell exports."`
	Run       stackRun       `cmd:"" help:"Start the servers, run a command with their addresses in TIDEMILL_TEST_*, end them."`
	Fetch     stackFetch     `cmd:"" help:"Download what the servers need, so that they start fast."`
	Supervise stackSupervise `cmd:"" hidden:""`
}

// serverFlags choose the servers.
type serverFlags struct {
	ZooKeeper         int      `name:"zookeeper" default:"1" help:"Number of ZooKeeper servers: 1, or 3 for an ensemble."`
	CassandraNodes    int      `default:"1" help:"Number of Cassandra nodes."`
	DataCenters       []string `placeholder:"NAME" help:"Data centers, dealt out to the Cassandra nodes in turn (default dc1)."`
	Racks             []string `placeholder:"NAME" help:"Racks, dealt out to the Cassandra nodes of each data center in turn (default r1)."`
	PeriodicCommitLog bool     `help:"Let Cassandra acknowledge writes before they are in the commit log: twice as fast, and a kill loses rows."`
	NoZooKeeper       bool     `name:"no-zookeeper" help:"Leave ZooKeeper out."`
	NoKafka           bool     `help:"Leave Kafka out."`
	NoCassandra       bool     `help:"Leave Cassandra out."`
	NoS3              bool     `name:"no-s3" help:"Leave the S3 server out."`
}

// checkStack refuses what no stack can be.
func checkStack(o stack.Options) error {
	if err := o.Check(); err != nil {
		return &exitError{Code: exitUsage, Err: err}
	}
	return nil
}

func (f serverFlags) options() stack.Options {
	o := stack.Options{Kafka: !f.NoKafka, S3: !f.NoS3, PeriodicCommitLog: f.PeriodicCommitLog}
	if !f.NoZooKeeper {
		o.ZooKeeper = f.ZooKeeper
	}
	if !f.NoCassandra {
		o.Cassandra = stack.Nodes(f.CassandraNodes, f.DataCenters, f.Racks)
	}
	return o
}

// stateFlag chooses the stack among several of a user.
type stateFlag struct {
	StateDir string `type:"path" placeholder:"DIR" help:"Where the servers' data and state are kept (default: tidemill/stack in the user's state directory)."`
}

func (f stateFlag) dir() (string, error) {
	if f.StateDir != "" {
		return filepath.Abs(f.StateDir)
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "tidemill", "stack"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w (give --state-dir)", err)
	}
	return filepath.Join(home, ".local", "state", "tidemill", "stack"), nil
}

type stackUp struct {
	serverFlags
	stateFlag
	ZKPort        int `name:"zk-port" default:"2181" help:"ZooKeeper's port; an ensemble takes the two after it as well."`
	KafkaPort     int `default:"9092" help:"Kafka's port; its controller takes the one after it."`
	CassandraPort int `default:"9042" help:"Cassandra's port on each node; the nodes talk on the one after it."`
	S3Port        int `name:"s3-port" default:"7070" help:"The S3 server's port."`
}

// Run starts a supervisor unless there is one, and waits until its servers answer.
func (c *stackUp) Run(ctx context.Context, g *globals, out console) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	o := c.options()
	o.Ports = stack.Ports{ZooKeeper: c.ZKPort, Kafka: c.KafkaPort, Cassandra: c.CassandraPort, S3: c.S3Port}
	if err := checkStack(o); err != nil {
		return err
	}
	command := []string{self, "stack", "supervise", "--state-dir", dir, "--log-format", "json"}
	began := time.Now()
	state, found, err := supervisor.Up(ctx, dir, command, o, out.progress)
	if err != nil {
		return err
	}
	if err := fallen(state); err != nil {
		return err
	}
	if found {
		_, _ = fmt.Fprintf(out.Err, "The servers are up already (supervisor %d); `tidemill stack down` ends them.\n", state.Supervisor)
		if !state.Options.Same(o) {
			out.progress("They were started with other options: end them first to change that.")
		}
	} else {
		_, _ = fmt.Fprintf(out.Err, "The servers are up after %.1f s (supervisor %d).\n", time.Since(began).Seconds(), state.Supervisor)
	}
	return g.printExports(out, state.Addresses)
}

// fallen names the servers of a stack that have ended by themselves.
func fallen(state supervisor.State) error {
	var names, logs []string
	for _, server := range state.Servers {
		if server.Pid == 0 {
			names, logs = append(names, server.Name), append(logs, server.Log)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%s ended; why is told at the end of %s (`tidemill stack down`, then `tidemill stack up`, starts all again with their data)",
		strings.Join(names, ", "), strings.Join(logs, ", "))
}

type stackDown struct {
	stateFlag
	Purge bool `help:"Remove the servers' data too."`
}

// Run ends the supervisor, and its servers with it.
func (c *stackDown) Run(ctx context.Context, out console) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	was, err := supervisor.Down(ctx, dir)
	if err != nil {
		return err
	}
	told := "No servers were up."
	if was {
		told = "The servers are down."
	}
	out.progress(told)
	if !c.Purge {
		return nil
	}
	return supervisor.Purge(dir)
}

type stackStatus struct {
	stateFlag
}

// serverStatus is one line of the status.
type serverStatus struct {
	supervisor.Server
	Healthy bool   `json:"healthy"`
	Reason  string `json:"reason,omitempty"`
}

// Run asks each server by its own protocol.
func (c *stackStatus) Run(ctx context.Context, g *globals, out console) error {
	state, err := c.find()
	if err != nil {
		return err
	}
	servers := make([]serverStatus, len(state.Servers))
	for i, server := range state.Servers {
		servers[i] = serverStatus{Server: server, Healthy: true}
		if err := stack.Probe(ctx, server.Name, server.Address); err != nil {
			servers[i].Healthy, servers[i].Reason = false, err.Error()
		}
	}
	all := map[string]any{
		"supervisor": state.Supervisor, "phase": state.Phase, "addresses": state.Addresses, "servers": servers,
	}
	if err := g.print(out, all, func(w io.Writer) { statusRows(w, servers) }); err != nil {
		return err
	}
	return errors.Join(fallen(state), silent(servers))
}

// silent names the servers that are there and do not answer.
func silent(servers []serverStatus) error {
	var names []string
	for _, s := range servers {
		if !s.Healthy && s.Pid != 0 {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("no answer from %s", strings.Join(names, ", "))
}

func statusRows(w io.Writer, servers []serverStatus) {
	row(w, "SERVER", "PID", "ADDRESS", "HEALTH", "LOG")
	for _, s := range servers {
		pid, health := fmt.Sprint(s.Pid), "ok"
		if s.Pid == 0 {
			pid = "ended"
		}
		if !s.Healthy {
			health = s.Reason
		}
		row(w, s.Name, pid, s.Address, health, s.Log)
	}
}

// find returns the state of a stack that is up.
func (f stateFlag) find() (supervisor.State, error) {
	dir, err := f.dir()
	if err != nil {
		return supervisor.State{}, err
	}
	state, up, err := supervisor.Find(dir)
	if err != nil {
		return supervisor.State{}, err
	}
	if !up {
		return supervisor.State{}, errors.New("no servers are up: `tidemill stack up` starts them")
	}
	return state, nil
}

type stackEnv struct {
	stateFlag
}

// Run prints lines for `eval "$(tidemill stack env)"`.
func (c *stackEnv) Run(g *globals, out console) error {
	state, err := c.find()
	if err != nil {
		return err
	}
	if state.Phase != supervisor.Ready {
		return errors.New("the servers are not ready yet: `tidemill stack up` waits for them")
	}
	return g.printExports(out, state.Addresses)
}

// printExports prints addresses as lines for a shell, or as the form asks.
func (g *globals) printExports(out console, addresses stack.Addresses) error {
	entries := addresses.Environment(stack.UserPrefix)
	if g.Output == "table" {
		return writeExports(out.Out, entries)
	}
	values := map[string]string{}
	for _, entry := range entries {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	return g.print(out, values, nil)
}

// shellQuoted is a text between a shell's single quotes.
func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// writeExports writes NAME=value entries as lines for a shell.
func writeExports(to io.Writer, entries []string) error {
	for _, entry := range entries {
		name, value, _ := strings.Cut(entry, "=")
		if _, err := fmt.Fprintf(to, "export %s=%s\n", name, shellQuoted(value)); err != nil {
			return err
		}
	}
	return nil
}

type stackRun struct {
	serverFlags
	Command []string `arg:"" passthrough:"" help:"Command to run, after --."`
}

// Run keeps the servers as long as the command lasts, and ends with its exit code.
func (c *stackRun) Run(ctx context.Context, out console, log zerolog.Logger) error {
	argv := c.Command
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return errors.New("nothing to run: tidemill stack run [flags] -- COMMAND")
	}
	o := c.options()
	if err := checkStack(o); err != nil {
		return err
	}
	o.Log, o.Progress = log, out.progress
	s, err := stack.Start(ctx, o)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = out.In, out.Out, out.Err
	cmd.Env = append(withoutTestVariables(os.Environ()), stack.RunVariable+"=1")
	cmd.Env = append(cmd.Env, s.Addresses().Environment(stack.TestPrefix)...)
	// Asked to end, the command has a while to do so in its own way.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	// Killed, this process takes the command along, whose servers are gone: that signal is tied to this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = commandError(cmd.Run())
	if stopped := s.Stop(); stopped != nil {
		log.Error().Err(stopped).Msg("cannot end the servers")
	}
	return err
}

// withoutTestVariables drops the addresses of a run around this one.
func withoutTestVariables(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool { return strings.HasPrefix(entry, stack.TestPrefix) })
}

// commandError carries a command's exit code to the shell; the command has said itself why. As
// shells do, it counts a signal from 128.
func commandError(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			return fmt.Errorf("run the command: %w", err)
		}
		return nil
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return &exitError{Code: code}
}

type stackFetch struct {
	serverFlags
}

// Run fills the cache.
func (c *stackFetch) Run(ctx context.Context, out console) error {
	o := c.options()
	if err := checkStack(o); err != nil {
		return err
	}
	o.Progress = out.progress
	return stack.Fetch(ctx, o)
}

// stackSupervise is what up leaves behind; users have no reason to call it.
type stackSupervise struct {
	stateFlag
}

// Run supervises until it is told to end by SIGTERM.
func (c *stackSupervise) Run(ctx context.Context, out console, log zerolog.Logger) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	return supervisor.Supervise(ctx, dir, out.In, log)
}

// progress tells a user who waits; results go to Out.
func (c console) progress(line string) {
	_, _ = fmt.Fprintln(c.Err, line)
}
