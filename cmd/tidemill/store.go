package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/bolt"
	"tidemill/jobs"
	"tidemill/scheduler"
	"tidemill/zk"
)

// storeFlags name the store of schedulers that do not run.
type storeFlags struct {
	ZK  string `name:"zk" xor:"store" placeholder:"HOST:PORT,.../PATH" help:"ZooKeeper with the state of schedulers that do not run."`
	Dir string `type:"path" xor:"store" placeholder:"DIR" help:"State folder of a local Tidemill that does not run."`
}

func (f storeFlags) given() bool { return f.ZK != "" || f.Dir != "" }

// store is one that this command leads in, so that no scheduler does.
type store struct {
	scheduler.Leadership
	records []scheduler.Record
	close   func()
}

// holdWait is how long to wait for the session of a scheduler that was killed.
const holdWait = 10 * time.Second

// hold opens the store, takes the lead, and reads all records.
func (f storeFlags) hold(ctx context.Context, log zerolog.Logger) (*store, error) {
	elector, closeStore, err := f.open(ctx, log.Level(max(zerolog.WarnLevel, log.GetLevel())))
	if err != nil {
		return nil, err
	}
	s := &store{close: closeStore}
	bounded, cancel := context.WithTimeout(ctx, holdWait)
	defer cancel()
	s.Leadership, err = elector.Campaign(bounded, nil)
	if err != nil {
		leader, leads := elector.Leader()
		s.close()
		if leads && ctx.Err() == nil {
			return nil, &jobs.Error{
				Code: jobs.Conflict, Op: "open the store", Message: "a scheduler leads: " + leader,
				Hint: "stop all schedulers first; tasks run on meanwhile",
			}
		}
		return nil, fmt.Errorf("open the store: %w", err)
	}
	err = s.Load(ctx, func(r scheduler.Record) error { s.records = append(s.records, r); return nil })
	if err != nil {
		s.release(ctx)
		return nil, err
	}
	return s, nil
}

// release gives the lead up.
func (s *store) release(ctx context.Context) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdWait)
	defer cancel()
	_ = s.Resign(bounded) // closing the store ends the term as well
	s.close()
}

func (f storeFlags) open(ctx context.Context, log zerolog.Logger) (scheduler.Elector, func(), error) {
	if !f.given() {
		return nil, nil, &exitError{Code: exitUsage, Err: errors.New("name the store: --zk HOST:PORT/PATH, or --dir of a local Tidemill")}
	}
	if f.Dir != "" {
		path := filepath.Join(f.Dir, "state.db")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil, &exitError{Code: exitUsage, Err: fmt.Errorf("no state in %s: %w (start and end \"tidemill local --empty --dir %[1]s\" to make one)", f.Dir, err)}
		}
		file, err := bolt.Open(bolt.Options{Path: path, Advertise: "tidemill state"})
		if err != nil {
			return nil, nil, err
		}
		return file, func() { _ = file.Close() }, nil
	}
	address, err := zk.ParseAddress(storeAddress(f.ZK))
	if err != nil {
		return nil, nil, &exitError{Code: exitUsage, Err: err}
	}
	bounded, cancel := context.WithTimeout(ctx, holdWait)
	defer cancel()
	client, err := zk.Connect(bounded, zk.Options{Address: address, Advertise: "tidemill state", Log: log})
	if err != nil {
		return nil, nil, err
	}
	return client, client.Close, nil
}
