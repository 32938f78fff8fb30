// Package master is the master of the local Mesos: frameworks subscribe to it over the
// v1 scheduler API, agents keep a link to it, and it makes offers of theirs to them.
package master

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/rs/zerolog"

	"tidemill/internal/mesoslocal/wire"
)

// Version is what the master says it is.
const Version = "1.12.0"

// Options configure a Master. The zero value of each field stands for Mesos's default.
type Options struct {
	Addr      string // to listen on; default 127.0.0.1:0
	Hostname  string // default: the address
	WorkDir   string // of the registry of agents; empty: it is kept in memory only
	ZooKeeper string // zk://host:port,…/path: take part in elections there
	Quorum    int    // how many masters must be there before the leader serves; default 1

	AgentPingTimeout     time.Duration // default 15 s
	MaxAgentPingTimeouts int           // default 5
	AgentReregister      time.Duration // default 10 min
	AllocationInterval   time.Duration // default 1 s
	HeartbeatInterval    time.Duration // default 15 s
	OfferTimeout         time.Duration // default: none
	ZooKeeperSession     time.Duration // default 10 s

	Credentials map[string]string // principal to secret: basic authentication is required

	Clock wire.Clock // default: the system's
	Log   zerolog.Logger
}

func (o Options) withDefaults() Options {
	set := func(field *time.Duration, value time.Duration) {
		if *field == 0 {
			*field = value
		}
	}
	set(&o.AgentPingTimeout, 15*time.Second)
	set(&o.AgentReregister, 10*time.Minute)
	set(&o.AllocationInterval, time.Second)
	set(&o.HeartbeatInterval, 15*time.Second)
	set(&o.ZooKeeperSession, 10*time.Second)
	if o.MaxAgentPingTimeouts == 0 {
		o.MaxAgentPingTimeouts = 5
	}
	if o.Clock == nil {
		o.Clock = wire.SystemClock{}
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	return o
}

// Master is one running master. All its state is under mu; nothing is read from or
// written to a socket or a disk while mu is held, save the registry.
type Master struct {
	opts     Options
	log      zerolog.Logger
	id       string
	listener net.Listener
	server   *http.Server
	started  time.Time
	registry *registry
	election *election // nil without ZooKeeper

	ctx    context.Context // ends with the master
	cancel context.CancelFunc
	tasks  sync.WaitGroup // goroutines of the master
	halt   sync.Once
	stop   sync.Once

	stopAllocating func()

	mu          sync.Mutex
	leading     bool
	settled     bool   // a quorum of masters was there since it leads
	leader      string // host:port of the leading master, or empty
	elected     time.Time
	counters    counters
	frameworks  map[string]*framework
	removed     *history[*framework]
	agents      map[string]*agent
	recovered   map[string]bool // agents of the registry that have not come back yet
	unreachable map[string]time.Time
	offers      map[string]*offer
	maintenance maintenanceState
	metrics     metrics
}

type counters struct {
	frameworks, agents, offers int
}

// Start starts a master and returns when it serves. It ends with Stop, not with the
// context, which bounds the start only.
func Start(ctx context.Context, options Options) (*Master, error) {
	opts := options.withDefaults()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("start master: listen: %w (is another master running there?)", err)
	}
	store, err := openRegistry(opts.WorkDir)
	if err != nil {
		_ = listener.Close() // the error that counts is the registry's
		return nil, fmt.Errorf("start master: %w", err)
	}
	m := &Master{
		opts: opts, log: opts.Log.With().Str("mesos", "master").Logger(),
		id: wire.NewID(), listener: listener, registry: store, started: time.Now(),
		frameworks:  map[string]*framework{},
		removed:     newHistory[*framework](50),
		agents:      map[string]*agent{},
		recovered:   map[string]bool{},
		unreachable: map[string]time.Time{},
		offers:      map[string]*offer{},
	}
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	m.server = &http.Server{Handler: m.routes(), ReadHeaderTimeout: 30 * time.Second}
	m.stopAllocating = wire.Repeat(opts.Clock, opts.AllocationInterval, m.allocateAll)
	m.tasks.Go(func() {
		if err := m.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			m.log.Error().Err(err).Msg("the master's HTTP server ended")
		}
	})
	if opts.ZooKeeper == "" {
		m.lead(true)
		return m, nil
	}
	if err := m.runElection(); err != nil {
		m.Stop()
		return nil, fmt.Errorf("start master: %w", err)
	}
	return m, nil
}

// Addr returns host:port.
func (m *Master) Addr() string { return m.listener.Addr().String() }

// URL returns the master's base URL.
func (m *Master) URL() *url.URL { return &url.URL{Scheme: "http", Host: m.Addr()} }

// ID returns the master's id, the prefix of the ids it gives out.
func (m *Master) ID() string { return m.id }

// Crash ends the master as SIGKILL would: frameworks and agents see their connections
// break, and ZooKeeper keeps its node until Stop, as it does that of a dead master for the
// session's timeout.
func (m *Master) Crash() {
	m.halt.Do(func() {
		m.cancel()
		m.stopAllocating()
		_ = m.server.Close() // breaks every connection, which is the point
		m.mu.Lock()
		for _, framework := range m.frameworks {
			framework.stopTimer()
		}
		for _, agent := range m.agents {
			agent.cut()
		}
		m.mu.Unlock()
	})
	m.tasks.Wait()
}

// Stop ends the master and waits for it.
func (m *Master) Stop() {
	m.Crash()
	m.stop.Do(func() {
		if m.election != nil {
			m.election.close()
		}
	})
}

// lead makes this master the leader: it recovers the agents of the registry. Until a
// quorum was there it serves neither frameworks nor agents.
func (m *Master) lead(quorum bool) {
	m.mu.Lock()
	m.settled = m.settled || quorum
	again := m.leading
	m.mu.Unlock()
	if again {
		return
	}
	known, unreachable := m.registry.load()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leading, m.leader, m.elected = true, m.Addr(), time.Now()
	for _, id := range known {
		m.recovered[id] = true
	}
	maps.Copy(m.unreachable, unreachable)
	if len(known) > 0 {
		m.opts.Clock.AfterFunc(m.opts.AgentReregister, m.expireRecovered)
	}
	m.log.Info().Str("addr", m.Addr()).Str("id", m.id).Int("recovered_agents", len(known)).Msg("the master leads")
}

// expireRecovered gives up agents of a former master that do not come back in time.
func (m *Master) expireRecovered() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return
	}
	for id := range m.recovered {
		delete(m.recovered, id)
		m.unreachable[id] = time.Now()
		m.registry.markUnreachable(id, time.Now())
	}
}

func (m *Master) hostname() string {
	if m.opts.Hostname != "" {
		return m.opts.Hostname
	}
	host, _, _ := net.SplitHostPort(m.Addr()) // a listener's address always splits
	return host
}

func (m *Master) info() *mesos.MasterInfo {
	host, portText, _ := net.SplitHostPort(m.Addr())
	number, _ := strconv.Atoi(portText)
	port, port32, pid, hostname, version := uint32(number), int32(number), "master@"+m.Addr(), m.hostname(), Version
	info := &mesos.MasterInfo{
		ID: m.id, Port: &port, PID: &pid, Hostname: &hostname, Version: &version,
		Address: &mesos.Address{Hostname: &hostname, IP: &host, Port: port32},
	}
	if ip := net.ParseIP(host).To4(); ip != nil {
		info.IP = uint32(ip[0]) | uint32(ip[1])<<8 | uint32(ip[2])<<16 | uint32(ip[3])<<24
	}
	for _, capability := range masterCapabilities {
		info.Capabilities = append(info.Capabilities, mesos.MasterInfo_Capability{Type: capability})
	}
	return info
}

// masterCapabilities leave out QUOTA_V2, which the protos of mesos-go do not know.
var masterCapabilities = []mesos.MasterInfo_Capability_Type{
	mesos.MasterInfo_Capability_AGENT_UPDATE,
	mesos.MasterInfo_Capability_AGENT_DRAINING,
}
