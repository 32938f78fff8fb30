package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// Ports are the ports that clients use. The ports between servers follow them: the next one for
// Kafka's controller and Cassandra's storage, the next two for ZooKeeper's ensemble.
type Ports struct {
	ZooKeeper int `json:"zookeeper"`
	Kafka     int `json:"kafka"`
	Cassandra int `json:"cassandra"`
	S3        int `json:"s3"`
}

// DefaultPorts are the ports that users expect the servers on.
func DefaultPorts() Ports {
	return Ports{ZooKeeper: 2181, Kafka: 9092, Cassandra: 9042, S3: 7070}
}

// shift moves all ports, out of the way of servers that listen on all addresses.
func (p Ports) shift(by int) Ports {
	return Ports{ZooKeeper: p.ZooKeeper + by, Kafka: p.Kafka + by, Cassandra: p.Cassandra + by, S3: p.S3 + by}
}

// PortTakenError says that another program listens where a server should.
type PortTakenError struct {
	Server string
	Host   string
	Port   int
}

func (e *PortTakenError) Error() string {
	return fmt.Sprintf("start %s: port %d on %s is taken by another program: `ss -ltnp 'sport = :%d'` names it; end it, or choose another port (tidemill stack up has --zk-port, --kafka-port, --cassandra-port and --s3-port)",
		e.Server, e.Port, e.Host, e.Port)
}

// place is where on loopback a stack's servers listen. Servers of a cluster have the same ports on
// addresses of their own, as Cassandra's drivers expect.
type place struct {
	network string // the first three bytes of the addresses
	ports   Ports
}

func (p place) host(number int) string {
	return p.network + "." + strconv.Itoa(number)
}

func (p place) hosts(count int) []string {
	hosts := make([]string, count)
	for i := range hosts {
		hosts[i] = p.host(i + 1)
	}
	return hosts
}

// Attempts to find a free place: each on another random network, the ports shifted now and then.
const (
	placeAttempts  = 64
	attemptsAShift = 4
	portShift      = 100
)

// findPlace returns the place of the fixed ports on 127.0.0.x or, without any, a free one on a
// random network of loopback, where runs on one machine do not meet.
func findPlace(o Options) (place, error) {
	if o.Ports != (Ports{}) {
		fixed := place{network: "127.0.0", ports: o.Ports}
		return fixed, fixed.check(o)
	}
	var err error
	for attempt := range placeAttempts {
		// 127.0.x.x is left to others, and so is 127.255.x.x, which holds the broadcast address.
		random := place{
			network: fmt.Sprintf("127.%d.%d", 1+rand.IntN(254), rand.IntN(256)),
			ports:   DefaultPorts().shift(attempt / attemptsAShift * portShift),
		}
		var taken *PortTakenError
		if err = random.check(o); !errors.As(err, &taken) {
			return random, err
		}
	}
	return place{}, fmt.Errorf("find free ports on loopback in %d attempts: %w", placeAttempts, err)
}

// check reports the first port that is taken of those the servers will listen on.
func (p place) check(o Options) error {
	for _, use := range p.uses(o) {
		for _, host := range p.hosts(use.hosts) {
			for port := use.first; port < use.first+use.count; port++ {
				if err := tryListen(use.server, host, port); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// disjoint reports ports that do not exist, or that two servers would listen on.
func (p place) disjoint(o Options) error {
	uses := p.uses(o)
	for i, a := range uses {
		last := a.first + a.count - 1
		if a.first < 1 || last > 65535 {
			return fmt.Errorf("%s's ports %d to %d are not within 1 to 65535", a.server, a.first, last)
		}
		for _, b := range uses[:i] {
			if a.first < b.first+b.count && b.first <= last {
				return fmt.Errorf("%s and %s would both listen on port %d: part them by --zk-port, --kafka-port, --cassandra-port or --s3-port",
					b.server, a.server, max(a.first, b.first))
			}
		}
	}
	return nil
}

// use is a range of ports that a server listens on, on each of its hosts.
type use struct {
	server              string
	hosts, first, count int
}

func (p place) uses(o Options) []use {
	var uses []use
	switch {
	case o.ZooKeeper == 1:
		uses = append(uses, use{"ZooKeeper", 1, p.ports.ZooKeeper, 1})
	case o.ZooKeeper > 1:
		uses = append(uses, use{"ZooKeeper", o.ZooKeeper, p.ports.ZooKeeper, 3})
	}
	if o.Kafka {
		uses = append(uses, use{"Kafka", 1, p.ports.Kafka, 2})
	}
	if len(o.Cassandra) > 0 {
		uses = append(uses, use{"Cassandra", len(o.Cassandra), p.ports.Cassandra, 2})
	}
	if o.S3 {
		uses = append(uses, use{"S3", 1, p.ports.S3, 1})
	}
	return uses
}

func tryListen(server, host string, port int) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	switch {
	case err == nil:
		return listener.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return &PortTakenError{Server: server, Host: host, Port: port}
	default:
		return fmt.Errorf("start %s: %w", server, err)
	}
}
