// Package stack starts the real servers that Tidemill works with - ZooKeeper, Kafka, Cassandra and
// an S3 server - as child processes on loopback, and ends them.
//
// Each server is waited for by its own protocol and for its own end, both at once, since a server
// can die while it starts. Nothing outlives the process that started it, however that one ends.
package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// startTimeout bounds the wait for each server, downloads not included, and for Cassandra's nodes to
// agree. It is far above what a loaded machine takes for three Cassandra nodes.
const startTimeout = 3 * time.Minute

// Options say which servers a stack has, and where they keep their data.
type Options struct {
	ZooKeeper int    `json:"zookeeper"` // number of servers: 0, 1, or 3 for an ensemble
	Kafka     bool   `json:"kafka"`     // one broker
	Cassandra []Node `json:"cassandra"` // one node for each place; see Nodes
	S3        bool   `json:"s3"`

	// Ports fixes the ports, on 127.0.0.1 and the addresses after it; zero takes free ones on a
	// network of loopback that no other run uses.
	Ports Ports `json:"ports"`
	// Dir keeps the servers' data. Empty means a temporary one, which Stop removes.
	Dir string `json:"dir"`
	// Cache keeps the servers' programs; empty means $TIDEMILL_CACHE or the user's cache directory.
	Cache string `json:"cache"`
	// PeriodicCommitLog doubles Cassandra's write rate and loses rows acknowledged within the last
	// 10 s when all replicas are killed.
	PeriodicCommitLog bool `json:"periodic_commit_log"`
	// ZooKeeperHeap is what each ZooKeeper may use of the memory, as "512m"; empty means 64 MiB,
	// which is enough for tests and not for 50,000 jobs.
	ZooKeeperHeap string `json:"zookeeper_heap,omitempty"`

	Log zerolog.Logger `json:"-"`
	// Progress, when set, is told what a start waits for, in words for a user. It is called by
	// several goroutines, one at a time.
	Progress func(string) `json:"-"`
}

// Single is a stack of one server of each kind.
func Single() Options {
	return Options{ZooKeeper: 1, Kafka: true, Cassandra: Nodes(1, nil, nil), S3: true}
}

// Same says whether both ask for the same servers at the same ports.
func (o Options) Same(other Options) bool {
	return o.ZooKeeper == other.ZooKeeper && o.Kafka == other.Kafka && o.S3 == other.S3 &&
		slices.Equal(o.Cassandra, other.Cassandra) && o.Ports == other.Ports &&
		o.PeriodicCommitLog == other.PeriodicCommitLog
}

// Check says why there can be no stack with these options.
func (o Options) Check() error {
	switch {
	case o.ZooKeeper != 0 && o.ZooKeeper != 1 && o.ZooKeeper != 3:
		return fmt.Errorf("an ensemble of %d ZooKeeper servers is not supported: choose 0, 1 or 3", o.ZooKeeper)
	case len(o.Cassandra) > maxNodes:
		return fmt.Errorf("%d Cassandra nodes are more than one machine carries: choose at most %d", len(o.Cassandra), maxNodes)
	case o.ZooKeeper == 0 && !o.Kafka && len(o.Cassandra) == 0 && !o.S3:
		return errors.New("no server is asked for: choose at least one")
	case o.Ports != (Ports{}):
		return place{ports: o.Ports}.disjoint(o)
	}
	return nil
}

// maxNodes bounds the memory: a node takes up to 370 MB.
const maxNodes = 9

// Stack is a set of running servers.
type Stack struct {
	servers   []*Server
	addresses Addresses
	nursery   *nursery
	dir       string
	temporary bool
	stop      func() error
}

// Start starts the servers, all at once, and returns when all are ready. When it fails, nothing is
// left running.
func Start(ctx context.Context, o Options) (*Stack, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("start the servers: %w", err)
	}
	s := newStack()
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func newStack() *Stack {
	s := &Stack{nursery: newNursery()}
	s.stop = sync.OnceValue(s.end)
	return s
}

// Fetch gets the programs of the servers into the cache, as Start does where they are missing.
func Fetch(ctx context.Context, o Options) error {
	children := newNursery()
	defer children.close()
	_, err := fetchPrograms(ctx, o, children)
	return err
}

func (s *Stack) start(ctx context.Context, o Options) error {
	// A port that is taken should be told before minutes of downloads.
	if _, err := findPlace(o); err != nil {
		return err
	}
	programs, err := fetchPrograms(ctx, o, s.nursery)
	if err != nil {
		return err
	}
	return s.run(ctx, o, programs)
}

// run starts servers whose programs are there.
func (s *Stack) run(ctx context.Context, o Options, programs programs) error {
	at, err := findPlace(o)
	if err != nil {
		return err
	}
	if err := s.openDir(o); err != nil {
		return err
	}
	recipes, err := programs.recipes(at, s.dir, o)
	if err != nil {
		return fmt.Errorf("configure the servers: %w", err)
	}
	for _, r := range recipes {
		s.servers = append(s.servers, &Server{recipe: r, nursery: s.nursery, log: o.Log})
	}
	s.addresses = addressesOf(at, o)
	return s.launch(ctx, o)
}

// openDir finds the data directory and refuses one that holds the data of another stack.
func (s *Stack) openDir(o Options) error {
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "tidemill-stack-")
		if err != nil {
			return fmt.Errorf("make a directory for the servers: %w", err)
		}
		s.dir, s.temporary = dir, true
		return nil
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("find the servers' directory: %w", err)
	}
	s.dir = dir
	return claim(dir, o)
}

func (s *Stack) launch(ctx context.Context, o Options) error {
	say := o.sayer()
	err := each(ctx, s.servers, func(ctx context.Context, server *Server) error {
		began := time.Now()
		if err := server.start(ctx); err != nil {
			return err
		}
		say("%s is ready at %s after %.1f s", server.Name(), server.Address(), time.Since(began).Seconds())
		return nil
	})
	if err != nil || len(o.Cassandra) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not within %s", startTimeout))
	defer cancel()
	return AwaitAgreement(ctx, s.addresses.Cassandra)
}

// Servers returns the servers in a fixed order: ZooKeeper's, Kafka's, Cassandra's, S3.
func (s *Stack) Servers() []*Server {
	return append([]*Server(nil), s.servers...)
}

// Server returns the server of that name ("zookeeper-1", "kafka", "cassandra-3", "s3"), or nil.
func (s *Stack) Server(name string) *Server {
	for _, server := range s.servers {
		if server.Name() == name {
			return server
		}
	}
	return nil
}

// Addresses returns where the servers are reached.
func (s *Stack) Addresses() Addresses {
	return s.addresses.clone()
}

// Stop ends all servers and returns when they are gone. Servers with a directory to keep are ended
// in good order; those of a temporary one are killed, and it is removed. Stopping again does
// nothing.
func (s *Stack) Stop() error {
	return s.stop()
}

func (s *Stack) end() error {
	err := each(context.Background(), s.servers, func(_ context.Context, server *Server) error {
		if s.temporary {
			return server.Kill()
		}
		return server.Stop()
	})
	s.nursery.close()
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// sayer returns a function that tells progress, one line at a time.
func (o Options) sayer() func(format string, args ...any) {
	var mu sync.Mutex
	return func(format string, args ...any) {
		if o.Progress == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// each runs do for all items at once, and waits for all; the first failure cancels the others.
func each[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for _, item := range items {
		wg.Go(func() {
			if err := do(ctx, item); err != nil {
				// The others fail because of the first: their errors would only hide it.
				once.Do(func() { first = err })
				cancel(errOtherFailed)
			}
		})
	}
	wg.Wait()
	return first
}

var errOtherFailed = errors.New("given up, since another server failed")
