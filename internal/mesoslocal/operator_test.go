package mesoslocal

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// operate posts a document of an operator to the master.
func operate(t *testing.T, master *Master, path, document string) string {
	t.Helper()
	response, err := http.Post("http://"+master.Addr()+path, "application/json", strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %s %v", path, document, response.Status, body, err)
	}
	return string(body)
}

// What is reserved is offered to its role only, and to that role first of all.
func TestStaticReservation(t *testing.T) {
	master, _ := startPairWith(t, MasterOptions{}, AgentOptions{Resources: "cpus(ingest):2;mem(ingest):512;mem:64"})
	other := subscribe(t, master.Addr(), frameworkInfo("other"))
	offer := other.offer()
	if len(offer.Resources) != 1 || offer.Resources[0].Scalar.Value != 64 {
		t.Errorf("the role * is offered %v, want mem:64", offer.Resources)
	}
	info := frameworkInfo("ingest")
	info.Roles = []string{"ingest"}
	owner := subscribe(t, master.Addr(), info)
	offer = owner.offer()
	task := commandTask("reserved", offer, "true")
	for i := range task.Resources {
		role := "ingest"
		task.Resources[i].Role = &role
	}
	owner.launch([]mesos.OfferID{offer.ID}, task)
	owner.want("reserved", mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_FINISHED)
}

// Frameworks on a machine that will be down are asked to leave, asked again when they
// decline, and their offers say until when it is up.
func TestMaintenance(t *testing.T) {
	master, _ := startPair(t)
	f := subscribe(t, master.Addr(), frameworkInfo("maintained"))
	f.offer()
	start := time.Now().Add(time.Hour).UnixNano()
	document := `{"windows":[{"machine_ids":[{"hostname":"agent-a"}],"unavailability":{"start":{"nanoseconds":` + strconv.FormatInt(start, 10) + `}}}]}`
	operate(t, master, "/maintenance/schedule", document)
	if offer := f.offer(); offer.Unavailability == nil || offer.Unavailability.Start.Nanoseconds != start {
		t.Errorf("the offer's unavailability is %v, want a start at %d", offer.Unavailability, start)
	}
	inverse := func() mesos.InverseOffer {
		return f.await("inverse offer", func(e *scheduler.Event) bool { return e.Type == scheduler.Event_INVERSE_OFFERS }).
			InverseOffers.InverseOffers[0]
	}
	zero := 0.0
	f.call(&scheduler.Call{Type: scheduler.Call_DECLINE_INVERSE_OFFERS, DeclineInverseOffers: &scheduler.Call_DeclineInverseOffers{
		InverseOfferIDs: []mesos.OfferID{inverse().OfferID}, Filters: &mesos.Filters{RefuseSeconds: &zero}}})
	f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT_INVERSE_OFFERS, AcceptInverseOffers: &scheduler.Call_AcceptInverseOffers{
		InverseOfferIDs: []mesos.OfferID{inverse().OfferID}}})
	if status := operate(t, master, "/api/v1", `{"type":"GET_MAINTENANCE_STATUS"}`); !strings.Contains(status, `"status":"ACCEPT"`) {
		t.Errorf("the status is %s, want it to tell the acceptance", status)
	}
	operate(t, master, "/machine/down", `[{"hostname":"agent-a"}]`)
	f.await("FAILURE", func(e *scheduler.Event) bool { return e.Type == scheduler.Event_FAILURE })
	operate(t, master, "/machine/up", `[{"hostname":"agent-a"}]`)
}

// A drained agent's tasks are killed and say why; marked gone, the agent stays out.
func TestDrain(t *testing.T) {
	master, agent := startPair(t)
	info := frameworkInfo("drained")
	info.Capabilities = append(info.Capabilities,
		mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE})
	f := subscribe(t, master.Addr(), info)
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("slow", offer, "sleep 1000"))
	f.want("slow", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	id := `{"value":"` + agent.ID() + `"}`
	operate(t, master, "/api/v1", `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":`+id+`,"max_grace_period":{"seconds":1}}}`)
	if status := f.want("slow", mesos.TASK_KILLED); status.GetReason() != mesos.REASON_AGENT_DRAINING {
		t.Errorf("the reason is %s", status.GetReason())
	}
	eventually(t, "the agent is drained", func() bool {
		return strings.Contains(operate(t, master, "/api/v1", `{"type":"GET_AGENTS"}`), `"state":"DRAINED"`)
	})
	operate(t, master, "/api/v1", `{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":`+id+`}}`)
	f.kept = nil
	offer = f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("lost", offer, "sleep 1000"))
	f.want("lost", mesos.TASK_STARTING, mesos.TASK_RUNNING)
	operate(t, master, "/api/v1", `{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":`+id+`}}`)
	if status := f.want("lost", mesos.TASK_GONE_BY_OPERATOR); status.GetReason() != mesos.REASON_AGENT_REMOVED_BY_OPERATOR {
		t.Errorf("the reason is %s", status.GetReason())
	}
}

// Reservations and volumes outlive the agent, and what is written in a volume the task.
func TestVolumeOutlivesTheAgent(t *testing.T) {
	master, err := StartMaster(t.Context(), MasterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(master.Stop)
	options := AgentOptions{Master: master.Addr(), WorkDir: t.TempDir()}
	agent, err := StartAgent(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent registers", func() bool { return agent.ID() != "" })
	const disk = `"name":"disk","type":"SCALAR","scalar":{"value":64},"reservations":[{"type":"DYNAMIC","role":"data"}]`
	id := `"agent_id":{"value":"` + agent.ID() + `"}`
	operate(t, master, "/api/v1", `{"type":"RESERVE_RESOURCES","reserve_resources":{`+id+`,"resources":[{`+disk+`}]}}`)
	operate(t, master, "/api/v1", `{"type":"CREATE_VOLUMES","create_volumes":{`+id+`,"volumes":[{`+disk+
		`,"disk":{"persistence":{"id":"pv"},"volume":{"container_path":"data","mode":"RW"}}}]}}`)
	volume := filepath.Join(options.WorkDir, "volumes", "roles", "data", "pv")
	eventually(t, "the volume is there", func() bool { _, err := os.Stat(volume); return err == nil })
	agent.Crash()
	eventually(t, "the master notices the end of the agent", func() bool {
		return strings.Contains(operate(t, master, "/api/v1", `{"type":"GET_AGENTS"}`), `"active":false`)
	})
	if agent, err = StartAgent(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Stop)
	info := frameworkInfo("data")
	info.Roles = []string{"data"}
	f := subscribe(t, master.Addr(), info)
	offer := f.offer()
	task := commandTask("writer", offer, "echo here > data/file")
	for _, resource := range offer.Resources {
		if resource.Disk != nil {
			task.Resources = append(task.Resources, resource)
		}
	}
	f.launch([]mesos.OfferID{offer.ID}, task)
	f.want("writer", mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_FINISHED)
	if written, err := os.ReadFile(filepath.Join(volume, "file")); err != nil || string(written) != "here\n" {
		t.Errorf("the volume holds %q, %v", written, err)
	}
}
