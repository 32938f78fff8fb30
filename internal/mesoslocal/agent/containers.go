package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal/container"
)

// Names of the helper processes, the first argument after Options.Helper.
const (
	ContainerHelper = "container"
	CommandHelper   = "command-executor"
)

// watchInterval is how often the agent looks whether containers have ended.
const watchInterval = 10 * time.Millisecond

// prepare makes an executor's directories, opens its journal and checks its user.
func (a *Agent) prepare(e *executor) error {
	if err := os.MkdirAll(e.sandbox, 0o755); err != nil {
		return fmt.Errorf("Failed to create executor directory '%s': %w", e.sandbox, err)
	}
	if name := userOf(e); name != "" {
		owner, err := container.Credential(name)
		if err == nil && owner != nil {
			err = os.Chown(e.sandbox, int(owner.Uid), int(owner.Gid))
		}
		if err != nil {
			return fmt.Errorf("Failed to create executor directory '%s': Failed to chown directory to '%s': %w", e.sandbox, name, err)
		}
	}
	latest := filepath.Join(filepath.Dir(e.sandbox), "latest")
	if err := os.Remove(latest); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("Failed to replace '%s': %w", latest, err)
	}
	if err := os.Symlink(e.sandbox, latest); err != nil {
		return fmt.Errorf("Failed to link '%s': %w", latest, err)
	}
	journal, err := createJournal(e, a.id)
	if err != nil {
		return err
	}
	e.journal = journal
	return nil
}

// userOf names the user an executor runs as; empty: the agent's own.
func userOf(e *executor) string {
	if e.info.Command != nil && e.info.Command.User != nil {
		return *e.info.Command.User
	}
	if os.Getuid() != 0 {
		return ""
	}
	return e.framework.info.User
}

// startContainer fetches an executor's files and starts its supervisor; it runs beside
// the agent, and takes mu itself.
func (a *Agent) startContainer(e *executor) {
	var uris []mesos.CommandInfo_URI
	if e.info.Command != nil {
		uris = e.info.Command.URIs
	}
	err := a.fetch(uris, e.sandbox)
	if err != nil {
		appendLine(filepath.Join(e.sandbox, "stderr"), err.Error())
		err = fmt.Errorf("Failed to fetch all URIs for container '%s': exited with status 1", e.container)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return
	}
	if err == nil && e.phase == registering {
		err = a.spawn(e)
	}
	switch {
	case err != nil:
		a.failLaunch(e, err.Error())
	case e.pid == 0: // it was to end before it began
		a.ended(e, int(syscall.SIGKILL), true)
	default:
		a.awaitRegistration(e)
	}
}

func appendLine(path, line string) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return // the sandbox is gone, and with it the need
	}
	defer file.Close()
	fmt.Fprintln(file, line)
}

// spawn starts the supervisor in a session of its own; mu is held.
func (a *Agent) spawn(e *executor) error {
	spec := container.Spec{
		ID: e.container, Dir: e.sandbox, Env: a.environment(e), Argv: a.argv(e),
		Status: filepath.Join(e.meta, "status"), User: userOf(e),
	}
	path := filepath.Join(e.meta, "container.json")
	if err := spec.Write(path); err != nil {
		return err
	}
	argv := append(append([]string{}, a.opts.Helper...), ContainerHelper, path)
	cmd := osexec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = e.sandbox, []string{"PATH=" + os.Getenv("PATH"), container.Marker + "=" + e.container}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	for _, stream := range []struct {
		name   string
		target func(*os.File)
	}{{"stdout", func(f *os.File) { cmd.Stdout = f }}, {"stderr", func(f *os.File) { cmd.Stderr = f }}} {
		file, err := os.OpenFile(filepath.Join(e.sandbox, stream.name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("open the sandbox's %s: %w", stream.name, err)
		}
		defer file.Close()
		stream.target(file)
	}
	attach := lifeline.Inherit
	if a.opts.Lifeline != nil {
		attach = a.opts.Lifeline.Attach
	}
	if err := attach(cmd); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the container's supervisor: %w", err)
	}
	e.pid, e.child = cmd.Process.Pid, true
	if stat, ok := container.ReadStat(e.pid); ok {
		e.start = stat.Start
	}
	_ = cmd.Process.Release() // it is reaped by its pid, as one found by a recovery is watched
	return e.journal.started(e.pid, e.start)
}

// argv is the command line of an executor.
func (a *Agent) argv(e *executor) []string {
	if e.command {
		return append(append([]string{}, a.opts.Helper...), CommandHelper)
	}
	info := e.info.Command
	if info.Shell == nil || *info.Shell {
		return []string{"/bin/sh", "-c", info.GetValue()}
	}
	if len(info.Arguments) > 0 { // the first one is the program's name for itself
		return append([]string{info.GetValue()}, info.Arguments[1:]...)
	}
	return []string{info.GetValue()}
}

// environment is what Mesos gives an executor.
func (a *Agent) environment(e *executor) []string {
	host, _, _ := strings.Cut(a.Addr(), ":")
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"PWD=" + e.sandbox,
		"LIBPROCESS_IP=" + host,
		"LIBPROCESS_PORT=0",
		"MESOS_AGENT_ENDPOINT=" + a.Addr(),
		"MESOS_CHECKPOINT=" + flag(e.framework.checkpoints()),
		"MESOS_DIRECTORY=" + e.sandbox,
		"MESOS_EXECUTOR_ID=" + e.id(),
		"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=" + durationText(a.grace(e)),
		"MESOS_FRAMEWORK_ID=" + e.framework.id(),
		"MESOS_HTTP_COMMAND_EXECUTOR=0",
		"MESOS_SANDBOX=" + e.sandbox,
		"MESOS_SLAVE_ID=" + a.id,
		"MESOS_SLAVE_PID=slave(1)@" + a.Addr(),
	}
	if e.framework.checkpoints() {
		env = append(env, "MESOS_RECOVERY_TIMEOUT="+durationText(a.opts.RecoveryTimeout),
			"MESOS_SUBSCRIPTION_BACKOFF_MAX="+durationText(a.opts.ExecutorReregistration))
	}
	if e.info.Command != nil && e.info.Command.Environment != nil {
		for _, variable := range e.info.Command.Environment.Variables {
			env = append(env, variable.Name+"="+variable.GetValue())
		}
	}
	return env
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// durationText writes a duration as Mesos does, in its largest whole unit.
func durationText(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "hrs"}, {time.Minute, "mins"}, {time.Second, "secs"}, {time.Millisecond, "ms"}} {
		if d >= unit.size {
			return strconv.FormatFloat(float64(d)/float64(unit.size), 'f', -1, 64) + unit.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}

// watchContainers notices the end of containers, started by this agent or a former one.
func (a *Agent) watchContainers() {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-ticker.C:
			a.checkContainers()
		}
	}
}

func (a *Agent) checkContainers() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return // what ends from now on is for the next agent to find
	}
	for _, f := range a.frameworks {
		for _, e := range f.executors {
			if e.pid == 0 || e.phase == terminated {
				continue
			}
			if status, over := reap(e); over {
				if syscall.WaitStatus(status).Signaled() {
					container.KillMarked(e.container) // its supervisor may have been what was killed
				}
				a.ended(e, status, true)
			}
		}
	}
}

// reap tells whether a container's supervisor has ended, and how.
func reap(e *executor) (status int, over bool) {
	if e.child {
		var wait syscall.WaitStatus
		pid, err := syscall.Wait4(e.pid, &wait, syscall.WNOHANG, nil)
		switch {
		case err == nil && pid == e.pid:
			return int(wait), true
		case err == nil, errors.Is(err, syscall.EINTR):
			return 0, false
		}
	}
	if container.Alive(e.pid, e.start) {
		return 0, false
	}
	status, _ = container.ReadStatus(filepath.Join(e.meta, "status"))
	return status, true
}
