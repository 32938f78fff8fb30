package mesos

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/mesos/mesos-go/api/v1/lib"
	wire "github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/rs/zerolog"

	"tidemill/executor"
)

const (
	executorPath = "/api/v1/executor"
	// updateConns is how many updates of different tasks are under way at once.
	updateConns = 4
)

// Agent is the way from an executor to the agent that started it, as
// executor.Agent asks for it.
type Agent struct {
	to        endpoint
	framework mesos.FrameworkID
	executor  mesos.ExecutorID
	streams   http.RoundTripper
	calls     http.RoundTripper
	log       zerolog.Logger
}

var _ executor.Agent = (*Agent)(nil)

// NewAgent finds the agent through the environment that Mesos gives its
// executors; getenv is os.Getenv. It connects to nothing.
func NewAgent(getenv func(string) string, codec Codec, log zerolog.Logger) (*Agent, error) {
	need := func(name string) (string, error) {
		if v := getenv(name); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("find the agent: %s is not set (an executor is started by a Mesos agent, not by hand)", name)
	}
	addr, errAddr := need("MESOS_AGENT_ENDPOINT")
	framework, errFramework := need("MESOS_FRAMEWORK_ID")
	id, errID := need("MESOS_EXECUTOR_ID")
	if err := errors.Join(errAddr, errFramework, errID); err != nil {
		return nil, err
	}
	secure, err := agentTLS(addr, getenv)
	if err != nil {
		return nil, fmt.Errorf("find the agent: %w", err)
	}
	socket := getenv("MESOS_DOMAIN_SOCKET")
	if socket != "" {
		secure = nil // what does not leave the machine is not encrypted
	}
	where, err := baseURL(addr, executorPath, secure != nil)
	if err != nil {
		return nil, fmt.Errorf("find the agent: MESOS_AGENT_ENDPOINT: %w", err)
	}
	if socket != "" {
		where.Path = agentProcess(getenv) + executorPath
		where.RawPath = where.Path // as it is: the agent compares it with its own
	}
	a := &Agent{
		to:        endpoint{url: where, codec: codec},
		framework: mesos.FrameworkID{Value: framework},
		executor:  mesos.ExecutorID{Value: id},
		streams:   agentTransport(0, secure, socket),
		calls:     agentTransport(updateConns, secure, socket),
		log:       log,
	}
	if token := getenv("MESOS_EXECUTOR_AUTHENTICATION_TOKEN"); token != "" {
		a.to.authorize = func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + token} }
	}
	return a, nil
}

// agentProcess is the part of a path that names the agent's process in its
// program, without which an agent refuses what comes by its domain socket.
func agentProcess(getenv func(string) string) string {
	process, _, _ := strings.Cut(getenv("MESOS_SLAVE_PID"), "@") // slave(1)@127.0.0.1:5051
	return "/" + cmp.Or(process, "slave(1)")
}

// agentTransport uses the agent's domain socket where the agent offers one.
func agentTransport(conns int, secure *tls.Config, socket string) *http.Transport {
	t := newTransport(conns, secure)
	if socket != "" {
		dialer := net.Dialer{Timeout: dialTimeout}
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	return t
}

// Subscribe opens the stream. ctx bounds the try, not the stream's life.
func (a *Agent) Subscribe(ctx context.Context, tasks []executor.Task, updates []executor.Update) (executor.Stream, error) {
	call, err := a.subscribe(tasks, updates)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	connecting := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	resp, err := a.to.post(life, a.streams, call)
	if !connecting() && err == nil {
		resp.Body.Close()
		err = context.Cause(ctx)
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = refusal(resp)
		resp.Body.Close()
	}
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("subscribe at agent %s: %w", a.to.url.Host, err)
	}
	s := &stream{
		feed: feed[executor.Event]{
			events: make(chan executor.Event, feedDepth),
			cancel: cancel,
		},
		agent: a,
	}
	s.owned.Go(func() { s.run(life, resp.Body, s.decode) })
	return s, nil
}

func (a *Agent) subscribe(tasks []executor.Task, updates []executor.Update) (*wire.Call, error) {
	sub := &wire.Call_Subscribe{
		UnacknowledgedTasks:   make([]mesos.TaskInfo, len(tasks)),
		UnacknowledgedUpdates: make([]wire.Call_Update, len(updates)),
	}
	for i, t := range tasks {
		if err := sub.UnacknowledgedTasks[i].Unmarshal(t.Raw); err != nil {
			return nil, fmt.Errorf("subscribe at agent %s: task %s as it was launched: %w", a.to.url.Host, t.ID, err)
		}
	}
	for i := range updates {
		status, err := a.status(&updates[i])
		if err != nil {
			return nil, fmt.Errorf("subscribe at agent %s: %w", a.to.url.Host, err)
		}
		sub.UnacknowledgedUpdates[i].Status = *status
	}
	call := a.call(wire.Call_SUBSCRIBE)
	call.Subscribe = sub
	return call, nil
}

func (a *Agent) call(kind wire.Call_Type) *wire.Call {
	return &wire.Call{Type: kind, ExecutorID: a.executor, FrameworkID: a.framework}
}

// status is an update in Mesos's words. A reason that Mesos does not know is
// left out: the agent would refuse the update with it, again and again.
func (a *Agent) status(u *executor.Update) (*mesos.TaskStatus, error) {
	state, ok := mesos.TaskState_value[u.State]
	if !ok {
		return nil, fmt.Errorf("update of task %s: %q is no state of Mesos", u.Task, u.State)
	}
	s := &mesos.TaskStatus{
		TaskID:     mesos.TaskID{Value: string(u.Task)},
		State:      mesos.TaskState(state).Enum(),
		Source:     mesos.SOURCE_EXECUTOR.Enum(),
		Message:    optional(u.Message),
		UUID:       u.UUID,
		Data:       u.Data,
		ExecutorID: &a.executor,
		Healthy:    u.Healthy,
	}
	if reason, ok := mesos.TaskStatus_Reason_value[u.Reason]; ok {
		s.Reason = mesos.TaskStatus_Reason(reason).Enum()
	}
	if !u.Timestamp.IsZero() {
		at := float64(u.Timestamp.UnixMicro()) / 1e6
		s.Timestamp = &at
	}
	return s, nil
}

// stream is one subscription at the agent.
type stream struct {
	feed[executor.Event]
	agent *Agent
}

func (s *stream) decode(frame []byte) ([]executor.Event, error) {
	var e wire.Event
	if err := s.agent.to.codec.decode(frame, &e); err != nil {
		s.agent.log.Error().Err(err).Bytes("event", frame[:min(len(frame), 200)]).Msg("event left out")
		return nil, nil
	}
	switch e.Type {
	case wire.Event_SUBSCRIBED:
		return []executor.Event{executor.Subscribed{
			AgentID:     e.Subscribed.GetAgentInfo().ID.GetValue(),
			Host:        e.Subscribed.GetAgentInfo().Hostname,
			ExecutorID:  s.agent.executor.Value,
			FrameworkID: s.agent.framework.Value,
			Killing:     slices.ContainsFunc(e.Subscribed.GetFrameworkInfo().Capabilities, isTaskKilling),
		}}, nil
	case wire.Event_LAUNCH:
		return launched([]mesos.TaskInfo{e.Launch.GetTask()})
	case wire.Event_LAUNCH_GROUP:
		return launched(e.LaunchGroup.GetTaskGroup().Tasks)
	case wire.Event_KILL:
		return []executor.Event{executor.Kill{
			Task:  taskID(e.Kill.GetTaskID()),
			Grace: graceOf(e.Kill.GetKillPolicy()),
		}}, nil
	case wire.Event_ACKNOWLEDGED:
		return []executor.Event{executor.Acknowledged{Task: taskID(e.Acknowledged.GetTaskID()), UUID: e.Acknowledged.GetUUID()}}, nil
	case wire.Event_MESSAGE:
		return []executor.Event{executor.Message{Data: e.Message.GetData()}}, nil
	case wire.Event_SHUTDOWN:
		return []executor.Event{executor.Shutdown{}}, nil
	case wire.Event_ERROR:
		text := e.Error.GetMessage()
		return []executor.Event{executor.Error{Message: text}}, errors.New("the agent refused: " + text)
	}
	return nil, nil
}

func isTaskKilling(c mesos.FrameworkInfo_Capability) bool {
	return c.Type == mesos.FrameworkInfo_Capability_TASK_KILLING_STATE
}

// launched keeps each TaskInfo in protobuf, whatever the stream speaks.
func launched(tasks []mesos.TaskInfo) ([]executor.Event, error) {
	out := make([]executor.Event, len(tasks))
	for i := range tasks {
		t := &tasks[i]
		raw, err := t.Marshal()
		if err != nil {
			return nil, fmt.Errorf("keep task %s: %w", t.TaskID.Value, err)
		}
		out[i] = executor.Launch{Task: executor.Task{ID: taskID(t.TaskID), Raw: raw}, Name: t.Name, Data: t.Data}
	}
	return out, nil
}

// Update sends a status update; the answer says that the agent took it.
func (s *stream) Update(ctx context.Context, u executor.Update) error {
	status, err := s.agent.status(&u)
	if err != nil {
		return err
	}
	call := s.agent.call(wire.Call_UPDATE)
	call.Update = &wire.Call_Update{Status: *status}
	if err := s.agent.to.call(ctx, s.agent.calls, call); err != nil {
		return fmt.Errorf("update %s of task %s at agent %s: %w", u.State, u.Task, s.agent.to.url.Host, err)
	}
	return nil
}

// Message sends bytes to the scheduler, at most once.
func (s *stream) Message(ctx context.Context, data []byte) error {
	if data == nil {
		data = []byte{} // the field is required
	}
	call := s.agent.call(wire.Call_MESSAGE)
	call.Message = &wire.Call_Message{Data: data}
	if err := s.agent.to.call(ctx, s.agent.calls, call); err != nil {
		return fmt.Errorf("message at agent %s: %w", s.agent.to.url.Host, err)
	}
	return nil
}
