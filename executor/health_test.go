package executor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestHealth(t *testing.T) {
	const ok, bad = true, false
	type result struct {
		at        time.Duration
		ok        bool
		news, end bool
	}
	tests := []struct {
		name   string
		script []result
	}{
		{"well from the start", []result{{0, ok, true, false}, {1e9, ok, false, false}}},
		{"slow to start, within the grace", []result{{1e9, bad, false, false}, {9e9, bad, false, false}, {10e9, ok, true, false}}},
		{"never well", []result{{9e9, bad, false, false}, {10e9, bad, true, false}, {11e9, bad, false, true}}},
		{"the grace ends with the first success", []result{{0, ok, true, false}, {1e9, bad, true, false}, {2e9, bad, false, true}}},
		{"failures are counted in a row", []result{{0, ok, true, false}, {1e9, bad, true, false}, {2e9, ok, true, false}, {3e9, bad, true, false}, {4e9, bad, false, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := health{check: jobs.Health{Failures: 2, Grace: jobs.Duration(10 * time.Second)}, started: instant}
			for i, r := range tt.script {
				var err error
				if !r.ok {
					err = errors.New("down")
				}
				if news, end := h.take(instant.Add(r.at), err); news != r.news || end != r.end {
					t.Errorf("result %d: news %v, end %v; want %v, %v", i, news, end, r.news, r.end)
				}
			}
		})
	}
}

// checkedActor is a kind that its test declares well or not.
type checkedActor struct {
	*actor
	check func(ctx context.Context, command string, a jobs.Assignment, sandbox string) error
}

func (k checkedActor) CheckHealth(ctx context.Context, command string, a jobs.Assignment, sandbox string) error {
	return k.check(ctx, command, a, sandbox)
}

// healths are what updates said of a task's health: "TASK_RUNNING true".
func (a *fakeAgent) healths(id jobs.TaskID) (out []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.updates[id] {
		text := u.State
		if u.Healthy != nil {
			text += " " + strconv.FormatBool(*u.Healthy)
		}
		out = append(out, text)
	}
	return out
}

// TestUnhealthyWorkEnds: a work that was well and fails its checks is told to
// be unhealthy, ended with its grace, and has failed.
func TestUnhealthyWorkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		born := time.Now()
		kind := checkedActor{newActor(), func(ctx context.Context, command string, a jobs.Assignment, sandbox string) error {
			if command != "ask" || !strings.HasSuffix(sandbox, jobs.TaskDir(a.Task)) {
				t.Errorf("asked %q in %s", command, sandbox)
			}
			switch since := time.Since(born); {
			case since < 3*time.Second:
				return errors.New("starting")
			case since < time.Minute:
				return nil
			default: // it hangs
				<-ctx.Done()
				return context.Cause(ctx)
			}
		}}
		r := start(t, func(o *Options) {
			var err error
			if o.Registry, err = jobs.NewRegistry(kind); err != nil {
				t.Fatal(err)
			}
		})
		defer r.stop(t)
		kind.on("t1", untilCancelled)
		a := assignment("t1")
		a.Health = &jobs.Health{Command: "ask", Interval: jobs.Duration(10 * time.Second), Timeout: jobs.Duration(5 * time.Second), Failures: 3, Grace: jobs.Duration(time.Minute)}
		r.agent.launch(a)
		pass(10 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"TASK_RUNNING", "TASK_RUNNING true"}, r.agent.healths("t1")); diff != "" {
			t.Errorf("after ten seconds (-want +got):\n%s", diff)
		}
		pass(2 * time.Minute)
		u, o := r.agent.awaitEnd(t, "t1")
		if diff := cmp.Diff([]string{"TASK_RUNNING", "TASK_RUNNING true", "TASK_RUNNING false", "TASK_KILLING", "TASK_FAILED false"}, r.agent.healths("t1")); diff != "" {
			t.Errorf("in the end (-want +got):\n%s", diff)
		}
		if want := "3 health checks in a row failed, the last one: no answer within 5s"; !strings.Contains(o.Message, want) || o.OK || o.Killed || u.Reason != "" {
			t.Errorf("outcome %+v, reason %q; want %q", o, u.Reason, want)
		}
	})
}

// A work that ends takes its checks with it: no news comes after its end.
func TestChecksEndWithTheirWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		kind := checkedActor{newActor(), func(context.Context, string, jobs.Assignment, string) error { asked++; return nil }}
		r := start(t, func(o *Options) {
			var err error
			if o.Registry, err = jobs.NewRegistry(kind); err != nil {
				t.Fatal(err)
			}
		})
		defer r.stop(t)
		kind.on("t1", func(ctx context.Context, _ jobs.Assignment, _ jobs.Runtime) (jobs.Result, error) {
			pass(25 * time.Second)
			return jobs.Result{}, nil
		})
		a := assignment("t1")
		a.Health = &jobs.Health{Command: "ask", Interval: jobs.Duration(10 * time.Second), Timeout: jobs.Duration(time.Second), Failures: 1}
		r.agent.launch(a)
		pass(time.Minute)
		r.agent.awaitEnd(t, "t1")
		pass(time.Hour)
		if asked != 3 { // after 1, 11 and 21 seconds
			t.Errorf("asked %d times, want 3", asked)
		}
	})
}

func TestProbe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/down", http.StatusFound)
		case "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/hangs":
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	_, text, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := uint64(closed.Addr().(*net.TCPAddr).Port)
	closed.Close()
	tests := []struct {
		name  string
		check jobs.Health
		host  string
		want  string // of the error
	}{
		{"http", jobs.Health{HTTP: "/up"}, "127.0.0.1", ""},
		{"http, moved elsewhere", jobs.Health{HTTP: "/moved"}, "127.0.0.1", ""},
		{"http, down", jobs.Health{HTTP: "/down"}, "127.0.0.1", "GET /down answered 503 Service Unavailable"},
		{"http, hangs", jobs.Health{HTTP: "/hangs", Timeout: jobs.Duration(50 * time.Millisecond)}, "127.0.0.1", "no answer within 50ms"},
		{"http, nobody there", jobs.Health{HTTP: "/", Port: "nobody"}, "127.0.0.1", "connection refused"},
		{"tcp", jobs.Health{TCP: true}, "127.0.0.1", ""},
		{"tcp, nobody there", jobs.Health{TCP: true, Port: "nobody"}, "127.0.0.1", "connection refused"},
		{"an agent whose name leads nowhere", jobs.Health{HTTP: "/up"}, "agent-1.invalid", ""},
		{"a command of a kind that has none", jobs.Health{Command: "true"}, "", "checks nothing by a command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.check.Timeout == 0 {
				tt.check.Timeout = jobs.Duration(time.Minute)
			}
			a := jobs.Assignment{Kind: "act", Host: tt.host, Ports: []uint64{port, nobody}, PortNames: []string{"http", "nobody"}, Health: &tt.check}
			err := probe(t.Context(), newActor(), a, t.TempDir())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
