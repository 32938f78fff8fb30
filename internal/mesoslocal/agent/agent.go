// Package agent is an agent of the local Mesos: it registers with the master, runs
// executors as processes of their own, and speaks the v1 executor API with them.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/rs/zerolog"

	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// Options configure an Agent. The zero value of each optional field stands for Mesos's
// default.
type Options struct {
	Addr       string // to listen on; default 127.0.0.1:0
	Hostname   string // default: the address
	Master     string // host:port or zk://…/path; required
	WorkDir    string // required
	Resources  string // Mesos's text form; default cpus:2;mem:1024;disk:4096;ports:[31000-31099]
	Attributes string // Mesos's text form: rack:a;cassandra:dc1

	// Helper is the argv prefix of the program that runs this module's helper processes:
	// a container's supervisor and the command executor. Default: this program itself,
	// with the argument "mesos".
	Helper []string
	// Lifeline, if set, ends the executors when this process ends. Without it they hang
	// on the line this process itself hangs on, if any.
	Lifeline *lifeline.Line

	ExecutorRegistration   time.Duration // default 1 min
	ExecutorReregistration time.Duration // default 2 s
	ExecutorShutdownGrace  time.Duration // default 5 s
	RecoveryTimeout        time.Duration // default 15 min
	AgentPingTimeout       time.Duration // default 15 s, as the master's
	MaxAgentPingTimeouts   int           // default 5

	Clock wire.Clock // default: the system's
	Log   zerolog.Logger
}

const defaultResources = "cpus:2;mem:1024;disk:4096;ports:[31000-31099]"

func (o Options) withDefaults() (Options, error) {
	set := func(field *time.Duration, value time.Duration) {
		if *field == 0 {
			*field = value
		}
	}
	set(&o.ExecutorRegistration, time.Minute)
	set(&o.ExecutorReregistration, 2*time.Second)
	set(&o.ExecutorShutdownGrace, 5*time.Second)
	set(&o.RecoveryTimeout, 15*time.Minute)
	set(&o.AgentPingTimeout, 15*time.Second)
	if o.MaxAgentPingTimeouts == 0 {
		o.MaxAgentPingTimeouts = 5
	}
	if o.Clock == nil {
		o.Clock = wire.SystemClock{}
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Resources == "" {
		o.Resources = defaultResources
	}
	if o.Master == "" || o.WorkDir == "" {
		return o, errors.New("a master and a work directory must be given")
	}
	if len(o.Helper) == 0 {
		self, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find this program: %w", err)
		}
		o.Helper = []string{self, "mesos"}
	}
	dir, err := filepath.Abs(o.WorkDir)
	o.WorkDir = dir
	return o, err
}

// Agent is one running agent. All its state is under mu.
type Agent struct {
	opts       Options
	log        zerolog.Logger
	listener   net.Listener
	server     *http.Server
	total      resources.Bundle
	attributes []mesos.Attribute
	started    time.Time
	cache      *fetchCache

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup // goroutines of the agent
	stop   sync.Once

	mu         sync.Mutex
	id         string
	recovered  bool
	link       *masterLink
	silence    int // intervals without a ping of the master
	frameworks map[string]*framework
	streams    map[streamKey]*updateStream
	operations map[string]*operation // whose end the framework does not know yet, by its UUID
	drain      *wire.Drain
	retired    bool        // it registers no more
	completed  []*executor // newest last
}

type masterLink = wire.Link[wire.ToMaster, wire.ToAgent]

// Start starts an agent: it recovers what a former one left in the work directory,
// then registers with the master, for which it does not wait. It ends with Stop or
// Crash, not with the context, which bounds the start only.
func Start(ctx context.Context, options Options) (*Agent, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	a := &Agent{
		opts: opts, log: opts.Log.With().Str("mesos", "agent").Logger(), started: time.Now(),
		frameworks: map[string]*framework{}, streams: map[streamKey]*updateStream{}, operations: map[string]*operation{},
		cache: &fetchCache{dir: filepath.Join(opts.WorkDir, "fetch")},
	}
	if a.total, err = a.loadResources(); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	if a.attributes, err = ParseAttributes(opts.Attributes); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	if err := os.MkdirAll(opts.WorkDir, 0o755); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	if a.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", opts.Addr); err != nil {
		return nil, fmt.Errorf("start agent: listen: %w (is another agent running there?)", err)
	}
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	a.server = &http.Server{Handler: a.routes(), ReadHeaderTimeout: 30 * time.Second}
	if err := a.recover(); err != nil {
		_ = a.listener.Close() // the error that counts is the recovery's
		return nil, fmt.Errorf("start agent: %w", err)
	}
	a.tasks.Go(func() {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error().Err(err).Msg("the agent's HTTP server ended")
		}
	})
	a.tasks.Go(a.watchContainers)
	a.tasks.Go(a.run)
	return a, nil
}

// Addr returns host:port.
func (a *Agent) Addr() string { return a.listener.Addr().String() }

// ID returns the agent's id, empty before its first registration.
func (a *Agent) ID() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.id
}

// Awaited returns how many executors that were found at the start have not come back yet.
func (a *Agent) Awaited() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.recovered {
		return 0
	}
	return len(a.strangers())
}

// Stop unregisters the agent, kills its executors and waits for all of it, as a real
// agent does on SIGUSR1.
func (a *Agent) Stop() {
	a.stop.Do(func() {
		a.mu.Lock()
		a.retired = true // it must not register again while it ends its executors
		if link := a.link; link != nil {
			link.Send(wire.ToMaster{Unregister: &wire.Shutdown{Reason: "the agent unregistered"}})
			a.mu.Unlock()
			link.Close()
			a.mu.Lock()
		}
		var live []*executor
		for _, f := range a.frameworks {
			f.ending = true // an agent that unregistered has nothing more to report
			for _, e := range f.executors {
				live = append(live, e)
			}
		}
		a.mu.Unlock()
		for _, e := range live {
			a.destroy(e)
			_ = os.RemoveAll(e.meta) // what is left is found to be over at the next recovery
		}
		a.end()
	})
	a.tasks.Wait()
}

// Crash ends the agent as SIGKILL would: its executors live on, and an agent that is
// started on the same work directory finds them.
func (a *Agent) Crash() {
	a.stop.Do(a.end)
	a.tasks.Wait()
}

func (a *Agent) end() {
	a.cancel()
	_ = a.server.Close() // breaks every connection, which is the point
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.streams {
		s.stopTimer()
	}
	for _, op := range a.operations {
		op.timer.Stop()
	}
	for _, f := range a.frameworks {
		for _, e := range f.executors {
			e.stopTimers()
			e.journal.close()
		}
	}
}

func (a *Agent) hostname() string {
	if a.opts.Hostname != "" {
		return a.opts.Hostname
	}
	host, _, _ := net.SplitHostPort(a.Addr()) // a listener's address always splits
	return host
}

func (a *Agent) port() int32 {
	_, text, _ := net.SplitHostPort(a.Addr()) // a listener's address always splits
	port, _ := strconv.ParseInt(text, 10, 32)
	return int32(port)
}

// info describes the agent; mu is held.
func (a *Agent) info() mesos.AgentInfo {
	port := a.port()
	info := mesos.AgentInfo{
		Hostname: a.hostname(), Port: &port, Resources: a.total.Mesos(""), Attributes: a.attributes,
	}
	if a.id != "" {
		info.ID = &mesos.AgentID{Value: a.id}
	}
	return info
}
