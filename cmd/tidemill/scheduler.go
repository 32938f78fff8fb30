package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"tidemill/api"
	"tidemill/internal/cassandra"
	"tidemill/internal/config"
	"tidemill/internal/history"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesos"
	"tidemill/jobs"
	"tidemill/scheduler"
	"tidemill/zk"
)

// schedulerCmd runs one of a cluster's schedulers.
type schedulerCmd struct {
	config.Flags
	timing
	MasterTimeout  time.Duration `default:"15s" help:"How long a leader that reaches no Mesos master tries before another scheduler takes over, if there is one."`
	RegisterAnew   bool          `env:"TIDEMILL_REGISTER_ANEW" help:"Register a new framework when Mesos has removed this one, instead of ending with exit code 4; attempts that were at work are unknown then."`
	SessionTimeout time.Duration `default:"4s" help:"After how long without a word from it another scheduler takes over from the leader."`
	Codec          string        `default:"json" enum:"json,protobuf" help:"How to speak with the master: json or protobuf."`
}

// timing is what a core waits for; the defaults suit Mesos's own.
type timing struct {
	StartBy       time.Duration `default:"60s" help:"How long after its launch an executor may still start a task."`
	LaunchTimeout time.Duration `default:"3m" help:"How long a task may stay without a word of its start before it is killed."`
	MasterSettle  time.Duration `default:"10m" help:"For how long a new master's \"unknown task\" is not believed: the agents' re-registration timeout."`
}

func (t timing) core() scheduler.Config {
	c := scheduler.DefaultConfig()
	c.StartBy, c.LaunchTimeout, c.MasterSettle = t.StartBy, t.LaunchTimeout, t.MasterSettle
	return c
}

// Run takes part in elections, and leads when elected, until interrupted.
func (cmd schedulerCmd) Run(ctx context.Context, g *globals, log zerolog.Logger) error {
	o, err := cmd.Options(g.TokenFile)
	if err != nil {
		return err
	}
	if names := notGiven(o); names != "" {
		return &exitError{Code: exitUsage, Err: &jobs.Error{
			Code: jobs.Invalid, Op: "start the scheduler", Message: "not given: " + names,
			Hint: "\"tidemill local\" needs neither, \"tidemill stack up\" starts a ZooKeeper and \"tidemill mesos\" a Mesos",
		}}
	}
	store, err := zk.ParseAddress(storeAddress(o.ZK))
	if err == nil {
		err = checkMasters(o.Master)
	}
	if err == nil {
		err = checkAdvertise(o)
	}
	if err != nil {
		return &exitError{Code: exitUsage, Err: err}
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	if err := lifeline.Watch(end); err != nil && !errors.Is(err, lifeline.ErrNotHandedOn) {
		return err
	}
	door, err := openDoor(&o)
	if err != nil {
		return err
	}
	defer door.Close()
	now := clock(os.Getenv)
	elector, err := zk.Connect(ctx, zk.Options{Address: store, SessionTimeout: cmd.SessionTimeout, Advertise: o.Advertise, Log: log, Now: now})
	if err != nil {
		return err
	}
	defer elector.Close()
	masters, closeMasters, err := findMasters(ctx, o, log)
	if err != nil {
		return err
	}
	defer closeMasters()
	codec, err := mesos.ParseCodec(cmd.Codec)
	if err != nil {
		return err
	}
	return serve(ctx, service{options: o, core: cmd.core(), elector: elector, masters: masters, codec: codec, door: door, now: now, log: log, masterTimeout: cmd.MasterTimeout, registerAnew: cmd.RegisterAnew})
}

// notGiven names the addresses of a cluster that are missing.
func notGiven(o config.Options) string {
	var names []string
	if o.ZK == "" {
		names = append(names, "--zk")
	}
	if o.Master == "" {
		names = append(names, "--master")
	}
	return strings.Join(names, ", ")
}

// storeAddress completes what is left out of the store's address: the scheme,
// and a path of its own.
func storeAddress(given string) string {
	rest := strings.TrimPrefix(given, "zk://")
	if !strings.Contains(rest, "/") {
		rest += "/tidemill"
	}
	return "zk://" + rest
}

func inZooKeeper(masters string) bool { return strings.HasPrefix(masters, "zk://") }

// checkMasters reads the address of the masters before anything is waited for.
func checkMasters(masters string) (err error) {
	if inZooKeeper(masters) {
		_, err = zk.ParseAddress(masters)
	} else {
		_, err = mesos.ParseMasters(masters)
	}
	return err
}

// checkAdvertise refuses a scheduler that others could not call: agents fetch
// the executor from it, and executors their connections.
func checkAdvertise(o config.Options) error {
	host, _, err := net.SplitHostPort(o.Listen)
	if ip := net.ParseIP(host); err == nil && o.Advertise == "" && (host == "" || ip.IsUnspecified()) {
		return &jobs.Error{
			Code: jobs.Invalid, Op: "start the scheduler", Message: "--listen " + o.Listen + " names no host that others could call",
			Hint: "say it with --advertise http://HOST:PORT",
		}
	}
	return nil
}

// findMasters makes the detector that the address of the masters asks for.
func findMasters(ctx context.Context, o config.Options, log zerolog.Logger) (mesos.Detector, func(), error) {
	if !inZooKeeper(o.Master) {
		masters, err := mesos.ParseMasters(o.Master)
		return masters, func() {}, err
	}
	where, err := zk.ParseAddress(o.Master)
	if err != nil {
		return nil, nil, err
	}
	detector, err := zk.DetectMaster(ctx, where, o.SecureMesos(), log)
	if err != nil {
		return nil, nil, err
	}
	return detector, func() { detector.Close() }, nil
}

// openDoor listens for the API, and completes the address that others are told.
func openDoor(o *config.Options) (net.Listener, error) {
	token, err := config.Token(o.TokenFile)
	if err != nil {
		return nil, err
	}
	door, err := api.Listen(o.Listen, token)
	if err != nil {
		return nil, err
	}
	if o.Advertise == "" {
		o.Advertise = "http://" + door.Addr().String()
	}
	return door, nil
}

// service is what serve wires together.
type service struct {
	options config.Options
	core    scheduler.Config
	elector scheduler.Elector
	masters mesos.Detector
	codec   mesos.Codec
	door    net.Listener
	now     func() time.Time // nil: time.Now

	masterTimeout time.Duration // 0: the default
	registerAnew  bool

	log zerolog.Logger
}

// serve runs a scheduler and its API until ctx ends or one of them fails.
func serve(ctx context.Context, s service) error {
	registry, err := kinds()
	if err != nil {
		return err
	}
	artifact, err := api.OpenArtifact("")
	if err != nil {
		return err
	}
	defer artifact.Close()
	token, err := config.Token(s.options.TokenFile)
	if err != nil {
		return err
	}
	framework, err := mesosOptions(s.options)
	if err != nil {
		return err
	}
	framework.Masters, framework.Codec, framework.Log = s.masters, s.codec, s.log
	s.setExecutors(artifact)
	past, closePast, err := openHistory(s.options, s.log)
	if err != nil {
		return err
	}
	defer closePast()
	s.core.History, s.core.HistoryBacklog = s.options.History.Keep, s.options.History.Backlog
	core := scheduler.NewScheduler(scheduler.Options{
		Core: s.core, Kinds: registry, Elector: s.elector, Connections: s.options.Connections, History: past, Log: s.log,
		Now: s.now, MasterTimeout: s.masterTimeout, RegisterAnew: s.registerAnew,
		Mesos: mesos.NewScheduler(framework),
		Files: mesos.NewFiles(framework.Principal, framework.Secret, framework.TLS),
	})
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), core.Metrics())
	server, err := api.New(api.Options{
		Scheduler: core, Kinds: registry, Token: token, Metrics: metrics, Artifact: artifact, Version: buildVersion().Version, Log: s.log,
		User: cmp.Or(s.options.Framework.User, "root"), // as the framework is registered
		Leader: func() (string, bool, bool) {
			leader, ok := s.elector.Leader()
			return leader, leader == s.options.Advertise, ok
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.log.Info().Str("api", s.options.Advertise).Msg("listening")
	var served error
	var all sync.WaitGroup
	all.Go(func() {
		defer cancel()
		served = server.Serve(ctx, s.door)
	})
	err = core.Serve(ctx)
	cancel()
	all.Wait()
	return errors.Join(err, served)
}

// openHistory makes the way to where finished runs go, if they go anywhere.
// It connects later: a scheduler leads without it.
func openHistory(o config.Options, log zerolog.Logger) (scheduler.History, func(), error) {
	h := o.History
	if h.Keyspace == "" {
		return nil, func() {}, nil
	}
	if err := cassandra.CheckKeyspace(h.Keyspace); err != nil {
		return nil, nil, fmt.Errorf("read the configuration: history.keyspace: %w", err)
	}
	conn, err := o.Connections.CassandraNamed(h.Cassandra)
	if err != nil {
		return nil, nil, err
	}
	past := history.New(history.Options{Connection: conn, Keyspace: h.Keyspace, TTL: h.TTL.D(), Log: log})
	return past, past.Close, nil
}

// mesosOptions are how the framework registers, whoever subscribes for it.
func mesosOptions(o config.Options) (mesos.Options, error) {
	f := o.Framework
	secret, err := config.Secret(f.SecretFile)
	if err != nil {
		return mesos.Options{}, err
	}
	secure, err := mesosTLS(o)
	return mesos.Options{
		Name: f.Name, User: f.User, Roles: f.Roles(), GPUs: f.GPUs, Regions: f.RegionAware, Hostname: hostOf(o.Advertise), WebUI: o.Advertise,
		FailoverTimeout: f.FailoverTimeout.D(), Principal: f.Principal, Secret: secret, TLS: secure,
	}, err
}

// mesosTLS is how masters and agents are reached by https, nil where they are not.
func mesosTLS(o config.Options) (*tls.Config, error) {
	if !o.SecureMesos() {
		return nil, nil
	}
	c, err := mesos.TLS(o.MesosTLS).Config()
	if err != nil {
		return nil, &exitError{Code: exitUsage, Err: err}
	}
	return c, nil
}

// setExecutors says what agents are to run: this program, fetched from an
// address that names no leader, or lying at a path on every agent.
func (s *service) setExecutors(artifact *api.Artifact) {
	bounds, _ := json.Marshal(s.options.Sandbox) // numbers: never fails
	spec := scheduler.ExecutorSpec{
		Name: "tidemill", User: s.options.Framework.User,
		Env: map[string]string{"TIDEMILL_ARTIFACT": artifact.Sum(), jobs.SandboxVariable: string(bounds)}, Grace: 10 * time.Second,
	}
	switch base := s.options.ArtifactURL; {
	case strings.HasPrefix(base, "/"):
		spec.Command = base
	case base != "":
		spec.Artifact = strings.TrimSuffix(base, "/") + artifact.Path()
	default:
		spec.Artifact = s.options.Advertise + artifact.Path()
	}
	s.core.Shared, s.core.Own = spec, spec
	s.core.Shared.Arguments = []string{"executor", "--shared"}
	s.core.Shared.Resources = jobs.Resources{CPUs: 0.1, Mem: 128}
	s.core.Own.Arguments = []string{"executor"}
	s.core.Own.Resources = jobs.Resources{CPUs: 0.01, Mem: 32}
}

func hostOf(base string) string {
	if u, err := url.Parse(base); err == nil {
		return u.Hostname()
	}
	return ""
}

// executable is the path of this program, for agents on this machine.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return path, nil
}
