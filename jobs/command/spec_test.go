package command

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestCheck(t *testing.T) {
	tests := []struct {
		spec string
		want string // of the error
	}{
		{`{"command":"true"}`, ""},
		{`{"argv":["true"],"env":{"A":"b","a.b-c":""},"dir":"/tmp"}`, ""},
		{``, "command: is missing"},
		{`{}`, "command: is missing"},
		{`{"command":" \n"}`, "command: is missing"},
		{`{"command":"true","argv":["true"]}`, "argv: may not stand beside command"},
		{`{"argv":[""]}`, "argv[0]: is the program"},
		{`{"command":"true","usr":"root"}`, "usr: unknown field"},
		{`{"command":"true","user":"mill"}`, ""},
		{`{"command":"true","user":"-u root"}`, `user: "-u root" is no name of a user`},
		{`{"command":"true","fetch":[{"uri":"https://files/a.tgz"},{"uri":"/srv/a"},{"uri":"/srv/b","file":"etc/b","executable":true,"extract":false,"cache":true}]}`, ""},
		{`{"command":"true","fetch":[{"uri":""}]}`, "fetch[0].uri: is missing"},
		{`{"command":"true","fetch":[{"uri":"files/a"}]}`, `fetch[0].uri: "files/a" has no scheme`},
		{`{"command":"true","fetch":[{"uri":"http://a/'b"}]}`, "is no URI that Mesos fetches"},
		{`{"command":"true","fetch":[{"uri":"http://a"}]}`, "fetch[0].uri: names no file"},
		{`{"command":"true","fetch":[{"uri":"http://a/b?v=1"}]}`, "fetch[0].uri: names no file"},
		{`{"command":"true","fetch":[{"uri":"http://a/b?v=1","file":"b"}]}`, ""},
		{`{"command":"true","fetch":[{"uri":"http://a/b","file":"../b"}]}`, "fetch[0].file: \"../b\" does not lie below the sandbox"},
		{`{"command":"true","fetch":[{"uri":"http://a/tidemill"}]}`, "fetch[0].uri: \"tidemill\" is what the executor calls a file of its own"},
		{`{"command":"true","fetch":[` + strings.Repeat(`{"uri":"http://a/b"},`, 32) + `{"uri":"http://a/b"}]}`, "fetch: 33 downloads; at most 32"},
		{`{"command":"a\u0000b"}`, "command: holds a NUL byte"},
		{`{"argv":["a","b\u0000"]}`, "argv: holds a NUL byte"},
		{`{"command":"true","env":{"1A":"x"}}`, `env: "1A" is no name`},
		{`{"command":"true","env":{"A=B":"x"}}`, `env: "A=B" is no name`},
		{`{"argv":["count","--from=${TIDEMILL_INTERVAL_START}"]}`, ""},
		{`{"argv":["count","${TIDEMILL_INTERVAL_BEGIN}"]}`, "argv[1]: TIDEMILL_INTERVAL_BEGIN is not set by Tidemill"},
		{`{"command":"true","env":{"A":"x\u0000"}}`, "env.A: holds a NUL byte"},
	}
	for _, tt := range tests {
		traits, err := New().Check(json.RawMessage(tt.spec))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.spec, err, tt.want)
		}
		if err == nil && (traits.Isolation != jobs.IsolationOwn || traits.Idempotent) {
			t.Errorf("%s: %+v", tt.spec, traits)
		}
	}
	if traits, err := New().Check(json.RawMessage(`{"command":"true","idempotent":true}`)); err != nil || !traits.Idempotent {
		t.Errorf("idempotent: %+v, %v", traits, err)
	}
}

func TestEnvironment(t *testing.T) {
	at := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)
	a := jobs.Assignment{
		Task: "j.1.k.0.1.0.1", Run: "j.1.k.0", Job: "j", Owner: "ops@example.org", Attempts: 3, Attempt: 4, Start: 2,
		Nominal: at, Interval: jobs.Interval{Start: at.Add(-time.Hour), End: at}, Trigger: jobs.BySchedule, Version: 77,
		Resources: jobs.Resources{CPUs: 0.1, Mem: 128, Disk: 256}, Ports: []uint64{31000, 31007}, Host: "agent-a", Token: "secret",
	}
	s := Spec{Env: map[string]string{"MINE": "1", "HOME": "/home/me", "TIDEMILL_JOB": "other", "TIDEMILL_OWN": "x", "CHRONOS_JOB_NAME": "other", "HOST": "h"}}
	inherited := []string{"PATH=/bin", "HOME=/root", "LC_ALL=C", "MESOS_EXECUTOR_AUTHENTICATION_TOKEN=t", "TIDEMILL_LIFELINE_FD=3:9", "AWS_SECRET_ACCESS_KEY=k"}
	want := []string{
		"CHRONOS_JOB_NAME=j", "CHRONOS_JOB_OWNER=ops@example.org", "CHRONOS_JOB_RUN_ATTEMPT=1", "CHRONOS_JOB_RUN_TIME=1774744200000",
		"CHRONOS_RESOURCE_CPU=0.1", "CHRONOS_RESOURCE_DISK=256.0", "CHRONOS_RESOURCE_MEM=128.0",
		"HOME=/home/me", "HOST=agent-a", "LC_ALL=C", "MESOS_SANDBOX=/box", "MESOS_TASK_ID=j.1.k.0.1.0.1", "MINE=1", "PATH=/bin",
		"PORT0=31000", "PORT1=31007", "PORTS=31000,31007",
		"TIDEMILL_ATTEMPT=2", "TIDEMILL_ATTEMPTS=3", "TIDEMILL_HOST=agent-a", "TIDEMILL_INPUTS=/box/inputs",
		"TIDEMILL_INTERVAL_END=2026-03-29T00:30:00Z", "TIDEMILL_INTERVAL_START=2026-03-28T23:30:00Z",
		"TIDEMILL_JOB=j", "TIDEMILL_NOMINAL=2026-03-29T00:30:00Z", "TIDEMILL_RESULTS=/box/results", "TIDEMILL_RUN=j.1.k.0",
		"TIDEMILL_SANDBOX=/box", "TIDEMILL_TASK=j.1.k.0.1.0.1", "TIDEMILL_TRIGGER=schedule", "TIDEMILL_VERSION=77",
		"mesos_task_id=j.1.k.0.1.0.1",
	}
	if diff := cmp.Diff(want, environment(inherited, s, a, "/box")); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	bare := environment(nil, Spec{}, jobs.Assignment{}, "/box")
	for _, entry := range bare {
		if strings.HasPrefix(entry, "TIDEMILL_INTERVAL") {
			t.Errorf("no interval, but %s", entry)
		}
	}
	if bare[len(bare)-1] != "mesos_task_id=" || !strings.Contains(strings.Join(bare, "\n"), "PATH="+defaultPath) {
		t.Errorf("without the agent's variables: %v", bare)
	}
}

// Every variable that may be named in an argument vector is one that is set.
func TestVariablesAreSet(t *testing.T) {
	at := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)
	env := environment(nil, Spec{}, jobs.Assignment{Nominal: at, Interval: jobs.Interval{Start: at, End: at}}, "/box")
	var set []string
	for _, entry := range env {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "TIDEMILL_") {
			set = append(set, name)
		}
	}
	named := variables()
	slices.Sort(named)
	if diff := cmp.Diff(set, named); diff != "" {
		t.Errorf("variables (-set +named):\n%s", diff)
	}
}

func TestShellTextsSayWhereArgumentsGo(t *testing.T) {
	tests := map[string]string{
		`run`:               `run "$@"`,
		"run \n":            `run "$@"`,
		`run "$@" --quiet`:  `run "$@" --quiet`,
		`run $1`:            `run $1`,
		`run ${1:-none}`:    `run ${1:-none}`,
		`for a in $*; do x`: `for a in $*; do x`,
		`run $HOME`:         `run $HOME "$@"`,
		`kill $$`:           `kill $$ "$@"`,
	}
	for text, want := range tests {
		if got := (Spec{Command: text}).argv([]string{"x"})[2]; got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
		if got := (Spec{Command: text}).argv(nil)[2]; got != text {
			t.Errorf("%q without arguments became %q", text, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 7 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 2048 1"
	for _, name := range []string{"sh", "a b", "evil) R 5 (x", ""} {
		got, err := parseStat("42 (" + name + ")" + rest + "\n")
		if want := (proc{pid: 42, parent: 1, session: 9, started: 4711}); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", name, got, err, want)
		}
	}
	self, err := readProc(os.Getpid())
	if err != nil || self.pid != os.Getpid() || self.parent != os.Getppid() || self.zombie || self.started == 0 {
		t.Errorf("this process is %+v, %v", self, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (sh) Z 1 7 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 2048 1")
	f.Add(")(")
	f.Add("1 () S")
	f.Fuzz(func(t *testing.T, line string) {
		if p, err := parseStat(line); err == nil && !strings.Contains(line, "(") {
			t.Errorf("%q is %+v", line, p)
		}
	})
}

func FuzzParseResults(f *testing.F) {
	f.Add([]byte("a=b\nc=d\r\n\n"))
	f.Add([]byte("nothing"))
	f.Add([]byte("=x"))
	f.Add([]byte{0xff, '=', 0xfe})
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := parseResults(data)
		if err != nil && !jobs.IsPermanent(err) {
			t.Errorf("%q: %v may be tried again", data, err)
		}
		for k, v := range values {
			if k == "" || strings.ContainsAny(v, "\n") {
				t.Errorf("%q gives %q=%q", data, k, v)
			}
		}
		if _, err := json.Marshal(values); err != nil {
			t.Error(err)
		}
	})
}
