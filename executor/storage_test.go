package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestAnOutcomeThatCannotBeStoredIsReportedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil)
		r.actor.on("t1", untilCancelled)
		r.agent.launch(assignment("t1"))
		synctest.Wait()
		// Where the outcome should go there is a directory that is not empty.
		obstacle := filepath.Join(r.agent.sandbox, jobs.TaskDir("t1"), jobs.OutcomeFile, "obstacle")
		if err := os.MkdirAll(obstacle, 0o755); err != nil {
			t.Fatal(err)
		}
		r.agent.say(Kill{Task: "t1"})
		u, o := r.agent.awaitEnd(t, "t1")
		if u.State != jobs.TaskKilled || !o.Killed || !strings.Contains(u.Message, "could not be stored") {
			t.Errorf("got %s, %q, %+v", u.State, u.Message, o)
		}
		r.agent.broken = nil // that it is not stored is what this test makes
		r.stop(t)
	})
}

func TestALaunchToldAgainAfterTheEndBeginsNothing(t *testing.T) {
	tests := []struct {
		name  string
		spoil bool // the outcome is gone
		want  string
	}{
		{name: "its outcome is told again", want: jobs.TaskFinished},
		{name: "without its outcome nothing is claimed", spoil: true, want: jobs.TaskFailed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, nil)
				began := 0
				r.actor.on("t1", func(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
					began++
					return jobs.Result{}, nil
				})
				r.agent.launch(assignment("t1"))
				_, first := r.agent.awaitEnd(t, "t1")
				synctest.Wait() // its end is acknowledged: the executor has forgotten it
				file := filepath.Join(r.agent.sandbox, jobs.TaskDir("t1"), jobs.OutcomeFile)
				if test.spoil {
					if err := os.Remove(file); err != nil {
						t.Fatal(err)
					}
				}
				r.agent.mu.Lock()
				delete(r.agent.updates, "t1")
				r.agent.mu.Unlock()
				r.agent.launch(assignment("t1"))
				u, again := r.agent.awaitEnd(t, "t1")
				if u.State != test.want || again.NotStarted || began != 1 {
					t.Errorf("began %d times; told again: %s, %+v", began, u.State, again)
				}
				if diff := cmp.Diff(first, again); diff != "" && !test.spoil {
					t.Errorf("(-first +again) %s", diff)
				}
				r.stop(t)
			})
		})
	}
}

func TestTaskIDsThatAreNoNamesAreRefused(t *testing.T) {
	s, err := newStorage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []jobs.TaskID{"", ".", "..", "a/b", "../x", "/etc"} {
		if dir, err := s.create(id); err == nil {
			t.Errorf("task id %q has the directory %s", id, dir)
		}
	}
	if _, err := s.create("job.1.20260101T000000Z.0.1.0.1"); err != nil {
		t.Error(err)
	}
}

func TestRefusedTasksWithBadIDsStayInTheSandbox(t *testing.T) {
	r := start(t, nil)
	r.agent.launch(assignment("../../escape"))
	u, o := r.agent.awaitEnd(t, "../../escape")
	if u.State != jobs.TaskFailed || !o.NotStarted {
		t.Errorf("got %s, %+v", u.State, o)
	}
	if _, err := os.Stat(filepath.Join(r.agent.sandbox, "tasks", "../../escape")); err == nil {
		t.Error("a file was written outside of the sandbox")
	}
	r.agent.broken = nil // there is no place for its outcome
	r.stop(t)
}

func TestRetention(t *testing.T) {
	type ended struct {
		after time.Duration
		bytes int64
	}
	many := func(n int, e ended) []ended {
		out := make([]ended, n)
		for i := range out {
			out[i] = e
		}
		return out
	}
	tests := []struct {
		name string
		list []ended
		want []jobs.TaskID
	}{
		{"within the bounds", many(3, ended{time.Hour, 1}), nil},
		{"too many, old enough", many(5, ended{10 * time.Minute, 1}), []jobs.TaskID{"0", "1"}},
		{"too many, all young", many(6, ended{time.Second, 1}), nil},
		{"far too many", many(32, ended{time.Second, 1}), []jobs.TaskID{"0", "1"}},
		{"too large", []ended{{0, 60}, {time.Hour, 60}}, []jobs.TaskID{"0"}},
		{"the last one stays", []ended{{0, 5000}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := retention{tasks: 3, bytes: 100}
			now := time.Now()
			var got []jobs.TaskID
			for i, e := range tt.list {
				now = now.Add(e.after)
				got = append(got, r.add(now, jobs.TaskID(fmt.Sprint(i)), e.bytes)...)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOldDirectoriesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(o *Options) { o.Bounds = jobs.DefaultSandbox(); o.Bounds.KeepTasks = 2 })
		defer r.stop(t)
		for i := range 4 {
			id := jobs.TaskID(fmt.Sprint("t", i))
			r.agent.launch(assignment(string(id)))
			r.agent.awaitEnd(t, id)
			pass(10 * time.Minute)
		}
		entries, err := os.ReadDir(filepath.Join(r.agent.sandbox, "tasks"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if diff := cmp.Diff([]string{"t2", "t3"}, got); diff != "" {
			t.Errorf("directories (-want +got):\n%s", diff)
		}
	})
}

func TestOutcomesAreWhatTheSchedulerReads(t *testing.T) {
	// The form of version 1: a scheduler of another release reads it.
	const golden = `{"task":"job.1.20260101T000000Z.0.1.2.3","ok":false,"permanent":true,"started":"2026-01-01T00:00:00Z","ended":"2026-01-01T00:00:01Z","exit_code":3,"values":{"rows":"7"},"message":"no such table"}`
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := &attempt{task: Task{ID: "job.1.20260101T000000Z.0.1.2.3"}, started: at}
	o := conclude(a, report{
		result: jobs.Result{ExitCode: 3, Values: map[string]string{"rows": "7"}},
		err:    jobs.Permanent(fmt.Errorf("no such table")),
	}, at.Add(time.Second))
	if diff := cmp.Diff(golden, string(encodeOutcome(o))); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	var back jobs.Outcome
	if err := json.Unmarshal([]byte(golden), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o, back); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}
