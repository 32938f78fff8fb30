package scheduler

import (
	"testing"
	"time"

	"tidemill/jobs"
)

// TestStartByIsToldByTheStoresClock: a leader whose clock is off lets agents, whose clocks are right,
// start its tasks for as long as any other leader would, and waits for as long before it gives one up.
func TestStartByIsToldByTheStoresClock(t *testing.T) {
	tests := []struct {
		name  string
		ahead time.Duration
		sets  func(s *script)
	}{
		{"right", 0, func(*script) {}},
		{"a little off", 0, func(s *script) { s.step(ClockSkewed{By: s.cfg.Skew}) }},
		{"ahead", 20 * time.Second, func(s *script) {
			s.now = s.now.Add(20 * time.Second)
			s.step(ClockSkewed{By: 20 * time.Second})
		}},
		{"behind", -20 * time.Second, func(s *script) { s.step(ClockSkewed{By: -20 * time.Second}) }},
		{"waiting for the time that the leader before had reached", 20 * time.Second, func(s *script) {
			s.now = s.now.Add(20 * time.Second)
			s.step(Tick{})
			s.now = s.now.Add(-20 * time.Second)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t, manual(nil))
			s.core.cfg.StartBy = time.Minute
			test.sets(s)
			s.start("j", "1")
			task := s.launchOne("a")
			ours := s.core.now
			if got, want := s.core.tasks[task].rec.StartBy, ours.Add(time.Minute-test.ahead); !got.Equal(want) {
				t.Errorf("start_by is %s after our time; want %s", got.Sub(ours), want.Sub(ours))
			}
			if got, want := s.core.safeAfter(s.core.tasks[task]), ours.Add(time.Minute+s.cfg.Skew); !got.Equal(want) {
				t.Errorf("given up %s after the launch; want %s", got.Sub(ours), want.Sub(ours))
			}
		})
	}
}

// TestADeadlineIsToldByTheStoresClockToo: it cuts the time to start short.
func TestADeadlineIsToldByTheStoresClockToo(t *testing.T) {
	s := newScript(t, manual(func(j *jobs.Job) { j.StartDeadline = jobs.Duration(30 * time.Second) }))
	s.step(ClockSkewed{By: -20 * time.Second})
	s.start("j", "1")
	task := s.launchOne("a")
	if got := s.core.tasks[task].rec.StartBy.Sub(s.core.now); got != 50*time.Second {
		t.Errorf("start_by is %s after our time; want 50 s, which is 30 s by the store's", got)
	}
}
