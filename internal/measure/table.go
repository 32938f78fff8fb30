package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// result is one line of a benchmark.
type result struct {
	pkg, name string
	values    []value
}

type value struct {
	number float64
	unit   string
}

var processors = regexp.MustCompile(`-\d+$`)

// parse reads the lines that begin with Benchmark: a name, a count, and pairs
// of a number and its unit.
func parse(pkg string, out []byte) (all []result) {
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		r := result{pkg: pkg, name: processors.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")}
		for i := 2; i+1 < len(fields); i += 2 {
			number, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				break
			}
			r.values = append(r.values, value{number, fields[i+1]})
		}
		all = append(all, r)
	}
	return all
}

// goal is what a figure has to reach: at least, or at most.
type goal struct {
	pkg, name, unit string // name: the benchmark's, sub-benchmarks included
	least           bool
	bound           float64
}

func goals() []goal {
	return []goal{
		{"scheduler", "Core", "decisions/s", true, 20_000},
		{"scheduler", "Core", "p99-µs/step", false, 1_000},
		{"scheduler", "Locality/stream", "%replica", true, 95},
		{"scheduler", "Locality/stream", "median-s", false, 1},
		{"internal/e2e", "Launch/store=bolt", "tasks/s", true, 1_000},
		{"internal/e2e", "DueAtOnce", "s/5000-launched", false, 5},
		{"internal/e2e", "StartLag", "p99-ms", false, 250},
		{"internal/e2e", "Failover/jobs=1/killed", "p50-ms", false, 5000}, // a session of 4 s and one more
		{"internal/e2e", "Failover/jobs=50001/killed", "p50-ms", false, 5000},
		{"internal/e2e", "Failover/jobs=1/terminated", "p50-ms", false, 1000},
		{"internal/e2e", "Failover/jobs=50001/terminated", "p50-ms", false, 1000},
		{"internal/e2e", "ManyJobs", "list-p99-ms", false, 100},
		{"internal/e2e", "ManyJobs", "search-p99-ms", false, 100},
		{"internal/e2e", "ManyJobs", "MB", false, 500},
	}
}

// verdict says of a figure with a goal whether it is reached.
func verdict(r result, v value) string {
	for _, g := range goals() {
		if g.pkg != r.pkg || g.unit != v.unit || r.name != g.name && !strings.HasPrefix(r.name, g.name+"/") {
			continue
		}
		sign, reached := "≤", v.number <= g.bound
		if g.least {
			sign, reached = "≥", v.number >= g.bound
		}
		if !reached {
			return fmt.Sprintf("%s %s **missed**", sign, number(g.bound))
		}
		return fmt.Sprintf("%s %s reached", sign, number(g.bound))
	}
	return ""
}

// render makes the page. What a benchmark says in units of its own stands for
// it; allocations are left to who works on it.
func render(all []result, here string, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench` on %s; do not edit.\n\n%s\n\n", now.UTC().Format(time.DateOnly), here)
	b.WriteString("One run, nothing else on the machine. The rows of internal/e2e are the whole program over HTTP, its local Mesos, executors and servers included.\n\n")
	b.WriteString("| Package | Benchmark | Figure | Goal |\n|---|---|---|---|\n")
	for _, r := range all {
		for _, v := range r.values {
			if v.unit == "B/op" || v.unit == "allocs/op" || v.unit == "ns/op" && r.hasOwnUnit() {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %s %s | %s |\n", r.pkg, r.name, number(v.number), v.unit, verdict(r, v))
		}
	}
	return b.String()
}

// hasOwnUnit says whether the benchmark reports more than Go's units.
func (r result) hasOwnUnit() bool {
	for _, v := range r.values {
		switch v.unit {
		case "ns/op", "B/op", "allocs/op":
		default:
			return true
		}
	}
	return false
}

// number writes a figure with three digits that mean something, and thousands apart.
func number(f float64) string {
	switch {
	case f >= 1000:
		digits := strconv.FormatFloat(f, 'f', 0, 64)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return digits
	case f == float64(int64(f)):
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// machine names what the figures were measured on.
func machine() (string, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", fmt.Errorf("name the processor: %w", err)
	}
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "", fmt.Errorf("size the memory: %w", err)
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", fmt.Errorf("name the kernel: %w", err)
	}
	kb, err := strconv.ParseFloat(field(memory, "MemTotal"), 64)
	if err != nil {
		return "", fmt.Errorf("size the memory: %w", err)
	}
	commit, _ := exec.Command("git", "describe", "--always", "--dirty").Output() // a release's sources have no git
	return fmt.Sprintf("Machine: %d × %s, %.0f GB, Linux %s, %s, sources %s.", runtime.NumCPU(), field(info, "model name"), kb/1e6,
		strings.TrimSpace(string(kernel)), runtime.Version(), cmp.Or(strings.TrimSpace(string(commit)), "without git")), nil
}

// field finds "name : value" and gives the value without its unit.
func field(text []byte, name string) string {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		key, rest, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSuffix(strings.TrimSpace(rest), " kB")
		}
	}
	return "unknown"
}
