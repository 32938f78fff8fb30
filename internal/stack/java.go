package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// oldestJava is the oldest version that all the servers run on.
const oldestJava = 17

// ErrNoJava says that this machine lacks what the Java servers need; `make setup` installs it.
var ErrNoJava = errors.New("the real servers need Java 17 or newer and Maven: run `make setup`, which installs them")

// java is the JVM on this machine's PATH.
type java struct {
	path string
	// build tells one installed JVM from another: class archives fit the one that made them.
	build string
}

func findJava() (java, error) {
	path, err := exec.LookPath("java")
	if err != nil {
		return java{}, fmt.Errorf("find java: %w: %w", err, ErrNoJava)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return java{}, fmt.Errorf("find java: %w: %w", err, ErrNoJava)
	}
	info, err := os.Stat(real)
	if err != nil {
		return java{}, fmt.Errorf("find java: %w: %w", err, ErrNoJava)
	}
	stamp := fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	return java{path: path, build: fingerprint([]byte(real), []byte(stamp))}, nil
}

var versionLine = regexp.MustCompile(`version "(\d+)`)

// check refuses a JVM that is too old. It runs the JVM, so it is called only once for each.
func (j java) check(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, j.path, "-version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s -version: %w: %w", j.path, err, ErrNoJava)
	}
	major, err := javaMajor(out)
	if err != nil {
		return fmt.Errorf("run %s -version: %w", j.path, err)
	}
	if major < oldestJava {
		return fmt.Errorf("%s is version %d: %w", j.path, major, ErrNoJava)
	}
	return nil
}

// javaMajor reads the output of java -version; before Java 9 versions began with "1.".
func javaMajor(out []byte) (int, error) {
	match := versionLine.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("no version in %q", bytes.TrimSpace(out))
	}
	return strconv.Atoi(string(match[1]))
}

// small makes a JVM start fast and stay small: most of what it runs is never hot here.
func small(minHeap, maxHeap string) []string {
	return []string{"-Xms" + minHeap, "-Xmx" + maxHeap, "-Xss256k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
}

// tidy makes a JVM keep its temporary files in its server's directory, with which they go: a
// killed one leaves them.
func tidy(dir string) ([]string, error) {
	temporary := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(temporary, 0o755); err != nil {
		return nil, fmt.Errorf("make a server's temporary directory: %w", err)
	}
	return []string{"-Djava.io.tmpdir=" + temporary, "-XX:-UsePerfData"}, nil
}

// program is a Java server's class path and its archive of parsed classes.
type program struct {
	java    java
	dir     string
	archive string
	// dump makes the run write the archive when it ends, in place of using it.
	dump bool
}

// command is a command line that runs main with the program's class path.
func (p program) command(options []string, main string, args ...string) ([]string, error) {
	jars, err := filepath.Glob(filepath.Join(p.dir, "lib", "*.jar"))
	if err != nil || len(jars) == 0 {
		return nil, fmt.Errorf("find the jars in %s: none (remove that directory and try again): %w", p.dir, errors.Join(err, os.ErrNotExist))
	}
	share := "-XX:SharedArchiveFile=" + p.archive
	if p.dump {
		share = "-XX:ArchiveClassesAtExit=" + p.archive
	}
	line := append([]string{p.java.path, "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off", share}, options...)
	line = append(line, "-cp", strings.Join(jars, ":"), main)
	return append(line, args...), nil
}
