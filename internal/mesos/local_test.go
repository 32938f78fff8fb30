package mesos

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/executor"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal"
	"tidemill/jobs"
	"tidemill/scheduler"
)

// executorArgument makes this test's binary the executor of these tests.
const executorArgument = "test-executor"

func TestMain(m *testing.M) {
	if code, asked := mesoslocal.RunHelper(os.Args[1:]); asked {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == executorArgument {
		if err := lifeline.Watch(func() { os.Exit(1) }); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := runTestExecutor(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		fmt.Fprintf(os.Stderr, "no helper and no executor: %q\n", os.Args[1:]) // tests that start tests would never end
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// odd are bytes that JSON text could not carry.
var odd = []byte{0, 0xff, 0xfe, '"', '\n', 0x80}

const oddSize = 200 << 10 // more than an agent gives at once

// runTestExecutor finishes tasks whose data says "finish", and leaves the
// others to be killed.
func runTestExecutor(ctx context.Context) error {
	if err := os.WriteFile("odd.bin", bytes.Repeat(odd, oddSize/len(odd)), 0o644); err != nil {
		return err
	}
	agent, err := NewAgent(os.Getenv, Protobuf, zerolog.Nop())
	if err != nil {
		return err
	}
	s, err := agent.Subscribe(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	say := func(task jobs.TaskID, state string) error {
		uuid := make([]byte, 16)
		rand.Read(uuid)
		uuid[6], uuid[8] = uuid[6]&0x0f|0x40, uuid[8]&0x3f|0x80
		return s.Update(ctx, executor.Update{Task: task, State: state, UUID: uuid, Message: "says the test", Timestamp: time.Now()})
	}
	for e := range s.Events() {
		var err error
		switch e := e.(type) {
		case executor.Launch:
			if err = say(e.Task.ID, jobs.TaskRunning); err == nil && string(e.Data) == "finish" {
				err = say(e.Task.ID, jobs.TaskFinished)
			}
		case executor.Kill:
			if err = s.Message(ctx, []byte("killing")); err == nil {
				err = say(e.Task, jobs.TaskKilled)
			}
		case executor.Shutdown:
			return nil
		}
		if err != nil {
			return err
		}
	}
	return s.Err()
}

// local is a master, an agent and a subscription there.
type local struct {
	t    *testing.T
	ctx  context.Context
	sub  scheduler.Subscription
	from scheduler.Subscribed

	waiting []scheduler.Event // came before it was asked for
}

func startLocal(t *testing.T, codec Codec) *local {
	t.Helper()
	return startLocalFor(t, codec, "*", "cpus:8;mem:4096;disk:4096;ports:[31000-31099]")
}

// startLocalFor registers under a role, beside an agent with the resources.
func startLocalFor(t *testing.T, codec Codec, role, resources string) *local {
	t.Helper()
	line, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	master, err := mesoslocal.StartMaster(t.Context(), mesoslocal.MasterOptions{AllocationInterval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(master.Stop)
	agent, err := mesoslocal.StartAgent(t.Context(), mesoslocal.AgentOptions{
		Master: master.Addr(), WorkDir: t.TempDir(), Hostname: "agent-a", Lifeline: line,
		Resources: resources, Attributes: "rack:a",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Stop)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errTimeout)
	t.Cleanup(cancel)
	s := NewScheduler(Options{Masters: NewMasters(master.Addr()), User: me.Username, Roles: []string{role}, Codec: codec, Log: zerolog.Nop()})
	sub, err := s.Subscribe(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	l := &local{t: t, ctx: ctx, sub: sub}
	l.from = awaitEvent(l, func(scheduler.Subscribed) bool { return true })
	return l
}

// awaitEvent gives the first event of a type that fits; others wait for their turn.
func awaitEvent[E scheduler.Event](l *local, fits func(E) bool) E {
	l.t.Helper()
	for i := 0; ; i++ {
		if i == len(l.waiting) {
			select {
			case e, ok := <-l.sub.Events():
				if !ok {
					l.t.Fatalf("the subscription ended: %v", l.sub.Err())
				}
				l.waiting = append(l.waiting, e)
			case <-l.ctx.Done():
				l.t.Fatalf("no %T in %v", *new(E), describe(l.waiting))
			}
		}
		if e, ok := l.waiting[i].(E); ok && fits(e) {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			return e
		}
	}
}

func (l *local) send(c scheduler.Call) {
	l.t.Helper()
	if err := l.sub.Send(l.ctx, c); err != nil {
		l.t.Fatalf("%T: %v", c, err)
	}
}

// update awaits a task's update and acknowledges it.
func (l *local) update(task jobs.TaskID, state string) jobs.Update {
	l.t.Helper()
	u := awaitEvent(l, func(u scheduler.Updated) bool { return u.Task == task }).Update
	if u.State != state {
		l.t.Fatalf("task %s: %s %s (%s), want %s", task, u.State, u.Reason, u.Message, state)
	}
	if u.UUID != nil {
		l.send(scheduler.Acknowledge{Task: task, Agent: u.Agent, UUID: u.UUID})
	}
	return u
}

func (l *local) offer() jobs.Offer {
	l.t.Helper()
	return awaitEvent(l, func(o scheduler.Offered) bool { return len(o.Offers) > 0 }).Offers[0]
}

func testSpec(t *testing.T) scheduler.ExecutorSpec {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return scheduler.ExecutorSpec{
		ID: "test-executor", Name: "test", Command: "./tidemill", Arguments: []string{executorArgument}, Artifact: program,
		Env: map[string]string{"TIDE": "high"}, Resources: jobs.Resources{CPUs: 0.1, Mem: 32}, Grace: 10 * time.Second, // a race-detecting executor lingers for one
	}
}

func TestLocalMesos(t *testing.T) {
	for _, codec := range []Codec{JSON, Protobuf} {
		t.Run(codec.mediaType(), func(t *testing.T) {
			l := startLocal(t, codec)
			offer := l.offer()
			want := jobs.Offer{
				Hostname: "agent-a", Role: "*", Attributes: map[string]string{"rack": "a"},
				Resources:  jobs.Resources{CPUs: 8, Mem: 4096, Disk: 4096, Ports: 100},
				PortRanges: []jobs.PortRange{{Begin: 31000, End: 31099}},
			}
			got := offer
			got.ID, got.AgentID, got.Address = "", "", ""
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("offer (-want +got):\n%s", diff)
			}
			launch := func(task jobs.TaskID, data string) scheduler.Launch {
				return scheduler.Launch{Task: task, Agent: offer.AgentID, Executor: testSpec(t), Data: []byte(data),
					Resources: jobs.Resources{CPUs: 0.5, Mem: 64, Ports: 1}, Ports: []uint64{31000 + uint64(len(task))}}
			}
			l.send(scheduler.Accept{Offers: []string{offer.ID}, Launches: []scheduler.Launch{launch("a", "finish"), launch("bb", "stay")}})
			l.update("a", jobs.TaskRunning)
			if u := l.update("a", jobs.TaskFinished); u.Message != "says the test" || u.Source != "SOURCE_EXECUTOR" {
				t.Errorf("update %+v", u)
			}
			l.update("bb", jobs.TaskRunning)
			l.files(offer)
			l.more(launch)
		})
	}
}

// more meets the same executor again with another offer, kills and reconciles.
func (l *local) more(launch func(jobs.TaskID, string) scheduler.Launch) {
	l.t.Helper()
	offer := l.offer()
	if !offer.HasExecutor("test-executor") {
		l.t.Errorf("the offer names the executors %q", offer.Executors)
	}
	l.send(scheduler.Accept{Offers: []string{offer.ID}, Launches: []scheduler.Launch{launch("ccc", "finish")}})
	l.update("ccc", jobs.TaskRunning) // refused if its ExecutorInfo differed by a byte
	l.update("ccc", jobs.TaskFinished)
	l.send(scheduler.Reconcile{Tasks: []scheduler.TaskRef{{Task: "bb", Agent: offer.AgentID}, {Task: "nobody", Agent: offer.AgentID}}})
	if u := l.update("bb", jobs.TaskRunning); u.Reason != "REASON_RECONCILIATION" {
		l.t.Errorf("reconciled with %s", u.Reason)
	}
	l.update("nobody", jobs.TaskGone)
	l.send(scheduler.Accept{Offers: []string{"gone"}, Launches: []scheduler.Launch{launch("dddd", "finish")}})
	lost := awaitEvent(l, func(u scheduler.Updated) bool { return u.Task == "dddd" })
	if lost.Reason != "REASON_INVALID_OFFERS" {
		l.t.Errorf("launched with an offer that is gone: %+v", lost.Update)
	}
	l.send(scheduler.Kill{Task: "bb", Agent: offer.AgentID, Grace: time.Second})
	if m := awaitEvent(l, func(scheduler.Messaged) bool { return true }); string(m.Data) != "killing" || m.Executor != "test-executor" {
		l.t.Errorf("message %+v", m)
	}
	l.update("bb", jobs.TaskKilled)
	l.send(scheduler.Shutdown{Agent: offer.AgentID, Executor: "test-executor"})
	if e := awaitEvent(l, func(scheduler.ExecutorLost) bool { return true }); e.Executor != "test-executor" || e.Status != 0 {
		l.t.Errorf("executor lost: %+v", e)
	}
	l.waiting = nil
	l.send(scheduler.Teardown{})
	for range l.sub.Events() {
	}
	if l.sub.Err() == nil {
		l.t.Error("torn down without a reason")
	}
}

// files reads what the executor left, over several of the agent's pieces.
func (l *local) files(offer jobs.Offer) {
	l.t.Helper()
	files := NewFiles("", "", nil)
	where := scheduler.Sandbox{AgentAddr: offer.Address, AgentID: offer.AgentID, FrameworkID: l.from.FrameworkID, Executor: "test-executor"}
	all := bytes.Repeat(odd, oddSize/len(odd))
	tests := []struct {
		offset int64
		limit  int
		want   []byte
	}{
		{0, oddSize * 2, all},
		{100, oddSize / 2, all[100 : 100+oddSize/2]},
		{int64(len(all)) - 3, 10, all[len(all)-3:]},
		{int64(len(all)) + 10, 10, nil},
		{0, 0, nil},
	}
	for _, tt := range tests {
		data, size, err := files.Read(l.ctx, where, "odd.bin", tt.offset, tt.limit)
		if err != nil || size != int64(len(all)) || !bytes.Equal(data, tt.want) {
			l.t.Errorf("Read(%d, %d): %d bytes of %d, %v; want %d", tt.offset, tt.limit, len(data), size, err, len(tt.want))
		}
	}
	if _, _, err := files.Read(l.ctx, where, "tasks/a/outcome.json", 0, 10); !errors.Is(err, fs.ErrNotExist) {
		l.t.Errorf("a file that is not there: %v", err)
	}
	for _, path := range []string{"../../../etc/passwd", filepath.Join("/", "etc", "passwd"), ""} {
		if _, _, err := files.Read(l.ctx, where, path, 0, 10); err == nil || errors.Is(err, fs.ErrNotExist) {
			l.t.Errorf("Read(%q): %v", path, err)
		}
	}
}

// TestLocalMesosReserved: all that the agent has is reserved, statically, so
// that the executor too lives on what is reserved.
func TestLocalMesosReserved(t *testing.T) {
	l := startLocalFor(t, JSON, "mill", "cpus(mill):2;mem(mill):1024;disk(mill):512")
	offer := l.offer()
	if offer.Role != "mill" || len(offer.Reserved) != 3 {
		t.Fatalf("the offer is %+v", offer)
	}
	spec := testSpec(t)
	spec.Role, spec.Reserved = "mill", map[string]string{}
	for _, r := range offer.Reserved {
		spec.Reserved[r.Resource] = r.As
	}
	for _, task := range []jobs.TaskID{"first", "second"} {
		l.send(scheduler.Accept{Offers: []string{offer.ID}, Launches: []scheduler.Launch{{
			Task: task, Agent: offer.AgentID, Executor: spec, Data: []byte("finish"), Resources: jobs.Resources{CPUs: 0.5, Mem: 64, Disk: 10},
		}}})
		l.update(task, jobs.TaskRunning)
		l.update(task, jobs.TaskFinished)
		offer = l.offer()
	}
	l.send(scheduler.Teardown{})
	for range l.sub.Events() {
	}
}

// TestLocalMesosMaintenance: an operator plans an agent's absence; we are
// asked to leave it until we say that it is left.
func TestLocalMesosMaintenance(t *testing.T) {
	l := startLocal(t, JSON)
	l.offer()
	start := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	operate := func(path, document string) string {
		t.Helper()
		answer, err := http.Post("http://"+l.from.Master+path, "application/json", strings.NewReader(document))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s %v", path, answer.Status, body, err)
		}
		return string(body)
	}
	operate("/maintenance/schedule", fmt.Sprintf(`{"windows":[{"machine_ids":[{"hostname":"agent-a"}],
		"unavailability":{"start":{"nanoseconds":%d},"duration":{"nanoseconds":60000000000}}}]}`, start.UnixNano()))
	want := jobs.Unavailability{Start: start.UTC(), Duration: time.Minute}
	if offer := l.offer(); !offer.Away.Equal(want) {
		t.Errorf("the offer says %s, want %s", offer.Away, want)
	}
	inverse := func() scheduler.InverseOffered {
		return awaitEvent(l, func(scheduler.InverseOffered) bool { return true })
	}
	asked := inverse()
	if !asked.Away.Equal(want) || asked.Agent == "" {
		t.Errorf("the inverse offer is %+v, want %s", asked, want)
	}
	l.send(scheduler.DeclineInverse{IDs: []string{asked.ID}})
	l.send(scheduler.AcceptInverse{IDs: []string{inverse().ID}, Refuse: time.Hour})
	if status := operate("/api/v1", `{"type":"GET_MAINTENANCE_STATUS"}`); !strings.Contains(status, `"status":"ACCEPT"`) {
		t.Errorf("the status is %s, want the acceptance", status)
	}
	operate("/maintenance/schedule", `{"windows":[]}`)
	if offer := l.offer(); !offer.Away.IsZero() {
		t.Errorf("the offer still says %s", offer.Away)
	}
	l.send(scheduler.Teardown{})
	for range l.sub.Events() {
	}
}
