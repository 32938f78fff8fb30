package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/bolt"
	"tidemill/internal/client"
	"tidemill/internal/config"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesos"
	"tidemill/internal/mesoslocal"
	"tidemill/jobs"
	"tidemill/scheduler"
)

// instanceArgument makes this test's binary an instance of a service.
const instanceArgument = "test-instance"

// TestMain lets the test's binary be the program that agents start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "executor", "mesos", "stack":
			main()
		case instanceArgument:
			os.Exit(serveInstance())
		}
	}
	os.Exit(m.Run())
}

// serveInstance says at its port which revision it is, until it is ended.
func serveInstance() int {
	answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getenv("REVISION"), os.Getpid()) }
	err := http.ListenAndServe(os.Getenv("HOST")+":"+os.Getenv("PORT_HTTP"), http.HandlerFunc(answer))
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// site is a local Mesos in this process, for schedulers in this process.
type site struct {
	t      *testing.T
	master *mesoslocal.Master
	line   *lifeline.Line
	// host and ports are drawn, so that no two tests have the same at once.
	host, ports string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, host: fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))}
	first := 12_000 + 100*rand.IntN(150)
	s.ports = fmt.Sprintf(";ports:[%d-%d]", first, first+99)
	var err error
	if s.line, err = lifeline.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.line.Close() })
	if s.master, err = mesoslocal.StartMaster(t.Context(), mesoslocal.MasterOptions{
		WorkDir: t.TempDir(), AllocationInterval: localAllocation, AgentReregister: localSettle, Log: zerolog.Nop(),
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.master.Stop)
	return s
}

func (s *site) startAgent(resources string) {
	s.t.Helper()
	agent, err := mesoslocal.StartAgent(s.t.Context(), mesoslocal.AgentOptions{
		Hostname: s.host, Master: s.master.Addr(), WorkDir: s.t.TempDir(), Resources: resources, Lifeline: s.line, Log: zerolog.Nop(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(agent.Stop)
}

// tidemill is a scheduler at a site.
type tidemill struct {
	*client.Client
	t     *testing.T
	url   string
	ended chan error // its Serve has
}

// startTidemill starts a scheduler with a store of its own, and waits until it is subscribed.
func (s *site) startTidemill(name string, change func(*service)) *tidemill {
	s.t.Helper()
	self, err := executable()
	if err != nil {
		s.t.Fatal(err)
	}
	o := config.Default()
	o.Listen, o.ArtifactURL, o.Framework.Name = "127.0.0.1:0", self, name
	if o.Framework.User, err = currentUser(); err != nil {
		s.t.Fatal(err)
	}
	door, err := openDoor(&o)
	if err != nil {
		s.t.Fatal(err)
	}
	store, err := bolt.Open(bolt.Options{Path: filepath.Join(s.t.TempDir(), "state.db"), Advertise: o.Advertise})
	if err != nil {
		s.t.Fatal(err)
	}
	core := scheduler.DefaultConfig()
	core.MasterSettle = localSettle
	of := service{options: o, core: core, elector: store, masters: mesos.NewMasters(s.master.Addr()), codec: mesos.Protobuf, door: door, log: zerolog.Nop()}
	if change != nil {
		change(&of)
	}
	m := &tidemill{t: s.t, url: o.Advertise, ended: make(chan error, 1)}
	if m.Client, err = client.New(o.Advertise, ""); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	go func() {
		m.ended <- serve(ctx, of)
		close(m.ended)
	}()
	s.t.Cleanup(func() {
		cancel()
		for range m.ended { // until it has ended
		}
		m.Close()
		_ = store.Close()
	})
	m.framework("")
	return m
}

// framework waits for a subscribed framework that is not the former one.
func (m *tidemill) framework(former string) (id string) {
	m.t.Helper()
	m.await("a subscription other than as "+former, func(ctx context.Context) bool {
		s, err := m.Status(ctx)
		id = s.Framework
		return err == nil && s.Subscribed && id != former
	})
	return id
}

// describe says what is at work, and what waits.
func (m *tidemill) describe() string {
	var out strings.Builder
	page, err := m.Runs(m.t.Context(), jobs.RunQuery{Live: true, Limit: 10})
	fmt.Fprintln(&out, err)
	for _, r := range page.Runs {
		v, err := m.RunView(m.t.Context(), r.ID)
		fmt.Fprintf(&out, "%s %s: %+v %v\n", r.ID, v.State, v.Waiting, err)
		for _, k := range v.Tasks {
			fmt.Fprintf(&out, "  %s %s %s %v: %s %s\n", k.ID, k.State, k.Health, k.Ports, k.Reason, k.Message)
		}
	}
	return out.String()
}

// await asks until a condition holds.
func (m *tidemill) await(what string, condition func(context.Context) bool) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			m.t.Fatalf("waited in vain for %s: %s", what, m.describe())
		}
	}
}
