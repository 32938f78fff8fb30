// Command simulate plays many random histories and says which violate the promise.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemill/internal/sim"
)

func main() {
	histories := flag.Uint64("histories", 100_000, "how many histories to play")
	limit := flag.Duration("for", 0, "stop after so long (0: when all are played)")
	first := flag.Uint64("seed", 1, "seed of the first history; the next ones follow")
	trace := flag.Bool("trace", false, "play the first history only, and print what happens in it")
	flag.Parse()
	debug.SetGCPercent(2000) // histories are short, and their garbage is most of the work
	if *trace {
		os.Exit(show(*first))
	}
	os.Exit(playAll(*first, *histories, *limit))
}

// show prints one history, with the faults that its violation needs.
func show(seed uint64) int {
	o := sim.Options{Seed: seed}
	r := sim.Run(o)
	if len(r.Violations) > 0 {
		o.Faults = sim.Shrink(o, r.Faults)
	}
	o.Trace = os.Stdout
	return report([]failure{{seed, sim.Run(o)}}, 1)
}

type failure struct {
	seed   uint64
	result sim.Result
}

// playAll plays histories on all cores.
func playAll(first, histories uint64, limit time.Duration) int {
	var next atomic.Uint64
	var mu sync.Mutex
	var results []sim.Result
	var failures []failure
	began := time.Now()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := next.Add(1) - 1; n < histories && (limit == 0 || time.Since(began) < limit); n = next.Add(1) - 1 {
				r := sim.Run(sim.Options{Seed: first + n})
				mu.Lock()
				if len(r.Violations) > 0 {
					failures = append(failures, failure{first + n, r})
				}
				r.Violations, r.Faults = nil, r.Faults[:min(len(r.Faults), 1):1]
				results = append(results, r)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	fmt.Printf("sim: played in %s; medians: %d events, %d failovers, %d jobs, %d edges, %d runs, %d attempts, %d writes\n",
		time.Since(began).Round(time.Second),
		median(results, func(r sim.Result) int { return r.Events }), median(results, func(r sim.Result) int { return r.Failovers }),
		median(results, func(r sim.Result) int { return r.Jobs }), median(results, func(r sim.Result) int { return r.Edges }),
		median(results, func(r sim.Result) int { return r.Runs }), median(results, func(r sim.Result) int { return r.Attempts }),
		median(results, func(r sim.Result) int { return r.Commits }))
	return report(failures, len(results))
}

// shown bounds the failures that are printed and shrunk.
const shown = 20

// report prints the failures; the last line counts them.
func report(failures []failure, histories int) int {
	slices.SortFunc(failures, func(a, b failure) int { return cmp.Compare(a.seed, b.seed) })
	violations := 0
	for i, f := range failures {
		violations += len(f.result.Violations)
		if i >= shown || len(f.result.Violations) == 0 {
			continue
		}
		fmt.Printf("history %d (see it with -trace -seed %d): %s\n", f.seed, f.seed, f.result.Violations[0])
		for _, fault := range sim.Shrink(sim.Options{Seed: f.seed}, f.result.Faults) {
			fmt.Println("   ", fault)
		}
	}
	fmt.Printf("sim: %d histories, %d violations\n", histories, violations)
	if violations > 0 {
		return 1
	}
	return 0
}

func median(list []sim.Result, of func(sim.Result) int) int {
	if len(list) == 0 {
		return 0
	}
	values := make([]int, len(list))
	for i, r := range list {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
