package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemill/internal/lifeline"
	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
)

// These measure the program as it is started by its users: everything on one
// machine, over HTTP, to the end. Each takes seconds however long it is asked to
// run, so they are run once each (-benchtime 1x, as make bench does).

// ample resources of an agent are never what a task waits for.
const ample = "cpus:10000;mem:10000000"

// bigZooKeeper has the memory that operators are told to give it: it keeps its last 500 transactions
// there, and those of benchmarks are large.
func bigZooKeeper(b *testing.B) string {
	return stacktest.Own(b, stack.Options{ZooKeeper: 1, ZooKeeperHeap: "1g"}).Addresses().ZooKeeper
}

// newLocal starts `tidemill local` with room for all that is launched.
func newLocal(b *testing.B) *world {
	b.Helper()
	path, err := program()
	if err != nil {
		b.Fatal(err)
	}
	line, err := lifeline.New()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { line.Close() })
	w := &world{t: b, program: path, dir: folder(b, path), line: line}
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(b))
	p := &process{world: w, url: "http://" + listen, args: []string{
		"local", "--empty", "--dir", w.dir, "--listen", listen, "--resources", ample, "--log-level", "error",
	}}
	w.schedulers = []*process{p}
	p.start()
	b.Cleanup(p.terminate) // containers outlive a kill for a moment, and write in their folders
	w.leader()
	return w
}

// warm has a task run, so that the executor is there.
func (w *world) warm(p *process) {
	w.t.Helper()
	w.apply(p, noop("warm", jobs.Schedule{}, `{}`))
	w.run(p, "warm")
}

func noop(name jobs.Name, schedule jobs.Schedule, spec string) jobs.Job {
	j := jobs.Job{Name: name, Kind: "noop", Spec: []byte(spec), Resources: jobs.Resources{CPUs: 0.01, Mem: 1}}
	if schedule.Repeat != "" {
		j.Schedule = &schedule
	}
	return j
}

// once is a schedule of one instant.
func once(at time.Time) jobs.Schedule {
	var s jobs.Schedule
	s.Repeat = "R1/" + at.UTC().Format("2006-01-02T15:04:05.000Z07:00") + "/PT1H"
	return s
}

// run starts jobs by hand and waits for their ends.
func (w *world) run(p *process, names ...jobs.Name) {
	w.t.Helper()
	api := p.client()
	defer api.Close()
	started := map[jobs.Name]jobs.RunID{}
	for _, name := range names {
		r, err := api.StartRun(w.t.Context(), jobs.RunRequest{Job: name, RequestID: strconv.FormatUint(rand.Uint64(), 16)})
		if err != nil {
			w.t.Fatal(err)
		}
		started[name] = r.ID
	}
	w.await(fmt.Sprintf("end of the runs of %v", names), 5*time.Minute, func(ctx context.Context) bool {
		for name, id := range started {
			page, err := api.Runs(ctx, jobs.RunQuery{Job: name, Limit: 1}) // without its tasks: to show thousands costs more than to run them
			if err != nil || len(page.Runs) == 0 || page.Runs[0].ID != id || !page.Runs[0].State.Final() {
				return false
			}
			if v := page.Runs[0]; v.State != jobs.RunSucceeded {
				w.t.Fatalf("run %s ended %s: %s", id, v.State, v.Reason)
			}
			delete(started, name)
		}
		return true
	})
}

// begun gives when the attempts wrote their first line: their first instruction.
func (w *world) begun(pattern string) map[string]time.Time {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "mesos/*/slaves/*/frameworks/*/executors/*/runs/[0-9a-f]*/tasks", pattern, jobs.StdoutFile))
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]time.Time{}
	for _, f := range files {
		if at, err := os.Stat(f); err == nil && at.Size() > 0 {
			out[filepath.Base(filepath.Dir(f))] = at.ModTime()
		}
	}
	return out
}

// BenchmarkLaunch is the rate at which no-op tasks go through one warm
// executor: REST, planning, persisting, offers, launch, outcome and
// acknowledgement, on all the processors of this machine.
func BenchmarkLaunch(b *testing.B) {
	const tasks, splits = 5000, jobs.MaxSplits
	measure := func(b *testing.B, w *world) {
		leader := w.leader()
		w.warm(leader)
		var names []jobs.Name
		for i := range tasks / splits {
			names = append(names, jobs.Name(fmt.Sprint("many-", i)))
			w.apply(leader, noop(names[i], jobs.Schedule{}, fmt.Sprintf(`{"splits":%d}`, splits)))
		}
		for b.Loop() {
			began := time.Now()
			w.run(leader, names...)
			b.ReportMetric(tasks/time.Since(began).Seconds(), "tasks/s")
		}
	}
	b.Run("store=bolt", func(b *testing.B) { measure(b, newLocal(b)) })
	b.Run("store=zookeeper", func(b *testing.B) {
		w := prepareWorld(b, bigZooKeeper(b), 1, ample)
		w.addSchedulers(1, "--start-by", "1m") // as users have it: all are launched at once
		measure(b, w)
	})
}

// BenchmarkDueAtOnce has jobs due at one instant, and looks at how long it
// takes until the launch of the last of them has left, which is stored before,
// and until its work has begun.
func BenchmarkDueAtOnce(b *testing.B) {
	const count, launches = 5000, "tidemill_scheduler_launches_total"
	w := newLocal(b)
	leader := w.leader()
	w.warm(leader)
	for round := 0; b.Loop(); round++ {
		at := time.Now().Add(20 * time.Second).Truncate(time.Second)
		var list []jobs.Job
		for i := range count {
			list = append(list, noop(jobs.Name(fmt.Sprintf("due-%d-%04d", round, i)), once(at), `{"lines":1}`))
		}
		w.apply(leader, list...)
		if time.Now().After(at) {
			b.Fatalf("the jobs were not applied before they were due")
		}
		before := leader.metrics(b.Context())[launches]
		var left time.Time
		w.await("launch of all", 2*time.Minute, func(ctx context.Context) bool {
			now := leader.metrics(ctx)
			left = time.Now()
			return now[launches] >= before+count && now["tidemill_scheduler_offers_held"] == 0
		})
		var begun map[string]time.Time
		w.await("begin of all", 2*time.Minute, func(context.Context) bool {
			begun = w.begun(fmt.Sprintf("due-%d-*", round))
			return len(begun) == count
		})
		b.ReportMetric(left.Sub(at).Seconds(), "s/5000-launched")
		last := at
		for _, t := range begun {
			if t.After(last) {
				last = t
			}
		}
		b.ReportMetric(last.Sub(at).Seconds(), "s/5000-begun")
	}
}

// BenchmarkStartLag spreads due times over a minute: the lag is from a job's
// instant to the first line that its work writes.
func BenchmarkStartLag(b *testing.B) {
	const count = 1000
	w := newLocal(b)
	leader := w.leader()
	w.warm(leader)
	for round := 0; b.Loop(); round++ {
		first := time.Now().Add(10 * time.Second).Truncate(time.Second)
		due := map[string]time.Time{}
		var list []jobs.Job
		for i := range count {
			name := fmt.Sprintf("lag-%d-%04d", round, i)
			due[name] = first.Add(time.Duration(i) * time.Minute / count)
			list = append(list, noop(jobs.Name(name), once(due[name]), `{"lines":1}`))
		}
		w.apply(leader, list...)
		var begun map[string]time.Time
		w.await("begin of all", 3*time.Minute, func(context.Context) bool {
			begun = w.begun(fmt.Sprintf("lag-%d-*", round))
			return len(begun) == count
		})
		var lags []time.Duration
		for id, at := range begun {
			name, _, _ := strings.Cut(id, ".")
			lags = append(lags, at.Sub(due[name]))
		}
		report(b, lags)
	}
}

// report gives the median and the 99th percentile.
func report(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkManyJobs holds 50,000 jobs: the memory of the whole process, local
// Mesos included, and how long a page of the list and a search take.
func BenchmarkManyJobs(b *testing.B) {
	const count, page = 50_000, 1000
	w := newLocal(b)
	leader := w.leader()
	never := once(time.Now().Add(1000 * time.Hour))
	began := time.Now()
	for from := 0; from < count; from += page {
		var list []jobs.Job
		for i := from; i < from+page; i++ {
			list = append(list, noop(jobs.Name(fmt.Sprintf("job-%05d", i)), never, `{}`))
		}
		w.apply(leader, list...)
	}
	applied := time.Since(began)
	api := leader.client()
	defer api.Close()
	for b.Loop() {
		var lists, searches []time.Duration
		for range 200 {
			for _, q := range []struct {
				jobs.JobQuery
				into *[]time.Duration
			}{
				{jobs.JobQuery{Limit: 100, Offset: rand.IntN(count - 100)}, &lists},
				{jobs.JobQuery{Limit: 100, Search: strconv.Itoa(rand.IntN(count))}, &searches},
			} {
				began := time.Now()
				if _, _, err := api.Jobs(b.Context(), q.JobQuery); err != nil {
					b.Fatal(err)
				}
				*q.into = append(*q.into, time.Since(began))
			}
		}
		slices.Sort(lists)
		slices.Sort(searches)
		b.ReportMetric(count/applied.Seconds(), "jobs-applied/s")
		b.ReportMetric(float64(lists[198].Microseconds())/1000, "list-p99-ms")
		b.ReportMetric(float64(searches[198].Microseconds())/1000, "search-p99-ms")
		b.ReportMetric(memory(b, leader.cmd.Process.Pid), "MB")
	}
}

// memory is what a process holds of the machine's, in MiB.
func memory(b testing.TB, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	kb, err := strconv.ParseFloat(string(bytes.Fields(rest)[0]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}

// BenchmarkCommands runs shell commands, each in an executor of its own, and
// beside it a bare loop that forks the same shells.
func BenchmarkCommands(b *testing.B) {
	const count = 200
	w := newLocal(b)
	leader := w.leader()
	for round := 0; b.Loop(); round++ {
		at := time.Now().Add(3 * time.Second).Truncate(time.Second)
		var list []jobs.Job
		for i := range count {
			j := noop(jobs.Name(fmt.Sprintf("command-%d-%04d", round, i)), once(at), `{"command":"echo begun"}`)
			j.Kind = "command"
			list = append(list, j)
		}
		w.apply(leader, list...)
		var begun map[string]time.Time
		w.await("begin of all", 3*time.Minute, func(context.Context) bool {
			begun = w.begun(fmt.Sprintf("command-%d-*", round))
			return len(begun) == count
		})
		last := at
		for _, t := range begun {
			if t.After(last) {
				last = t
			}
		}
		ours := count / last.Sub(at).Seconds()
		b.ReportMetric(ours, "commands/s")
		b.ReportMetric(bareShells(b, count)/ours, "x-of-a-bare-loop")
	}
}

// bareShells is how many shells a loop forks in a second.
func bareShells(b *testing.B, count int) float64 {
	b.Helper()
	began := time.Now()
	for range count {
		if err := exec.Command("/bin/sh", "-c", "echo begun").Run(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(count) / time.Since(began).Seconds()
}
