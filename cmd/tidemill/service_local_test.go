package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidemill/jobs"
)

// web is a service of which an instance is this test's binary.
func web(t *testing.T, revision string) jobs.Job {
	t.Helper()
	self, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(map[string]any{"argv": []string{self, instanceArgument}, "env": map[string]string{"REVISION": revision}})
	if err != nil {
		t.Fatal(err)
	}
	instances, half := 2, 0.5
	return jobs.Job{
		Name: "web", Kind: "service", Spec: spec, Resources: jobs.Resources{CPUs: 0.1, Mem: 32},
		Retry: jobs.Retry{Backoff: jobs.Duration(100 * time.Millisecond)},
		Service: &jobs.Service{Instances: &instances, MinimumHealthy: &half, Ports: []string{"http"}, Health: &jobs.Health{
			HTTP: "/up", Port: "http", Interval: jobs.Duration(time.Second), Timeout: jobs.Duration(30 * time.Second), Failures: 10, Grace: jobs.Duration(time.Minute),
		}},
	}
}

// instance is what one says of itself.
type instance struct {
	jobs.Endpoint
	revision string
	pid      int
}

// ask asks the instances that are healthy.
func (m *tidemill) ask(ctx context.Context, service jobs.Name) (up []instance, err error) {
	all, err := m.Endpoints(ctx, service)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.Health != jobs.Healthy {
			continue
		}
		i := instance{Endpoint: e}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/", e.Host, e.Names["http"]), nil)
		if err != nil {
			return nil, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return up, err
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if _, errScan := fmt.Sscan(string(body), &i.revision, &i.pid); err != nil || errScan != nil {
			return up, fmt.Errorf("%q: %w, %w", body, err, errScan)
		}
		up = append(up, i)
	}
	return up, nil
}

// awaitInstances waits until so many are healthy, all of them of one revision.
func (m *tidemill) awaitInstances(n int, revision string, fits func([]instance) bool) (up []instance) {
	m.t.Helper()
	m.await(fmt.Sprintf("%d instances of revision %s", n, revision), func(ctx context.Context) bool {
		var err error
		up, err = m.ask(ctx, "web")
		other := slices.ContainsFunc(up, func(i instance) bool { return i.revision != revision })
		return err == nil && len(up) == n && !other && (fits == nil || fits(up))
	})
	return up
}

// TestServiceOnALocalMesos: a service comes up, loses an instance, grows and
// shrinks, is edited, and ends.
func TestServiceOnALocalMesos(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startAgent("cpus:8;mem:8192;disk:8192" + s.ports)
	m := s.startTidemill("tidemill", nil)
	apply := func(revision string) {
		t.Helper()
		if _, err := m.Apply(t.Context(), []jobs.Job{web(t, revision)}); err != nil {
			t.Fatal(err)
		}
	}
	apply("one")
	up := m.awaitInstances(2, "one", nil)

	killed, kept := up[0], up[1]
	if err := syscall.Kill(killed.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.awaitInstances(2, "one", func(up []instance) bool {
		return !slices.ContainsFunc(up, func(i instance) bool { return i.Task == killed.Task }) &&
			slices.ContainsFunc(up, func(i instance) bool { return i.pid == kept.pid })
	})

	for _, n := range []int{3, 2} {
		if _, err := m.Scale(t.Context(), "web", n); err != nil {
			t.Fatal(err)
		}
		m.awaitInstances(n, "one", nil)
	}

	apply("two")
	m.await("two instances of the second revision", func(ctx context.Context) bool {
		healthy, err := m.Endpoints(ctx, "web")
		healthy = slices.DeleteFunc(healthy, func(e jobs.Endpoint) bool { return e.Health != jobs.Healthy })
		if err == nil && len(healthy) < 1 {
			t.Fatalf("no instance is healthy in the middle of an edit; half of them were to stay so: %s", m.describe())
		}
		up, err := m.ask(ctx, "web") // one that is being replaced does not answer
		return err == nil && len(up) == 2 && !slices.ContainsFunc(up, func(i instance) bool { return i.revision != "two" })
	})

	if err := m.Delete(t.Context(), "web", jobs.DeleteRefuse); err != nil {
		t.Fatal(err)
	}
	m.await("the end of all instances", func(ctx context.Context) bool {
		st, err := m.Status(ctx)
		return err == nil && st.LiveTasks == 0
	})
}

// TestContainerOnALocalMesos: what needs an image is refused where no image can be run, and
// whoever asks is told so.
func TestContainerOnALocalMesos(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startAgent("cpus:8;mem:8192;disk:8192")
	m := s.startTidemill("tidemill", nil)
	job := jobs.Job{Name: "boxed", Kind: "command", Resources: jobs.Resources{CPUs: 0.1, Mem: 32}, Spec: []byte(`{"command":"true","container":{"image":"busybox"}}`)}
	if _, err := m.Apply(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	r, err := m.StartRun(t.Context(), jobs.RunRequest{Job: "boxed", RequestID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	m.await("the refusal of an image", func(ctx context.Context) bool {
		v, err := m.RunView(ctx, r.ID)
		return err == nil && slices.ContainsFunc(v.Tasks, func(k jobs.TaskView) bool {
			if k.State == jobs.AttemptRunning || k.State == jobs.AttemptSucceeded {
				t.Fatalf("it runs without its image: %+v", k)
			}
			return k.State == jobs.AttemptNotStarted && strings.Contains(k.Message, "image")
		})
	})
	if err := m.KillRun(t.Context(), r.ID, "the test is over"); err != nil {
		t.Error(err)
	}
}
