package zk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	gozk "github.com/go-zookeeper/zk"
	"github.com/rs/zerolog"
)

// masterPrefix begins the names of the znodes in which Mesos masters describe themselves in JSON;
// the one with the lowest sequence leads. Other znodes beside them (log_replicas, and older
// masters' binary ones) are none.
const masterPrefix = "json.info_"

// MasterDetector knows which Mesos master leads, as the masters tell in ZooKeeper.
type MasterDetector struct {
	*connection
	path   string
	byName bool

	mu      sync.Mutex
	leader  string        // host:port, "" while none is known
	changed chan struct{} // closed when leader changes
}

// DetectMaster connects to the masters' ZooKeeper, whose Path is usually /mesos, waiting while it
// is away until ctx ends. Masters are called by their IP, whose names need not be known outside
// their machines; byName is for TLS, whose certificates name hosts.
func DetectMaster(ctx context.Context, a Address, byName bool, log zerolog.Logger) (*MasterDetector, error) {
	conn, err := connect(ctx, a, DefaultSessionTimeout, log)
	if err != nil {
		return nil, err
	}
	d := &MasterDetector{connection: conn, path: a.Path, byName: byName, changed: make(chan struct{})}
	d.start(func() { d.watchChildren(d.path, d.read) })
	return d, nil
}

// Close stops the detection. It is idempotent.
func (d *MasterDetector) Close() { d.connection.close() }

// Leader is the leading master's host:port, "" while there is none, and a channel that is closed
// when that is no longer true. While ZooKeeper is away the last known leader stays.
func (d *MasterDetector) Leader() (master string, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leader, d.changed
}

// Await waits until a master leads, and gives its host:port.
func (d *MasterDetector) Await(ctx context.Context) (string, error) {
	for {
		master, changed := d.Leader()
		if master != "" {
			return master, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("wait for a leading Mesos master under %s: %w", d.path, ctx.Err())
		case <-d.ctx.Done():
			return "", gozk.ErrClosing
		}
	}
}

func (d *MasterDetector) read(names []string) error {
	var masters []string
	for _, name := range inOrder(names) {
		if strings.HasPrefix(name, masterPrefix) {
			masters = append(masters, name)
		}
	}
	leader := ""
	if len(masters) > 0 {
		data, _, err := d.conn.Get(strings.TrimSuffix(d.path, "/") + "/" + masters[0])
		if errors.Is(err, gozk.ErrNoNode) { // gone since; the watch tells who is next
			return nil
		}
		if err != nil {
			return err
		}
		if leader, err = masterAddress(data, d.byName); err != nil {
			return fmt.Errorf("%s: %w", masters[0], err)
		}
	}
	d.set(leader)
	return nil
}

func (d *MasterDetector) set(leader string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leader == leader {
		return
	}
	d.log.Info().Str("master", leader).Str("former", d.leader).Msg("the leading Mesos master changed")
	d.leader = leader
	close(d.changed)
	d.changed = make(chan struct{})
}

// masterAddress finds host:port in a MasterInfo; pid, "master@ip:port", is what old masters have.
func masterAddress(info []byte, byName bool) (string, error) {
	var m struct {
		Address struct {
			IP       string `json:"ip"`
			Hostname string `json:"hostname"`
			Port     int    `json:"port"`
		} `json:"address"`
		PID string `json:"pid"`
	}
	if err := json.Unmarshal(info, &m); err != nil {
		return "", fmt.Errorf("read MasterInfo: %w", err)
	}
	host := cmp.Or(m.Address.IP, m.Address.Hostname)
	if byName {
		host = cmp.Or(m.Address.Hostname, host)
	}
	if host != "" && m.Address.Port > 0 {
		return net.JoinHostPort(host, strconv.Itoa(m.Address.Port)), nil
	}
	if _, address, ok := strings.Cut(m.PID, "@"); ok {
		if _, _, err := net.SplitHostPort(address); err == nil {
			return address, nil
		}
	}
	return "", fmt.Errorf("read MasterInfo: it names no address: %q", info)
}
