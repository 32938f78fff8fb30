package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tidemill/jobs"
)

// move is one thing that happens to an executor.
type move struct {
	what  string
	task  int
	span  time.Duration
	style string
	start time.Duration // start_by, from the launch on; may be past
}

var (
	whats  = []string{"launch", "launch", "launch", "kill", "cut", "away", "back", "mute", "speak", "pass", "pass", "launch twice"}
	styles = []string{"succeed", "fail", "panic", "slow", "deaf", "deaf for a while"}
)

// longest is the longest span that is drawn.
const longest = 4 * time.Second

func moves() *rapid.Generator[[]move] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) move {
		return move{
			what:  rapid.SampledFrom(whats).Draw(t, "what"),
			task:  rapid.IntRange(0, 5).Draw(t, "task"),
			span:  time.Duration(rapid.Int64Range(0, longest.Milliseconds()).Draw(t, "span")) * time.Millisecond,
			style: rapid.SampledFrom(styles).Draw(t, "style"),
			start: time.Duration(rapid.IntRange(-1, 3).Draw(t, "start")) * time.Second,
		}
	}), 1, 40)
}

// TestWhateverHappensEachTaskEndsOnce draws histories of launches, kills,
// disconnections and silences. Afterwards each task that reached the executor
// has exactly one terminal update, sent after its outcome was stored, and none
// began after its start_by. (The agent's own checks are in fakeAgent.check.)
func TestWhateverHappensEachTaskEndsOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := moves().Draw(rt, "moves")
		shutdown := rapid.Bool().Draw(rt, "shutdown")
		var faults []error
		synctest.Test(t, func(t *testing.T) { faults = history(t, script, shutdown) })
		for _, err := range faults {
			rt.Error(err)
		}
	})
}

// history plays a script in a bubble and gives what went wrong.
func history(t *testing.T, script []move, shutdown bool) (faults []error) {
	release := make(chan struct{})
	r := start(t, nil)
	launched := map[jobs.TaskID]jobs.Assignment{}
	for i, m := range script {
		id := jobs.TaskID(fmt.Sprint("t", m.task))
		switch m.what {
		case "launch":
			id = jobs.TaskID(fmt.Sprint("t", i))
			a := assignment(string(id))
			a.StartBy = time.Now().Add(m.start)
			a.MaxRun = jobs.Duration(m.span) // 0: none
			r.actor.on(id, styled(m.style, m.span, release))
			if r.agent.launch(a) {
				launched[id] = a
			}
		case "launch twice":
			if a, ok := launched[id]; ok && !endedAndKnown(r.agent, id) {
				r.agent.launch(a)
			}
		case "kill":
			r.agent.say(Kill{Task: id, Grace: m.span})
		case "cut":
			r.agent.cut()
		case "away":
			r.agent.set(true, false)
			r.agent.cut()
		case "back":
			r.agent.set(false, false)
		case "mute":
			r.agent.set(false, true)
		case "speak":
			r.agent.set(false, false)
		case "pass":
			pass(m.span)
		}
	}
	r.agent.set(false, false)
	if shutdown {
		r.cancel()
	} else {
		pass(10 * time.Minute) // every grace, limit and repetition is over
		for id := range launched {
			r.agent.say(Kill{Task: id})
		}
		pass(10 * time.Minute)
		faults = append(faults, missing(r, launched)...)
		r.cancel()
	}
	if err := <-r.ended; err != nil {
		faults = append(faults, fmt.Errorf("Run: %w", err))
	}
	close(release)
	pass(longest) // a real process would have ended under work that is deaf still
	faults = append(faults, r.agent.broken...)
	return append(faults, belated(r, launched)...)
}

// missing looks for tasks without a terminal update, the agent's own included:
// it drops a launch that was lost with its stream.
func missing(r *rig, launched map[jobs.TaskID]jobs.Assignment) (faults []error) {
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	for id := range launched {
		if _, ok := r.agent.terminal(id); !ok && !r.agent.dropped[id] {
			faults = append(faults, fmt.Errorf("task %s never ended: %v", id, r.agent.updates[id]))
		}
	}
	return faults
}

// belated looks for work that began too late, or left no outcome.
func belated(r *rig, launched map[jobs.TaskID]jobs.Assignment) (faults []error) {
	for id, a := range launched {
		began, did := r.actor.beganAt(id)
		if did && r.agent.dropped[id] {
			faults = append(faults, fmt.Errorf("task %s began, and the executor did not speak of it when it came again", id))
		}
		if did && began.After(a.StartBy) {
			faults = append(faults, fmt.Errorf("task %s began %s after its start_by", id, began.Sub(a.StartBy)))
		}
		if !did {
			continue
		}
		var o jobs.Outcome
		b, err := os.ReadFile(filepath.Join(r.agent.sandbox, jobs.TaskDir(id), jobs.OutcomeFile))
		if err = errors.Join(err, json.Unmarshal(b, &o)); err != nil || o.NotStarted {
			faults = append(faults, fmt.Errorf("task %s began, and its outcome is %s, %v", id, b, err))
		}
	}
	return faults
}

func endedAndKnown(a *fakeAgent, id jobs.TaskID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ended := a.terminal(id)
	return ended
}

func styled(style string, span time.Duration, release <-chan struct{}) act {
	return func(ctx context.Context, _ jobs.Assignment, rt jobs.Runtime) (jobs.Result, error) {
		rt.Progress(jobs.Progress{Done: 1})
		switch style {
		case "fail":
			return jobs.Result{ExitCode: 1}, errors.New("as told")
		case "panic":
			panic("as told")
		case "slow":
			select {
			case <-time.After(span):
			case <-ctx.Done():
				return jobs.Result{}, context.Cause(ctx)
			}
		case "deaf for a while":
			pass(span)
		case "deaf":
			<-release
		}
		return jobs.Result{}, nil
	}
}
