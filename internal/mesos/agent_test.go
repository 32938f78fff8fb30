package mesos

import (
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	wire "github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/rs/zerolog"

	"tidemill/executor"
	"tidemill/jobs"
)

func environment(with map[string]string) func(string) string {
	env := map[string]string{"MESOS_AGENT_ENDPOINT": "127.0.0.1:1", "MESOS_FRAMEWORK_ID": "F1", "MESOS_EXECUTOR_ID": "E1"}
	return func(name string) string {
		if v, ok := with[name]; ok {
			return v
		}
		return env[name]
	}
}

func TestAgentIsFoundThroughTheEnvironment(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		url  string
		err  string
	}{
		{name: "plain", url: "http://127.0.0.1:1/api/v1/executor"},
		{name: "secure", env: map[string]string{"LIBPROCESS_SSL_ENABLED": "true"}, url: "https://127.0.0.1:1/api/v1/executor"},
		{name: "by hand", env: map[string]string{"MESOS_AGENT_ENDPOINT": "", "MESOS_EXECUTOR_ID": ""}, err: "MESOS_EXECUTOR_ID"},
		{name: "no address", env: map[string]string{"MESOS_AGENT_ENDPOINT": "http://"}, err: "MESOS_AGENT_ENDPOINT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := NewAgent(environment(tt.env), JSON, zerolog.Nop())
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("NewAgent: %v, want …%s…", err, tt.err)
				}
			case err != nil:
				t.Error(err)
			case a.to.url.String() != tt.url:
				t.Errorf("agent at %s, want %s", a.to.url, tt.url)
			}
		})
	}
}

// TestAgentByDomainSocket serves a stream over a socket file, to one who shows
// the token.
func TestAgentByDomainSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/slave(2)/api/v1/executor" { // as an agent does
			http.Error(w, "", http.StatusForbidden)
			return
		}
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "who is it?", http.StatusUnauthorized)
			return
		}
		w.Write(record([]byte(`{"type":"ERROR","error":{"message":"not you"}}`))) //nolint:errcheck // the client may be gone
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	env := map[string]string{
		"MESOS_DOMAIN_SOCKET": socket, "MESOS_EXECUTOR_AUTHENTICATION_TOKEN": "secret",
		"MESOS_SLAVE_PID": "slave(2)@127.0.0.1:5051", "LIBPROCESS_SSL_ENABLED": "1",
	}
	agent, err := NewAgent(environment(env), JSON, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	s, err := agent.Subscribe(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if diff := cmp.Diff(executor.Event(executor.Error{Message: "not you"}), <-s.Events()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := <-s.Events(); ok || s.Err() == nil {
		t.Errorf("after the agent's last word: %v", s.Err())
	}
}

// TestDebtsAreToldAgain: what was launched and said comes back to the agent as
// it was, byte by byte, whatever the codec.
func TestDebtsAreToldAgain(t *testing.T) {
	const launch = `{"type":"LAUNCH","launch":{"task":{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"S1"},"data":"e30=",` +
		`"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1},"allocation_info":{"role":"*"}}],` +
		`"labels":{"labels":[{"key":"k","value":"v"}]}}}}`
	for _, codec := range []Codec{JSON, Protobuf} {
		t.Run(codec.mediaType(), func(t *testing.T) {
			agent, err := NewAgent(environment(nil), codec, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			var body []byte
			frame := transcode(JSON, codec, []byte(launch), &wire.Event{})
			agent.streams = fakeMaster(func(r *http.Request) (*http.Response, error) {
				body, _ = io.ReadAll(r.Body)
				return answer(http.StatusOK, string(record(frame))), nil
			})
			s, err := agent.Subscribe(t.Context(), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			launched := (<-s.Events()).(executor.Launch)
			s.Close()
			update := executor.Update{Task: "t", State: jobs.TaskRunning, Reason: "REASON_OF_2030", UUID: make([]byte, 16)}
			s, err = agent.Subscribe(t.Context(), []executor.Task{launched.Task}, []executor.Update{update})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			checkGolden(t, "resubscribe.json", transcode(codec, JSON, body, &wire.Call{}))
		})
	}
}

func TestUpdatesThatNoAgentWouldTake(t *testing.T) {
	agent, err := NewAgent(environment(nil), JSON, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	unreachable := errors.New("nothing may be sent")
	agent.streams = fakeMaster(func(*http.Request) (*http.Response, error) { return nil, unreachable })
	if _, err := agent.Subscribe(t.Context(), nil, []executor.Update{{Task: "t", State: "TASK_TIRED"}}); err == nil || errors.Is(err, unreachable) {
		t.Errorf("a state that Mesos does not know: %v", err)
	}
	if _, err := agent.Subscribe(t.Context(), []executor.Task{{ID: "t", Raw: []byte("garbage")}}, nil); err == nil || errors.Is(err, unreachable) {
		t.Errorf("a task that was never launched: %v", err)
	}
}
