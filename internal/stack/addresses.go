package stack

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Addresses are where a stack's servers are reached; those of servers it has not are empty.
type Addresses struct {
	ZooKeeper string   `json:"zookeeper,omitempty"` // host:port,host:port
	Kafka     []string `json:"kafka,omitempty"`     // host:port
	Cassandra []string `json:"cassandra,omitempty"` // host:port, the same port on each host
	S3        S3       `json:"s3"`
}

// S3 is how the S3 server is reached; buckets are part of the path.
type S3 struct {
	Endpoint  string `json:"endpoint,omitempty"`
	Region    string `json:"region,omitempty"`
	AccessKey string `json:"access_key,omitempty"`
	SecretKey string `json:"secret_key,omitempty"`
}

func addressesOf(at place, o Options) Addresses {
	join := func(hosts []string, port int) []string {
		joined := make([]string, len(hosts))
		for i, host := range hosts {
			joined[i] = net.JoinHostPort(host, strconv.Itoa(port))
		}
		return joined
	}
	var a Addresses
	if o.ZooKeeper > 0 {
		a.ZooKeeper = strings.Join(join(at.hosts(o.ZooKeeper), at.ports.ZooKeeper), ",")
	}
	if o.Kafka {
		a.Kafka = join(at.hosts(1), at.ports.Kafka)
	}
	if len(o.Cassandra) > 0 {
		a.Cassandra = join(at.hosts(len(o.Cassandra)), at.ports.Cassandra)
	}
	if o.S3 {
		endpoint := "http://" + net.JoinHostPort(at.host(1), strconv.Itoa(at.ports.S3))
		a.S3 = S3{Endpoint: endpoint, Region: s3Region, AccessKey: s3AccessKey, SecretKey: s3SecretKey}
	}
	return a
}

func (a Addresses) clone() Addresses {
	a.Kafka, a.Cassandra = slices.Clone(a.Kafka), slices.Clone(a.Cassandra)
	return a
}

// Prefixes of the environment variables that carry addresses. They differ so that a test can never
// take a user's own servers for those that were started for it.
const (
	UserPrefix = "TIDEMILL_"
	TestPrefix = "TIDEMILL_TEST_"
)

// RunVariable is set in the environment of what `tidemill stack run` runs, whichever servers it has.
const RunVariable = TestPrefix + "RUN"

// Environment returns the addresses as NAME=value, each name with the prefix.
func (a Addresses) Environment(prefix string) []string {
	var env []string
	add := func(name, value string) {
		if value != "" {
			env = append(env, prefix+name+"="+value)
		}
	}
	add("ZK", a.ZooKeeper)
	add("KAFKA", strings.Join(a.Kafka, ","))
	add("CASSANDRA", strings.Join(a.Cassandra, ","))
	add("S3", a.S3.URL())
	return env
}

// FromEnvironment reads what Environment wrote, by way of lookup, which is os.Getenv or the like.
func FromEnvironment(prefix string, lookup func(string) string) (Addresses, error) {
	a := Addresses{
		ZooKeeper: lookup(prefix + "ZK"),
		Kafka:     list(lookup(prefix + "KAFKA")),
		Cassandra: list(lookup(prefix + "CASSANDRA")),
	}
	if value := lookup(prefix + "S3"); value != "" {
		s3, err := parseS3(value)
		if err != nil {
			return Addresses{}, fmt.Errorf("read %sS3: %w (want http://key:secret@host:port?region=name)", prefix, err)
		}
		a.S3 = s3
	}
	return a, nil
}

func list(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

// URL carries the credentials and the region along, so that one variable says it all.
func (s S3) URL() string {
	u, err := url.Parse(s.Endpoint)
	if err != nil || s.Endpoint == "" {
		return ""
	}
	u.User = url.UserPassword(s.AccessKey, s.SecretKey)
	u.RawQuery = url.Values{"region": {s.Region}}.Encode()
	return u.String()
}

func parseS3(value string) (S3, error) {
	u, err := url.Parse(value)
	if err != nil {
		return S3{}, err
	}
	if u.Host == "" || u.User == nil {
		return S3{}, fmt.Errorf("no host or no credentials in %q", u.Redacted())
	}
	secret, _ := u.User.Password()
	return S3{
		Endpoint: u.Scheme + "://" + u.Host, Region: u.Query().Get("region"),
		AccessKey: u.User.Username(), SecretKey: secret,
	}, nil
}
