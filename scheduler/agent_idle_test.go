package scheduler

import (
	"slices"
	"testing"
	"time"

	"tidemill/jobs"
)

// shutdowns lets time pass, without an offer, and says which executors are ended.
func (s *script) shutdowns(d time.Duration) (ended []string) {
	for until := s.now.Add(d); s.now.Before(until); {
		s.now = s.now.Add(time.Second)
		for _, call := range s.step(Tick{}).Calls {
			if c, ok := call.(Shutdown); ok {
				ended = append(ended, c.Executor)
			}
		}
	}
	return ended
}

// onShared begins a run in a shared executor, and gives its task.
func (s *script) onShared(request string) jobs.Task {
	s.t.Helper()
	s.start("j", request)
	task := s.launchOne("a")
	s.executorSays(task, jobs.TaskRunning)
	return s.core.tasks[task].rec
}

func sharing(j *jobs.Job) { j.Isolation = jobs.IsolationShared }

// A warm executor ends when it had no work for long, and only then, though no
// offer comes: none is asked for while nothing waits.
func TestIdleExecutorsAreShutDown(t *testing.T) {
	s := newScript(t, manual(sharing))
	idle := s.cfg.ExecutorIdle
	first := s.onShared("1")
	if ended := s.shutdowns(2 * idle); len(ended) > 0 {
		t.Fatalf("%v is ended while it works", ended)
	}
	s.executorSays(first.ID, jobs.TaskFinished)
	if ended := s.shutdowns(idle / 2); len(ended) > 0 {
		t.Fatalf("%v is ended after %s", ended, idle/2)
	}
	again := s.onShared("2")
	if again.Executor != first.Executor {
		t.Fatalf("the second task is in %s, the first in %s", again.Executor, first.Executor)
	}
	s.executorSays(again.ID, jobs.TaskFinished)
	if ended := s.shutdowns(idle - time.Second); len(ended) > 0 {
		t.Fatalf("%v is ended sooner than %s after its last task", ended, idle)
	}
	if ended := s.shutdowns(2 * idle); !slices.Equal(ended, []string{first.Executor}) {
		t.Errorf("%v are ended, want %s, once", ended, first.Executor)
	}
}

// The next leader ends what it finds in an offer, be it of a former version of
// the program: new tasks are for an executor of the present one meanwhile.
func TestExecutorsOfAFormerVersionEndWhenTheyAreIdle(t *testing.T) {
	s := newScript(t, manual(sharing), manual(func(j *jobs.Job) { sharing(j); j.Name = "k" }))
	s.cfg.Shared.Env = map[string]string{"TIDEMILL_ARTIFACT": "old"}
	s.failover()
	old := s.onShared("1")
	s.cfg.Shared.Env = map[string]string{"TIDEMILL_ARTIFACT": "new"}
	s.failover()
	s.executorSays(old.ID, jobs.TaskRunning)
	s.start("k", "2")
	fresh := s.core.tasks[s.launchOne("a")].rec
	if fresh.Executor == old.Executor {
		t.Fatalf("the new version's task is in the old executor, %s", old.Executor)
	}
	s.executorSays(fresh.ID, jobs.TaskRunning)
	if ended := s.shutdowns(2 * s.cfg.ExecutorIdle); len(ended) > 0 {
		t.Fatalf("%v are ended while they work", ended)
	}
	s.executorSays(old.ID, jobs.TaskFinished)
	if ended := s.shutdowns(2 * s.cfg.ExecutorIdle); !slices.Equal(ended, []string{old.Executor}) {
		t.Errorf("%v are ended, want the old version's %s", ended, old.Executor)
	}
	s.executorSays(fresh.ID, jobs.TaskFinished)
	s.failover() // who leads now knows of it by an offer alone
	s.step(Offered{Offers: []jobs.Offer{{ID: "o-last", AgentID: "a", Hostname: "a", Executors: []string{fresh.Executor, "another-framework's"}}}})
	if ended := s.shutdowns(2 * s.cfg.ExecutorIdle); !slices.Equal(ended, []string{fresh.Executor}) {
		t.Errorf("%v are ended, want %s", ended, fresh.Executor)
	}
}

// Nobody is told while there is no master, nor while something waits that may be launched there.
func TestIdleExecutorsWaitForTheirWord(t *testing.T) {
	s := newScript(t, manual(sharing))
	first := s.onShared("1")
	s.executorSays(first.ID, jobs.TaskFinished)
	s.step(Disconnected{})
	if ended := s.shutdowns(2 * s.cfg.ExecutorIdle); len(ended) > 0 {
		t.Errorf("%v is told without a master", ended)
	}
	s.subscribe(2, s.now.Add(-time.Hour))
	s.start("j", "2")
	if ended := s.shutdowns(2 * idleAgain); len(ended) > 0 {
		t.Errorf("%v is ended while a task waits", ended)
	}
	s.step(Request{Do: KillRuns{Job: "j"}})
	if ended := s.shutdowns(2 * idleAgain); !slices.Equal(ended, []string{first.Executor}) {
		t.Errorf("%v are ended, want %s", ended, first.Executor)
	}
}
