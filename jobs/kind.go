package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"time"
)

// Kind is one kind of job. Check is pure: it decodes a spec, says everything
// that is wrong with it (as FieldErrors) and what the scheduler must know of it.
type Kind interface {
	Name() string
	Summary() string // one line, for people
	Check(spec json.RawMessage) (Traits, error)
	Worker
}

// Worker does one split's work. It runs on an agent, in our executor. It
// returns when the work is done, or soon after ctx is cancelled (a kill; what
// it then returns is kept). Whatever it writes must bear being written again.
type Worker interface {
	Work(ctx context.Context, a Assignment, rt Runtime) (Result, error)
}

// Planner is a kind whose runs are planned by a task of their own (stage 0).
type Planner interface {
	Plan(ctx context.Context, a Assignment, rt Runtime) (Plan, error)
}

// HealthChecker is a kind that checks a running work by a command, in the
// work's own surroundings. It returns nil where the command exits with 0.
type HealthChecker interface {
	CheckHealth(ctx context.Context, command string, a Assignment, sandbox string) error
}

// Native is a kind whose work can be said in Mesos's own words, so that its
// built-in executors can do it. It is pure.
type Native interface {
	Native(a Assignment) Command
}

// Command is a process for Mesos's built-in executors: a text for the shell,
// or a program with its arguments, or arguments for the image's own program.
type Command struct {
	Shell     string
	Program   string
	Arguments []string
	Env       map[string]string
}

// Where a task can be near to.
const (
	NearCassandra = "cassandra"
	NearNothing   = "none"
)

// Traits is what a spec means to the scheduler.
type Traits struct {
	Service    bool      // has no end; its instances are its splits
	Instances  int       // of a service; default
	Health     *Health   // of a service; default
	Planned    bool      // the kind is a Planner and the run needs a plan
	Idempotent bool      // an attempt of unknown outcome may be repeated at once
	Isolation  Isolation // default
	Near       string    // default
	Ports      int       // each task needs
	// Splits is the static plan of a kind that is not planned; one split
	// without payload where it is empty.
	Splits []Split
	// Targets are what the run writes under its version; each must see
	// strictly increasing versions. Names are global: "keyspace/campaign".
	Targets []string
	// Connections are the names of the connections the work uses.
	Connections []string
	// Keyspaces are the keyspaces the work reads or writes.
	Keyspaces []string
	// ChecksCommands: the kind is a HealthChecker.
	ChecksCommands bool
	// User is whom the work runs as; the framework's where it is empty. Downloads
	// lie in the sandbox before it begins. Both need an executor of its own.
	User      string
	Downloads []Download
	// Container is the image that the work runs in: the kind is Native then,
	// and Mesos's built-in executors do the work.
	Container *Container
}

// Assignment is all that an executor is told of one attempt: the data of
// its TaskInfo. It holds no secret but the task's own token.
type Assignment struct {
	Task     TaskID          `json:"task"`
	Run      RunID           `json:"run"`
	Origin   RunID           `json:"origin,omitempty"` // see PlannedBy
	Job      Name            `json:"job"`
	Kind     string          `json:"kind"`
	Owner    string          `json:"owner,omitempty"`
	Stage    int             `json:"stage"` // 0: make the plan
	Split    Split           `json:"split"`
	Splits   int             `json:"splits"` // of this stage
	Attempt  int             `json:"attempt"`
	Attempts int             `json:"attempts"` // allowed starts
	Start    int             `json:"start"`    // this attempt's number among the starts
	Nominal  time.Time       `json:"nominal"`
	Interval Interval        `json:"interval,omitzero"`
	Trigger  Trigger         `json:"trigger"`
	Version  int64           `json:"version,omitempty"`
	Spec     json.RawMessage `json:"spec,omitempty"`
	Shared   json.RawMessage `json:"shared,omitempty"` // of the plan
	// Former lists, for stages after the first, the attempts of the stage
	// before that succeeded: Former[split number] = attempt. It is frozen
	// when the stage starts.
	Former    []int    `json:"former,omitempty"`
	Arguments []string `json:"arguments,omitempty"`
	// Inputs are the results of the parents' runs, by parent.
	Inputs    map[Name]map[string]string `json:"inputs,omitempty"`
	Resources Resources                  `json:"resources"`
	Ports     []uint64                   `json:"ports,omitempty"`
	PortNames []string                   `json:"port_names,omitempty"` // of the first ports
	Health    *Health                    `json:"health,omitempty"`     // of a service's instance
	Host      string                     `json:"host"`
	StartBy   time.Time                  `json:"start_by"`
	MaxRun    Duration                   `json:"max_run,omitempty"`
	KillGrace Duration                   `json:"kill_grace,omitempty"`
	// Schedulers are the base URLs of the schedulers, any of which hands out
	// the connections to the bearer of Token.
	Schedulers []string `json:"schedulers,omitempty"`
	Token      string   `json:"token,omitempty"`
}

// ReadSplit decodes the split's payload.
func (a Assignment) ReadSplit(into any) error {
	if err := json.Unmarshal(a.Split.Payload, into); err != nil {
		return Permanent(fmt.Errorf("read split %d of stage %d: %w", a.Split.Number, a.Stage, err))
	}
	return nil
}

// ReadShared decodes what the plan tells all splits.
func (a Assignment) ReadShared(into any) error {
	if err := json.Unmarshal(a.Shared, into); err != nil {
		return Permanent(fmt.Errorf("read the plan: %w", err))
	}
	return nil
}

// PlannedBy is the run whose plan the attempt works on: itself, or an earlier
// one whose failed splits it does again. What splits leave for one another
// (partial counts, marks) is to be named after it.
func (a Assignment) PlannedBy() RunID {
	if a.Origin != "" {
		return a.Origin
	}
	return a.Run
}

// Runtime is what the executor gives to a kind's work.
type Runtime interface {
	// Connections fetches the named connections from a scheduler.
	Connections(ctx context.Context) (Connections, error)
	// Progress reports how far the work is. It never blocks and may be
	// called for every row: what is not sent is dropped.
	Progress(p Progress)
	// Sandbox is the attempt's own directory.
	Sandbox() string
	// Stdout and Stderr are the attempt's log files.
	Stdout() io.Writer
	Stderr() io.Writer
}

// Result is what an attempt that ran to its end says.
type Result struct {
	ExitCode int               `json:"exit_code"`
	Values   map[string]string `json:"values,omitempty"`
	Message  string            `json:"message,omitempty"`
}

// Outcome is what the executor writes to the attempt's sandbox, durably,
// before it reports the attempt's end, and what it puts in the final update's data.
type Outcome struct {
	Task      TaskID `json:"task"`
	OK        bool   `json:"ok"`
	Killed    bool   `json:"killed,omitempty"`
	Permanent bool   `json:"permanent,omitempty"`
	// NotStarted: refused before the work began (start_by passed, drain).
	NotStarted bool      `json:"not_started,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended"`
	Result
}

// Files in an attempt's directory below the executor's sandbox, which is
// "tasks/<task id>".
const (
	OutcomeFile = "outcome.json"
	PlanFile    = "plan.json"
	StdoutFile  = "stdout"
	StderrFile  = "stderr"
)

// TaskDir is an attempt's directory, relative to its executor's sandbox.
func TaskDir(id TaskID) string { return "tasks/" + string(id) }

// Registry is the kinds a program knows.
type Registry struct{ kinds map[string]Kind }

// NewRegistry lists the kinds; two of one name are a programmer's error.
func NewRegistry(kinds ...Kind) (*Registry, error) {
	r := &Registry{kinds: map[string]Kind{}}
	for _, k := range kinds {
		if _, ok := r.kinds[k.Name()]; ok {
			return nil, fmt.Errorf("kind %q is registered twice", k.Name())
		}
		r.kinds[k.Name()] = k
	}
	return r, nil
}

// Names lists the kinds, sorted.
func (r *Registry) Names() []string {
	names := make([]string, 0, len(r.kinds))
	for n := range r.kinds {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Get finds a kind.
func (r *Registry) Get(name string) (Kind, bool) {
	k, ok := r.kinds[name]
	return k, ok
}

// Check validates a job whole, fills in its defaults and gives its traits.
func (r *Registry) Check(j Job) (Job, Traits, error) {
	k, ok := r.kinds[j.Kind]
	if !ok {
		var e FieldErrors
		e.Addf("kind", "unknown kind %q; the kinds are %v", j.Kind, r.Names())
		e.AddAll("", j.Validate(Traits{}, nil))
		return j, Traits{}, e
	}
	t, specErr := k.Check(j.Spec)
	if _, native := k.(Native); t.Container != nil && !native {
		return j, t, fmt.Errorf("kind %q has containers, and does not say its work in Mesos's words", j.Kind)
	}
	if err := j.Validate(t, specErr); err != nil {
		return j, t, err
	}
	return j.WithDefaults(t), t, nil
}
