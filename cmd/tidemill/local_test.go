package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tidemill/internal/client"
	"tidemill/internal/lifeline"
	"tidemill/jobs"
)

// quickStart is what the README promises: two jobs have run this soon after the start.
const quickStart = 10 * time.Second

// localProcess is the built binary, as a person starts it.
type localProcess struct {
	*client.Client
	cmd      *exec.Cmd
	greeting string
	errs     *bytes.Buffer
	told     sync.WaitGroup
}

// buildProgram builds the binary as `make build` does.
func buildProgram(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and starts the program")
	}
	path := filepath.Join(t.TempDir(), "tidemill")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return path
}

// startLocal starts `tidemill local` and waits for its greeting.
func startLocal(t *testing.T, program, dir string) *localProcess {
	t.Helper()
	p := &localProcess{cmd: exec.Command(program, "local", "--dir", dir, "--listen", "127.0.0.1:0"), errs: &bytes.Buffer{}}
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "TIDEMILL_") })
	p.cmd.Stderr = p.errs
	line, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	out, err := p.cmd.StdoutPipe()
	if err := errors.Join(err, line.Attach(p.cmd), p.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	limit := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	if p.greeting, err = readGreeting(out); err != nil {
		t.Fatalf("no greeting: %v, %v; it said:\n%s", err, p.cmd.Wait(), p.errs)
	}
	limit.Stop()
	p.told.Go(func() { _, _ = io.Copy(io.Discard, out) })
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(p.greeting)
	if p.Client, err = client.New(url, ""); err != nil {
		t.Fatalf("%v in the greeting:\n%s", err, p.greeting)
	}
	t.Cleanup(p.Close)
	return p
}

// readGreeting reads up to the line on how to end it.
func readGreeting(out io.Reader) (string, error) {
	var greeting strings.Builder
	buffer := make([]byte, 4096)
	for !strings.Contains(greeting.String(), "Ctrl-C") {
		n, err := out.Read(buffer)
		greeting.Write(buffer[:n])
		if err != nil {
			return greeting.String(), err
		}
	}
	return greeting.String(), nil
}

// interrupt is Ctrl-C; it wants a clean end.
func (p *localProcess) interrupt(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.told.Wait()
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("after Ctrl-C: %v; it said:\n%s", err, p.errs)
	}
}

// awaitRuns waits until every one of the jobs has a run that succeeded.
func (p *localProcess) awaitRuns(t *testing.T, names ...jobs.Name) map[jobs.RunID]jobs.RunState {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), quickStart)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		page, err := p.Runs(ctx, jobs.RunQuery{Limit: 100})
		states, done := map[jobs.RunID]jobs.RunState{}, map[jobs.Name]bool{}
		for _, r := range page.Runs {
			states[r.ID] = r.State
			done[r.Job] = done[r.Job] || r.State == jobs.RunSucceeded
		}
		missing := 0
		for _, name := range names {
			if !done[name] {
				missing++
			}
		}
		if err == nil && missing == 0 {
			return states
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no run of each of %v succeeded within %s: %v, %v; it said:\n%s", names, quickStart, states, err, p.errs)
		case <-tick.C:
		}
	}
}

// TestLocal is the README's quick start, and what follows it.
func TestLocal(t *testing.T) {
	program, dir := buildProgram(t), filepath.Join(t.TempDir(), "state")
	began := time.Now()
	first := startLocal(t, program, dir)
	if !strings.Contains(first.greeting, "\nexport TIDEMILL_API='http://127.0.0.1:") {
		t.Errorf("the greeting does not say how to reach another port than the usual:\n%s", first.greeting)
	}
	if !strings.Contains(first.greeting, "Two example jobs") || !strings.Contains(first.greeting, "rm -r "+dir) {
		t.Errorf("the greeting names no examples, or not where the state lies:\n%s", first.greeting)
	}
	ran := first.awaitRuns(t, "hello", "goodbye")
	if took := time.Since(began); took > quickStart {
		t.Errorf("the example jobs had run after %s, want %s", took, quickStart)
	}
	wantRefusal(t, "a second one on the same state", []string{"--dir", dir}, "in use by process", "--dir")
	first.interrupt(t)
	if strings.Contains(first.errs.String(), "\x1b[") {
		t.Errorf("colours where no terminal is:\n%s", first.errs)
	}

	again := startLocal(t, program, dir)
	if strings.Contains(again.greeting, "example") {
		t.Errorf("examples were added to a state that has jobs:\n%s", again.greeting)
	}
	kept := again.awaitRuns(t, "hello", "goodbye")
	for id, state := range ran {
		if kept[id] != state {
			t.Errorf("run %s was %s, and is %q after the restart", id, state, kept[id])
		}
	}
	if _, total, err := again.Jobs(t.Context(), jobs.JobQuery{Limit: 1}); err != nil || total != 2 {
		t.Errorf("%d jobs after the restart, %v; want the two examples", total, err)
	}
	again.interrupt(t)

	readOnly(t, dir)
	wantRefusal(t, "a disk that became read-only", []string{"--dir", dir}, "state.db", "mounted read-only", "--dir")
}

func TestTheGreetingGivesAnotherTerminalWhatItNeeds(t *testing.T) {
	table := []struct {
		name       string
		greeting   greeting
		want, lack []string
	}{
		{"by default", greeting{api: "http://127.0.0.1:8470", dir: "/d", program: "bin/tidemill", examples: true},
			[]string{"Two example jobs", "In another terminal:\n\n  bin/tidemill job list                see the jobs\n  bin/tidemill job run hello --wait    run one now\n", "rm -r /d"}, []string{"export"}},
		{"without the examples", greeting{api: "http://127.0.0.1:8470"}, []string{"job run NAME --wait     run one now"}, []string{"hello", "Two example jobs"}},
		{"with servers", greeting{api: "http://127.0.0.1:8470", exports: []string{"TIDEMILL_KAFKA=127.1.2.3:9092"}},
			[]string{"export TIDEMILL_KAFKA='127.1.2.3:9092'\n"}, nil},
	}
	for _, c := range table {
		text := c.greeting.text()
		for _, w := range c.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in\n%s", c.name, w, text)
			}
		}
		for _, l := range c.lack {
			if strings.Contains(text, l) {
				t.Errorf("%s: %q in\n%s", c.name, l, text)
			}
		}
	}
}

func TestLocalRefusesWhatItCannotServe(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := filepath.Join(t.TempDir(), "state")
	wantRefusal(t, "a port that is taken", []string{"--dir", dir, "--listen", taken.Addr().String()},
		taken.Addr().String(), "another program has the port", "--listen")
	wantRefusal(t, "an address for all without a token", []string{"--dir", dir, "--listen", "0.0.0.0:0"},
		"not a loopback address", "--token-file")
	wantRefusal(t, "no agent", []string{"--dir", dir, "--agents", "0"}, "--agents 0", "name 1 or more")
	wantRefusal(t, "a token file that is not there", []string{"--dir", dir, "--listen", "0.0.0.0:0", "--token-file", dir + "/token"},
		dir+"/token", "head -c 24")
	wantRefusal(t, "a text that is no address", []string{"--dir", dir, "--listen", "nonsense"}, "nonsense", "127.0.0.1:8470")
	if _, err := os.Stat(dir); err == nil {
		t.Error("a program that refused to start left state behind")
	}
	empty := t.TempDir()
	readOnly(t, empty)
	wantRefusal(t, "a read-only disk", []string{"--dir", filepath.Join(empty, "state")}, "mounted read-only", "--dir")
}

// wantRefusal wants `tidemill local` to end at once, saying each of texts.
func wantRefusal(t *testing.T, what string, args []string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), quickStart)
	defer cancel()
	var errs bytes.Buffer
	args = append([]string{"local", "--listen", "127.0.0.1:0"}, args...)
	if code := run(ctx, args, console{In: strings.NewReader(""), Out: io.Discard, Err: &errs}); code == exitOK {
		t.Errorf("%s: exit code 0", what)
	}
	for _, text := range texts {
		if !strings.Contains(errs.String(), text) {
			t.Errorf("%s: no %q in:\n%s", what, text, errs.String())
		}
	}
}

// readOnly mounts dir over itself, read-only, until the test ends: to root, file modes mean nothing.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	err := unix.Mount(dir, dir, "", unix.MS_BIND, "")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("only root can mount, and not in every container")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
}

func TestTheGreetingTellsWhereAPIAndTokenAre(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags globals
		want  []string
	}{
		{globals{API: "http://127.0.0.1:8470"}, nil},
		{globals{API: "http://127.0.0.1:1", TokenFile: "token"}, []string{"TIDEMILL_API=http://127.0.0.1:8470", "TIDEMILL_TOKEN_FILE=" + here + "/token"}},
		{globals{API: "http://127.0.0.1:8470", TokenFile: "/etc/token"}, []string{"TIDEMILL_TOKEN_FILE=/etc/token"}},
	} {
		if got, err := c.flags.exports("http://127.0.0.1:8470"); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, %v; want %q", c.flags, got, err, c.want)
		}
	}
}

func TestTheGreetingNamesTheProgramAsItIsCalled(t *testing.T) {
	here := t.TempDir()
	program := filepath.Join(here, "bin", "tidemill")
	if err := errors.Join(os.Mkdir(filepath.Dir(program), 0o755), os.WriteFile(program, nil, 0o755), os.Symlink(program, filepath.Join(here, "tidemill"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, path, want string }{
		{here, "/usr/bin", "bin/tidemill"},
		{filepath.Dir(program), "/usr/bin", "./tidemill"},
		{"/", filepath.Dir(program), "tidemill"},
		{"/usr", here, "tidemill"}, // by the link
		{"/usr", "/usr/bin", program},
	} {
		t.Chdir(c.from)
		t.Setenv("PATH", c.path)
		if got := asTyped(program); got != c.want {
			t.Errorf("from %s with PATH=%s it is %q, want %q", c.from, c.path, got, c.want)
		}
	}
}
