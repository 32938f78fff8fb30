package master

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"tidemill/internal/mesoslocal/wire"
)

// election is a master's part in the choice of a leader by ZooKeeper.
type election struct {
	conn *zk.Conn
	path string

	watcher sync.WaitGroup
	back    chan struct{} // ZooKeeper is back after an absence that ended the leadership
}

// runElection joins the election and follows it until the master stops. A master that
// loses its leadership stops leading for good, as Mesos's masters exit.
func (m *Master) runElection() error {
	servers, dir, err := wire.ParseZooKeeper(m.opts.ZooKeeper)
	if err != nil {
		return err
	}
	conn, events, err := zk.Connect(servers, m.opts.ZooKeeperSession, zk.WithLogger(zkLog{m}))
	if err != nil {
		return fmt.Errorf("connect to ZooKeeper %s: %w", strings.Join(servers, ","), err)
	}
	m.election = &election{conn: conn, path: dir, back: make(chan struct{}, 1)}
	m.election.watcher.Go(func() { m.watchSession(events) }) // as long as the session, which outlives a crash
	m.tasks.Go(m.followElection)
	return nil
}

// watchSession ends the leadership when ZooKeeper was away for as long as a session lasts: others
// have elected another leader by then, which this one, being cut off, cannot be told of. (Mesos's
// masters exit then.)
func (m *Master) watchSession(events <-chan zk.Event) {
	var expired <-chan time.Time
	deposed := false
	for {
		select {
		case event, open := <-events:
			switch {
			case !open:
				return
			case event.State == zk.StateDisconnected && expired == nil:
				expired = time.After(m.opts.ZooKeeperSession)
			case event.State == zk.StateHasSession:
				expired = nil
				if deposed {
					deposed = false
					select {
					case m.election.back <- struct{}{}:
					default: // it is to look again anyway
					}
				}
			}
		case <-expired:
			m.depose()
			deposed = true
		}
	}
}

func (e *election) close() {
	e.conn.Close()
	e.watcher.Wait()
}

func (e *election) makePath() error {
	at := ""
	for part := range strings.SplitSeq(strings.Trim(e.path, "/"), "/") {
		at += "/" + part
		if _, err := e.conn.Create(at, nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	return nil
}

// followElection registers the master and watches who leads. After an expired session
// the node is gone, so it registers again.
func (m *Master) followElection() {
	mine := ""
	for m.ctx.Err() == nil {
		children, _, changed, err := m.election.conn.ChildrenW(m.election.path)
		if errors.Is(err, zk.ErrNoNode) {
			err = m.election.makePath()
			if err == nil {
				continue
			}
		}
		if err == nil && !slices.Contains(children, mine) {
			if mine != "" {
				m.depose()
			}
			mine, err = m.enroll()
			if err == nil {
				continue
			}
		}
		if err != nil {
			m.log.Warn().Err(err).Msg("the election in ZooKeeper cannot be followed")
			select {
			case <-m.ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		m.follow(children, mine)
		select {
		case <-m.ctx.Done():
		case <-changed:
		case <-m.election.back:
		}
	}
}

func (m *Master) enroll() (string, error) {
	data, err := wire.Encode(m.info(), wire.JSON)
	if err != nil {
		return "", err
	}
	node, err := m.election.conn.Create(m.election.path+"/"+wire.MasterNode, data,
		zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	return path.Base(node), err
}

// follow takes note of the leader among the registered masters.
func (m *Master) follow(children []string, mine string) {
	var masters []string
	for _, child := range children {
		if strings.HasPrefix(child, wire.MasterNode) {
			masters = append(masters, child)
		}
	}
	if len(masters) == 0 {
		return
	}
	leader := slices.Min(masters)
	if leader == mine {
		m.lead(len(masters) >= m.opts.Quorum)
		return
	}
	data, _, err := m.election.conn.Get(m.election.path + "/" + leader)
	if err != nil {
		return // it went in between: the watch tells
	}
	var info struct {
		Address struct {
			IP   string `json:"ip"`
			Port int    `json:"port"`
		} `json:"address"`
	}
	if json.Unmarshal(data, &info) != nil {
		return // not a node of ours
	}
	m.mu.Lock()
	m.leader = net.JoinHostPort(info.Address.IP, fmt.Sprint(info.Address.Port))
	m.mu.Unlock()
}

// depose ends a leadership that ZooKeeper no longer grants: frameworks and agents are
// cut off and go to the next leader.
func (m *Master) depose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.leading {
		return
	}
	m.log.Warn().Msg("the master lost its leadership")
	m.leading, m.settled, m.leader = false, false, ""
	for _, f := range m.frameworks {
		f.stopTimer()
		if f.stream != nil {
			f.stream.Close()
		}
	}
	for _, a := range m.agents {
		a.cut()
	}
	m.frameworks, m.agents, m.offers = map[string]*framework{}, map[string]*agent{}, map[string]*offer{}
	m.recovered, m.unreachable = map[string]bool{}, map[string]time.Time{}
}

// zkLog passes the ZooKeeper client's log on.
type zkLog struct{ m *Master }

func (l zkLog) Printf(format string, args ...any) {
	l.m.log.Debug().Msgf(format, args...)
}
