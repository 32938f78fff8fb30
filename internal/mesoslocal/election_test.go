package mesoslocal

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
)

// noRedirects shows redirects instead of following them.
var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	response, err := noRedirects.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}

func TestElection(t *testing.T) {
	zk := fmt.Sprintf("zk://%s/mesos-%d", stacktest.Shared(t).ZooKeeper, os.Getpid())
	registry := t.TempDir()
	var masters []*Master
	for range 3 {
		master, err := StartMaster(t.Context(), MasterOptions{ZooKeeper: zk, WorkDir: registry})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(master.Stop)
		eventually(t, "the master knows who leads", func() bool {
			return get(t, "http://"+master.Addr()+"/redirect").StatusCode == http.StatusTemporaryRedirect
		})
		masters = append(masters, master)
	}
	first, second := masters[0], masters[1]
	response := get(t, "http://"+second.Addr()+"/master/state?x=1&y=a%20b")
	if want := "//" + first.Addr() + "/master/state?x=1&y=a%20b"; response.Header.Get("Location") != want {
		t.Errorf("Location %q, want %q", response.Header.Get("Location"), want)
	}
	agent, err := StartAgent(t.Context(), AgentOptions{Master: zk, WorkDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Stop)
	f := subscribe(t, first.Addr(), frameworkInfo("election"))
	offer := f.offer()
	f.launch([]mesos.OfferID{offer.ID}, commandTask("task", offer, "sleep 1000"))
	f.want("task", mesos.TASK_STARTING, mesos.TASK_RUNNING)

	first.Stop()
	eventually(t, "the second master leads", func() bool {
		return get(t, "http://"+second.Addr()+"/state").StatusCode == http.StatusOK
	})
	info := frameworkInfo("election")
	info.ID = &f.id
	again := subscribe(t, second.Addr(), info)
	again.offer() // the agent came over
	again.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{}})
	again.want("task", mesos.TASK_RUNNING)
}

// A master that ZooKeeper is away from for as long as a session lasts cannot know whether it still
// leads: it stops, as a real one exits, and leads again once it is known to.
func TestNobodyLeadsWithoutZooKeeper(t *testing.T) {
	t.Parallel()
	ensemble := stacktest.Own(t, stack.Options{ZooKeeper: 1})
	master, err := StartMaster(t.Context(), MasterOptions{
		ZooKeeper: "zk://" + ensemble.Addresses().ZooKeeper + "/mesos", ZooKeeperSession: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(master.Stop)
	leads := func() bool { return get(t, "http://"+master.Addr()+"/state").StatusCode == http.StatusOK }
	eventually(t, "the master leads", leads)
	server := ensemble.Servers()[0]
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the master leads no more", func() bool { return !leads() })
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the master leads again", leads)
}
