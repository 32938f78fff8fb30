package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// errHeld says that another supervisor has the state directory.
var errHeld = errors.New("another supervisor has it")

// lockFile is locked by the supervisor as long as it lives. The kernel tells whose lock it is, so
// that a supervisor is never mistaken for a process that has got its number since. It is a POSIX
// lock: the supervisor's process must not open the file again, since closing it would unlock it.
func lockFile(dir string) string {
	return filepath.Join(dir, "lock")
}

func wholeFile() *syscall.Flock_t {
	return &syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
}

// acquire locks the directory until the file is closed or this process ends.
func acquire(dir string) (*os.File, error) {
	file, err := os.OpenFile(lockFile(dir), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	err = syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, wholeFile())
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		err = errHeld
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), file.Close())
	}
	return file, nil
}

// holder is the process id of the supervisor that has the directory, or 0.
func holder(dir string) (int, error) {
	file, err := os.Open(lockFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find the supervisor: %w", err)
	}
	defer func() { _ = file.Close() }()
	lock := wholeFile()
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, lock); err != nil {
		return 0, fmt.Errorf("find the supervisor by %s: %w", file.Name(), err)
	}
	if lock.Type == syscall.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}
