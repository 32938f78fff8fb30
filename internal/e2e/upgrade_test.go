package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemill/jobs"
)

// maxIdleMiB is what an executor may hold that waits.
const maxIdleMiB = 64

// TestUpgradeLeavesTasksAlone starts the scheduler anew as another program,
// while a task is at work: that goes on in the executor that it is in, and
// what is launched then is in one of the new program.
func TestUpgradeLeavesTasksAlone(t *testing.T) {
	w := newWorld(t, 1, 1)
	scheduler := w.leader()
	w.apply(scheduler, w.announcing("old", "; until [ -e "+w.path("go")+" ]; do sleep 0.05; done"), w.announcing("new", ""))
	first := w.begin(scheduler, "old")
	old := w.executorOf("old")
	if n := memory(t, old); n >= maxIdleMiB {
		t.Errorf("the executor holds %.0f MiB; below %d are promised", n, maxIdleMiB)
	} else {
		t.Logf("the executor holds %.0f MiB", n)
	}
	scheduler.kill()
	former := w.program
	w.program = w.another(former)
	scheduler.start()
	second := w.begin(w.leader(), "new")
	fresh := w.executorOf("new")
	if fresh == old {
		t.Errorf("the new program's task is in the old executor, process %d", old)
	}
	w.awaitState(scheduler, second, jobs.RunSucceeded)
	for pid, want := range map[int]string{old: former, fresh: w.program} {
		if !sameFile(t, fmt.Sprintf("/proc/%d/exe", pid), want) {
			t.Errorf("process %d is not of the program %s", pid, want)
		}
	}
	w.awaitState(scheduler, first, jobs.RunRunning)
	if err := os.WriteFile(w.path("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.awaitState(scheduler, first, jobs.RunSucceeded)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// announcing is a command in a shared executor that first says in whose
// process it is.
func (w *world) announcing(name, then string) jobs.Job {
	text := fmt.Sprintf("echo $PPID > %[1]s.tmp; mv %[1]s.tmp %[1]s%[2]s", w.path(name), then)
	return jobs.Job{
		Name: jobs.Name(name), Kind: "command", Isolation: jobs.IsolationShared,
		Resources: jobs.Resources{CPUs: 0.01, Mem: 1}, Spec: fmt.Appendf(nil, `{"command": %q}`, text),
	}
}

// begin starts a run, and gives its id.
func (w *world) begin(on *process, name jobs.Name) jobs.RunID {
	w.t.Helper()
	api := on.client()
	defer api.Close()
	run, err := api.StartRun(w.t.Context(), jobs.RunRequest{Job: name, RequestID: "once"})
	if err != nil {
		w.t.Fatal(err)
	}
	return run.ID
}

// executorOf waits for what a command announced.
func (w *world) executorOf(name string) (pid int) {
	w.t.Helper()
	w.await("beginning of "+name, 60*time.Second, func(context.Context) bool {
		b, err := os.ReadFile(w.path(name))
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	return pid
}

func (w *world) awaitState(on *process, id jobs.RunID, want jobs.RunState) {
	w.t.Helper()
	api := on.client()
	defer api.Close()
	w.await("run "+string(id)+" that is "+string(want), 60*time.Second, func(ctx context.Context) bool {
		v, err := api.RunView(ctx, id)
		return err == nil && v.State == want
	})
}

// another is a program that does the same, and is another file.
func (w *world) another(program string) string {
	w.t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		w.t.Fatal(err)
	}
	path := w.path("tidemill-next")
	if err := os.WriteFile(path, append(b, "another version"...), 0o700); err != nil { // what follows an ELF file is not looked at
		w.t.Fatal(err)
	}
	return path
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	first, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(first, second)
}
