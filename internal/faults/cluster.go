package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/client"
	"tidemill/internal/netns"
	"tidemill/internal/stack"
	"tidemill/jobs"
)

// The size of a cluster.
const (
	zookeepers = 3
	masters    = 2
	schedulers = 3
	agents     = 3
)

// Ports of the servers; each has its host to itself.
const (
	masterPort    = 5050
	agentPort     = 5051
	schedulerPort = 8470
)

// agentResources have room for all jobs of a pass at once, so that an agent that is there has room.
const agentResources = "cpus:64;mem:65536;disk:65536;ports:[31000-31999]"

// Hosts are those of every cluster.
func Hosts() []Host {
	var hosts []Host
	for _, part := range []struct {
		role  Role
		count int
	}{{ZooKeeper, zookeepers}, {Master, masters}, {Scheduler, schedulers}, {Agent, agents}} {
		for i := range part.count {
			hosts = append(hosts, Host{Name: fmt.Sprintf("%s-%d", part.role, i+1), Role: part.role})
		}
	}
	return hosts
}

// cluster is the servers of a pass on their network.
type cluster struct {
	Options
	network *netns.Network
	journal *journal
	servers []*server
	token   string
	log     zerolog.Logger
}

// startCluster starts everything; the servers end with the cluster's network.
func startCluster(ctx context.Context, o Options, j *journal) (*cluster, error) {
	c := &cluster{Options: o, journal: j, token: fmt.Sprintf("token-of-%d", o.Seed), log: o.Log}
	var err error
	if c.network, err = netns.New(ctx); err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.close(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context) error {
	if err := os.WriteFile(c.tokenFile(), []byte(c.token+"\n"), 0o600); err != nil {
		return err
	}
	for _, h := range Hosts() {
		at, err := c.network.AddHost(ctx, h.Name)
		if err != nil {
			return err
		}
		c.servers = append(c.servers, &server{Host: h, at: at, dir: filepath.Join(c.Dir, h.Name), log: c.journal})
	}
	if err := c.setUpZooKeeper(ctx); err != nil {
		return err
	}
	for _, s := range c.of(Master) {
		c.setUpMaster(s)
	}
	for _, s := range c.of(Scheduler) {
		c.setUpScheduler(s)
	}
	for _, s := range c.of(Agent) {
		c.setUpAgent(s)
	}
	return c.mend(ctx)
}

func (c *cluster) of(role Role) (list []*server) {
	for _, s := range c.servers {
		if s.Role == role {
			list = append(list, s)
		}
	}
	return list
}

func (c *cluster) setUpZooKeeper(ctx context.Context) error {
	servers := c.of(ZooKeeper) // the network's first hosts
	commands, err := stack.EnsembleCommands(ctx, stack.Options{ZooKeeper: len(servers)}, netns.Prefix, c.Dir)
	if err != nil {
		return err
	}
	for i, s := range servers {
		s.argv, s.dir, s.ready = commands[i].Argv, commands[i].Dir, commands[i].Address
	}
	return nil
}

// zk is the ensemble's address with a path.
func (c *cluster) zk(path string) string {
	var addresses []string
	for _, s := range c.of(ZooKeeper) {
		addresses = append(addresses, s.ready)
	}
	return "zk://" + strings.Join(addresses, ",") + path
}

func (c *cluster) tokenFile() string { return filepath.Join(c.Dir, "token") }

// pings is how many pings an agent may miss.
const pings = 5

func (c *cluster) setUpMaster(s *server) {
	s.ready = address(s, masterPort)
	s.argv = append([]string{c.Program, "mesos", "master", "--addr", s.ready, "--zk", c.zk("/mesos"),
		"--work-dir", filepath.Join(c.Dir, "registry"), "--agent-reregister-timeout", (c.Times.Ping + time.Second).String(),
		"--zk-session-timeout", c.Times.Session.String(), "--heartbeat-interval", "500ms"}, c.pinging()...)
}

func (c *cluster) pinging() []string {
	return []string{"--agent-ping-timeout", (c.Times.Ping / pings).String(), "--max-agent-ping-timeouts", strconv.Itoa(pings - 1), "--log-level", "info"}
}

func (c *cluster) setUpAgent(s *server) {
	s.ready = address(s, agentPort)
	s.argv = append([]string{c.Program, "mesos", "agent", "--addr", s.ready, "--master", c.zk("/mesos"), "--hostname", s.Name,
		"--work-dir", filepath.Join(c.Dir, s.Name, "work"), "--resources", agentResources}, c.pinging()...)
}

func (c *cluster) setUpScheduler(s *server) {
	s.ready = address(s, schedulerPort)
	s.argv = []string{c.Program, "scheduler", "--listen", s.ready, "--token-file", c.tokenFile(), "--zk", c.zk("/tidemill"), "--master", c.zk("/mesos"),
		"--session-timeout", c.Times.Session.String(), "--master-timeout", c.Times.Session.String(), "--start-by", c.Times.StartBy.String(), "--launch-timeout", c.Times.Launch.String(),
		"--master-settle", (c.Times.Ping + time.Second).String(), "--artifact-url", c.Program, "--user", "root", "--log-level", "debug"}
	s.env = []string{"TIDEMILL_CLOCK_OFFSET_FILE=" + c.offsetFile(s)}
}

func (c *cluster) offsetFile(s *server) string { return filepath.Join(c.Dir, s.Name+".offset") }

func address(s *server, port int) string { return s.at.Addr.String() + ":" + strconv.Itoa(port) }

// mend undoes all that was done to the cluster, and starts what does not run.
func (c *cluster) mend(ctx context.Context) error {
	errs := []error{c.heal(ctx)}
	for _, s := range c.of(Scheduler) {
		if _, err := os.Stat(c.offsetFile(s)); err == nil {
			errs = append(errs, c.setClock(s, 0, false))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var all sync.WaitGroup
	failures := make([]error, len(c.servers))
	for i, s := range c.servers {
		all.Go(func() { failures[i] = s.start(ctx) })
	}
	all.Wait()
	return errors.Join(append(errs, failures...)...)
}

const startTimeout = 60 * time.Second

// cut drops the packets of these ways.
func (c *cluster) cut(ctx context.Context, ways []Way, note string) error {
	errs := []error{c.journal.note(Event{Kind: Cut, Cuts: ways, Note: note})}
	from := map[string][]*netns.Host{}
	for _, w := range ways {
		from[w.To] = append(from[w.To], c.server(w.From).at)
	}
	for to, others := range from {
		errs = append(errs, c.server(to).at.Drop(ctx, others...))
	}
	return errors.Join(errs...)
}

func (c *cluster) heal(ctx context.Context) error {
	return errors.Join(c.network.Heal(ctx), c.journal.note(Event{Kind: Heal}))
}

func (c *cluster) server(name string) *server {
	for _, s := range c.servers {
		if s.Name == name {
			return s
		}
	}
	panic("no host " + name) // names come from Hosts alone
}

// setClock sets a scheduler's clock wrong, or right again.
func (c *cluster) setClock(s *server, offset time.Duration, leads bool) error {
	event := Event{Kind: Clock, Host: s.Name, Offset: offset, Leads: leads}
	if offset == 0 {
		err := os.Remove(c.offsetFile(s))
		return errors.Join(err, c.journal.note(event))
	}
	next := c.offsetFile(s) + ".next" // the scheduler never reads half of it
	return errors.Join(c.journal.note(event), os.WriteFile(next, []byte(offset.String()), 0o644), os.Rename(next, c.offsetFile(s)))
}

// strike kills the work on an agent: its executors, their supervisors, and tasks.
func (c *cluster) strike(s *server) error {
	errs := []error{c.journal.note(Event{Kind: Strike, Host: s.Name})}
	pids, err := s.at.Processes()
	for _, pid := range pids {
		if pid != s.process.Pid {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
	return errors.Join(append(errs, err)...)
}

// leader finds who leads, as the schedulers themselves say; nil: none says so.
func (c *cluster) leader(ctx context.Context) *server {
	list := c.of(Scheduler)
	terms := make([]int64, len(list))
	var asked sync.WaitGroup
	for i, s := range list {
		asked.Go(func() {
			// Others than the leader hand the question on to it.
			if st, err := c.status(ctx, s); err == nil && st.Leading && st.Leader == url(s) {
				terms[i] = st.Term
			}
		})
	}
	asked.Wait()
	latest := slices.Max(terms)
	if latest == 0 {
		return nil
	}
	return list[slices.Index(terms, latest)]
}

// answerWithin bounds the wait for a scheduler that may be stopped.
const answerWithin = time.Second

func (c *cluster) status(ctx context.Context, s *server) (jobs.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	api, err := c.client(s)
	if err != nil {
		return jobs.Status{}, err
	}
	defer api.Close()
	return api.Status(ctx)
}

func (c *cluster) client(s *server) (*client.Client, error) {
	return client.New(url(s), c.token)
}

func url(s *server) string { return "http://" + s.ready }

func (c *cluster) close(ctx context.Context) error {
	return c.network.Close(ctx)
}
