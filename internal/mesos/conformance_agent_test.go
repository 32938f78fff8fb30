package mesos

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	executorwire "github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/rs/zerolog"

	"tidemill/executor"
	"tidemill/internal/golden"
	"tidemill/jobs"
	"tidemill/scheduler"
)

// testAgent makes the adapter from the environment that a real agent gave to
// the recorded executor, but for the address.
func testAgent(t *testing.T, r *replay, lines []golden.Line) *Agent {
	t.Helper()
	env := map[string]string{}
	for _, l := range lines {
		if l.What == golden.Environment {
			if err := json.Unmarshal([]byte(l.Raw), &env); err != nil {
				t.Fatalf("recorded environment: %v", err)
			}
		}
	}
	if env["MESOS_AGENT_ENDPOINT"] == "" {
		t.Fatal("the recorded environment names no agent")
	}
	env["MESOS_AGENT_ENDPOINT"] = r.addr()
	agent, err := NewAgent(func(name string) string { return env[name] }, r.codec, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return agent
}

func playExecutor(t *testing.T, where string, r *replay, x *exchange, lines []golden.Line) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errTimeout)
	defer cancel()
	agent := testAgent(t, r, lines)
	if x.kind == "SUBSCRIBE" {
		playAgentSubscribe(t, ctx, where, r, x, agent)
		return
	}
	r.expect(&exchange{status: http.StatusOK, frames: [][]byte{[]byte(`{"type":"SHUTDOWN"}`)}})
	s, err := agent.Subscribe(ctx, nil, nil)
	if err != nil {
		t.Errorf("%s: Subscribe: %v", where, err)
		return
	}
	defer s.Close()
	collect(t, ctx, where, s.Events(), 1, false)
	r.expect(x)
	call, same := agentCall(x)
	if call.Message != nil || call.Update.Status.Task == "" {
		err = s.Message(ctx, call.Message)
	} else {
		err = s.Update(ctx, call.Update.Status.update())
	}
	if x.status == http.StatusAccepted {
		if err != nil {
			t.Errorf("%s: %v", where, err)
		}
	} else {
		checkCallError(t, where, &scheduler.CallError{Status: x.status, Message: strings.TrimSpace(string(x.answer))}, err)
	}
	if same {
		body, _, _ := r.seen()
		checkSame(t, where, r, x.body, body)
	}
}

func playAgentSubscribe(t *testing.T, ctx context.Context, where string, r *replay, x *exchange, agent *Agent) {
	t.Helper()
	var call executorwire.Call
	malformed := call.UnmarshalJSON(x.body) != nil || call.Subscribe == nil
	tasks, updates := unacknowledged(t, &call, x.body)
	r.expect(x)
	s, err := agent.Subscribe(ctx, tasks, updates)
	if x.status != http.StatusOK {
		checkCallError(t, where, &scheduler.CallError{Status: x.status, Message: strings.TrimSpace(string(x.answer))}, err)
		return
	}
	if err != nil {
		t.Errorf("%s: Subscribe: %v", where, err)
		return
	}
	defer s.Close()
	want := expectedOfAgent(t, x.frames)
	got := collect(t, ctx, where, s.Events(), len(want), x.end != stillOpen)
	if diff := cmp.Diff(want, describeAgent(got)); diff != "" {
		t.Errorf("%s: events (-recorded +decoded):\n%s", where, diff)
	}
	if x.end != stillOpen && s.Err() == nil {
		t.Errorf("%s: the stream ended and Err is nil", where)
	}
	if body, _, _ := r.seen(); !malformed {
		checkSame(t, where, r, x.body, body)
	}
}

// unacknowledged gives the recorded executor's debts in ours' words.
func unacknowledged(t *testing.T, call *executorwire.Call, body []byte) (tasks []executor.Task, updates []executor.Update) {
	t.Helper()
	for i := range call.GetSubscribe().GetUnacknowledgedTasks() {
		raw, err := call.Subscribe.UnacknowledgedTasks[i].Marshal()
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, executor.Task{ID: jobs.TaskID(call.Subscribe.UnacknowledgedTasks[i].TaskID.Value), Raw: raw})
	}
	var c agentCallBody
	_ = json.Unmarshal(body, &c) // malformed on purpose, in places
	for _, u := range c.Subscribe.Updates {
		updates = append(updates, u.Status.update())
	}
	return tasks, updates
}

type agentCallBody struct {
	Subscribe struct {
		Updates []struct {
			Status recordedStatus `json:"status"`
		} `json:"unacknowledged_updates"`
	}
	Update struct {
		Status recordedStatus `json:"status"`
	}
	MessageField *struct {
		Data []byte `json:"data"`
	} `json:"message"`

	Message []byte `json:"-"`
}

type recordedStatus struct {
	TaskIDField value   `json:"task_id"`
	State       string  `json:"state"`
	Reason      string  `json:"reason"`
	Text        string  `json:"message"`
	Source      string  `json:"source"`
	UUID        []byte  `json:"uuid"`
	Data        []byte  `json:"data"`
	Timestamp   float64 `json:"timestamp"`
	Executor    *value  `json:"executor_id"`
	Task        string  `json:"-"`
}

// update replaces states that no executor of ours can name.
func (s recordedStatus) update() executor.Update {
	u := executor.Update{
		Task: jobs.TaskID(s.TaskIDField.Value), State: s.State, Reason: s.Reason, Message: s.Text, UUID: s.UUID, Data: s.Data,
	}
	if s.Timestamp != 0 {
		u.Timestamp = time.UnixMicro(int64(math.Round(s.Timestamp * 1e6)))
	}
	if !strings.HasPrefix(u.State, "TASK_") || u.State == "TASK_NOPE" {
		u.State = jobs.TaskRunning
	}
	return u
}

// agentCall reads a recorded call, and says whether ours must look the same.
func agentCall(x *exchange) (agentCallBody, bool) {
	var c agentCallBody
	_ = json.Unmarshal(x.body, &c) // malformed on purpose, in places
	if c.MessageField != nil {
		c.Message = c.MessageField.Data
	}
	s := &c.Update.Status
	s.Task = s.TaskIDField.Value
	return c, x.status == http.StatusAccepted && (x.kind == "MESSAGE" || s.Executor != nil)
}

// checkSame compares a request with the recorded one, but for fractions of a
// microsecond.
func checkSame(t *testing.T, where string, r *replay, recorded, sent []byte) {
	t.Helper()
	want := asJSON(t, JSON, recorded, &executorwire.Call{})
	got := asJSON(t, r.codec, sent, &executorwire.Call{})
	if update, ok := want["update"].(map[string]any); ok {
		delete(update["status"].(map[string]any), "labels") // our executor sets none
	}
	approx := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-6 })
	if diff := cmp.Diff(want, got, approx); diff != "" {
		t.Errorf("%s: request (-recorded +sent):\n%s", where, diff)
	}
}

type recordedTask struct {
	Name   string `json:"name"`
	TaskID value  `json:"task_id"`
	Data   []byte `json:"data"`
}

// expectedOfAgent names the events that the executor must see.
func expectedOfAgent(t *testing.T, frames [][]byte) []string {
	t.Helper()
	var out []string
	for _, frame := range frames {
		var e struct {
			Type       string
			Subscribed struct {
				AgentInfo struct {
					ID       value
					Hostname string
				} `json:"agent_info"`
			}
			Launch      struct{ Task recordedTask }
			LaunchGroup struct {
				TaskGroup struct{ Tasks []recordedTask } `json:"task_group"`
			} `json:"launch_group"`
			Kill struct {
				TaskID value `json:"task_id"`
			}
			Acknowledged struct {
				TaskID value `json:"task_id"`
				UUID   []byte
			}
			Message struct{ Data []byte }
		}
		if err := json.Unmarshal(frame, &e); err != nil {
			t.Fatalf("recorded event %s: %v", frame, err)
		}
		switch e.Type {
		case "SUBSCRIBED":
			out = append(out, "subscribed at "+e.Subscribed.AgentInfo.ID.Value+" on "+e.Subscribed.AgentInfo.Hostname)
		case "LAUNCH":
			out = append(out, fmt.Sprintf("launch %s %s %q", e.Launch.Task.TaskID.Value, e.Launch.Task.Name, e.Launch.Task.Data))
		case "LAUNCH_GROUP":
			for _, task := range e.LaunchGroup.TaskGroup.Tasks {
				out = append(out, fmt.Sprintf("launch %s %s %q", task.TaskID.Value, task.Name, task.Data))
			}
		case "KILL":
			out = append(out, "kill "+e.Kill.TaskID.Value)
		case "ACKNOWLEDGED":
			out = append(out, fmt.Sprintf("acknowledged %s %x", e.Acknowledged.TaskID.Value, e.Acknowledged.UUID))
		case "MESSAGE":
			out = append(out, fmt.Sprintf("message %q", e.Message.Data))
		case "SHUTDOWN":
			out = append(out, "shutdown")
		default:
			t.Errorf("a recorded event of type %q is expected by nobody", e.Type)
		}
	}
	return out
}

func describeAgent(list []executor.Event) []string {
	var out []string
	for _, e := range list {
		switch e := e.(type) {
		case executor.Subscribed:
			out = append(out, "subscribed at "+e.AgentID+" on "+e.Host)
		case executor.Launch:
			out = append(out, fmt.Sprintf("launch %s %s %q", e.Task.ID, e.Name, e.Data))
		case executor.Kill:
			out = append(out, "kill "+string(e.Task))
		case executor.Acknowledged:
			out = append(out, fmt.Sprintf("acknowledged %s %x", e.Task, e.UUID))
		case executor.Message:
			out = append(out, fmt.Sprintf("message %q", e.Data))
		case executor.Shutdown:
			out = append(out, "shutdown")
		default:
			out = append(out, fmt.Sprintf("%T", e))
		}
	}
	return out
}
