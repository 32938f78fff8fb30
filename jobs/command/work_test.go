package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

// desk is what a test's executor gives to a command.
type desk struct {
	dir            string
	stdout, stderr lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (d *desk) Connections(context.Context) (jobs.Connections, error) {
	return jobs.Connections{}, errors.New("a command has no connections")
}
func (d *desk) Progress(jobs.Progress) {}
func (d *desk) Sandbox() string        { return d.dir }
func (d *desk) Stdout() io.Writer      { return &d.stdout }
func (d *desk) Stderr() io.Writer      { return &d.stderr }

// the one family of this process, as in an executor.
var kind = New()

func run(t *testing.T, ctx context.Context, s Spec, change func(*jobs.Assignment)) (*desk, jobs.Result, error) {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	a := jobs.Assignment{Task: jobs.TaskID("test." + t.Name()), Job: "test", Stage: 1, Start: 1, Spec: raw, KillGrace: jobs.Duration(5 * time.Second)}
	if change != nil {
		change(&a)
	}
	d := &desk{dir: t.TempDir()}
	result, err := kind.Work(ctx, a, d)
	return d, result, err
}

func TestCommandsRun(t *testing.T) {
	tests := []struct {
		name      string
		spec      Spec
		arguments []string
		stdout    string
		exit      int
		message   string
		err       string
	}{
		{name: "shell", spec: Spec{Command: "echo a; echo b"}, stdout: "a\nb\n"},
		{name: "argv", spec: Spec{Argv: []string{"printf", "%s|", "a b", "$HOME"}}, stdout: "a b|$HOME|"},
		{name: "argv with arguments", spec: Spec{Argv: []string{"printf", "<%s>"}}, arguments: []string{"x y", "'"}, stdout: "<x y><'>"},
		{name: "arguments follow a shell text", spec: Spec{Command: "printf '<%s>' fixed \n"}, arguments: []string{"a b", `"q"`, "$(id)", "; exit 9", "*"},
			stdout: `<fixed><a b><"q"><$(id)><; exit 9><*>`},
		{name: "a shell text places its arguments", spec: Spec{Command: `printf '<%s>' "$2" "$1"; echo`}, arguments: []string{"a", "b c"}, stdout: "<b c><a>\n"},
		{name: "argv with the interval", spec: Spec{Argv: []string{"printf", "<%s>", "${TIDEMILL_INTERVAL_START}/${TIDEMILL_INTERVAL_END}", "${HOME}"}},
			arguments: []string{"${TIDEMILL_JOB}"}, stdout: "<2026-01-01T00:00:00Z/2026-01-02T00:00:00Z><${HOME}><${TIDEMILL_JOB}>"},
		{name: "results of parents", spec: Spec{Command: `cat "$TIDEMILL_INPUTS/import.eu"; ls "$TIDEMILL_INPUTS"`}, stdout: "note=two lines\nrows=3\nimport.eu\n"},
		{name: "own variables", spec: Spec{Command: `echo "$A $HOST"`, Env: map[string]string{"A": "1", "HOST": "mine"}}, stdout: "1 agent-a\n"},
		{name: "directory", spec: Spec{Command: "pwd", Dir: "/"}, stdout: "/\n"},
		{name: "no input", spec: Spec{Command: "cat; echo done"}, stdout: "done\n"},
		{name: "exit code", spec: Spec{Command: "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 7"}, exit: 7,
			message: "line 3\nline 4\nline 5\nline 6\nline 7", err: "exit code 7"},
		{name: "a signal", spec: Spec{Command: "kill -SEGV $$"}, exit: 139, err: "ended by signal 11"},
		{name: "no such program", spec: Spec{Argv: []string{"/no/such/program"}}, exit: 127, err: "start /no/such/program"},
		{name: "no such directory", spec: Spec{Command: "true", Dir: "nowhere"}, exit: 127, err: "nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, result, err := run(t, t.Context(), tt.spec, func(a *jobs.Assignment) {
				a.Arguments, a.Host = tt.arguments, "agent-a"
				a.Interval = jobs.Interval{Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
				a.Inputs = map[jobs.Name]map[string]string{"import.eu": {"rows": "3", "note": "two\nlines"}}
			})
			if got := d.stdout.String(); got != tt.stdout {
				t.Errorf("stdout %q, want %q", got, tt.stdout)
			}
			if result.ExitCode != tt.exit || result.Message != tt.message {
				t.Errorf("exit code %d, message %q; want %d, %q", result.ExitCode, result.Message, tt.exit, tt.message)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestResultsAreRead(t *testing.T) {
	tests := []struct {
		name, text string
		want       map[string]string
		err        string
	}{
		{"some", `printf 'rows=3\n\nkey = a=b \n' > "$TIDEMILL_RESULTS"`, map[string]string{"rows": "3", "key": " a=b "}, ""},
		{"none", `true`, nil, ""},
		{"of a failure", `echo rows=3 > "$TIDEMILL_RESULTS"; exit 2`, map[string]string{"rows": "3"}, "exit code 2"},
		{"not key=value", `echo nonsense > "$TIDEMILL_RESULTS"`, nil, "line 1 of $TIDEMILL_RESULTS"},
		{"too large", `head -c 20000 /dev/zero > "$TIDEMILL_RESULTS"`, nil, "more than 16384 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, result, err := run(t, t.Context(), Spec{Command: tt.text}, nil)
			if diff := cmp.Diff(tt.want, result.Values); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestBigOutputArrivesWhole(t *testing.T) {
	const size = 8 << 20
	d, _, err := run(t, t.Context(), Spec{Command: fmt.Sprintf("head -c %d /dev/zero; head -c %d /dev/zero >&2", size, size)}, nil)
	if err != nil || d.stdout.b.Len() != size || d.stderr.b.Len() != size {
		t.Errorf("got %d and %d bytes, %v; want %d each", d.stdout.b.Len(), d.stderr.b.Len(), err, size)
	}
}

// background runs a command and gives what it wrote to a file once it did.
func background(t *testing.T, grace time.Duration, text string) (ctx context.Context, cancel context.CancelCauseFunc, ended chan error, pids func() []int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pids")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	ended = make(chan error, 1)
	go func() {
		_, _, err := run(t, ctx, Spec{Command: text, Env: map[string]string{"PIDS": file}}, func(a *jobs.Assignment) { a.KillGrace = jobs.Duration(grace) })
		ended <- err
	}()
	return ctx, cancel, ended, func() []int {
		b, err := os.ReadFile(file) // blocks until the command has written
		if err != nil {
			t.Fatal(err)
		}
		var out []int
		for f := range strings.FieldsSeq(string(b)) {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatalf("pids %q: %v", b, err)
			}
			out = append(out, n)
		}
		return out
	}
}

// wantGone checks that processes are gone, zombies included.
func wantGone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			p, readErr := readProc(pid)
			t.Errorf("process %d still there: %v, %+v, %v", pid, err, p, readErr)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestKill(t *testing.T) {
	tests := []struct {
		name, text string
		grace      time.Duration
		stop       error
		want       string
		atLeast    time.Duration
	}{
		{"politely", `trap 'exit 0' TERM; echo $$ > $PIDS; while :; do sleep 0.02; done`, time.Minute, jobs.Stop{Reason: "killed", Grace: time.Minute}, "killed", 0},
		{"reaches the group", `sleep 1000 & echo $$ $! > $PIDS; wait`, time.Minute, jobs.Stop{Reason: "killed", Grace: time.Minute}, "killed", 0},
		{"for good after the kill's grace", `trap '' TERM; echo $$ > $PIDS; while :; do sleep 0.02; done`, time.Hour, jobs.Stop{Reason: "max", Grace: 100 * time.Millisecond}, "did not end within the grace of 100ms", 100 * time.Millisecond},
		{"for good after the job's grace", `trap '' TERM; echo $$ > $PIDS; while :; do sleep 0.02; done`, 50 * time.Millisecond, errors.New("over"), "over: it did not end", 50 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, cancel, ended, pids := background(t, tt.grace, tt.text)
			started := pids()
			asked := time.Now()
			cancel(tt.stop)
			err := <-ended
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if d := time.Since(asked); d < tt.atLeast || d > 20*time.Second {
				t.Errorf("took %s, want at least %s", d, tt.atLeast)
			}
			wantGone(t, started...)
		})
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	tests := map[string]string{
		"background":                       `sleep 1000 & echo $! > $PIDS`,
		"a session of its own":             `setsid sh -c 'echo $$ > $PIDS; exec sleep 1000' & sleep 0.3`,
		"a daemon":                         `(setsid sh -c 'sleep 1000 & echo $$ $! > $PIDS; wait' >/dev/null 2>&1 &) ; sleep 0.3`,
		"a daemon without its environment": `(env -i PIDS=$PIDS setsid /bin/sh -c '/bin/sleep 1000 & echo $$ $! > $PIDS; wait' >/dev/null 2>&1 &) ; sleep 0.3`,
		"one that ignores signals":         `setsid sh -c 'trap "" TERM HUP INT; echo $$ > $PIDS; while :; do sleep 0.1; done' & sleep 0.3`,
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, ended, pids := background(t, time.Minute, text)
			left := pids()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			wantGone(t, left...)
		})
	}
}

func TestTheEndOfOneCommandLeavesOthersAlone(t *testing.T) {
	_, cancel, ended, pids := background(t, time.Minute, `setsid sleep 1000 & echo $! > $PIDS; wait`)
	other := pids()
	if _, _, err := run(t, t.Context(), Spec{Command: "true"}, func(a *jobs.Assignment) { a.Task += ".other" }); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(other[0], 0); err != nil {
		t.Errorf("the other command's process is gone: %v", err)
	}
	cancel(jobs.Stop{Reason: "killed", Grace: time.Second})
	<-ended
	wantGone(t, other...)
}

func TestNoGoroutineNorDescriptorStays(t *testing.T) {
	measure := func() (goroutines, files int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(entries)
	}
	work := func() {
		if _, _, err := run(t, t.Context(), Spec{Command: "echo x; (setsid sleep 1000 &)"}, nil); err != nil {
			t.Error(err)
		}
		if _, _, err := run(t, t.Context(), Spec{Argv: []string{"/no/such/program"}}, nil); err == nil {
			t.Error("a program that is not there was started")
		}
	}
	work() // what the runtime opens once
	goroutines, files := measure()
	for range 5 {
		work()
	}
	// The goroutine that waited for a command closes a channel and is gone.
	deadline := time.Now().Add(10 * time.Second)
	for {
		g, f := measure()
		if g <= goroutines && f <= files {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines and %d files became %d and %d", goroutines, files, g, f)
		}
		runtime.Gosched()
	}
}

// TestTheEndOfACommandLeavesOtherFrameworksAlone: two that share an agent may have jobs, runs and
// so tasks of the same names.
func TestTheEndOfACommandLeavesOtherFrameworksAlone(t *testing.T) {
	_, cancel, ended, pids := background(t, time.Minute, `echo $$ > $PIDS; exec sleep 1000`)
	pids() // it has begun; what begins now is younger
	namesake := exec.CommandContext(t.Context(), "/bin/sh", "-c", "read line")
	namesake.Env = append(os.Environ(), "TIDEMILL_TASK=test."+t.Name())
	input, err := namesake.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := namesake.Start(); err != nil {
		t.Fatal(err)
	}
	cancel(jobs.Stop{Reason: "killed", Grace: time.Second})
	<-ended
	if _, err := io.WriteString(input, "end\n"); err != nil {
		t.Error(err)
	}
	if err := namesake.Wait(); err != nil {
		t.Errorf("the other framework's task was ended with this one: %v", err)
	}
}
