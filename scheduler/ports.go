package scheduler

import (
	"context"
	"errors"

	"tidemill/jobs"
)

// Change is one record put (or, where Value is nil, deleted) in the store.
type Change struct {
	Key   string // "jobs/<name>", "runs/<id>", "tasks/<id>", "meta/<what>", …
	Value []byte
}

// Group is changes that must become durable together.
type Group []Change

// Batch is groups committed as one, with its number in the term's sequence.
type Batch struct {
	Sequence int64
	Changes  []Change
}

// Bounds of one batch: what a ZooKeeper multi holds below jute.maxbuffer.
const (
	MaxBatchBytes   = 700 << 10
	MaxBatchChanges = 2000
)

// What a store may answer besides nil. Anything else is a broken store: the
// leader steps down.
var (
	// ErrFenced: the term is over. Nothing was written, and nothing will be.
	ErrFenced = errors.New("another scheduler leads")
	// ErrUncertain: nobody can know whether the batch was applied. The same
	// batch may be committed again; an applied one is recognised by its number.
	ErrUncertain = errors.New("the store did not say whether the write happened")
)

// Record is what Load finds.
type Record struct {
	Key   string
	Value []byte
}

// Store keeps the scheduler's records under one leader's term.
type Store interface {
	// Load calls each for every record, after a sync, in no order. It may be
	// called beside Commit, and gives all records as they are at one instant.
	Load(ctx context.Context, each func(Record) error) error
	// Commit applies a batch whole or not at all. It is durable when nil returns.
	Commit(ctx context.Context, b Batch) error
}

// Copy is told of the store's records: each as it is, or, where the Value is nil, that it is gone.
// It may be called for several keys at once.
type Copy func(Change)

// Leadership is one term of one leader.
type Leadership interface {
	Store
	// CatchUp tells the copy that was given to Campaign of what it was not told: after it, and before
	// the first Commit, the copy has all records of the store as they are.
	CatchUp(ctx context.Context) error
	Term() int64
	// Lost is closed when the term is known to be over.
	Lost() <-chan struct{}
	// Resign ends the term so that another leads at once. It is idempotent.
	Resign(ctx context.Context) error
}

// Elector finds out who leads.
type Elector interface {
	// Campaign blocks until this scheduler leads or ctx ends. The term is
	// raised, fenced and durable when it returns. Meanwhile it may tell the copy, where there is one,
	// of the store's records, so that little is left for CatchUp.
	Campaign(ctx context.Context, copy Copy) (Leadership, error)
	// Leader is the leading scheduler's base URL, where one is known.
	Leader() (string, bool)
	// Schedulers are the base URLs of all schedulers that are up.
	Schedulers() []string
}

// Mesos is the way to the leading master.
type Mesos interface {
	// Subscribe finds the leading master and subscribes, with the framework
	// id where one is known. One try: the caller backs off.
	Subscribe(ctx context.Context, frameworkID string) (Subscription, error)
}

// Subscription is one stream of events, and the calls made under its id.
type Subscription interface {
	// Events delivers what Mesos says, in order, first a Subscribed. It is
	// closed when the stream ends; Err then says why.
	Events() <-chan Event
	Err() error
	// Send makes a call under this stream's id and waits for the answer.
	// A *CallError is Mesos's own refusal; any other error leaves it open
	// whether the call arrived.
	Send(ctx context.Context, c Call) error
	Close()
}

// CallError is an answer other than 200 and 202.
type CallError struct {
	Status  int
	Message string
}

func (e *CallError) Error() string { return e.Message }

// History keeps final runs for longer than the store does. The core's
// decisions never depend on it: it may be away.
type History interface {
	// Write keeps runs with their tasks. They are durable when nil returns;
	// writing them again, even long after and by another scheduler, changes
	// nothing.
	Write(ctx context.Context, runs []jobs.RunView) error
	// Run finds one; jobs.NotFound is the code of the error where there is none.
	Run(ctx context.Context, id jobs.RunID) (jobs.RunView, error)
	// Runs lists those of q.Job, without their tasks, in q.State after
	// q.Before, at most q.Limit. A page may be short, or empty, and have a Next.
	Runs(ctx context.Context, q jobs.RunQuery) (jobs.RunPage, error)
}

// Files reads what an attempt left in its sandbox, through its agent.
type Files interface {
	// Read gives up to limit bytes of a file from offset, and the file's size.
	// A file that is not there is fs.ErrNotExist.
	Read(ctx context.Context, where Sandbox, path string, offset int64, limit int) (data []byte, size int64, err error)
	// List gives what is in a directory, with paths within the sandbox, as the
	// agent has them. One that is not there is fs.ErrNotExist.
	List(ctx context.Context, where Sandbox, path string) ([]jobs.File, error)
}

// Sandbox is an executor's directory on an agent.
type Sandbox struct {
	AgentAddr, AgentID, FrameworkID, Executor string
}
