package bolt

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

var errDamaged = errors.New("its pages are not what they should be")

// leastPage is bbolt's smallest page; the first two say where the others are.
const leastPage = 4096

// sound reads all of a file before it is opened to be written to, and says what
// is wrong with it. While bbolt looks for the free pages it panics instead, in
// a goroutine of its own, where nobody can tell the user what to do.
func sound(path string) (err error) {
	switch info, err := os.Stat(path); {
	case err != nil || info.Size() == 0:
		return nil //nolint:nilerr // it is to be made, or opening it says why not
	case info.Size() < 2*leastPage:
		return fmt.Errorf("%w: it has %d bytes only", errDamaged, info.Size())
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page may point beyond the end
	defer recoverDamage(&err)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var buffer []byte
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				buffer = append(append(buffer[:0], k...), v...) // looks at every byte
				return nil
			})
		})
	})
}

// recoverDamage makes an error of the panic that a damaged page leads to.
func recoverDamage(err *error) {
	if v := recover(); v != nil {
		*err = errors.Join(fmt.Errorf("%w: %v", errDamaged, v), *err)
	}
}
