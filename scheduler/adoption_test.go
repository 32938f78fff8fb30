package scheduler

import (
	"testing"
	"time"

	"tidemill/jobs"
)

// TestABeginningKillIsASignOfLife: it neither ends an attempt nor starts it again.
func TestABeginningKillIsASignOfLife(t *testing.T) {
	s := newScript(t, manual(nil))
	s.start("j", "1")
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	s.update(task, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
	s.executorSays(task, jobs.TaskKilling)
	s.wantAttempt(task, jobs.AttemptRunning)
	s.executorSays(task, jobs.TaskKilled)
	s.executorSays(task, jobs.TaskKilling)
	s.wantAttempt(task, jobs.AttemptKilled)
}

// TestATaskThatComesBackIsAdopted while its outcome is awaited, by the same leader and by another.
func TestATaskThatComesBackIsAdopted(t *testing.T) {
	for name, meanwhile := range map[string]func(*script){"the same leader": func(*script) {}, "another leader": (*script).failover} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, manual(nil))
			run := s.start("j", "1")
			task := s.launchOne("a")
			s.executorSays(task, jobs.TaskRunning)
			s.update(task, jobs.TaskUnreachable, "SOURCE_MASTER", "REASON_SLAVE_REMOVED", "")
			s.wantAttempt(task, jobs.AttemptUnknown)
			meanwhile(s)
			s.update(task, jobs.TaskRunning, "SOURCE_MASTER", "REASON_SLAVE_REREGISTERED", "")
			s.wantAttempt(task, jobs.AttemptRunning)
			if n := s.kills(); n > 0 {
				t.Errorf("it came back in time, and is killed %d times", n)
			}
			s.wait(time.Hour) // no unknown_wait goes on
			if list := s.offer("b"); len(list) > 0 {
				t.Errorf("launched %v beside it", list)
			}
			s.executorSays(task, jobs.TaskFinished)
			s.wantRun(run, jobs.RunSucceeded)
		})
	}
}

// TestATaskThatComesBackTooLateIsKilled: its successor is at work, and its own end decides nothing.
func TestATaskThatComesBackTooLateIsKilled(t *testing.T) {
	for name, meanwhile := range map[string]func(*script){"the same leader": func(*script) {}, "another leader": (*script).failover} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, manual(nil))
			run := s.start("j", "1")
			first, second := s.supersede()
			s.executorSays(second, jobs.TaskRunning)
			meanwhile(s)
			s.update(first, jobs.TaskRunning, "SOURCE_MASTER", "REASON_SLAVE_REREGISTERED", "")
			if n := s.kills(); n != 1 {
				t.Errorf("%d kills of the one that came back, want 1", n)
			}
			s.executorSays(first, jobs.TaskKilling)
			s.executorSays(first, jobs.TaskKilled)
			s.wantRun(run, jobs.RunRunning)
			s.wantAttempt(second, jobs.AttemptRunning)
			s.executorSays(second, jobs.TaskFinished)
			s.wantRun(run, jobs.RunSucceeded)
		})
	}
}
