package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"tidemill/internal/mesoslocal/wire"
)

// retryMaster is how long the agent waits before it tries the master again; dialMaster how long a
// try may take: while a network is cut, TCP's own tries become ever rarer.
const (
	retryMaster = 200 * time.Millisecond
	dialMaster  = 2 * time.Second
)

// registrationBackoff is the longest that an agent waits before it registers with a new leader.
const registrationBackoff = time.Second

var errNotLeading = errors.New("it does not lead")

// run keeps the agent linked to the leading master until it ends.
func (a *Agent) run() {
	a.awaitReregistration()
	former := ""
	for a.ctx.Err() == nil && !a.isRetired() {
		leader, err := a.serveMaster(former)
		if err != nil && a.ctx.Err() == nil {
			a.log.Debug().Err(err).Msg("no link to the master")
		}
		if leader != "" {
			former = leader
		}
		select {
		case <-a.ctx.Done():
		case <-time.After(retryMaster):
		}
	}
}

// serveMaster links to the leader, registers and performs its orders until the link
// breaks or the master falls silent. All agents come to a leader that is another than the
// former one: they spread.
func (a *Agent) serveMaster(former string) (leader string, err error) {
	link, leader, err := a.connect()
	if err != nil {
		return "", err
	}
	defer link.Cut()
	if former != "" && leader != former {
		select {
		case <-a.ctx.Done():
		case <-wire.After(a.opts.Clock, registrationBackoff/2+rand.N(registrationBackoff/2)):
		}
	}
	a.mu.Lock()
	link.Send(wire.ToMaster{Register: a.registration()})
	a.silence = 0
	a.mu.Unlock()
	stop := make(chan struct{})
	defer close(stop)
	a.tasks.Go(func() { a.watchMaster(link, stop) })
	for {
		message, err := link.Receive()
		if err != nil {
			a.mu.Lock()
			a.link = nil
			a.mu.Unlock()
			return leader, err
		}
		a.obey(link, message)
	}
}

// watchMaster breaks the link when the agent ends, or when the master no longer pings.
func (a *Agent) watchMaster(link *masterLink, stop <-chan struct{}) {
	ticker := time.NewTicker(a.opts.AgentPingTimeout)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-a.ctx.Done():
			link.Cut()
			return
		case <-ticker.C:
		}
		a.mu.Lock()
		a.silence++
		silent := a.silence > a.opts.MaxAgentPingTimeouts+1
		a.mu.Unlock()
		if silent {
			link.Cut()
			return
		}
	}
}

func (a *Agent) dial(address string) (*masterLink, error) {
	dialer := net.Dialer{Timeout: dialMaster}
	conn, err := dialer.DialContext(a.ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("link to master %s: %w", address, err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n",
		wire.LinkPath, address, wire.LinkProtocol)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // a TCP connection has deadlines
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		_ = conn.Close() // the error that counts is the answer's
		return nil, fmt.Errorf("link to master %s: %w", address, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		_ = conn.Close() // refused
		return nil, fmt.Errorf("link to master %s: %w", address, errNotLeading)
	}
	_ = conn.SetReadDeadline(time.Time{})
	return wire.NewLink[wire.ToMaster, wire.ToAgent](conn, reader), nil
}

// connect links to the leader: by ZooKeeper, or by the given master, which may tell of
// another one.
func (a *Agent) connect() (link *masterLink, leader string, err error) {
	if strings.HasPrefix(a.opts.Master, "zk://") {
		leader, err = leaderFromZooKeeper(a.ctx, a.opts.Master)
	} else {
		link, err = a.dial(a.opts.Master)
		if !errors.Is(err, errNotLeading) {
			return link, a.opts.Master, err
		}
		leader, err = a.askForLeader()
	}
	if err == nil {
		link, err = a.dial(leader)
	}
	return link, leader, err
}

func (a *Agent) askForLeader() (string, error) {
	ctx, cancel := context.WithTimeout(a.ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.opts.Master+"/redirect", nil)
	if err != nil {
		return "", fmt.Errorf("find the leading master: %w", err)
	}
	response, err := http.DefaultTransport.RoundTrip(request) // a round trip follows no redirect
	if err != nil {
		return "", fmt.Errorf("find the leading master: %w", err)
	}
	defer response.Body.Close()
	leader := strings.TrimPrefix(response.Header.Get("Location"), "//")
	if leader == "" {
		return "", errors.New("find the leading master: none is elected")
	}
	return leader, nil
}

// registration describes all that lives here; mu is held.
func (a *Agent) registration() *wire.Register {
	request := &wire.Register{Info: wire.AgentInfo{Value: a.info()}, Endpoint: a.Addr()}
	for _, f := range a.frameworks {
		if f.ending {
			continue
		}
		request.Frameworks = append(request.Frameworks, wire.FrameworkInfo{Value: f.info})
		for _, e := range f.executors {
			if !e.command && e.phase != terminated {
				request.Executors = append(request.Executors, wire.ExecutorInfo{Value: e.info})
			}
			for _, t := range e.tasks {
				request.Tasks = append(request.Tasks, a.carry(f, e, t))
			}
		}
	}
	return request
}

func (a *Agent) carry(f *framework, e *executor, t *task) wire.Task {
	carried := wire.Task{FrameworkID: f.id(), Info: wire.TaskInfo{Value: t.info}, State: int32(t.state)}
	if !e.command {
		carried.ExecutorID = e.id()
	}
	if t.status != nil {
		carried.Status = &wire.TaskStatus{Value: *t.status}
	}
	if s := a.streams[streamKey{f.id(), t.id()}]; s != nil && len(s.pending) > 0 {
		head := s.pending[0]
		carried.UpdateState, carried.UpdateUUID = int32(*head.State), head.UUID
	}
	return carried
}

// obey performs one order of the master.
func (a *Agent) obey(link *masterLink, message wire.ToAgent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case message.Registered != nil:
		a.registered(link, message.Registered.AgentID)
	case message.Ping != nil:
		a.silence = 0
		link.Send(wire.ToMaster{Pong: message.Ping})
	case message.Launch != nil:
		a.launch(message.Launch)
	case message.Kill != nil:
		a.kill(message.Kill)
	case message.Acknowledge != nil:
		a.acknowledge(message.Acknowledge)
	case message.ToExecutor != nil:
		a.toExecutor(message.ToExecutor)
	case message.ShutdownExecutor != nil:
		if f := a.frameworks[message.ShutdownExecutor.FrameworkID]; f != nil {
			if e := f.executors[message.ShutdownExecutor.ExecutorID]; e != nil {
				a.shutdown(e)
			}
		}
	case message.ShutdownFramework != nil:
		a.shutdownFramework(message.ShutdownFramework.FrameworkID)
	case message.Operation != nil:
		a.operate(message.Operation)
	case message.OperationKnown != nil:
		a.operationKnown(message.OperationKnown)
	case message.Drain != nil:
		a.drainAll(message.Drain)
	case message.Shutdown != nil:
		a.retire(message.Shutdown.Reason)
	case message.UpdateFramework != nil:
		if f := a.frameworks[message.UpdateFramework.Value.ID.GetValue()]; f != nil {
			f.info = message.UpdateFramework.Value
		}
	}
}

// registered takes note of the registration; the updates that wait are sent again, twice
// as a real agent does: when it is registered and when its update manager resumes.
func (a *Agent) registered(link *masterLink, id string) {
	again := a.id != ""
	a.link = link
	if a.id != id {
		a.id = id
		if err := a.writeID(); err != nil {
			a.log.Error().Err(err).Msg("the agent's id cannot be kept")
		}
	}
	a.log.Info().Str("agent", id).Str("addr", a.Addr()).Msg("the agent is registered")
	for _, op := range a.operations {
		a.tellOperation(op)
	}
	for _, s := range a.streams {
		a.forward(s)
		if again && len(s.pending) > 0 {
			a.tell(s)
		}
	}
}
