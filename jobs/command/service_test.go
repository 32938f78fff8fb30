package command

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestServiceTraits(t *testing.T) {
	traits := func(k *Kind, spec string) jobs.Traits {
		t.Helper()
		got, err := k.Check(json.RawMessage(spec))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	command := New()
	service := command.Service()
	if service.Name() != "service" || command.Name() != "command" || service.family != command.family {
		t.Errorf("kinds %q and %q must share the process's family", service.Name(), command.Name())
	}
	want := jobs.Traits{Service: true, ChecksCommands: true, Idempotent: true, Isolation: jobs.IsolationOwn}
	if diff := cmp.Diff(want, traits(service, `{"command":"web"}`)); diff != "" {
		t.Errorf("traits (-want +got):\n%s", diff)
	}
	if traits(service, `{"command":"web","idempotent":false}`).Idempotent {
		t.Error("an instance that must be alone is idempotent")
	}
	box := traits(service, `{"container":{"image":"nginx","network":"bridge","ports":[80,81],"volumes":[{"container":"/a"}]}}`)
	container := &jobs.Container{Type: "docker", Image: "nginx", Network: "bridge", Ports: []int{80, 81}, Volumes: []jobs.Volume{{Container: "/a", Mode: "rw"}}}
	if diff := cmp.Diff(container, box.Container); diff != "" || box.Ports != 2 {
		t.Errorf("%d ports, container (-want +got):\n%s", box.Ports, diff)
	}
}

func TestContainerIsChecked(t *testing.T) {
	tests := map[string]string{
		`{"container":{"image":"i"}}`: "",
		`{"command":"x","container":{"image":"i","type":"mesos","network":"blue","ports":[1]}}`: "",
		`{"command":"x","container":{}}`:                                                         "container.image",
		`{"command":"x","container":{"image":"i","type":"rkt"}}`:                                 "container.type",
		`{"command":"x","container":{"image":"i","ports":[80]}}`:                                 "container.ports: belong to a network of the container's own",
		`{"command":"x","container":{"image":"i","network":"bridge","ports":[0]}}`:               "container.ports[0]",
		`{"command":"x","container":{"image":"i","type":"mesos","network":"bridge"}}`:            "container.network",
		`{"command":"x","container":{"image":"i","type":"mesos","privileged":true}}`:             "container.privileged",
		`{"command":"x","container":{"image":"i","type":"mesos","parameters":[{"key":"a"}]}}`:    "container.parameters",
		`{"command":"x","container":{"image":"i","parameters":[{"key":"--"}]}}`:                  "container.parameters[0].key",
		`{"command":"x","container":{"image":"i","parameters":[{"key":"name","value":"a"}]}}`:    "container.parameters[0].key",
		`{"command":"x","container":{"image":"i","volumes":[{"container":"a"}]}}`:                "container.volumes[0].container",
		`{"command":"x","container":{"image":"i","volumes":[{"container":"/a","host":"../b"}]}}`: "container.volumes[0].host",
		`{"command":"x","container":{"image":"i","volumes":[{"container":"/a","mode":"x"}]}}`:    "container.volumes[0].mode",
		`{"command":"x","dir":"/","container":{"image":"i"}}`:                                    "dir: belongs to commands outside",
		`{"argv":["x","${TIDEMILL_RESULTS}"],"container":{"image":"i"}}`:                         "argv[1]: TIDEMILL_RESULTS is not set",
	}
	for spec, want := range tests {
		_, err := New().Check(json.RawMessage(spec))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", spec, err, want)
		}
	}
}

func TestNative(t *testing.T) {
	native := func(spec string, arguments ...string) jobs.Command {
		return New().Native(jobs.Assignment{
			Task: "web.1.service.1.1.0.1", Job: "web", Spec: json.RawMessage(spec), Arguments: arguments, Ports: []uint64{31000, 31001}, PortNames: []string{"my-http"},
		})
	}
	const box = `"container":{"image":"i"}`
	tests := []struct {
		name string
		got  jobs.Command
		want jobs.Command
	}{
		{"a text", native(`{"command":"exec web",` + box + `}`), jobs.Command{Shell: "exec web"}},
		{"a text with arguments", native(`{"command":"exec web",`+box+`}`, "a b"), jobs.Command{Program: "/bin/sh", Arguments: []string{"-c", `exec web "$@"`, "sh", "a b"}}},
		{"a program", native(`{"argv":["web","${TIDEMILL_JOB}"],`+box+`}`, "x"), jobs.Command{Program: "web", Arguments: []string{"web", "x"}}},
		{"the image's own", native(`{`+box+`}`, "x"), jobs.Command{Arguments: []string{"x"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := tt.got.Env
			tt.got.Env = nil
			if diff := cmp.Diff(tt.want, tt.got); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
			for name, want := range map[string]string{"TIDEMILL_JOB": "web", "PORT0": "31000", "PORT_MY_HTTP": "31000", "PORT1": "31001", "MESOS_TASK_ID": "web.1.service.1.1.0.1"} {
				if env[name] != want {
					t.Errorf("%s is %q, want %q", name, env[name], want)
				}
			}
			for _, name := range append([]string{"PATH", "HOME", "MESOS_SANDBOX"}, ownFiles...) {
				if _, set := env[name]; set {
					t.Errorf("%s is set to the agent's own", name)
				}
			}
		})
	}
}

func TestCheckHealth(t *testing.T) {
	k := New().Service()
	dir := t.TempDir()
	a := jobs.Assignment{Task: "web.1.service.1.1.0.1", Job: "web", Spec: json.RawMessage(`{"command":"x","env":{"MINE":"yes"}}`), Ports: []uint64{31000}, PortNames: []string{"http"}}
	tests := []struct{ name, text, want string }{
		{"well", `[ "$PORT_HTTP $MINE $PWD" = "31000 yes ` + dir + `" ]`, ""},
		{"not well, and it says why", `echo no leader >&2; exit 3`, "exit code 3: no leader"},
		{"ended by a signal", `kill -9 $$`, "ended by signal 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := k.CheckHealth(t.Context(), tt.text, a, dir)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A check that does not come to its end is killed with all that it started.
func TestAHangingCheckIsKilledWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		a := jobs.Assignment{Task: "web.1.service.1.1.0.2", Spec: json.RawMessage(`{"command":"x"}`)}
		ended <- New().Service().CheckHealth(ctx, `trap '' TERM; setsid sleep 1000 & echo $$ $! > `+file+`; wait`, a, t.TempDir())
	}()
	started := pidsIn(t, file)
	late := errors.New("late")
	cancel(late)
	select {
	case err := <-ended:
		if !errors.Is(err, late) {
			t.Errorf("got %v, want %v", err, late)
		}
	case <-time.After(time.Minute):
		t.Fatal("the check hangs")
	}
	wantGone(t, started...)
}

// pidsIn reads the process ids that a command writes to a pipe.
func pidsIn(t *testing.T, file string) []int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	if err := json.Unmarshal([]byte("["+strings.Join(strings.Fields(string(b)), ",")+"]"), &out); err != nil {
		t.Fatalf("pids %q: %v", b, err)
	}
	return out
}
