package bolt

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"tidemill/jobs"
)

// lock is held beside the file of records and not on it, so that the file can be replaced when
// it is compacted, and so that those kept out can read who holds it.
type lock struct{ file *os.File }

// holder is what a lock file says of the process that holds it.
type holder struct {
	PID int    `json:"pid"`
	URL string `json:"url,omitempty"`
}

func (h holder) String() string {
	if h.URL == "" {
		return fmt.Sprintf("process %d", h.PID)
	}
	return fmt.Sprintf("process %d at %s", h.PID, h.URL)
}

func acquire(path string, self holder, wait time.Duration) (*lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(file, wait); err != nil {
		err = inUse(path, err)
		return nil, errors.Join(err, file.Close())
	}
	l := &lock{file: file}
	text, err := json.Marshal(self)
	if err == nil {
		err = errors.Join(file.Truncate(0), writeAt(file, text))
	}
	if err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

func writeAt(file *os.File, text []byte) error {
	_, err := file.WriteAt(append(text, '\n'), 0)
	return err
}

// flock tries again while another process, perhaps one that is ending, holds the lock.
func flock(file *os.File, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// inUse names the process that holds the lock, where its file tells.
func inUse(path string, err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return err
	}
	by := "another process"
	var h holder
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &h) == nil && h.PID != 0 {
		by = h.String()
	}
	return &jobs.Error{
		Code: jobs.Conflict, Op: "lock", Subject: path, Message: "in use by " + by,
		Hint: "use that scheduler, end it, or name another folder with --dir",
	}
}

// release lets go; the lock file stays, for removing it would race with the next holder.
func (l *lock) release() { _ = l.file.Close() }
