package main

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/bolt"
	"tidemill/internal/client"
	"tidemill/internal/config"
	"tidemill/internal/mesos"
	"tidemill/internal/mesoslocal"
	"tidemill/jobs"
	"tidemill/scheduler"
)

// removal is a scheduler at a master that will remove its framework.
type removal struct {
	t      *testing.T
	master *mesoslocal.Master
	api    *client.Client
	ended  chan error
}

func startRemoval(t *testing.T, registerAnew bool) *removal {
	t.Helper()
	r := &removal{t: t, ended: make(chan error, 1)}
	var err error
	if r.master, err = mesoslocal.StartMaster(t.Context(), mesoslocal.MasterOptions{WorkDir: t.TempDir(), Log: zerolog.Nop()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.master.Stop)
	o := config.Default()
	o.Listen = "127.0.0.1:0"
	door, err := openDoor(&o)
	if err != nil {
		t.Fatal(err)
	}
	store, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "state.db"), Advertise: o.Advertise})
	if err != nil {
		t.Fatal(err)
	}
	if r.api, err = client.New(o.Advertise, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		r.ended <- serve(ctx, service{options: o, core: scheduler.DefaultConfig(), elector: store, masters: mesos.NewMasters(r.master.Addr()),
			door: door, log: zerolog.Nop(), registerAnew: registerAnew})
		close(r.ended)
	}()
	t.Cleanup(func() {
		cancel()
		for range r.ended { // until it has ended
		}
		r.api.Close()
		_ = store.Close()
	})
	return r
}

// framework waits for a subscribed framework that is not the former one.
func (r *removal) framework(former string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := r.api.Status(ctx)
		if err == nil && s.Subscribed && s.Framework != former {
			return s.Framework
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("no framework but %q is registered: %+v, %v", former, s, err)
		}
	}
}

func (r *removal) remove(framework string) {
	r.t.Helper()
	answer, err := http.PostForm("http://"+r.master.Addr()+"/teardown", url.Values{"frameworkId": {framework}})
	if err != nil {
		r.t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		r.t.Fatalf("tear down %s: %s", framework, answer.Status)
	}
}

// TestARemovedFrameworkEndsTheScheduler: an id that is gone for good is no
// matter of trying again.
func TestARemovedFrameworkEndsTheScheduler(t *testing.T) {
	r := startRemoval(t, false)
	id := r.framework("")
	r.remove(id)
	err := <-r.ended
	if code := exitCode(err); code != exitRemoved {
		t.Errorf("exit code %d of %v", code, err)
	}
	for _, want := range []string{id, "has been removed", "tidemill framework reset --force"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// TestARemovedFrameworkIsRegisteredAnew, where that was asked for: the jobs stay.
func TestARemovedFrameworkIsRegisteredAnew(t *testing.T) {
	r := startRemoval(t, true)
	first := r.framework("")
	job := jobs.Job{Name: "kept", Kind: "command", Spec: []byte(`{"command":"true"}`)}
	if _, err := r.api.Apply(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	r.remove(first)
	second := r.framework(first)
	r.remove(second)
	third := r.framework(second)
	if third == first {
		t.Errorf("framework %s is registered again", first)
	}
	if _, err := r.api.Job(t.Context(), "kept"); err != nil {
		t.Error(err)
	}
}
