package executor

import (
	"fmt"
	"os"
	"sync"
)

// logFile is an attempt's stdout or stderr. It only ever grows, so that an
// offset stays what it is, and it is bounded: of what goes beyond, the last
// part is kept in memory and written when the attempt ends.
type logFile struct {
	mu   sync.Mutex
	file *os.File
	room int64 // bytes that still go to the file
	keep int   // size of the last part

	tail    []byte // ring of what came last, once there is no room
	at      int    // where in the ring the next byte goes
	dropped int64  // bytes that came after there was no room
}

func createLog(path string, limit int64) (*logFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	keep := min(limit/4, 256<<10)
	return &logFile{file: f, room: limit - keep, keep: int(keep)}, nil
}

// Write never fails for lack of room.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return 0, os.ErrClosed
	}
	head := p[:min(int64(len(p)), l.room)]
	if len(head) > 0 {
		n, err := l.file.Write(head)
		l.room -= int64(n)
		if err != nil {
			return n, err
		}
	}
	l.remember(p[len(head):])
	return len(p), nil
}

func (l *logFile) remember(p []byte) {
	if len(p) == 0 {
		return
	}
	if l.tail == nil {
		l.tail = make([]byte, l.keep)
		fmt.Fprintf(l.file, "\n[tidemill: the log is full; what follows is dropped but for its last %d bytes, which are written at the end]\n", l.keep)
	}
	l.dropped += int64(len(p))
	if len(p) >= l.keep {
		copy(l.tail, p[len(p)-l.keep:])
		l.at = 0
		return
	}
	n := copy(l.tail[l.at:], p)
	copy(l.tail, p[n:])
	l.at = (l.at + len(p)) % l.keep
}

// Close writes what was kept. Closing again does nothing.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	var err error
	if l.dropped > 0 {
		last := append(append([]byte{}, l.tail[l.at:]...), l.tail[:l.at]...)
		if l.dropped < int64(l.keep) {
			last = l.tail[:l.dropped] // the ring never went round
		}
		_, err = fmt.Fprintf(l.file, "[tidemill: %d bytes are left out here]\n%s", l.dropped-int64(len(last)), last)
	}
	if closeErr := l.file.Close(); err == nil {
		err = closeErr
	}
	l.file = nil
	return err
}
