package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is a network namespace with an address on the network.
//
// A namespace without a name lives as long as a thread or a process is in it. So each host has a
// thread, which is locked to a goroutine and starts all of the host's processes: they are born into
// its namespace, and the kernel kills them when it ends. Nothing is left to be cleaned up, however
// this process ends.
type Host struct {
	Name string
	Addr netip.Addr

	thread int
	births chan birth
	quit   chan struct{}
	gone   chan struct{}
	once   sync.Once

	mu      sync.Mutex
	dropped map[netip.Addr]bool
}

type birth struct {
	cmd    *exec.Cmd
	result chan error
}

// The preferences of a host's rules: what is dropped comes first.
const (
	drops      = 10
	afterDrops = 20
)

var errClosed = errors.New("the host is closed: make another network")

func newHost(name string, addr netip.Addr) (*Host, error) {
	h := &Host{
		Name: name, Addr: addr, births: make(chan birth), quit: make(chan struct{}), gone: make(chan struct{}),
		dropped: map[netip.Addr]bool{},
	}
	entered := make(chan error, 1)
	go onOwnThread(func() { h.live(entered) })
	if err := <-entered; err != nil {
		<-h.gone
		return nil, err
	}
	return h, nil
}

// live is the host's thread.
func (h *Host) live(entered chan<- error) {
	defer close(h.gone)
	h.thread = unix.Gettid()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		entered <- fmt.Errorf("make a network namespace: %w (root may, with CAP_SYS_ADMIN and CAP_NET_ADMIN)", err)
		return
	}
	entered <- nil
	for {
		select {
		case b := <-h.births:
			b.result <- b.cmd.Start()
		case <-h.quit:
			return
		}
	}
}

// onOwnThread does f on a thread that ends when f and this goroutine do.
func onOwnThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return // never unlocked: so the thread ends with the goroutine
	}
	// The main thread would live on, and in what f made of it. Held here, it cannot get f again.
	done := make(chan struct{})
	go onOwnThread(func() { defer close(done); f() })
	<-done
	runtime.UnlockOSThread()
}

// Start starts a command on the host. It is killed when the host is closed, or this process ends.
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	b := birth{cmd: cmd, result: make(chan error, 1)}
	select {
	case h.births <- b:
		return <-b.result
	case <-h.gone:
		return fmt.Errorf("start %s on %s: %w", cmd.Path, h.Name, errClosed)
	}
}

// Drop makes the host drop whatever comes from these hosts, without a word to anyone.
func (h *Host) Drop(ctx context.Context, from ...*Host) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for _, other := range from {
		if !h.dropped[other.Addr] {
			h.dropped[other.Addr] = true
			lines = append(lines, fmt.Sprintf("rule add pref %d from %s blackhole", drops, other.Addr))
		}
	}
	return h.configure(ctx, lines)
}

// Accept undoes every Drop.
func (h *Host) Accept(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for addr := range h.dropped {
		lines = append(lines, fmt.Sprintf("rule del pref %d from %s blackhole", drops, addr))
	}
	clear(h.dropped)
	return h.configure(ctx, lines)
}

// Processes are the ids of the processes on the host now.
func (h *Host) Processes() ([]int, error) {
	own, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", h.thread))
	if err != nil {
		return nil, fmt.Errorf("find the processes of %s: %w", h.Name, err)
	}
	found, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range found {
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if link, readErr := os.Readlink(path); err == nil && readErr == nil && link == own {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// configure has iproute2 do some lines in the host's namespace.
func (h *Host) configure(ctx context.Context, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	cmd := ipCommand(ctx, lines)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := h.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("configure host %s: ip: %w: %s", h.Name, err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// close ends the host's thread, and with it the host's processes.
func (h *Host) close() {
	h.once.Do(func() { close(h.quit) })
	<-h.gone
}

func ipCommand(ctx context.Context, lines []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	return cmd
}
