// Package lifeline ends processes when the one that started their tree is gone, however it went.
//
// A line is a pipe. Its owner alone holds the writing end and never writes; those who hang on it
// hold the reading end, which ends the moment the owner closes it or dies, by SIGKILL too. Unlike
// Pdeathsig it reaches grandchildren and processes in sessions of their own, as long as each
// process on the way hands it on.
package lifeline

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Variable names the environment variable that tells a process which descriptor is its lifeline.
// Its value is "fd:inode": the inode tells an inherited line from a descriptor that merely has
// its number because someone on the way passed on the environment and not the pipe.
const Variable = "TIDEMILL_LIFELINE_FD"

// firstExtra is the descriptor of the first of exec.Cmd's ExtraFiles in the child.
const firstExtra = 3

// ErrNotHandedOn says that the environment names a lifeline which this process was not given.
var ErrNotHandedOn = errors.New("the lifeline was not handed on (start this process with lifeline.Inherit)")

// Line is the owner's side of a lifeline; processes attached to it end when it is closed or when
// this process ends, and not before.
type Line struct {
	read  *os.File
	close func() error
}

// New makes a line with nothing attached to it yet.
func New() (*Line, error) {
	// Not os.Pipe: it makes the pipe non-blocking, a property that all who inherit it share, so
	// that one process's choice would break another's read.
	var fds [2]int
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := syscall.Pipe(fds[:]); err != nil {
		return nil, fmt.Errorf("make a lifeline: %w", err)
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	read, write := os.NewFile(uintptr(fds[0]), "lifeline"), fds[1]
	return &Line{
		read: read,
		// The writing end is no os.File: the garbage collector would close it, and so end
		// everything, once nothing refers to the line any more.
		close: sync.OnceValue(func() error { return errors.Join(syscall.Close(write), read.Close()) }),
	}, nil
}

// Attach makes cmd's process hang on the line. Call it once cmd.Env is set, before Start.
func (l *Line) Attach(cmd *exec.Cmd) error {
	return attach(cmd, l.read)
}

// Close ends every process that hangs on the line. Closing again does nothing.
func (l *Line) Close() error {
	return l.close()
}

// Inherit makes cmd's process hang on the line this process hangs on, if there is one. Call it
// once cmd.Env is set, before Start.
func Inherit(cmd *exec.Cmd) error {
	line, err := inherited()
	if err != nil || line == nil {
		return err
	}
	return attach(cmd, line)
}

// Watch calls onEnd, once and from a goroutine of its own, when the line this process hangs on
// ends. Without a line it does nothing. The goroutine lives as long as the process: there is no
// way to stop hanging on a line.
func Watch(onEnd func()) error {
	line, err := inherited()
	if err != nil || line == nil {
		return err
	}
	go func() {
		// Nobody ever writes: whatever this returns, the owner is gone.
		_, _ = io.Copy(io.Discard, line)
		onEnd()
	}()
	return nil
}

func attach(cmd *exec.Cmd, line *os.File) error {
	inode, err := pipeInode(line)
	if err != nil {
		return fmt.Errorf("attach %s to the lifeline: %w", cmd.Path, err)
	}
	fd := firstExtra + len(cmd.ExtraFiles)
	cmd.ExtraFiles = append(cmd.ExtraFiles, line)
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("%s=%d:%d", Variable, fd, inode))
	return nil
}

// inherited returns a copy of the line this process was given, or nil when it was given none.
// The original stays open, so that it can be handed on at any time.
func inherited() (*os.File, error) {
	value, set := os.LookupEnv(Variable)
	if !set {
		return nil, nil
	}
	number, identity, _ := strings.Cut(value, ":")
	fd, err := strconv.Atoi(number)
	if err != nil || fd < firstExtra {
		return nil, fmt.Errorf("read %s=%q: not a descriptor: %w", Variable, value, ErrNotHandedOn)
	}
	line, err := duplicate(fd)
	if err != nil {
		return nil, fmt.Errorf("read %s=%q: %w: %w", Variable, value, err, ErrNotHandedOn)
	}
	inode, err := pipeInode(line)
	if err != nil || strconv.FormatUint(inode, 10) != identity {
		_ = line.Close()
		return nil, fmt.Errorf("read %s=%q: %w", Variable, value, ErrNotHandedOn)
	}
	return line, nil
}

// duplicate copies a descriptor and keeps both from leaking into children that are not given it.
func duplicate(fd int) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	copied, err := syscall.Dup(fd)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor %d: %w", fd, err)
	}
	syscall.CloseOnExec(copied)
	return os.NewFile(uintptr(copied), "lifeline"), nil
}

func pipeInode(file *os.File) (uint64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeNamedPipe == 0 {
		return 0, errors.New("not a pipe")
	}
	return stat.Ino, nil
}
