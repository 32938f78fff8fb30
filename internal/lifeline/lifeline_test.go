package lifeline_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidemill/internal/lifeline"
)

// role tells a re-executed test binary which process of the tree it plays.
const role = "LIFELINE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "owner":
		exit(playOwner())
	case "child":
		exit(playChild())
	case "grandchild":
		exit(playGrandchild())
	default:
		os.Exit(m.Run())
	}
}

func exit(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// self returns a command that plays another role, in a session of its own, with our stdout: the
// test sees the end of that pipe only when every process of the tree is gone.
func self(as string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

func playOwner() error {
	line, err := lifeline.New()
	if err != nil {
		return err
	}
	child := self("child")
	if err := line.Attach(child); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	if os.Getenv("LIFELINE_TEST_CLOSE") != "" {
		if err := errors.Join(line.Close(), line.Close()); err != nil {
			return err
		}
	}
	line = nil //nolint:wastedassign // the line must not end because nothing refers to it any more
	runtime.GC()
	<-signals()
	return nil
}

// signals waits for what never comes: unlike an empty select it is no deadlock to the runtime.
func signals() <-chan os.Signal {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	return ch
}

func playChild() error {
	grandchild := self("grandchild")
	if err := lifeline.Inherit(grandchild); err != nil {
		return err
	}
	if err := grandchild.Start(); err != nil {
		return err
	}
	return waitForEnd()
}

func playGrandchild() error {
	return waitForEnd()
}

func waitForEnd() error {
	ended := make(chan struct{})
	if err := lifeline.Watch(func() { close(ended) }); err != nil {
		return err
	}
	fmt.Println("hangs on the line")
	<-ended
	fmt.Println("ended")
	return nil
}

// startTree runs the owner and what it starts; the lines they print end when all are gone.
func startTree(t *testing.T, env ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	owner := exec.CommandContext(ctx, os.Args[0])
	owner.Env = append(append(os.Environ(), role+"=owner"), env...)
	owner.Stdout = write
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write.Close(), read.SetReadDeadline(time.Now().Add(30*time.Second))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = owner.Wait()
		_ = read.Close()
	})
	return owner, bufio.NewScanner(read)
}

func expectLines(t *testing.T, lines *bufio.Scanner, want string, count int) {
	t.Helper()
	for i := range count {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("line %d: got %q (%v), want %q", i, lines.Text(), lines.Err(), want)
		}
	}
}

func TestProcessesEndWithTheOwner(t *testing.T) {
	owner, lines := startTree(t)
	expectLines(t, lines, "hangs on the line", 2)
	if err := owner.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	expectLines(t, lines, "ended", 2)
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("something of the tree still lives: %q, %v", lines.Text(), lines.Err())
	}
}

func TestProcessesEndWhenTheLineIsClosed(t *testing.T) {
	_, lines := startTree(t, "LIFELINE_TEST_CLOSE=yes")
	seen := map[string]int{}
	for range 4 {
		if !lines.Scan() {
			t.Fatalf("lines ended after %v: %v", seen, lines.Err())
		}
		seen[lines.Text()]++
	}
	if seen["hangs on the line"] != 2 || seen["ended"] != 2 {
		t.Errorf("got %v, want two that hang on the line and two ends", seen)
	}
}

func TestWatchWithoutALineDoesNothing(t *testing.T) {
	unset(t)
	if err := lifeline.Watch(func() { t.Error("the end of no line was reported") }); err != nil {
		t.Error(err)
	}
	cmd := exec.Command("true")
	if err := lifeline.Inherit(cmd); err != nil {
		t.Error(err)
	}
	if len(cmd.ExtraFiles) != 0 || cmd.Env != nil {
		t.Errorf("handed on a line that is not there: %v, %v", cmd.ExtraFiles, cmd.Env)
	}
}

// unset removes the variable for the test; Setenv has the cleanup that Unsetenv lacks.
func unset(t *testing.T) {
	t.Helper()
	t.Setenv(lifeline.Variable, "")
	if err := os.Unsetenv(lifeline.Variable); err != nil {
		t.Fatal(err)
	}
}

func TestALineThatWasNotHandedOnIsRefused(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = read.Close(), write.Close() }()
	for name, value := range map[string]string{
		"not a number":        "pipe",
		"standard input":      "0:1",
		"closed":              "9999:1",
		"another pipe":        fmt.Sprintf("%d:1", read.Fd()),
		"without an identity": fmt.Sprintf("%d", read.Fd()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(lifeline.Variable, value)
			if err := lifeline.Watch(func() {}); !errors.Is(err, lifeline.ErrNotHandedOn) {
				t.Errorf("Watch: got %v, want ErrNotHandedOn", err)
			}
			if err := lifeline.Inherit(exec.Command("true")); !errors.Is(err, lifeline.ErrNotHandedOn) {
				t.Errorf("Inherit: got %v, want ErrNotHandedOn", err)
			}
		})
	}
}

func TestAttachKeepsTheCommandsOwnFilesAndEnvironment(t *testing.T) {
	line, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = line.Close() }()
	file, err := os.CreateTemp(t.TempDir(), "extra")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := io.WriteString(file, "own file"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `echo "$GREETING"; cat /dev/fd/3; echo " $`+lifeline.Variable+`"`)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GREETING=hello"}
	cmd.ExtraFiles = []*os.File{file}
	if err := line.Attach(cmd); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := string(out); !strings.HasPrefix(got, "hello\nown file 4:") {
		t.Errorf("got %q, want the command's own environment and file, and the line as descriptor 4", got)
	}
}
