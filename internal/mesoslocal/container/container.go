// Package container is what stands in for a container on the local Mesos: a supervisor
// process which starts an executor, and ends every process under it when that ends.
//
// The supervisor is a child subreaper, so even a daemon that left its session and was
// orphaned stays below it, and can be found and killed.
package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tidemill/internal/lifeline"
)

// Marker is the environment variable that names the container in every process of it.
const Marker = "MESOS_LOCAL_CONTAINER"

// Spec says what to run. It is passed as a file, since environments can be long.
type Spec struct {
	ID     string   `json:"id"`
	Argv   []string `json:"argv"`
	Env    []string `json:"env"`
	Dir    string   `json:"dir"`
	User   string   `json:"user,omitempty"`
	Status string   `json:"status"` // file that receives the raw wait status at the end
}

// Write stores the spec as a file.
func (s Spec) Write(path string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write container %s: %w", s.ID, err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write container %s: %w", s.ID, err)
	}
	return nil
}

// ReadStatus reads the raw wait status which a supervisor left.
func ReadStatus(path string) (int, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	status, err := strconv.Atoi(strings.TrimSpace(string(data)))
	return status, err == nil
}

// Supervise runs the container of a spec file in this process and ends the process as
// the executor ended. SIGTERM, SIGINT and the end of the lifeline kill the container.
func Supervise(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	var spec Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("supervise %s: %w", path, err)
	}
	status, err := run(spec)
	if err != nil {
		return fmt.Errorf("supervise container %s: %w", spec.ID, err)
	}
	exitAs(status)
	return nil
}

// run starts the executor and waits for the end of everything below.
func run(spec Spec) (syscall.WaitStatus, error) {
	runtime.LockOSThread() // the executor's parent-death signal is tied to this thread
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become a subreaper: %w", err)
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT) // for good: the process ends as the executor did, however late it is asked to
	child, err := start(spec)
	if err != nil {
		return 0, err
	}
	if err := lifeline.Watch(func() { _ = syscall.Kill(child, syscall.SIGKILL) }); err != nil { // it may be gone
		_ = syscall.Kill(child, syscall.SIGKILL) // better none than one that outlives its owner
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-asked:
			_ = syscall.Kill(child, syscall.SIGKILL) // it may be gone
		case <-ended:
		}
	}()
	status := waitFor(child)
	close(ended)
	killDescendants()
	if spec.Status != "" {
		next := spec.Status + ".next"
		if os.WriteFile(next, []byte(strconv.Itoa(int(status))), 0o600) == nil {
			_ = os.Rename(next, spec.Status) // the agent then takes the status as unknown
		}
	}
	return status, nil
}

func start(spec Spec) (pid int, err error) {
	if len(spec.Argv) == 0 {
		return 0, errors.New("nothing to run")
	}
	cmd := exec.Command(spec.Argv[0], spec.Argv[1:]...)
	cmd.Env, cmd.Dir = append(spec.Env, Marker+"="+spec.ID), spec.Dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if spec.User != "" {
		if cmd.SysProcAttr.Credential, err = Credential(spec.User); err != nil {
			return 0, err
		}
	}
	if cmd.Err != nil { // not found: the shell's exit code says so
		cmd.Path = spec.Argv[0]
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// Credential looks a user up; nil for the one that runs this process.
func Credential(name string) (*syscall.Credential, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("No such user '%s'", name)
	}
	uid, err1 := strconv.ParseUint(found.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(found.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("user %q has no numeric id", name)
	}
	if int(uid) == os.Getuid() {
		return nil, nil
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// waitFor reaps children, adopted orphans among them, until the one asked for ended.
func waitFor(child int) syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil { // no children: the one asked for was never there
			return syscall.WaitStatus(1 << 8)
		}
		if pid == child {
			return status
		}
	}
}

// killDescendants kills what is below this process until nothing is: the orphans of the
// killed become children of this process, which is a subreaper.
func killDescendants() {
	for {
		children := Children(os.Getpid())
		for _, pid := range children {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
		var status syscall.WaitStatus
		_, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// Children lists the processes whose parent is pid.
func Children(pid int) []int {
	var children []int
	eachProcess(func(process int, stat Stat) {
		if stat.Parent == pid {
			children = append(children, process)
		}
	})
	return children
}

// KillMarked kills whatever still carries a container's marker, for a container whose
// supervisor was killed itself; it returns when none is left.
func KillMarked(id string) {
	needle := Marker + "=" + id
	for round := 0; round < 100; round++ {
		found := false
		eachProcess(func(process int, stat Stat) {
			environment, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(process), "environ"))
			if err == nil && stat.State != 'Z' && containsEntry(environment, needle) {
				found = true
				_ = syscall.Kill(process, syscall.SIGKILL) // it may be gone
			}
		})
		if !found {
			return
		}
	}
}

func containsEntry(environment []byte, entry string) bool {
	for _, one := range strings.Split(string(environment), "\x00") {
		if one == entry {
			return true
		}
	}
	return false
}

func eachProcess(visit func(pid int, stat Stat)) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if stat, ok := ReadStat(pid); ok {
			visit(pid, stat)
		}
	}
}

// Stat is what /proc tells of a process.
type Stat struct {
	State  byte
	Parent int
	Start  uint64 // clock ticks since boot: with the pid it identifies a process
}

// ReadStat reads /proc/pid/stat; false where there is no such process.
func ReadStat(pid int) (Stat, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return Stat{}, false
	}
	_, rest, ok := cutLast(string(data), ") ") // the name before it may hold anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return Stat{}, false
	}
	parent, err1 := strconv.Atoi(fields[1])
	start, err2 := strconv.ParseUint(fields[19], 10, 64)
	return Stat{State: fields[0][0], Parent: parent, Start: start}, err1 == nil && err2 == nil
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// exitAs ends this process as a child ended, so that the wait status is the same.
func exitAs(status syscall.WaitStatus) {
	if status.Signaled() {
		signal.Reset()
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // a second core dump helps nobody
		_ = syscall.Kill(os.Getpid(), status.Signal())
		for { // the signal is on its way; a bare select would be a deadlock to the runtime, which exits with 2
			_ = unix.Pause()
		}
	}
	os.Exit(status.ExitStatus())
}

// Alive tells whether the process still is the one that started then, and runs.
func Alive(pid int, start uint64) bool {
	stat, ok := ReadStat(pid)
	return ok && stat.Start == start && stat.State != 'Z'
}

// Kill ends a container: its supervisor is asked to, which ends all that is in it. A
// supervisor that does not answer in time is killed, and what carries the container's
// marker with it.
func Kill(pid int, start uint64, id string, patience time.Duration) {
	if !Alive(pid, start) {
		KillMarked(id)
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM) // it may be gone
	if awaitEnd(pid, start, patience) {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	KillMarked(id)
	awaitEnd(pid, start, time.Second)
}

func awaitEnd(pid int, start uint64, patience time.Duration) bool {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); Alive(pid, start); <-ticker.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
