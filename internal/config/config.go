// Package config is the scheduler's configuration: defaults, under a YAML
// file, under environment and flags.
package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemill/internal/jobfile"
	"tidemill/jobs"
)

// Options is all that a scheduler is told. Its JSON names are those of the file.
type Options struct {
	Listen    string `json:"listen"`              // host:port of the API
	Advertise string `json:"advertise,omitempty"` // base URL for others; from Listen where empty
	TokenFile string `json:"token_file,omitempty"`

	ZK     string `json:"zk,omitempty"`     // host:port,…/path of the schedulers' own state
	Master string `json:"master,omitempty"` // host:port,… with https:// or not, or zk://…/mesos

	MesosTLS MesosTLS `json:"mesos_tls,omitzero"` // how masters and agents are reached by https

	Framework   Framework `json:"framework"`
	ArtifactURL string    `json:"artifact_url,omitempty"` // base URL, or a path on the agents; from Advertise where empty

	Connections jobs.Connections `json:"connections,omitzero"`
	History     History          `json:"history"`
	Sandbox     jobs.Sandbox     `json:"sandbox"` // what executors leave on the agents
}

// History says for how long finished runs are kept, and where.
type History struct {
	Keep int `json:"keep"` // of each job, in the schedulers' store
	// Cassandra is the connection, and Keyspace where in it, to which the
	// others go; without a keyspace they are forgotten. Each is kept for TTL
	// there, 0 being for ever.
	Cassandra string        `json:"cassandra,omitempty"`
	Keyspace  string        `json:"keyspace,omitempty"`
	TTL       jobs.Duration `json:"ttl,omitempty"`
	// Backlog is how many may wait in the store while Cassandra is away,
	// before the oldest are dropped.
	Backlog int `json:"backlog,omitempty"`
}

// MesosTLS names files in PEM.
type MesosTLS struct {
	CA   string `json:"ca,omitempty"`   // who signs the certificates of masters and agents
	Cert string `json:"cert,omitempty"` // of this scheduler, where they require one
	Key  string `json:"key,omitempty"`
}

// SecureMesos says whether masters and agents are reached by https.
func (o Options) SecureMesos() bool {
	return o.MesosTLS != MesosTLS{} || strings.Contains(o.Master, "https://")
}

// Framework is how the scheduler registers with Mesos.
type Framework struct {
	Name            string        `json:"name"`
	User            string        `json:"user,omitempty"` // tasks run as; the agents' own where empty
	Role            string        `json:"role"`           // or several: "a,b"
	GPUs            bool          `json:"gpus,omitempty"`
	RegionAware     bool          `json:"region_aware,omitempty"`
	Principal       string        `json:"principal,omitempty"`
	SecretFile      string        `json:"secret_file,omitempty"`
	FailoverTimeout jobs.Duration `json:"failover_timeout"`
}

// Roles lists what Role names.
func (f Framework) Roles() []string { return strings.Split(f.Role, ",") }

// Default is what holds where nothing is said.
func Default() Options {
	return Options{
		Listen:    "127.0.0.1:8470",
		Framework: Framework{Name: "tidemill", Role: "*", FailoverTimeout: jobs.Duration(7 * 24 * time.Hour)},
		History: History{
			Keep: 20, Cassandra: jobs.DefaultConnection, TTL: jobs.Duration(90 * 24 * time.Hour), Backlog: 10_000,
		},
		Sandbox: jobs.DefaultSandbox(),
	}
}

// Flags are the flags and environment variables of a scheduler, for a command
// to embed. What is not given is left to the file, and then to the defaults.
type Flags struct {
	Config string `type:"existingfile" env:"TIDEMILL_CONFIG" placeholder:"FILE" help:"YAML file with the configuration."`

	Listen    string `env:"TIDEMILL_LISTEN" placeholder:"HOST:PORT" help:"Where the API listens (default 127.0.0.1:8470)."`
	Advertise string `env:"TIDEMILL_ADVERTISE" placeholder:"URL" help:"Where others reach this scheduler."`

	ZK     string `name:"zk" env:"TIDEMILL_ZK" placeholder:"HOST:PORT,.../PATH" help:"ZooKeeper that holds jobs and runs."`
	Master string `env:"TIDEMILL_MASTER" placeholder:"ADDRESS" help:"The Mesos masters: host:port,..., https://host:port,..., or zk://host:port,.../mesos."`

	MesosCA   string `name:"mesos-ca" type:"path" env:"TIDEMILL_MESOS_CA" placeholder:"FILE" help:"Reach masters and agents by https; the PEM file has the authorities that sign their certificates."`
	MesosCert string `type:"path" env:"TIDEMILL_MESOS_CERT" placeholder:"FILE" help:"Certificate to show to masters and agents that require one."`
	MesosKey  string `type:"path" env:"TIDEMILL_MESOS_KEY" placeholder:"FILE" help:"Key of the certificate."`

	FrameworkName   string        `placeholder:"NAME" env:"TIDEMILL_FRAMEWORK_NAME" help:"Name to register with Mesos under (default tidemill)."`
	User            string        `placeholder:"USER" env:"TIDEMILL_USER" help:"User on the agents that tasks run as."`
	Role            string        `placeholder:"ROLE" env:"TIDEMILL_ROLE" help:"Mesos role, or several with commas between them (default *)."`
	GPUs            bool          `name:"gpus" env:"TIDEMILL_GPUS" help:"Take offers of agents with GPUs too."`
	RegionAware     bool          `env:"TIDEMILL_REGION_AWARE" help:"Take offers of agents in other regions than the masters' too."`
	Principal       string        `placeholder:"NAME" env:"TIDEMILL_PRINCIPAL" help:"Mesos principal."`
	SecretFile      string        `type:"path" placeholder:"FILE" env:"TIDEMILL_SECRET_FILE" help:"File with the principal's secret."`
	FailoverTimeout time.Duration `placeholder:"DURATION" env:"TIDEMILL_FAILOVER_TIMEOUT" help:"How long Mesos keeps the tasks while no scheduler leads (default 168h)."`
	ArtifactURL     string        `placeholder:"URL" env:"TIDEMILL_ARTIFACT_URL" help:"Where agents fetch this program: a base URL that names no leader, or a path on the agents."`

	HistoryKeyspace string        `env:"TIDEMILL_HISTORY_KEYSPACE" placeholder:"NAME" help:"Keyspace of Cassandra for finished runs that the store no longer keeps; without one they are forgotten."`
	HistoryTTL      time.Duration `name:"history-ttl" env:"TIDEMILL_HISTORY_TTL" placeholder:"DURATION" help:"How long they are kept there (default 2160h)."`

	Kafka       []string `env:"TIDEMILL_KAFKA" placeholder:"HOST:PORT,..." help:"Brokers of the Kafka connection \"default\"."`
	Cassandra   []string `env:"TIDEMILL_CASSANDRA" placeholder:"HOST[:PORT],..." help:"Nodes of the Cassandra connection \"default\"."`
	CassandraDC string   `name:"cassandra-dc" env:"TIDEMILL_CASSANDRA_DC" placeholder:"NAME" help:"Data centre that the connection \"default\" talks to."`
	S3          string   `name:"s3" env:"TIDEMILL_S3" placeholder:"URL" help:"S3 connection \"default\", as http://KEY:SECRET@host:port?region=NAME."`
}

// Options puts defaults, file and flags together. The token file is a flag
// that other commands have too, so it is handed in.
func (f Flags) Options(tokenFile string) (Options, error) {
	o := Default()
	if f.Config != "" {
		if err := o.readFile(f.Config); err != nil {
			return o, err
		}
	}
	for field, given := range map[*string]string{
		&o.Listen: f.Listen, &o.Advertise: f.Advertise, &o.TokenFile: tokenFile, &o.ZK: f.ZK, &o.Master: f.Master,
		&o.Framework.Name: f.FrameworkName, &o.Framework.User: f.User, &o.Framework.Role: f.Role,
		&o.Framework.Principal: f.Principal, &o.Framework.SecretFile: f.SecretFile, &o.ArtifactURL: f.ArtifactURL,
		&o.MesosTLS.CA: f.MesosCA, &o.MesosTLS.Cert: f.MesosCert, &o.MesosTLS.Key: f.MesosKey,
		&o.History.Keyspace: f.HistoryKeyspace,
	} {
		if given != "" {
			*field = given
		}
	}
	o.Advertise = strings.TrimSuffix(o.Advertise, "/")
	o.Framework.GPUs = o.Framework.GPUs || f.GPUs
	o.Framework.RegionAware = o.Framework.RegionAware || f.RegionAware
	if f.FailoverTimeout != 0 {
		o.Framework.FailoverTimeout = jobs.Duration(f.FailoverTimeout)
	}
	if f.HistoryTTL != 0 {
		o.History.TTL = jobs.Duration(f.HistoryTTL)
	}
	if err := f.Connect(&o.Connections); err != nil {
		return o, err
	}
	return o, o.check()
}

func (o *Options) readFile(name string) error {
	sources, err := jobfile.Read(name, nil)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", errors.Unwrap(err))
	}
	if err := jobfile.DecodeValue(sources[0], o); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	return nil
}

// Connect sets the connections "default" that flags name.
func (f Flags) Connect(c *jobs.Connections) error {
	if len(f.Kafka) > 0 {
		put(&c.Kafka, jobs.KafkaConnection{Brokers: f.Kafka})
	}
	if len(f.Cassandra) > 0 || f.CassandraDC != "" {
		to := c.Cassandra[jobs.DefaultConnection] // credentials come from the file
		if len(f.Cassandra) > 0 {
			to.Hosts = f.Cassandra
		}
		if f.CassandraDC != "" {
			to.DC = f.CassandraDC
		}
		put(&c.Cassandra, to)
	}
	if f.S3 != "" {
		to, err := parseS3(f.S3)
		if err != nil {
			return err
		}
		put(&c.S3, to)
	}
	return nil
}

func put[T any](connections *map[string]T, c T) {
	if *connections == nil {
		*connections = map[string]T{}
	}
	(*connections)[jobs.DefaultConnection] = c
}

func parseS3(text string) (jobs.S3Connection, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		// The text is not shown: it may hold the secret.
		return jobs.S3Connection{}, &jobs.Error{Code: jobs.Invalid, Op: "read --s3", Message: "not an S3 address",
			Hint: "write it as http://KEY:SECRET@host:port?region=NAME"}
	}
	secret, _ := u.User.Password()
	return jobs.S3Connection{Endpoint: u.Scheme + "://" + u.Host, Region: u.Query().Get("region"),
		AccessKey: u.User.Username(), SecretKey: secret}, nil
}

func (o Options) check() error {
	var e jobs.FieldErrors
	for _, name := range slices.Sorted(maps.Keys(o.Connections.Kafka)) {
		checkServers(&e, "connections.kafka."+name+".brokers", "broker", o.Connections.Kafka[name].Brokers)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Connections.Cassandra)) {
		checkServers(&e, "connections.cassandra."+name+".hosts", "host", o.Connections.Cassandra[name].Hosts)
	}
	roles := o.Framework.Roles()
	for i, role := range roles {
		if role == "" || role == "." || role == ".." || strings.HasPrefix(role, "-") || strings.ContainsAny(role, " \t\r\n\\") {
			e.Addf("framework.role", "%q is no role for Mesos", role)
		}
		if slices.Contains(roles[:i], role) {
			e.Addf("framework.role", "%q is named twice", role)
		}
	}
	if u, err := url.Parse(o.Advertise); o.Advertise != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
		e.Addf("advertise", "%q is no base URL like http://mill-1:8470", o.Advertise)
	}
	if a := o.ArtifactURL; a != "" && !strings.HasPrefix(a, "/") && !strings.Contains(a, "://") {
		e.Addf("artifact_url", "%q is neither a base URL nor a path on the agents", a)
	}
	if o.Framework.SecretFile != "" && o.Framework.Principal == "" {
		e.Addf("framework.principal", "is missing: nobody is told whose secret secret_file holds")
	}
	e.NotNegative("framework.failover_timeout", o.Framework.FailoverTimeout)
	o.History.check(o.Connections, &e)
	e.AddAll("sandbox", o.Sandbox.Validate())
	if err := e.Err(); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	return nil
}

// checkServers refuses what no server can be reached by.
func checkServers(e *jobs.FieldErrors, field, what string, servers []string) {
	if len(servers) == 0 {
		e.Addf(field, "names no %s", what)
	}
	for i, server := range servers {
		host, port, err := net.SplitHostPort(server)
		if err != nil && (!strings.Contains(server, ":") || net.ParseIP(server) != nil) {
			host, port, err = server, "1", nil // the usual one
		}
		if n, wrong := strconv.ParseUint(port, 10, 16); err != nil || wrong != nil || n == 0 || host == "" || strings.ContainsAny(host, " /@") {
			e.Addf(fmt.Sprintf("%s[%d]", field, i), "%q is neither a host nor host:port", server)
		}
	}
}

// Bounds of what the store holds of finished runs, and of Cassandra's TTL.
const (
	maxKeep    = 10_000
	maxBacklog = 1_000_000
	maxTTL     = 20 * 365 * 24 * time.Hour
)

func (h History) check(c jobs.Connections, e *jobs.FieldErrors) {
	e.Within("history.keep", int64(h.Keep), 1, maxKeep)
	e.Within("history.backlog", int64(h.Backlog), 1, maxBacklog)
	if ttl := h.TTL.D(); ttl < 0 || ttl > maxTTL || ttl > 0 && ttl < time.Second {
		e.Addf("history.ttl", "%s is neither 0 (for ever) nor between 1s and %s", h.TTL, jobs.Duration(maxTTL))
	}
	if _, ok := c.Cassandra[h.Cassandra]; h.Keyspace != "" && !ok {
		e.Addf("history.cassandra", "there is no connection %q; give --cassandra, or name one of connections.cassandra", h.Cassandra)
	}
}

// masked stands for a secret that is set.
const masked = "********"

// Masked is a copy that can be shown.
func (o Options) Masked() Options {
	hide := func(s string) string {
		if s == "" {
			return ""
		}
		return masked
	}
	o.ZK, o.Master = hidePassword(o.ZK), hidePassword(o.Master)
	cassandra, s3 := map[string]jobs.CassandraConnection{}, map[string]jobs.S3Connection{}
	for name, c := range o.Connections.Cassandra {
		c.Password = hide(c.Password)
		cassandra[name] = c
	}
	for name, c := range o.Connections.S3 {
		c.SecretKey = hide(c.SecretKey)
		s3[name] = c
	}
	o.Connections.Cassandra, o.Connections.S3 = cassandra, s3
	return o
}

// hidePassword is an address of ZooKeeper, zk://user:password@host/path, that
// can be shown. The password may hold anything.
func hidePassword(address string) string {
	scheme, rest := "", address
	if after, ok := strings.CutPrefix(address, "zk://"); ok {
		scheme, rest = "zk://", after
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return address
	}
	user, _, _ := strings.Cut(rest[:at], ":")
	return scheme + user + ":" + masked + rest[at:]
}

// Token reads the API's token from its file; none where there is no file.
func Token(file string) (string, error) {
	token, err := secretIn(file)
	if err == nil && strings.ContainsAny(token, " \t\r\n") {
		err = errors.New("it must hold one word")
	}
	if err != nil {
		return "", fmt.Errorf("read the token in %s: %w (name another file with --token-file, or make one with: head -c 24 /dev/urandom | base64 > %[1]s)", file, err)
	}
	return token, nil
}

// Secret reads the secret of the framework's principal from its file; none
// where there is no file.
func Secret(file string) (string, error) {
	secret, err := secretIn(file)
	if err != nil {
		return "", fmt.Errorf("read the principal's secret in %s: %w (name the file with --secret-file)", file, err)
	}
	return secret, nil
}

// maxSecret bounds what is read of a file with a secret.
const maxSecret = 4 << 10

func secretIn(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", errors.Unwrap(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	secret := strings.TrimSpace(string(data))
	switch {
	case err != nil:
		return "", err
	case secret == "":
		return "", errors.New("it is empty")
	case len(data) > maxSecret:
		return "", fmt.Errorf("it is larger than %d bytes", maxSecret)
	}
	return secret, nil
}
