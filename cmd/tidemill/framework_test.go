package main

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"tidemill/internal/config"
	"tidemill/internal/mesos"
	"tidemill/internal/mesoslocal"
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

func TestFrameworkTeardownNeedsItsAddresses(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "framework", "teardown", "--yes", "--zk", "127.0.0.1:1").want(t, exitUsage, "", "--master")
}
