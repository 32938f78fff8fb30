package mesoslocal

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/recordio"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/wire"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// testFramework is a scheduler without any mind of its own.
type testFramework struct {
	t        testing.TB
	master   string
	id       mesos.FrameworkID
	streamID string
	events   chan *scheduler.Event
	close    context.CancelFunc
	kept     []mesos.Offer // that came while something else was awaited
}

func subscribe(t testing.TB, master string, info mesos.FrameworkInfo) *testFramework {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &testFramework{t: t, master: master, events: make(chan *scheduler.Event, 4096), close: cancel}
	call := &scheduler.Call{Type: scheduler.Call_SUBSCRIBE, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: &info}}
	if info.ID != nil {
		call.FrameworkID = info.ID
	}
	response := f.post(ctx, call)
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("SUBSCRIBE: %s %s", response.Status, body)
	}
	f.streamID = response.Header.Get("Mesos-Stream-Id")
	go func() {
		defer close(f.events)
		defer response.Body.Close()
		reader := recordio.NewReader(bufio.NewReader(response.Body))
		for {
			frame, err := reader.ReadFrame()
			if err != nil {
				return
			}
			event := &scheduler.Event{}
			if event.Unmarshal(frame) != nil {
				return
			}
			if event.Type != scheduler.Event_HEARTBEAT {
				f.events <- event
			}
		}
	}()
	f.id = *f.await("SUBSCRIBED", func(e *scheduler.Event) bool { return e.Type == scheduler.Event_SUBSCRIBED }).Subscribed.FrameworkID
	return f
}

func (f *testFramework) post(ctx context.Context, call *scheduler.Call) *http.Response {
	f.t.Helper()
	body, err := call.Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.master+"/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set("Content-Type", wire.Protobuf)
	request.Header.Set("Accept", wire.Protobuf)
	if f.streamID != "" {
		request.Header.Set("Mesos-Stream-Id", f.streamID)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	return response
}

func (f *testFramework) call(call *scheduler.Call) {
	f.t.Helper()
	call.FrameworkID = &f.id
	response := f.post(f.t.Context(), call)
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		body, _ := io.ReadAll(response.Body)
		f.t.Fatalf("%s: %s %s", call.Type, response.Status, body)
	}
}

// await returns the first event that fits; of the others before it, offers are kept.
func (f *testFramework) await(what string, fits func(*scheduler.Event) bool) *scheduler.Event {
	f.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case event, open := <-f.events:
			if !open {
				f.t.Fatalf("the stream ended before %s", what)
			}
			if fits(event) {
				return event
			}
			if event.Type == scheduler.Event_OFFERS {
				f.kept = append(f.kept, event.Offers.Offers...)
			}
		case <-timeout:
			f.t.Fatalf("no %s within %s", what, patience)
		}
	}
}

func (f *testFramework) offer() mesos.Offer {
	f.t.Helper()
	if len(f.kept) == 0 {
		f.kept = f.await("offer", func(e *scheduler.Event) bool { return e.Type == scheduler.Event_OFFERS }).Offers.Offers
	}
	offer := f.kept[0]
	f.kept = f.kept[1:]
	return offer
}

// update awaits a task's update, and acknowledges it.
func (f *testFramework) update(task string) mesos.TaskStatus {
	f.t.Helper()
	status := f.await("update of "+task, func(e *scheduler.Event) bool {
		return e.Type == scheduler.Event_UPDATE && e.Update.Status.TaskID.Value == task
	}).Update.Status
	if status.UUID != nil {
		f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE, Acknowledge: &scheduler.Call_Acknowledge{
			AgentID: *status.AgentID, TaskID: status.TaskID, UUID: status.UUID}})
	}
	return status
}

func (f *testFramework) launch(offers []mesos.OfferID, tasks ...mesos.TaskInfo) {
	f.t.Helper()
	f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &scheduler.Call_Accept{
		OfferIDs: offers,
		Operations: []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH,
			Launch: &mesos.Offer_Operation_Launch{TaskInfos: tasks}}},
	}})
}

// want awaits updates of a task with these states, in order.
func (f *testFramework) want(task string, states ...mesos.TaskState) mesos.TaskStatus {
	f.t.Helper()
	var last mesos.TaskStatus
	for _, state := range states {
		if last = f.update(task); *last.State != state {
			f.t.Fatalf("%s: %s (%s), want %s", task, last.State, last.GetMessage(), state)
		}
	}
	return last
}

func commandTask(id string, offer mesos.Offer, command string) mesos.TaskInfo {
	return mesos.TaskInfo{
		Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: offer.AgentID, Resources: smallResources(),
		Command: &mesos.CommandInfo{Value: &command},
	}
}

func smallResources() []mesos.Resource {
	scalar := func(name string, value float64) mesos.Resource {
		return mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: value}}
	}
	return []mesos.Resource{scalar("cpus", 0.1), scalar("mem", 32)}
}

func frameworkInfo(name string) mesos.FrameworkInfo {
	timeout, checkpoint := 60.0, true
	return mesos.FrameworkInfo{
		User: "root", Name: name, Roles: []string{"*"}, FailoverTimeout: &timeout, Checkpoint: &checkpoint,
		Capabilities: []mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE}},
	}
}

// startPair starts a master and an agent, which end with the test.
func startPair(t testing.TB) (*Master, *Agent) {
	t.Helper()
	return startPairWith(t, MasterOptions{}, AgentOptions{Hostname: "agent-a"})
}

// startPairWith is startPair with options; what the agent cannot be without is filled in.
func startPairWith(t testing.TB, m MasterOptions, a AgentOptions) (*Master, *Agent) {
	t.Helper()
	master, err := StartMaster(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(master.Stop)
	a.Master = master.Addr()
	if a.WorkDir == "" {
		a.WorkDir = t.TempDir()
	}
	agent, err := StartAgent(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Stop)
	return master, agent
}

func TestCommandTask(t *testing.T) {
	master, _ := startPair(t)
	f := subscribe(t, master.Addr(), frameworkInfo("commands"))
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("good", offer, "true"))
	f.want("good", mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_FINISHED)
	offer = f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("bad", offer, "exit 3"))
	status := f.want("bad", mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_FAILED)
	if want := "Command exited with status 3"; status.GetMessage() != want {
		t.Errorf("message %q, want %q", status.GetMessage(), want)
	}
}

func TestTaskKilling(t *testing.T) {
	master, _ := startPair(t)
	info := frameworkInfo("killing")
	info.Capabilities = append(info.Capabilities,
		mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE})
	f := subscribe(t, master.Addr(), info)
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("slow", offer, "sleep 1000"))
	f.want("slow", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	f.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{TaskID: mesos.TaskID{Value: "slow"}}})
	f.want("slow", mesos.TASK_KILLING, mesos.TASK_KILLED)
}

// A task with an image fails and says why: it is never run as if it had none.
func TestContainerImageIsRefused(t *testing.T) {
	master, _ := startPair(t)
	f := subscribe(t, master.Addr(), frameworkInfo("images"))
	offer := f.offer()
	task := commandTask("boxed", offer, "true")
	task.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(),
		Docker: &mesos.ContainerInfo_DockerInfo{Image: "busybox"}}
	f.launch([]mesos.OfferID{offer.ID}, task)
	status := f.want("boxed", mesos.TASK_FAILED)
	if status.GetReason() != mesos.REASON_CONTAINER_LAUNCH_FAILED || !strings.Contains(status.GetMessage(), "image") {
		t.Errorf("%s: %s", status.GetReason(), status.GetMessage())
	}
}
