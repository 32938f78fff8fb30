package scheduler

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What waits ages with the clock, though nothing happens; what has started, or waits no more, does not count.
func TestReadingAges(t *testing.T) {
	s := newScript(t, manual(nil))
	expect := func(when string, waits, unstarted time.Duration) {
		t.Helper()
		r := s.core.reading(s.now.Add(30 * time.Second))
		if r.waits != waits || r.unstarted != unstarted {
			t.Errorf("%s: a split waits for %s, a run for %s; want %s and %s", when, r.waits, r.unstarted, waits, unstarted)
		}
	}
	expect("without runs", 0, 0)
	s.start("j", "once")
	s.wait(10 * time.Second)
	expect("waiting", 40*time.Second, 40*time.Second)
	task := s.launchOne("agent")
	expect("launched", 0, 40*time.Second)
	s.executorSays(task, "TASK_RUNNING")
	expect("running", 0, 0)
	if r := s.core.reading(s.now); r.LiveTasks != 1 || lastOffer(&r) != float64(s.now.Unix()) {
		t.Errorf("%d live tasks, last offer at %v, want 1 at %d", r.LiveTasks, lastOffer(&r), s.now.Unix())
	}
}

func TestReadingClockSkew(t *testing.T) {
	s := newScript(t, manual(nil))
	s.step(ClockSkewed{By: -3 * time.Second})
	if r := s.core.reading(s.now); r.skew != 3*time.Second || len(r.Problems) != 1 {
		t.Errorf("skew %s, problems %q", r.skew, r.Problems)
	}
	if r := (reading{}); lastOffer(&r) != 0 {
		t.Error("an offer before the first")
	}
}

// A program with two metrics of one name does not start.
func TestMetricsCanBeRegistered(t *testing.T) {
	if err := prometheus.NewPedanticRegistry().Register(new(Scheduler).Metrics()); err != nil {
		t.Error(err)
	}
}
