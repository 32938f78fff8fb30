package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tidemill/examples"
	"tidemill/internal/bolt"
	"tidemill/internal/client"
	"tidemill/internal/config"
	"tidemill/internal/jobfile"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesos"
	"tidemill/internal/mesoslocal"
	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/stack"
	"tidemill/jobs"
	"tidemill/scheduler"
)

// localCmd runs everything on this machine, for a person.
type localCmd struct {
	Dir       string `type:"path" env:"TIDEMILL_DIR" placeholder:"DIR" help:"Where the state lies (default: tidemill in the user's state folder)."`
	Listen    string `default:"127.0.0.1:8470" env:"TIDEMILL_LISTEN" placeholder:"HOST:PORT" help:"Where the API listens (default: ${default})."`
	Agents    int    `default:"1" help:"Number of agents."`
	Resources string `placeholder:"NAME:VALUE;…" help:"What each agent offers (default: by this machine)."`
	Empty     bool   `help:"Do not add the example jobs to an empty state."`
	Stack     bool   `help:"Start real Kafka, Cassandra and S3 servers too, for the data kinds, but for those that are named here; needs Java."`

	Kafka     []string `env:"TIDEMILL_KAFKA" placeholder:"HOST:PORT,..." help:"Brokers of the Kafka connection \"default\"."`
	Cassandra []string `env:"TIDEMILL_CASSANDRA" placeholder:"HOST[:PORT],..." help:"Nodes of the Cassandra connection \"default\"."`
	S3        string   `name:"s3" env:"TIDEMILL_S3" placeholder:"URL" help:"S3 connection \"default\", as http://KEY:SECRET@host:port."`
}

// Timing of the local Mesos: its master and agents begin together.
const (
	localStartBy = 20 * time.Second
	localSettle  = 3 * time.Second
	// localAllocation is how soon freed resources are offered again.
	localAllocation = 50 * time.Millisecond
)

// Run serves until interrupted.
func (cmd localCmd) Run(ctx context.Context, g *globals, c console, log zerolog.Logger) error {
	if cmd.Agents < 1 {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("--agents %d: without an agent nothing runs; name 1 or more", cmd.Agents)}
	}
	if err := checkResources(cmd.Resources); err != nil {
		return err
	}
	dir, err := cmd.dir()
	if err != nil {
		return err
	}
	if g.LogLevel == "" && isTerminal(c.Err) { // a person reads the greeting, and what is wrong
		log = log.Level(zerolog.WarnLevel)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	if err := lifeline.Watch(end); err != nil && !errors.Is(err, lifeline.ErrNotHandedOn) {
		return err
	}
	flags := config.Flags{Listen: cmd.Listen, Kafka: cmd.Kafka, Cassandra: cmd.Cassandra, S3: cmd.S3}
	o, err := localOptions(flags, g.TokenFile)
	if err != nil {
		return err
	}
	door, err := openDoor(&o)
	if err != nil {
		return err
	}
	defer door.Close()
	store, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "state.db"), Advertise: o.Advertise})
	if err != nil {
		return err
	}
	defer store.Close()
	to := greeting{dir: dir, program: asTyped(o.ArtifactURL)}
	if cmd.Stack { // after what may be refused at once
		servers, err := cmd.startStack(ctx, c, dir, log, &flags)
		if err != nil {
			return err
		}
		defer func() {
			if err := servers.Stop(); err != nil {
				log.Error().Err(err).Msg("the servers did not end as they should")
			}
		}()
		to.exports = servers.Addresses().Environment(stack.UserPrefix)
		if err := flags.Connect(&o.Connections); err != nil {
			return err
		}
	}
	master, stopMesos, err := cmd.startMesos(ctx, dir, agentHost(o.Connections), log)
	if err != nil {
		return err
	}
	defer stopMesos()
	core := scheduler.DefaultConfig()
	core.StartBy, core.MasterSettle = localStartBy, localSettle
	return cmd.serve(ctx, g, c, to, service{
		options: o, core: core, elector: store, masters: mesos.NewMasters(master), codec: mesos.Protobuf, door: door, log: log,
	})
}

// localOptions are those of a scheduler whose agents are on this machine.
func localOptions(flags config.Flags, tokenFile string) (config.Options, error) {
	o, err := flags.Options(tokenFile)
	if err != nil {
		return o, err
	}
	if o.ArtifactURL, err = executable(); err != nil {
		return o, err
	}
	o.Framework.User, err = currentUser()
	return o, err
}

// serve runs the scheduler, and welcomes the user once it leads.
func (cmd localCmd) serve(ctx context.Context, g *globals, c console, to greeting, s service) error {
	var welcome sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer welcome.Wait()
	defer cancel()
	welcome.Go(func() {
		if err := cmd.welcome(ctx, g, c, to, s.options, s.log); err != nil && ctx.Err() == nil {
			s.log.Error().Err(err).Msg("no greeting")
		}
	})
	return serve(ctx, s)
}

// welcome waits for the API, adds the examples to an empty state, and says
// what to try next.
func (cmd localCmd) welcome(ctx context.Context, g *globals, c console, to greeting, o config.Options, log zerolog.Logger) error {
	token, err := config.Token(g.TokenFile)
	if err != nil {
		return err
	}
	api, err := client.New(o.Advertise, token)
	if err != nil {
		return err
	}
	if err := awaitLeading(ctx, api); err != nil {
		return err
	}
	to.api = o.Advertise
	settings, err := g.exports(to.api)
	if err != nil {
		return err
	}
	to.exports = append(settings, to.exports...)
	if !cmd.Empty {
		if to.examples, err = addExamples(ctx, api); err != nil {
			log.Error().Err(err).Msg("the example jobs could not be added")
		}
	}
	_, err = io.WriteString(c.Out, to.text())
	return err
}

// exports are what the commands of another terminal do not find at api by
// themselves.
func (g *globals) exports(api string) ([]string, error) {
	var out []string
	if api != g.API {
		out = append(out, "TIDEMILL_API="+api)
	}
	if g.TokenFile != "" {
		path, err := filepath.Abs(g.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("name the token file: %w", err)
		}
		out = append(out, "TIDEMILL_TOKEN_FILE="+path)
	}
	return out, nil
}

// greeting is what a person has to know of a local Tidemill that is up.
type greeting struct {
	api, dir string
	program  string   // what to type for it
	exports  []string // NAME=value: what has another address than the commands take by themselves
	examples bool     // they were added
}

// text says what to try next; what another terminal's commands cannot find by
// their defaults comes first, as lines for the shell.
func (g greeting) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nTidemill is up: %s\n", g.api)
	job := "NAME"
	if g.examples {
		job = "hello"
		b.WriteString("Two example jobs were added, one after the other, and run now.\n")
	}
	b.WriteString("\nIn another terminal:\n\n")
	if len(g.exports) > 0 {
		_ = writeExports(&b, g.exports)
		b.WriteString("\n")
	}
	for _, try := range [][2]string{
		{"job list", "see the jobs"}, {"job run " + job + " --wait", "run one now"}, {"run list", "see the runs"}, {"job apply -f FILE", "add your own (docs/job.md)"},
	} {
		fmt.Fprintf(&b, "  %s %-24s%s\n", shellWord(g.program), try[0], try[1])
	}
	fmt.Fprintf(&b, "\nState lies in %s (remove it with: rm -r %s). Ctrl-C ends everything.\n", g.dir, shellWord(g.dir))
	return b.String()
}

// plainWord needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shellWord is the text as one word of a shell's line.
func shellWord(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return shellQuoted(text)
}

// asTyped is what calls a program from where its user is: its name where a
// shell finds it by that, or else the shortest path.
func asTyped(path string) string {
	name := filepath.Base(path)
	if found, err := exec.LookPath(name); err == nil {
		if real, err := filepath.EvalSymlinks(found); err == nil && real == path {
			return name
		}
	}
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if near, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(near) && near != name {
		return near
	} else if near == name {
		return "./" + name
	}
	return path
}

// addExamples adds the example graph where there is no job yet, and says whether.
func addExamples(ctx context.Context, api *client.Client) (bool, error) {
	_, total, err := api.Jobs(ctx, jobs.JobQuery{Limit: 1})
	if err != nil || total > 0 {
		return false, err
	}
	registry, err := kinds()
	if err != nil {
		return false, err
	}
	list, _, err := jobfile.Load([]jobfile.Source{{Name: "graph.yaml", Data: examples.Graph}}, registry)
	if err != nil {
		return false, err
	}
	if _, err := api.Apply(ctx, list); err != nil {
		return false, err
	}
	if _, err := api.StartRun(ctx, jobs.RunRequest{Job: list[0].Name, RequestID: "welcome", Children: true}); err != nil {
		return false, err
	}
	return true, nil
}

// awaitLeading waits until the scheduler leads: only then are there jobs to
// ask for. That a leader is known (/readyz) comes before.
func awaitLeading(ctx context.Context, api *client.Client) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := api.Status(ctx); err == nil && s.Leading {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (cmd localCmd) dir() (string, error) {
	if cmd.Dir != "" {
		return cmd.Dir, nil
	}
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "tidemill"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for the state: %w (name one with --dir)", err)
	}
	return filepath.Join(home, ".local", "state", "tidemill"), nil
}

// agentHost is the host name that the agents give: that of a Cassandra node
// on this machine where one is connected, since they run beside it.
func agentHost(c jobs.Connections) string {
	for _, node := range c.Cassandra[jobs.DefaultConnection].Hosts {
		host, _, err := net.SplitHostPort(node)
		if err != nil {
			host = node
		}
		if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
			return host
		}
	}
	return "127.0.0.1"
}

// startMesos starts a master and agents in this process; their executors are
// processes, and end with it.
func (cmd localCmd) startMesos(ctx context.Context, dir, host string, log zerolog.Logger) (address string, stop func(), err error) {
	log = log.Level(max(zerolog.WarnLevel, log.GetLevel()))
	line, err := lifeline.New()
	if err != nil {
		return "", nil, err
	}
	master, err := mesoslocal.StartMaster(ctx, mesoslocal.MasterOptions{
		WorkDir: filepath.Join(dir, "mesos", "master"), AgentReregister: localSettle, AllocationInterval: localAllocation, Log: log,
	})
	if err != nil {
		line.Close()
		return "", nil, err
	}
	var agents []*mesoslocal.Agent
	stop = func() {
		for _, a := range agents {
			a.Crash() // it finds its executors ended when it starts again, and says so
		}
		master.Stop()
		line.Close()
	}
	for i := range cmd.Agents {
		agent, err := mesoslocal.StartAgent(ctx, mesoslocal.AgentOptions{
			Hostname: host, Master: master.Addr(), WorkDir: filepath.Join(dir, "mesos", fmt.Sprintf("agent-%d", i+1)),
			Resources: cmd.resources(i), Attributes: "rack:local;cassandra:local", Lifeline: line, Log: log,
		})
		if err != nil {
			stop()
			return "", nil, err
		}
		agents = append(agents, agent)
	}
	return master.Addr(), stop, nil
}

// resources shares this machine out: work for a laptop waits more than it computes.
func (cmd localCmd) resources(agent int) string {
	if cmd.Resources != "" {
		return cmd.Resources
	}
	first := 31000 + 100*agent
	return fmt.Sprintf("cpus:%d;mem:4096;disk:20480;ports:[%d-%d]", max(4, runtime.NumCPU()), first, first+99)
}

func (cmd localCmd) startStack(ctx context.Context, c console, dir string, log zerolog.Logger, flags *config.Flags) (*stack.Stack, error) {
	options := missingServers(*flags)
	if err := checkStack(options); err != nil {
		return nil, err
	}
	options.Dir = filepath.Join(dir, "stack")
	options.Log = log
	options.Progress = func(line string) { fmt.Fprintln(c.Err, line) }
	servers, err := stack.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	at := servers.Addresses()
	if options.Kafka {
		flags.Kafka = at.Kafka
	}
	if len(options.Cassandra) > 0 {
		flags.Cassandra = at.Cassandra
	}
	if options.S3 {
		flags.S3 = at.S3.URL()
	}
	return servers, nil
}

// missingServers are those that the data kinds need and the user has not named.
func missingServers(flags config.Flags) stack.Options {
	options := stack.Single()
	options.ZooKeeper = 0
	options.Kafka, options.S3 = len(flags.Kafka) == 0, flags.S3 == ""
	if len(flags.Cassandra) > 0 {
		options.Cassandra = nil
	}
	return options
}

// checkResources refuses what an agent cannot be told to have.
func checkResources(texts ...string) error {
	for _, text := range texts {
		if _, err := resources.Parse(text); err != nil {
			return &exitError{Code: exitUsage, Err: err}
		}
	}
	return nil
}

// currentUser is who tasks run as on this machine.
func currentUser() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("find out who runs this: %w", err)
	}
	return u.Username, nil
}
