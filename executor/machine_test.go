package executor

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

// TestMachine tells the machine what happens and when, and compares what it
// wants done.
func TestMachine(t *testing.T) {
	ok, bad := report{}, report{err: fmt.Errorf("bad")}
	type line struct {
		at    time.Duration
		event any
		want  string
	}
	tests := []struct {
		name   string
		own    bool
		script []line
	}{
		{"a task from launch to oblivion", false, []line{
			{0, Subscribed{}, ""},
			{0, launchOf("a", nil), "begin a, tell a TASK_RUNNING 1"},
			{0, ack("a", 1), ""},
			{time.Second, ended{"a", ok}, "store a"},
			{time.Second, stored{"a", nil}, "tell a TASK_FINISHED 2"},
			{time.Second, ack("a", 2), "forget a"},
			{time.Second, ack("a", 2), ""},
		}},
		{"an own executor leaves with its task", true, []line{
			{0, Subscribed{}, ""},
			{0, launchOf("a", nil), "begin a, tell a TASK_RUNNING 1"},
			{0, ended{"a", bad}, "store a"},
			{0, stored{"a", nil}, "tell a TASK_FAILED 2"},
			{0, ack("a", 2), ""}, // the first is still open
			{0, ack("a", 1), "forget a, leave"},
		}},
		{"a launch after start_by", false, []line{
			{0, Subscribed{}, ""},
			{2 * time.Second, launchOf("a", func(a *jobs.Assignment) { a.StartBy = instant.Add(time.Second) }), "store a"},
			{2 * time.Second, stored{"a", nil}, "tell a TASK_FAILED 1"},
		}},
		{"a launch at start_by", false, []line{
			{0, Subscribed{}, ""},
			{time.Second, launchOf("a", func(a *jobs.Assignment) { a.StartBy = instant.Add(time.Second) }), "begin a, tell a TASK_RUNNING 1"},
		}},
		{"a launch that cannot be read", false, []line{
			{0, Subscribed{}, ""},
			{0, Launch{Task: Task{ID: "a"}, Data: []byte("{")}, "store a"},
		}},
		{"a kill, and the end it asked for", false, []line{
			{0, Subscribed{}, ""},
			{0, launchOf("a", nil), "begin a, tell a TASK_RUNNING 1"},
			{time.Second, Kill{Task: "a"}, "halt a 2s"},
			{2 * time.Second, Kill{Task: "a"}, ""},
			{2 * time.Second, ended{"a", ok}, "store a"},
			{2 * time.Second, stored{"a", nil}, "tell a TASK_KILLED 2"},
			{2 * time.Second, Kill{Task: "a"}, ""},
		}},
		{"a kill, for a framework that wants to be told when it begins", false, []line{
			{0, Subscribed{Killing: true}, ""},
			{0, launchOf("a", nil), "begin a, tell a TASK_RUNNING 1"},
			{time.Second, Kill{Task: "a"}, "halt a 2s, tell a TASK_KILLING 2"},
			{2 * time.Second, Kill{Task: "a", Grace: time.Millisecond}, ""},
			{2 * time.Second, ended{"a", ok}, "store a"},
			{2 * time.Second, stored{"a", nil}, "tell a TASK_KILLED 3"},
		}},
		{"no word of a kill's begin from one that is shut down", false, []line{
			{0, Subscribed{Killing: true}, ""},
			{0, launchOf("a", nil), "begin a, tell a TASK_RUNNING 1"},
			{time.Second, Shutdown{}, "halt a 1.5s"},
		}},
		{"a kill, and no end", false, []line{
			{0, Subscribed{}, ""},
			{0, launchOf("a", nil), "begin a, tell a TASK_RUNNING 1"},
			{0, Kill{Task: "a"}, "halt a 2s"},
			{2900 * time.Millisecond, tick{}, ""},
			{3 * time.Second, tick{}, "store a"},
			{4 * time.Second, ended{"a", ok}, ""},
		}},
		{"too long a run that is done after all", false, []line{
			{0, Subscribed{}, ""},
			{0, launchOf("a", func(a *jobs.Assignment) { a.MaxRun = jobs.Duration(time.Second) }), "begin a, tell a TASK_RUNNING 1"},
			{time.Second, tick{}, "halt a 2s"},
			{time.Second, ended{"a", ok}, "store a"},
			{time.Second, stored{"a", nil}, "tell a TASK_FINISHED 2"},
		}},
		{"updates while there is no agent", false, []line{
			{0, launchOf("a", nil), "begin a"},
			{0, ended{"a", ok}, "store a"},
			{0, stored{"a", nil}, ""},
			{time.Second, Subscribed{}, "tell a TASK_RUNNING 1, tell a TASK_FINISHED 2"},
			{time.Second, disconnected{}, ""},
			{2 * time.Second, Subscribed{}, "tell a TASK_RUNNING 1, tell a TASK_FINISHED 2"},
			{31 * time.Second, tick{}, ""},
			{32 * time.Second, tick{}, "tell a TASK_RUNNING 1, tell a TASK_FINISHED 2"},
		}},
		{"an agent that never was", false, []line{
			{9 * time.Second, tick{}, ""},
			{10 * time.Second, tick{}, "leave no connection to the agent for 10s"},
		}},
		{"an agent that is gone", false, []line{
			{0, Subscribed{}, ""},
			{0, launchOf("a", nil), "begin a, tell a TASK_RUNNING 1"},
			{0, disconnected{}, ""},
			{time.Minute, tick{}, "halt a 1.5s"},
			{time.Minute, ended{"a", bad}, "store a"},
			{time.Minute, stored{"a", nil}, "leave no connection to the agent for 1m0s"},
		}},
		{"a shutdown", false, []line{
			{0, Subscribed{}, ""},
			{0, launchOf("a", nil), "begin a, tell a TASK_RUNNING 1"},
			{0, Shutdown{}, "halt a 1.5s"},
			{0, interrupted{"signal"}, ""},
			{0, launchOf("b", nil), "store b"},
			{time.Second, ended{"a", bad}, "store a"},
			{time.Second, stored{"a", nil}, "tell a TASK_KILLED 2"},
			{time.Second, stored{"b", nil}, "tell b TASK_FAILED 3"},
			{time.Second, ack("b", 3), "forget b"},
			{4 * time.Second, tick{}, ""},
			{5 * time.Second, tick{}, "leave"}, // Mesos waits no longer for the acknowledgement
		}},
		{"a shutdown of an idle executor", false, []line{{0, Subscribed{}, ""}, {0, Shutdown{}, "leave"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			serial := byte(0)
			m := newMachine(tt.own, limits{recovery: time.Minute, first: 10 * time.Second, margin: time.Second, shutdown: 5 * time.Second, repeat: 30 * time.Second},
				func() []byte { serial++; return []byte{serial} }, instant)
			for i, l := range tt.script {
				got := describe(m.step(instant.Add(l.at), l.event))
				if diff := cmp.Diff(l.want, got); diff != "" {
					t.Fatalf("line %d, %T (-want +got):\n%s", i, l.event, diff)
				}
			}
		})
	}
}

var instant = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func launchOf(id string, change func(*jobs.Assignment)) Launch {
	a := assignment(id)
	if change != nil {
		change(&a)
	}
	data, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	return Launch{Task: Task{ID: a.Task}, Data: data}
}

func ack(id string, uuid byte) Acknowledged {
	return Acknowledged{Task: jobs.TaskID(id), UUID: []byte{uuid}}
}

func describe(effects []effect) string {
	var out []string
	for _, e := range effects {
		switch e := e.(type) {
		case begin:
			out = append(out, "begin "+string(e.assignment.Task))
		case halt:
			out = append(out, fmt.Sprintf("halt %s %s", e.task, e.stop.Grace))
		case store:
			out = append(out, "store "+string(e.task))
		case tell:
			out = append(out, fmt.Sprintf("tell %s %s %d", e.update.Task, e.update.State, e.update.UUID[0]))
		case forget:
			out = append(out, "forget "+string(e.task))
		case leave:
			out = append(out, strings.TrimSpace(fmt.Sprint("leave ", errorText(e.err))))
		}
	}
	return strings.Join(out, ", ")
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
