package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tidemill/internal/client"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal/cluster"
	"tidemill/internal/stack/stacktest"
)

// program builds the binary under test, once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tidemill-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tidemill")
	out, err := exec.Command("go", "build", "-o", path, "tidemill/cmd/tidemill").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// world is a cluster under test: a local Mesos and schedulers.
type world struct {
	t          testing.TB
	program    string
	dir        string
	zk         string // host:port of the run's ZooKeeper
	name       string // random: nobody else's paths
	line       *lifeline.Line
	mesos      *cluster.Cluster
	schedulers []*process
}

// process is a scheduler that can be killed and started again.
type process struct {
	world *world
	url   string
	args  []string
	cmd   *exec.Cmd
	done  chan struct{}
}

// newWorld starts agents and schedulers on the run's ZooKeeper. The agents
// fetch the executor from the scheduler, unless the flags say otherwise.
func newWorld(t testing.TB, agents, schedulers int, flags ...string) *world {
	t.Helper()
	w := prepareWorld(t, stacktest.Shared(t).ZooKeeper, agents)
	w.addSchedulers(schedulers, flags...)
	return w
}

// folder is where a world keeps its files. Those of benchmarks stay until all of them are over:
// ext4 makes new files slowly while many were deleted within the last half a minute.
func folder(t testing.TB, program string) string {
	if _, bench := t.(*testing.B); !bench {
		return t.TempDir()
	}
	dir := filepath.Join(filepath.Dir(program), fmt.Sprintf("bench-%x", rand.Uint64()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// prepareWorld starts a master and agents, which have the machine's resources if
// none are named.
func prepareWorld(t testing.TB, zk string, agents int, resources ...string) *world {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	line, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	w := &world{
		t: t, program: path, dir: folder(t, path), zk: zk, line: line,
		name: fmt.Sprintf("e2e-%x", rand.Uint64()),
	}
	fast := []string{"--agent-ping-timeout", "500ms", "--max-agent-ping-timeouts", "4", "--log-level", "warn"}
	w.mesos, err = cluster.Start(t.Context(), cluster.Options{
		Agents: agents, Resources: resources, ZooKeeper: w.masterPath(), WorkDir: filepath.Join(w.dir, "mesos"),
		MasterArgs: append([]string{"--agent-reregister-timeout", "3s"}, fast...), AgentArgs: fast,
		Program: []string{path, "mesos"}, Log: testLog{t},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.mesos.Stop)
	return w
}

func (w *world) addSchedulers(count int, flags ...string) {
	w.t.Helper()
	for range count {
		w.schedulers = append(w.schedulers, w.newScheduler(flags))
	}
	for _, s := range w.schedulers {
		s.start()
	}
}

func (w *world) masterPath() string { return "zk://" + w.zk + "/" + w.name + "-mesos" }

func (w *world) newScheduler(flags []string) *process {
	port := freePort(w.t)
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	return &process{world: w, url: url, args: append([]string{
		"scheduler", "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--zk", w.zk + "/" + w.name, "--master", w.masterPath(),
		"--session-timeout", "2s", "--start-by", "5s", "--master-settle", "3s",
		"--framework-name", w.name, "--user", "root",
	}, flags...)}
}

func (p *process) start() {
	p.world.t.Helper()
	cmd := exec.Command(p.world.program, p.args...)
	cmd.Env = os.Environ()
	cmd.Stderr = testLog{p.world.t}
	if err := p.world.line.Attach(cmd); err != nil {
		p.world.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.world.t.Fatal(err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		_ = cmd.Wait() // it is killed
	}(p.done)
	p.world.t.Cleanup(p.kill)
}

// kill is SIGKILL, and returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.done
}

// terminate asks the process to end, and returns when it has.
func (p *process) terminate() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	<-p.done
}

// leader waits until one of the schedulers leads and is subscribed.
func (w *world) leader() *process {
	w.t.Helper()
	var found *process
	w.await("a subscribed leader", 30*time.Second, func(ctx context.Context) bool {
		for _, s := range w.schedulers {
			api := s.client()
			st, err := api.Status(ctx)
			api.Close()
			if err == nil && st.Leading && st.Subscribed && st.Leader == s.url {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

func (p *process) client() *client.Client {
	api, err := client.New(p.url, "")
	if err != nil {
		p.world.t.Fatal(err)
	}
	return api
}

// metrics are those of a scheduler that have no labels, by name; none where it does not answer.
func (p *process) metrics(ctx context.Context) map[string]int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/metrics", nil)
	if err != nil {
		return nil
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	page, _ := io.ReadAll(res.Body) // what is cut short lacks some
	out := map[string]int{}
	for line := range strings.Lines(string(page)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = int(n)
		}
	}
	return out
}

// await polls for a condition of processes outside this one.
func (w *world) await(what string, limit time.Duration, ok func(context.Context) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-ctx.Done():
			w.t.Fatalf("no %s within %s", what, limit)
		case <-tick.C:
		}
	}
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// testLog shows what the processes say with a failing test.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}
