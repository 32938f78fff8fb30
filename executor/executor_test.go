package executor

import (
	"context"
	"encoding/json"
	"errors"
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

// untilCancelled is work that ends when it is asked to.
func untilCancelled(ctx context.Context, _ jobs.Assignment, _ jobs.Runtime) (jobs.Result, error) {
	<-ctx.Done()
	return jobs.Result{ExitCode: 143, Values: map[string]string{"rows": "7"}}, context.Cause(ctx)
}

// deaf is work that ends only when the test does.
func deaf(until <-chan struct{}) act {
	return func(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
		<-until
		return jobs.Result{}, nil
	}
}

func TestWorkEndsInOneOutcome(t *testing.T) {
	tests := []struct {
		name    string
		act     act
		change  func(*jobs.Assignment)
		state   string
		want    jobs.Outcome // without times
		message string       // contained
	}{
		{name: "success", act: func(_ context.Context, _ jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
			_, err := fmt.Fprintln(rt.Stdout(), "hello")
			return jobs.Result{Values: map[string]string{"rows": "3"}}, err
		}, state: jobs.TaskFinished, want: jobs.Outcome{OK: true, Result: jobs.Result{Values: map[string]string{"rows": "3"}}}},
		{name: "failure", act: func(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
			return jobs.Result{ExitCode: 3, Message: "no such table"}, errors.New("exit code 3")
		}, state: jobs.TaskFailed, want: jobs.Outcome{Result: jobs.Result{ExitCode: 3}}, message: "exit code 3: no such table"},
		{name: "permanent failure", act: func(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
			return jobs.Result{}, fmt.Errorf("work: %w", jobs.Permanent(errors.New("no keyspace")))
		}, state: jobs.TaskFailed, want: jobs.Outcome{Permanent: true}, message: "no keyspace"},
		{name: "panic", act: func(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
			panic("at the disco")
		}, state: jobs.TaskFailed, message: "panicked: at the disco"},
		{name: "too large results", act: func(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
			return jobs.Result{Values: map[string]string{"k": strings.Repeat("v", jobs.MaxResultBytes)}}, nil
		}, state: jobs.TaskFailed, want: jobs.Outcome{Permanent: true}, message: "at most 16384 are kept"},
		{name: "late", change: func(a *jobs.Assignment) { a.StartBy = time.Now().Add(-time.Second) },
			state: jobs.TaskFailed, want: jobs.Outcome{NotStarted: true}, message: "by the agent's clock"},
		{name: "unknown kind", change: func(a *jobs.Assignment) { a.Kind = "spark" },
			state: jobs.TaskFailed, want: jobs.Outcome{NotStarted: true, Permanent: true}, message: `knows no kind "spark"`},
		{name: "no planner", change: func(a *jobs.Assignment) { a.Stage = 0 },
			state: jobs.TaskFailed, want: jobs.Outcome{NotStarted: true, Permanent: true}, message: "makes no plans"},
		{name: "max run time", act: untilCancelled, change: func(a *jobs.Assignment) { a.MaxRun = jobs.Duration(time.Hour) },
			state: jobs.TaskFailed, want: jobs.Outcome{Result: jobs.Result{ExitCode: 143, Values: map[string]string{"rows": "7"}}}, message: "max_run_time of 1h"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, nil)
				defer r.stop(t)
				a := assignment("t1")
				if tt.change != nil {
					tt.change(&a)
				}
				r.actor.on("t1", tt.act)
				r.agent.launch(a)
				// Longer than any limit: a deadline passes in no time here.
				r.agent.await(t, "an update", func() bool { return len(r.agent.updates["t1"]) > 0 })
				pass(2 * time.Hour)
				u, got := r.agent.awaitEnd(t, "t1")
				if u.State != tt.state {
					t.Errorf("state %s, want %s", u.State, tt.state)
				}
				if !strings.Contains(got.Message, tt.message) {
					t.Errorf("message %q, want %q in it", got.Message, tt.message)
				}
				if got.Ended.IsZero() || got.Started.IsZero() != got.NotStarted {
					t.Errorf("started %v, ended %v", got.Started, got.Ended)
				}
				got.Task, got.Message, got.Started, got.Ended = "", "", time.Time{}, time.Time{}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestKillEndsWork(t *testing.T) {
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	tests := []struct {
		name  string
		act   func(release chan struct{}) act
		grace time.Duration
		after time.Duration
	}{
		{"politely", func(chan struct{}) act { return untilCancelled }, 0, 0},
		{"by giving it up after the job's grace", func(c chan struct{}) act { return deaf(c) }, 0, 3 * time.Second},
		{"by giving it up after the kill's own grace", func(c chan struct{}) act { return deaf(c) }, 10 * time.Second, 11 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer synctest.Wait()
				defer close(release)
				r := start(t, nil)
				defer r.stop(t)
				r.actor.on("t1", tt.act(release))
				r.agent.launch(assignment("t1"))
				synctest.Wait()
				killed := time.Now()
				r.agent.say(Kill{Task: "t1", Grace: tt.grace})
				r.agent.say(Kill{Task: "t1", Grace: time.Hour}) // may not lengthen the grace
				r.agent.say(Kill{Task: "unknown"})
				u, o := r.agent.awaitEnd(t, "t1")
				if u.State != jobs.TaskKilled || !o.Killed || o.OK {
					t.Errorf("got %s, %+v; want it killed", u.State, o)
				}
				if got := o.Ended.Sub(killed); got != tt.after {
					t.Errorf("ended after %s, want %s", got, tt.after)
				}
			})
		})
	}
}

func TestPlanIsStoredBeforeItIsReported(t *testing.T) {
	split := func(stage, number int) jobs.Split { return jobs.Split{Stage: stage, Number: number} }
	many := make([]jobs.Split, jobs.MaxSplits+1)
	for i := range many {
		many[i] = split(1, i)
	}
	wide := jobs.Plan{Splits: []jobs.Split{split(1, 0)}, Shared: json.RawMessage(`"` + strings.Repeat("x", jobs.MaxPlanBytes) + `"`)}
	tests := []struct {
		name string
		plan jobs.Plan
		want string // of the failure
	}{
		{"good", jobs.Plan{Splits: []jobs.Split{split(1, 0), split(1, 1), split(2, 0)}}, ""},
		{"empty", jobs.Plan{Splits: []jobs.Split{}}, ""},
		{"too many splits", jobs.Plan{Splits: many}, "1001 splits"},
		{"too many bytes", wide, "bytes; at most"},
		{"a stage 0", jobs.Plan{Splits: []jobs.Split{split(0, 0)}}, "stages count from 1"},
		{"a gap in the stages", jobs.Plan{Splits: []jobs.Split{split(1, 0), split(3, 0)}}, "none in stage 2"},
		{"a number twice", jobs.Plan{Splits: []jobs.Split{split(1, 0), split(1, 0)}}, "where 1 is next"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, nil)
			defer r.stop(t)
			a := assignment("p")
			a.Kind, a.Stage = "plan", 0
			a.Spec, _ = json.Marshal(tt.plan)
			r.agent.launch(a)
			_, o := r.agent.awaitEnd(t, "p")
			file, err := os.ReadFile(filepath.Join(r.agent.sandbox, jobs.TaskDir("p"), jobs.PlanFile))
			if tt.want != "" {
				if o.OK || !o.Permanent || !strings.Contains(o.Message, tt.want) || err == nil {
					t.Errorf("got %+v and file error %v, want a permanent failure with %q and no file", o, err, tt.want)
				}
				return
			}
			var got jobs.Plan
			if !o.OK || err != nil || json.Unmarshal(file, &got) != nil {
				t.Fatalf("got %+v, %v", o, err)
			}
			if diff := cmp.Diff(tt.plan, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpdatesAreRepeatedUntilAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil)
		defer r.stop(t)
		r.agent.set(false, true)
		r.agent.launch(assignment("t1"))
		r.agent.awaitEnd(t, "t1")
		r.agent.cut()
		synctest.Wait()
		r.agent.set(false, false)
		r.agent.await(t, "another subscription", func() bool { return len(r.agent.told) == 2 })
		if got := r.agent.told[1]; len(got) != 1 || got[0].ID != "t1" {
			t.Errorf("told %v as unacknowledged, want t1", got)
		}
		synctest.Wait()
		r.agent.cut()
		r.agent.await(t, "a third subscription", func() bool { return len(r.agent.told) == 3 })
		if got := r.agent.told[2]; len(got) != 0 {
			t.Errorf("told %v as unacknowledged, want nothing", got)
		}
		if n := len(r.agent.updates["t1"]); n != 2 {
			t.Errorf("%d updates, want running and finished", n)
		}
	})
}

func TestALostAcknowledgementIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(o *Options) { o.Shared = false })
		r.agent.set(false, true)
		r.agent.launch(assignment("t1"))
		r.agent.awaitEnd(t, "t1")
		r.agent.set(false, false)
		// An own executor ends when the repeated update is acknowledged.
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		r.verdict(t)
	})
}

func TestWorkOutlivesTheAgentForTheRecoveryTimeout(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprint("agent comes back: ", back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, nil)
				r.actor.on("t1", untilCancelled)
				r.agent.launch(assignment("t1"))
				synctest.Wait()
				r.agent.set(true, false)
				r.agent.cut()
				pass(14 * time.Minute)
				if back {
					r.agent.set(false, false)
					pass(time.Hour)
					if u, ended := r.agent.terminal("t1"); ended {
						t.Errorf("the work ended: %v", u)
					}
					r.agent.say(Kill{Task: "t1"})
					r.agent.awaitEnd(t, "t1")
					r.stop(t)
					return
				}
				if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "no connection to the agent for 15m") {
					t.Errorf("Run: %v, want the loss of the agent", err)
				}
				file, err := os.ReadFile(filepath.Join(r.agent.sandbox, jobs.TaskDir("t1"), jobs.OutcomeFile))
				if err != nil || !strings.Contains(string(file), `"killed":true`) {
					t.Errorf("outcome %s, %v; want it killed", file, err)
				}
			})
		})
	}
}

func TestAnAgentThatHangsIsAskedAgain(t *testing.T) {
	hang := map[string]func(a *fakeAgent, on bool){
		"before it answers": func(a *fakeAgent, on bool) { a.hung = on },
		"after it answered": func(a *fakeAgent, on bool) { a.silent = on },
	}
	for name, set := range hang {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, nil)
				defer r.stop(t)
				r.actor.on("t1", func(context.Context, jobs.Assignment, jobs.Runtime) (jobs.Result, error) {
					pass(time.Minute)
					return jobs.Result{}, nil
				})
				r.agent.launch(assignment("t1"))
				synctest.Wait()
				r.agent.mu.Lock()
				set(r.agent, true)
				r.agent.mu.Unlock()
				r.agent.cut()
				pass(5 * time.Minute)
				r.agent.mu.Lock()
				set(r.agent, false)
				r.agent.mu.Unlock()
				healed := time.Now()
				r.agent.awaitEnd(t, "t1")
				if d := time.Since(healed); d > answerWithin+4*time.Second {
					t.Errorf("it took %s to come back", d)
				}
			})
		})
	}
}

func TestWithoutCheckpointingALostAgentEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(o *Options) { o.RecoveryTimeout = 0 })
		r.actor.on("t1", untilCancelled)
		r.agent.launch(assignment("t1"))
		synctest.Wait()
		r.agent.cut()
		if err := <-r.ended; err == nil {
			t.Error("Run: no error")
		}
	})
}

func TestShutdownKillsAllWorkAndReportsIt(t *testing.T) {
	tests := map[string]func(r *rig){
		"by the agent":  func(r *rig) { r.agent.say(Shutdown{}) },
		"by a signal":   func(r *rig) { r.cancel() },
		"by both":       func(r *rig) { r.agent.say(Shutdown{}); r.cancel() },
		"a mute agent":  func(r *rig) { r.agent.set(false, true); r.agent.say(Shutdown{}) },
		"an agent away": func(r *rig) { r.agent.set(true, false); r.agent.cut(); r.cancel() },
	}
	for name, shutdown := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer synctest.Wait()
				defer close(release)
				r := start(t, nil)
				r.actor.on("polite", untilCancelled)
				r.actor.on("deaf", deaf(release))
				r.agent.launch(assignment("polite"))
				r.agent.launch(assignment("deaf"))
				synctest.Wait()
				asked := time.Now()
				shutdown(r)
				r.agent.launch(assignment("too-late"))
				if err := <-r.ended; err != nil {
					t.Error(err)
				}
				// 5 s until the agent's kill, and a second for what hangs.
				if d := time.Since(asked); d > 6*time.Second {
					t.Errorf("took %s", d)
				}
				for _, id := range []jobs.TaskID{"polite", "deaf"} {
					file, err := os.ReadFile(filepath.Join(r.agent.sandbox, jobs.TaskDir(id), jobs.OutcomeFile))
					if err != nil || !strings.Contains(string(file), `"killed":true`) {
						t.Errorf("outcome of %s: %s, %v; want it killed", id, file, err)
					}
				}
				if _, ran := r.actor.beganAt("too-late"); ran {
					t.Error("a task was started while the executor ended")
				}
				r.verdict(t)
			})
		})
	}
}

func TestProgressIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil)
		defer r.stop(t)
		r.actor.on("t1", func(ctx context.Context, _ jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
			for i := range 10_000 {
				rt.Progress(jobs.Progress{Done: int64(i + 1), Unit: "rows"})
				if i%10 == 0 {
					pass(time.Millisecond)
				}
			}
			<-ctx.Done()
			return jobs.Result{}, nil
		})
		r.agent.launch(assignment("t1"))
		pass(2 * time.Second)
		r.agent.mu.Lock()
		messages := r.agent.stream.messages
		r.agent.mu.Unlock()
		if len(messages) < 2 || len(messages) > 4 {
			t.Fatalf("%d messages in the second that the work took, want about 3", len(messages))
		}
		var last []jobs.Progress
		if err := json.Unmarshal(messages[len(messages)-1], &last); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]jobs.Progress{{Task: "t1", Done: 10_000, Unit: "rows"}}, last); diff != "" {
			t.Errorf("last message (-want +got):\n%s", diff)
		}
	})
}
