package scheduler

import (
	"time"

	"tidemill/jobs"
)

// Event is something that happened: the core's only input.
type Event interface{ event() }

// Subscribed opens a subscription.
type Subscribed struct {
	Stream      int64 // the subscription's number within the term, set by the loop
	FrameworkID string
	Master      string // "127.0.0.1:5050"
	MasterID    string
	MasterSince time.Time // when it was elected; zero if it did not say
}

// Disconnected ends it.
type Disconnected struct{}

// Offered brings offers.
type Offered struct{ Offers []jobs.Offer }

// Rescinded takes one back.
type Rescinded struct{ Offer string }

// InverseOffered asks to leave an agent.
type InverseOffered struct {
	ID, Agent string
	Away      jobs.Unavailability
}

// InverseRescinded takes that back.
type InverseRescinded struct{ ID string }

// Updated is a status update.
type Updated struct{ jobs.Update }

// Messaged is an executor's message: progress.
type Messaged struct {
	Agent, Executor string
	Data            []byte
}

// AgentLost says that the master removed an agent.
type AgentLost struct{ Agent string }

// ExecutorLost says that an executor ended; Status is the raw wait status.
type ExecutorLost struct {
	Agent, Executor string
	Status          int
}

// Refused is an ERROR event: the master ended the subscription with a reason.
type Refused struct{ Message string }

func (Subscribed) event()       {}
func (Disconnected) event()     {}
func (Offered) event()          {}
func (Rescinded) event()        {}
func (InverseOffered) event()   {}
func (InverseRescinded) event() {}
func (Updated) event()          {}
func (Messaged) event()         {}
func (AgentLost) event()        {}
func (ExecutorLost) event()     {}
func (Refused) event()          {}

// ClockSkewed says by how much our clock is ahead of the one that the store
// stamps our writes with.
type ClockSkewed struct{ By time.Duration }

// Tick lets time pass.
type Tick struct{}

// Elected begins a term: the records are loaded.
type Elected struct {
	Term   int64
	Secret []byte        // used where the store holds none yet: it signs the tasks' tokens
	Ahead  time.Duration // of our clock, as in ClockSkewed, when the term was raised
}

// Peers are the base URLs of the schedulers that are up.
type Peers struct{ URLs []string }

// CallAnswered says how Mesos took a call that the core must know of.
type CallAnswered struct {
	Call Call
	Err  error // nil; a *CallError: Mesos refused it; or it was never sent
}

// Fetched answers a Read. A missing file is fs.ErrNotExist.
type Fetched struct {
	Task jobs.TaskID
	File string
	Data []byte
	Err  error
}

// Request asks for something on behalf of a user; an Answer with the same ID
// follows. Do is one of the request types in request.go.
type Request struct {
	ID int64
	Do any
}

// Recorded says how writing the runs of Effects.History went.
type Recorded struct {
	Runs []jobs.RunID
	Err  error
}

func (ClockSkewed) event()  {}
func (Tick) event()         {}
func (Elected) event()      {}
func (Peers) event()        {}
func (CallAnswered) event() {}
func (Fetched) event()      {}
func (Recorded) event()     {}
func (Request) event()      {}
