package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
	"tidemill/internal/stack/supervisor"
)

// superviseVariable makes the test binary the supervisor of the directory that it names.
const superviseVariable = "SUPERVISOR_TEST_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(superviseVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := supervisor.Supervise(ctx, dir, os.Stdin, zerolog.New(os.Stderr)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// command starts this binary as a supervisor, as a user's program starts itself.
func command(t *testing.T, dir string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{"env", superviseVariable + "=" + dir, self}
}

// onlyS3 is the fastest of stacks, on a port that nobody has.
func onlyS3(t *testing.T) stack.Options {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real servers")
	}
	return stack.Options{S3: true, Ports: stack.Ports{S3: freePort(t)}}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

func up(t *testing.T, dir string, o stack.Options) (supervisor.State, bool) {
	t.Helper()
	t.Cleanup(func() { down(t, dir) })
	state, found, err := supervisor.Up(t.Context(), dir, command(t, dir), o, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	return state, found
}

// down does not use the test's context, which has ended when a test is cleaned up.
func down(t *testing.T, dir string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	was, err := supervisor.Down(ctx, dir)
	if err != nil {
		t.Error(err)
	}
	return was
}

func answers(state supervisor.State) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server := state.Servers[0]
	return stack.Probe(ctx, server.Name, server.Address)
}

// eventually tries until it works, for what real processes do in their own time.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("wait for %s: %v", what, err)
		case <-ticker.C:
		}
	}
}

// ended says whether a process is gone, or no more than the zombie of one.
func ended(pid int) error {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || strings.Contains(string(stat), ") Z ") {
		return nil
	}
	return fmt.Errorf("process %d is there: %q, %v", pid, stat, err)
}

func TestASecondUpFindsTheFirst(t *testing.T) {
	o, dir := onlyS3(t), t.TempDir()
	first, found := up(t, dir, o)
	if found || first.Phase != supervisor.Ready || len(first.Servers) != 1 {
		t.Fatalf("first: found %t, state %+v", found, first)
	}
	if err := answers(first); err != nil {
		t.Fatal(err)
	}
	second, found := up(t, dir, stack.Options{ZooKeeper: 1})
	if !found {
		t.Error("the second started servers of its own")
	}
	if diff := cmp.Diff(first.Servers, second.Servers); diff != "" {
		t.Errorf("servers (-first +second):\n%s", diff)
	}
	if !second.Options.Same(o) {
		t.Errorf("the second tells of options %+v", second.Options)
	}
	if !down(t, dir) {
		t.Error("down found nothing to end")
	}
	if err := ended(first.Servers[0].Pid); err != nil {
		t.Error(err)
	}
	// It lets go of the directory just before it ends.
	eventually(t, "the supervisor to end", func() error { return ended(first.Supervisor) })
	if _, up, err := supervisor.Find(dir); up || err != nil {
		t.Errorf("after down: up %t, %v", up, err)
	}
	if down(t, dir) {
		t.Error("a second down ended something")
	}
}

func TestTwoUpsAtOnceStartOneStack(t *testing.T) {
	o, dir := onlyS3(t), t.TempDir()
	t.Cleanup(func() { down(t, dir) })
	type result struct {
		state supervisor.State
		found bool
		err   error
	}
	results := make(chan result)
	program := command(t, dir)
	for range 2 {
		go func() {
			state, found, err := supervisor.Up(t.Context(), dir, program, o, func(string) {})
			results <- result{state, found, err}
		}()
	}
	a, b := <-results, <-results
	if err := errors.Join(a.err, b.err); err != nil {
		t.Fatal(err)
	}
	if a.state.Supervisor != b.state.Supervisor {
		t.Errorf("two supervisors: %d and %d", a.state.Supervisor, b.state.Supervisor)
	}
	if a.found == b.found {
		t.Errorf("both found %t, want one that started it", a.found)
	}
}

func TestDataIsKeptUntilItIsPurged(t *testing.T) {
	o, dir := onlyS3(t), t.TempDir()
	up(t, dir, o)
	kept := dir + "/data/s3/data/bucket"
	if err := os.Mkdir(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Purge(dir); err == nil {
		t.Error("purged under a running stack")
	}
	down(t, dir)
	up(t, dir, o)
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("data was not kept: %v", err)
	}
	down(t, dir)
	own := dir + "/notes.txt"
	if err := os.WriteFile(own, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Purge(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("data was not removed: %v", err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Errorf("a file that is not ours was removed: %v", err)
	}
}

func TestServersEndWithAKilledSupervisor(t *testing.T) {
	o, dir := onlyS3(t), t.TempDir()
	state, _ := up(t, dir, o)
	if err := syscall.Kill(state.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server to end", func() error { return ended(state.Servers[0].Pid) })
	eventually(t, "the supervisor's lock to be free", func() error {
		if _, up, err := supervisor.Find(dir); up || err != nil {
			return fmt.Errorf("up %t, %v", up, err)
		}
		return nil
	})
	again, found := up(t, dir, o)
	if found || again.Supervisor == state.Supervisor {
		t.Errorf("found %t, supervisor %d: want a new one", found, again.Supervisor)
	}
	if err := answers(again); err != nil {
		t.Error(err)
	}
}

func TestAServerThatEndsByItselfIsTold(t *testing.T) {
	o, dir := onlyS3(t), t.TempDir()
	state, _ := up(t, dir, o)
	if err := syscall.Kill(state.Servers[0].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the state to tell it", func() error {
		now, up, err := supervisor.Find(dir)
		if err != nil || !up || now.Servers[0].Pid != 0 {
			return fmt.Errorf("up %t, %v, servers %+v", up, err, now.Servers)
		}
		return nil
	})
}

func TestDownEndsOnlyASupervisor(t *testing.T) {
	dir := t.TempDir()
	// A state left by a supervisor that is gone, whose number another process has got since.
	other := exec.CommandContext(t.Context(), "cat")
	input, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	stale := fmt.Sprintf(`{"supervisor":%d,"phase":"ready"}`, other.Process.Pid)
	for name, content := range map[string]string{"state.json": stale, "lock": ""} {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if down(t, dir) {
		t.Error("down took another process for a supervisor")
	}
	// It ends of its own accord, and well, since nobody has ended it.
	if err := errors.Join(input.Close(), other.Wait()); err != nil {
		t.Errorf("the other process: %v", err)
	}
}

func TestWhyTheServersDoNotStartIsTold(t *testing.T) {
	o, dir := onlyS3(t), t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(o.Ports.S3))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, _, err = supervisor.Up(t.Context(), dir, command(t, dir), o, func(string) {})
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(o.Ports.S3)) {
		t.Errorf("got %v, want an error naming port %d", err, o.Ports.S3)
	}
	_, _, err = supervisor.Up(t.Context(), dir, []string{"false"}, o, func(string) {})
	if err == nil {
		t.Error("got no error of a supervisor that ends at once")
	}
}

func TestAnUpThatIsInterruptedLeavesNothing(t *testing.T) {
	stacktest.Require(t)
	dir := t.TempDir()
	t.Cleanup(func() { down(t, dir) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// S3 is ready long before ZooKeeper is: the first word of progress comes in between.
	o := stack.Options{ZooKeeper: 1, S3: true, Ports: stack.Ports{ZooKeeper: freePort(t), S3: freePort(t)}}
	_, _, err := supervisor.Up(ctx, dir, command(t, dir), o, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's error", err)
	}
	if _, up, err := supervisor.Find(dir); up || err != nil {
		t.Errorf("after the interruption: up %t, %v", up, err)
	}
}
