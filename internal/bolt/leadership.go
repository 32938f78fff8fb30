package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"tidemill/scheduler"
)

// Leadership is one term of the file's scheduler.
type Leadership struct {
	file *File
	term int64
	copy scheduler.Copy
	lost chan struct{}
	once sync.Once
}

// termState is what the file says of the term: the fence that every commit checks.
type termState struct {
	Term     int64  `json:"term"`
	Sequence int64  `json:"sequence"` // of the last batch applied in it
	Owner    string `json:"owner"`
}

func readTerm(tx *bbolt.Tx) (termState, error) {
	var s termState
	text := tx.Bucket(termBucket).Get(termKey)
	if text == nil {
		return s, nil
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read the term: %w", err)
	}
	return s, nil
}

func writeTerm(tx *bbolt.Tx, s termState) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return tx.Bucket(termBucket).Put(termKey, text)
}

func (f *File) raise() (int64, error) {
	var raised int64
	err := f.db.Update(func(tx *bbolt.Tx) error {
		s, err := readTerm(tx)
		if err != nil {
			return err
		}
		raised = s.Term + 1
		return writeTerm(tx, termState{Term: raised, Owner: f.url})
	})
	return raised, err
}

// Term is the number of the term.
func (l *Leadership) Term() int64 { return l.term }

// Lost is closed when the term is over: nothing but Resign and File.Close ends it.
func (l *Leadership) Lost() <-chan struct{} { return l.lost }

// Resign ends the term.
func (l *Leadership) Resign(context.Context) error {
	l.end()
	return nil
}

func (l *Leadership) end() {
	l.once.Do(func() {
		close(l.lost)
		l.file.mu.Lock()
		l.file.leading = nil
		l.file.mu.Unlock()
		l.file.turn <- struct{}{}
	})
}

func (l *Leadership) over() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

// errApplied ends a transaction that has nothing to write.
var errApplied = errors.New("applied before")

// Commit writes a batch in one transaction, which is synced to the disk when it returns.
func (l *Leadership) Commit(ctx context.Context, b scheduler.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.over() {
		return scheduler.ErrFenced
	}
	err := l.file.db.Update(func(tx *bbolt.Tx) error {
		s, err := readTerm(tx)
		switch {
		case err != nil:
			return err
		case s.Term != l.term || l.over():
			return scheduler.ErrFenced
		case b.Sequence <= s.Sequence:
			return errApplied
		}
		s.Sequence = b.Sequence
		return errors.Join(writeTerm(tx, s), apply(tx.Bucket(recordsBucket), b.Changes))
	})
	switch {
	case err == nil, errors.Is(err, errApplied):
		return nil
	case errors.Is(err, scheduler.ErrFenced), l.over() && errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return scheduler.ErrFenced
	}
	return explain(fmt.Sprintf("commit batch %d of term %d to", b.Sequence, l.term), l.file.path, err)
}

func apply(records *bbolt.Bucket, changes []scheduler.Change) error {
	for _, c := range changes {
		var err error
		if c.Value == nil {
			err = records.Delete([]byte(c.Key))
		} else {
			err = records.Put([]byte(c.Key), c.Value)
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", c.Key, err)
		}
	}
	return nil
}

// Load calls each for every record, with a value that is the callee's to keep.
func (l *Leadership) Load(ctx context.Context, each func(scheduler.Record) error) error {
	if l.over() {
		return scheduler.ErrFenced
	}
	var refused error
	err := l.file.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(recordsBucket).ForEach(func(k, v []byte) error {
			if refused = ctx.Err(); refused == nil {
				refused = each(scheduler.Record{Key: string(k), Value: append([]byte{}, v...)})
			}
			return refused
		})
	})
	if refused != nil {
		return refused
	}
	if err != nil {
		return explain("load the records of", l.file.path, err)
	}
	return nil
}

// CatchUp tells the copy of all records, on all processors: taking records apart is most of the
// work of those who take them in.
func (l *Leadership) CatchUp(ctx context.Context) error {
	read := make(chan scheduler.Record, 256)
	var told sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		told.Go(func() {
			for r := range read {
				l.copy(scheduler.Change(r))
			}
		})
	}
	err := l.Load(ctx, func(r scheduler.Record) error { read <- r; return nil })
	close(read)
	told.Wait()
	return err
}
