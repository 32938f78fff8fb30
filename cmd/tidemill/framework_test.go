package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/config"
	"tidemill/internal/mesos"
	"tidemill/internal/mesoslocal"
	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
	"tidemill/scheduler"
)

func TestFrameworkShow(t *testing.T) {
	s := newShell(t, "")
	s.SetStatus(jobs.Status{Framework: "F-1", Master: "m:5050", Term: 4, Stream: 2, Records: 12, StoreBytes: 3456, HeldJobs: 1, Problems: []string{"job a: no such kind"}})
	shown := s.run(t, "framework", "show")
	for _, part := range []string{"F-1", "m:5050 (not subscribed)", "12 records, 3456 bytes", "job a: no such kind"} {
		shown.want(t, exitOK, part, "")
	}
	s.run(t, "framework", "show", "-o", "json").want(t, exitOK, `"held_jobs": 1`, "")
}

func TestFrameworkResetForgetsTheID(t *testing.T) {
	const live = `{"id":"a.1.r-1.0.1.0.1","run":"a.1.r-1.0","job":"a","state":"running","stage":1,"attempt":1}`
	dir := stateDir(t, map[string]string{"meta/scheduler": metaDocument, "jobs/a": jobDocument, "state/a": `{}`, "tasks/a.1.r-1.0.1.0.1": live})
	if code, _, errs := runHere(t, "framework", "reset", "--dir", dir); code != exitFailed || !strings.Contains(errs, "--force") {
		t.Errorf("with a live task: exit code %d: %s", code, errs)
	}
	if code, _, errs := runHere(t, "framework", "reset", "--dir", dir, "--force"); code != exitOK || !strings.Contains(errs, "F-1") || !strings.Contains(errs, "1 attempt ") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if _, out, _ := runHere(t, "state", "export", "-", "--dir", dir); strings.Contains(out, `"framework"`) || !strings.Contains(out, `"state":"unknown"`) {
		t.Errorf("after the reset the state is\n%s", out)
	}
}

// TestTearDown registers a framework with the local Mesos, and removes it.
func TestTearDown(t *testing.T) {
	master, err := mesoslocal.StartMaster(t.Context(), mesoslocal.MasterOptions{WorkDir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer master.Stop()
	o := config.Default()
	o.Master = master.Addr()
	options, err := mesosOptions(o)
	if err != nil {
		t.Fatal(err)
	}
	options.Masters = mesos.NewMasters(o.Master)
	sub, err := mesos.NewScheduler(options).Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	first, ok := (<-sub.Events()).(scheduler.Subscribed)
	if !ok {
		t.Fatalf("no framework is registered: %v", sub.Err())
	}
	for range 2 { // done twice is done
		if err := tearDown(t.Context(), o, first.FrameworkID, zerolog.Nop()); err != nil {
			t.Fatal(err)
		}
	}
	again, err := mesos.NewScheduler(options).Subscribe(t.Context(), first.FrameworkID)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if refused, ok := (<-again.Events()).(scheduler.Refused); !ok || !strings.Contains(refused.Message, "removed") {
		t.Errorf("the framework lives on: %+v", refused)
	}
}

// TestFrameworkTeardown ends what a ZooKeeper store knows of, at the master
// that ZooKeeper knows of, and forgets it there.
func TestFrameworkTeardown(t *testing.T) {
	at := fmt.Sprintf("%s/teardown-%x", stacktest.Shared(t).ZooKeeper, rand.Uint64())
	master, err := mesoslocal.StartMaster(t.Context(), mesoslocal.MasterOptions{WorkDir: t.TempDir(), ZooKeeper: "zk://" + at + "/mesos", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer master.Stop()
	o := config.Default()
	o.Master = "zk://" + at + "/mesos"
	options, err := mesosOptions(o)
	if err != nil {
		t.Fatal(err)
	}
	masters, closeMasters, err := findMasters(t.Context(), o, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer closeMasters()
	options.Masters = masters
	sub, err := mesos.NewScheduler(options).Subscribe(t.Context(), "")
	for tries := time.NewTicker(10 * time.Millisecond); err != nil && t.Context().Err() == nil; <-tries.C { // it may not know yet that it leads
		sub, err = mesos.NewScheduler(options).Subscribe(t.Context(), "")
	}
	framework := (<-sub.Events()).(scheduler.Subscribed).FrameworkID
	sub.Close()
	flags := storeFlags{ZK: at + "/tidemill"}
	store, closeStore, err := flags.open(t.Context(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	writeState(t, store, map[string]string{
		"meta/scheduler": strings.Replace(metaDocument, "F-1", framework, 1), "jobs/a": jobDocument, "state/a": `{"incarnation":1}`,
		"tasks/a.1.r-1.0.1.0.1": `{"id":"a.1.r-1.0.1.0.1","run":"a.1.r-1.0","job":"a","state":"running","stage":1,"attempt":1}`,
	})
	closeStore()
	s := newShell(t, "")
	where := []string{"framework", "teardown", "--zk", flags.ZK, "--master", o.Master}
	s.run(t, where...).want(t, exitUsage, "", "1 attempt live")
	s.run(t, append(where, "--yes")...).want(t, exitOK, "", "framework "+framework+" is torn down")
	s.run(t, append(where, "--yes")...).want(t, exitFailed, "", "none is registered")
	again, err := mesos.NewScheduler(options).Subscribe(t.Context(), framework)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if refused, ok := (<-again.Events()).(scheduler.Refused); !ok || !strings.Contains(refused.Message, "removed") {
		t.Errorf("the framework lives on: %+v", refused)
	}
	if _, out, _ := runHere(t, "state", "export", "-", "--zk", flags.ZK); strings.Contains(out, `"framework"`) || !strings.Contains(out, `"state":"unknown"`) {
		t.Errorf("afterwards the state is\n%s", out)
	}
}

func TestFrameworkTeardownNeedsItsAddresses(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "framework", "teardown", "--yes", "--zk", "127.0.0.1:1").want(t, exitUsage, "", "--master")
}
