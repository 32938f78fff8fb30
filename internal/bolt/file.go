// Package bolt keeps the records of a scheduler that runs alone, in one file, behind the same
// ports as a cluster's store.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// Options say where the records are.
type Options struct {
	Path      string        // of the file; its folder is made where it is missing
	Advertise string        // base URL of this scheduler
	LockWait  time.Duration // how long to wait for a scheduler that is about to end; 2 s by default
}

// File is an open file of records, and the Elector of the one scheduler that may use it.
type File struct {
	path, url string
	lock      *lock
	db        *bbolt.DB
	turn      chan struct{} // holds a token while nobody leads
	close     func() error

	mu      sync.Mutex
	leading *Leadership
}

var (
	termBucket    = []byte("term")
	recordsBucket = []byte("records")
	termKey       = []byte("term")
)

// Open locks and opens the file, makes it where it is missing, and compacts it where most of it
// is free.
func Open(o Options) (*File, error) {
	if o.LockWait == 0 {
		o.LockWait = 2 * time.Second
	}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, explain("make the folder of", o.Path, err)
	}
	held, err := acquire(o.Path+".lock", holder{PID: os.Getpid(), URL: o.Advertise}, o.LockWait)
	if err != nil {
		return nil, explain("lock", o.Path, err)
	}
	db, err := openCompacted(o.Path)
	if err != nil {
		held.release()
		return nil, explain("open", o.Path, err)
	}
	f := &File{path: o.Path, url: o.Advertise, lock: held, db: db, turn: make(chan struct{}, 1)}
	f.turn <- struct{}{}
	f.close = sync.OnceValue(f.shut)
	return f, nil
}

func openDB(path string) (db *bbolt.DB, err error) {
	if err := sound(path); err != nil {
		return nil, err
	}
	defer recoverDamage(&err)
	// The timeout is short, since the lock beside the file is what keeps others out.
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:        time.Second,
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true, // the free pages are found again at open: less to write in each commit
	})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{termBucket, recordsBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close ends the term, if one lasts, and lets go of the file. It is idempotent.
func (f *File) Close() error { return f.close() }

func (f *File) shut() error {
	f.mu.Lock()
	leading := f.leading
	f.mu.Unlock()
	if leading != nil {
		leading.end()
	}
	err := f.db.Close() // waits for transactions
	f.lock.release()
	if err != nil {
		return explain("close", f.path, err)
	}
	return nil
}

// Size is the file's size and how much of it is free, in bytes.
func (f *File) Size() (size, free int64, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return 0, 0, explain("look at", f.path, err)
	}
	return info.Size(), freeBytes(f.db), nil
}

func freeBytes(db *bbolt.DB) int64 {
	s := db.Stats()
	return int64(s.FreePageN+s.PendingPageN) * int64(db.Info().PageSize)
}

// Campaign waits until the former term of this file's scheduler is over, and raises the term.
// Nobody else writes to the file: there is nothing to follow meanwhile.
func (f *File) Campaign(ctx context.Context, copy scheduler.Copy) (scheduler.Leadership, error) {
	select {
	case <-f.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	term, err := f.raise()
	if err != nil {
		f.turn <- struct{}{}
		return nil, explain("raise the term in", f.path, err)
	}
	l := &Leadership{file: f, term: term, copy: copy, lost: make(chan struct{})}
	f.mu.Lock()
	f.leading = l
	f.mu.Unlock()
	return l, nil
}

// Leader is this scheduler while it leads.
func (f *File) Leader() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.url, f.leading != nil
}

// Schedulers is this scheduler alone.
func (f *File) Schedulers() []string { return []string{f.url} }

// explain names the file, and says what to do about the causes that an operator can mend.
func explain(op, path string, err error) error {
	var own *jobs.Error
	if errors.As(err, &own) {
		return err
	}
	hint := "name a folder that can be written with --dir"
	switch {
	case errors.Is(err, syscall.EROFS):
		hint = "its disk is mounted read-only; name a folder that can be written with --dir"
	case errors.Is(err, fs.ErrPermission):
		hint = "make it writable for this user, or name another folder with --dir"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = "the disk is full; make room and start again: nothing that was acknowledged is lost"
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, errDamaged):
		hint = "it is damaged or not Tidemill's; move it away, or restore a copy of it"
	}
	return &jobs.Error{
		Code: jobs.Conflict, Op: op, Subject: fmt.Sprintf("state file %s", path), Err: err, Hint: hint,
	}
}
