package bolt

import (
	"errors"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// A file larger than compactAbove of which more than half is free is rewritten when it is opened.
const compactAbove = 16 << 20

func openCompacted(path string) (*bbolt.DB, error) {
	db, err := openDB(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if info.Size() < compactAbove || freeBytes(db) < info.Size()/2 {
		return db, nil
	}
	if err := compact(db, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return openDB(path)
}

// compact puts a copy of db without its free pages in its file's place.
func compact(db *bbolt.DB, path string) error {
	scratch := path + ".compact"
	if err := os.Remove(scratch); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	copied, err := bbolt.Open(scratch, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		return err
	}
	err = errors.Join(bbolt.Compact(copied, db, 1<<20), copied.Sync(), copied.Close())
	if err != nil {
		return errors.Join(err, os.Remove(scratch))
	}
	if err := os.Rename(scratch, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename durable.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
