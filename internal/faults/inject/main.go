// Command inject breaks a cluster of real processes in every way it can, and checks that no run is
// lost or doubled.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/faults"
	"tidemill/internal/netns"
	"tidemill/jobs"
)

// Exit codes.
const (
	exitFailed     = 1
	exitNotAllowed = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	os.Exit(code)
}

// options are the flags.
type options struct {
	duration time.Duration
	seed     uint64
	passes   string
	jobs     int
	check    string
	verbose  bool
}

func run(ctx context.Context, args []string, out, log io.Writer) (int, error) {
	if len(args) == 3 && args[0] == "task" {
		return failed(work(ctx, args[1], args[2]))
	}
	var o options
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.DurationVar(&o.duration, "duration", 5*time.Minute, "how long each pass takes")
	flags.Uint64Var(&o.seed, "seed", rand.Uint64N(1_000_000), "what jobs and faults are drawn from")
	flags.StringVar(&o.passes, "on-unknown", "retry,wait", "the passes: what jobs do when nobody knows how an attempt ended")
	flags.IntVar(&o.jobs, "jobs", 20, "how many jobs, each fifth with a child")
	flags.StringVar(&o.check, "check", "", "judge a history `FILE` of a former run again, and do nothing else")
	flags.BoolVar(&o.verbose, "v", false, "tell of every fault")
	if err := flags.Parse(args); err != nil {
		return exitFailed, nil // it has been said
	}
	if o.check != "" {
		return judgeAgain(o.check, out)
	}
	return inNamespaces(ctx, o, out, log)
}

func failed(err error) (int, error) {
	if err != nil {
		return exitFailed, err
	}
	return 0, nil
}

func work(ctx context.Context, dir, duration string) error {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	return faults.Work(ctx, dir, d, os.Getenv)
}

// dirVariable tells the isolated process where everything is written.
const dirVariable = "TIDEMILL_FAULTS_DIR"

// inNamespaces runs the passes in namespaces, which end with them; what they wrote is kept if they
// found something.
func inNamespaces(ctx context.Context, o options, out, log io.Writer) (int, error) {
	dir := os.Getenv(dirVariable)
	if dir != "" { // isolated, or about to be
		inside, code, err := netns.Isolate(ctx)
		if !inside {
			return code, err
		}
		return passes(ctx, o, dir, out, log)
	}
	if err := netns.Allowed(); err != nil { // before minutes of building
		return exitNotAllowed, err
	}
	if err := clean(); err != nil {
		return exitFailed, err
	}
	dir = filepath.Join(os.TempDir(), dirPrefix+strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return exitFailed, err
	}
	defer os.RemoveAll(dir)
	if err := build(ctx, dir); err != nil {
		return exitFailed, err
	}
	if err := os.Setenv(dirVariable, dir); err != nil {
		return exitFailed, err
	}
	_, code, err := netns.Isolate(ctx)
	if errors.Is(err, netns.ErrNotAllowed) {
		return exitNotAllowed, err
	}
	if code == exitFailed && ctx.Err() == nil {
		kept := filepath.Join(os.TempDir(), fmt.Sprintf("tidemill-history-%d", os.Getpid()))
		if os.Rename(dir, kept) == nil {
			fmt.Fprintf(log, "faults: logs and histories are kept in %s\n", kept)
		}
	}
	return code, err
}

const dirPrefix = "tidemill-faults-"

// clean removes what a run left that was killed: its directory. Its processes and namespaces ended
// with it.
func clean() error {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), dirPrefix))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("remove what a former run left: %w", err)
			}
		}
	}
	return nil
}

// build builds the program with a clock that can be set wrong.
func build(ctx context.Context, dir string) error {
	said, err := exec.CommandContext(ctx, "go", "build", "-tags", "faults", "-o", program(dir), "tidemill/cmd/tidemill").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, said)
	}
	return nil
}

func program(dir string) string { return filepath.Join(dir, "tidemill") }

func passes(ctx context.Context, o options, dir string, out, log io.Writer) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return exitFailed, err
	}
	level := zerolog.WarnLevel
	if o.verbose {
		level = zerolog.DebugLevel
	}
	times := faults.DefaultTimes()
	fmt.Fprintf(out, "seed %d; a target is owed after %s without a break (session %s + ping %s + launch %s + start_by %s)\n",
		o.seed, times.Recovery(), times.Session, times.Ping, times.Launch, times.StartBy)
	var sum faults.Verdict
	good := true
	for policy := range strings.SplitSeq(o.passes, ",") {
		own := filepath.Join(dir, policy)
		if err := os.MkdirAll(own, 0o755); err != nil {
			return exitFailed, err
		}
		h, err := faults.Run(ctx, faults.Options{
			Seed: o.seed, Policy: jobs.OnUnknown(policy), Duration: o.duration, Jobs: o.jobs, Times: times,
			Dir: own, Program: program(dir), Task: []string{self, "task"},
			Log: zerolog.New(zerolog.ConsoleWriter{Out: log, TimeFormat: "15:04:05.000", NoColor: true}).With().Timestamp().Logger().Level(level),
		})
		if err == nil {
			err = save(h, filepath.Join(own, "history.json"))
		}
		if err != nil {
			return exitFailed, fmt.Errorf("pass on_unknown: %s: %w", policy, err)
		}
		v := faults.Check(h)
		show(out, h, &v)
		sum.Add(&v)
		good = good && v.Good()
	}
	fmt.Fprintln(out, "faults:", sum.String())
	if !good {
		return exitFailed, nil
	}
	return 0, nil
}

// show tells what a pass found.
func show(out io.Writer, h *faults.History, v *faults.Verdict) {
	for _, f := range v.Findings {
		fmt.Fprintf(out, "  %s: %s\n", f.Kind, f.Text)
	}
	fmt.Fprintf(out, "pass on_unknown: %s: %d targets, %d owed, %d ran in their windows, %d struck, %d excused; %d attempts, %d fault events\n",
		h.Pass.Policy, v.Total, v.Owed, v.Ran, v.Struck, v.Excused, len(h.Attempts), len(h.Events))
	if !v.Tried() {
		fmt.Fprintln(out, "  fewer than half of the targets were owed: this proves too little, take a longer pass or another seed")
	}
}

func save(h *faults.History, path string) error {
	text, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

func judgeAgain(path string, out io.Writer) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return exitFailed, err
	}
	var h faults.History
	if err := json.Unmarshal(text, &h); err != nil {
		return exitFailed, fmt.Errorf("read %s: %w", path, err)
	}
	v := faults.Check(&h)
	show(out, &h, &v)
	fmt.Fprintln(out, "faults:", v.String())
	if !v.Good() {
		return exitFailed, nil
	}
	return 0, nil
}
