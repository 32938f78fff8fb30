package stack

import (
	"errors"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// nursery starts child processes that cannot outlive this one.
//
// The kernel ties the parent-death signal to the OS thread that started the child, and Go moves
// goroutines between threads and ends threads as it likes. So all children are started from one
// goroutine, which is locked to its thread until the nursery is closed; closing it ends the
// thread, and thereby what is left of the children.
type nursery struct {
	births chan birth
	quit   chan struct{}
	closed chan struct{}
	once   sync.Once
}

type birth struct {
	cmd    *exec.Cmd
	result chan error
}

func newNursery() *nursery {
	n := &nursery{births: make(chan birth), quit: make(chan struct{}), closed: make(chan struct{})}
	go n.attend()
	return n
}

func (n *nursery) attend() {
	defer close(n.closed)
	// Never unlocked: the thread ends with the goroutine and takes its changes along.
	runtime.LockOSThread()
	// A JVM that root runs would lock all its memory, half as much again as it needs. Others may
	// not lock, nor drop, anything: nothing is lost when this fails.
	_ = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_IPC_LOCK, 0, 0, 0)
	for {
		select {
		case b := <-n.births:
			b.result <- b.cmd.Start()
		case <-n.quit:
			return
		}
	}
}

// start starts cmd in a process group of its own, so that Ctrl-C reaches us alone and we end the
// servers in order.
func (n *nursery) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	b := birth{cmd: cmd, result: make(chan error, 1)}
	select {
	case n.births <- b:
		return <-b.result
	case <-n.closed:
		return errStopped
	}
}

// errStopped says that a server was to be started after its stack was stopped.
var errStopped = errors.New("the stack was stopped: start another")

func (n *nursery) close() {
	n.once.Do(func() { close(n.quit) })
	<-n.closed
}
