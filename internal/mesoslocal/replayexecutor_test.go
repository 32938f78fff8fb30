package mesoslocal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tidemill/internal/golden"
	"tidemill/internal/mesoslocal/agent"
	"tidemill/internal/mesoslocal/command"
)

// replayArgument makes this test binary an executor that replays a recorded one.
const replayArgument = "replay-executor"

// runReplayExecutor plays an executor's recording against the agent that started it,
// leaves what was different in a file, and ends as the recorded one did.
func runReplayExecutor(name, clock, results string) int {
	report, err := os.Create(filepath.Join(results, name))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	defer report.Close()
	lines, err := golden.Open(name)
	if err != nil {
		fmt.Fprintln(report, err)
		return 99
	}
	code, exits := 0, false
	p := &player{
		lines: lines, time: newRemoteTime(clock), passive: true,
		resolve: func(string) string { return os.Getenv("MESOS_AGENT_ENDPOINT") },
		control: func(note string) error {
			exits = exits || strings.Contains(note, "exit")
			if text, ok := strings.CutPrefix(note, "os._exit("); ok {
				code, _ = strconv.Atoi(strings.TrimSuffix(text, ")")) // as recorded
			}
			return nil
		},
	}
	p.exact = map[string]string{
		recordedFramework(lines): os.Getenv("MESOS_FRAMEWORK_ID"),
	}
	if err := p.play(); err != nil {
		fmt.Fprintln(report, err)
	}
	for _, fault := range p.faults {
		fmt.Fprintln(report, fault)
	}
	p.compare(func(format string, arguments ...any) { fmt.Fprintf(report, format+"\n", arguments...) })
	p.time.release()
	for !exits { // the recorded one was killed; a bare select would be a deadlock to the runtime, which exits with 2
		_ = unix.Pause()
	}
	return code
}

// recordedFramework reads the framework's id from the recorded environment.
func recordedFramework(lines []golden.Line) string {
	for _, line := range lines {
		if line.What == golden.Environment {
			_, rest, _ := strings.Cut(line.Raw, `"MESOS_FRAMEWORK_ID": "`)
			id, _, _ := strings.Cut(rest, `"`)
			return id
		}
	}
	return ""
}

// Arguments that make this test binary a process of a replay that lives by its clock.
const (
	sleepArgument = "replay-sleep" // as sleep does
	clockArgument = "replay-clock" // a helper of the local Mesos
)

// replaySleep sleeps until a time of the replay's clock.
func replaySleep(socket, until string) int {
	nanoseconds, err := strconv.ParseInt(until, 10, 64)
	if err != nil {
		return 2
	}
	_, answer := remoteClock{socket}.ask("", time.Duration(nanoseconds))
	<-answer
	return 0
}

// runClockedHelper runs a helper of the local Mesos; the command executor by the replay's clock.
func runClockedHelper(socket string, args []string) int {
	if !slices.Contains(args, agent.CommandHelper) {
		code, _ := RunHelper(args)
		return code
	}
	// A real executor took 110 ms or more to subscribe, so a task that was killed at once
	// never reached it.
	const starting = 40 * time.Millisecond
	if hold, reached := (remoteClock{socket}).ask("+", starting); <-reached >= 0 {
		hold.Close()
	}
	if err := command.Run(context.Background(), os.Getenv, remoteClock{socket}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
