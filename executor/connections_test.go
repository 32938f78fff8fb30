package executor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

// schedulerDouble serves connections to the bearer of "secret", after it
// failed a number of times.
func schedulerDouble(t *testing.T, failures int64, status int) (string, *atomic.Int64) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case asked.Add(1) <= failures:
			http.Error(w, "not now", status)
		case r.URL.Path != "/v1/tasks/t1/connections":
			http.NotFound(w, r)
		case r.Header.Get("Authorization") != "Bearer secret":
			http.Error(w, "no", http.StatusUnauthorized)
		default:
			_ = json.NewEncoder(w).Encode(found)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, &asked
}

var found = jobs.Connections{Kafka: map[string]jobs.KafkaConnection{jobs.DefaultConnection: {Brokers: []string{"127.0.0.1:9092"}}}}

func TestConnectionsAreFetchedOnceFromWhoeverAnswers(t *testing.T) {
	down := httptest.NewServer(nil)
	down.Close()
	follower, _ := schedulerDouble(t, 1<<40, http.StatusServiceUnavailable)
	leader, asked := schedulerDouble(t, 1, http.StatusNotFound) // it does not know the task yet
	c := newConnections(&http.Client{}, jobs.Assignment{Task: "t1", Token: "secret", Schedulers: []string{down.URL, follower + "/", leader}})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := c.get(t.Context())
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(found, got); diff != "" {
				t.Errorf("connections (-want +got):\n%s", diff)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != 2 {
		t.Errorf("the leader was asked %d times, want once in vain and once for all", n)
	}
}

func TestConnectionsAreNotFetchedForEver(t *testing.T) {
	willing, _ := schedulerDouble(t, 0, 0)
	never, _ := schedulerDouble(t, 1<<40, http.StatusServiceUnavailable)
	tests := []struct {
		name       string
		assignment jobs.Assignment
		want       string
	}{
		{"a wrong token", jobs.Assignment{Task: "t1", Token: "guess", Schedulers: []string{willing}}, "401"},
		{"no scheduler", jobs.Assignment{Task: "t1"}, "names no scheduler"},
		{"killed meanwhile", jobs.Assignment{Task: "t1", Schedulers: []string{never}}, "killed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("killed"))
			defer cancel()
			_, err := newConnections(&http.Client{}, tt.assignment).get(ctx)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "guess") {
				t.Error("the error tells the token")
			}
		})
	}
}
