package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"tidemill/internal/stack"
)

// Phase is how far a supervisor has come.
type Phase string

// The phases of a supervisor; one that was stopped leaves no state.
const (
	Starting Phase = "starting"
	Ready    Phase = "ready"
	Failed   Phase = "failed"
)

// State is what a supervisor tells those who ask for its stack.
type State struct {
	Supervisor int             `json:"supervisor"` // process id
	Phase      Phase           `json:"phase"`
	Progress   []string        `json:"progress,omitempty"`
	Error      string          `json:"error,omitempty"`
	Options    stack.Options   `json:"options"`
	Addresses  stack.Addresses `json:"addresses"`
	Servers    []Server        `json:"servers,omitempty"`
}

// Server is one server of a stack that is up.
type Server struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Pid     int    `json:"pid"` // 0 once it has ended
	Log     string `json:"log"`
}

func stateFile(dir string) string { return filepath.Join(dir, "state.json") }

// board is where a supervisor puts up its state; each change is written at once and whole.
type board struct {
	dir string

	mu    sync.Mutex
	state State
}

func (b *board) change(change func(*State)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.state)
	content, err := json.MarshalIndent(b.state, "", "  ")
	if err != nil {
		return fmt.Errorf("write the supervisor's state: %w", err)
	}
	next := stateFile(b.dir) + ".next"
	if err := os.WriteFile(next, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the supervisor's state: %w", err)
	}
	if err := os.Rename(next, stateFile(b.dir)); err != nil {
		return fmt.Errorf("write the supervisor's state: %w", err)
	}
	return nil
}

// readState returns the last state that was put up, of whichever supervisor; it may be gone.
func readState(dir string) (State, error) {
	content, err := os.ReadFile(stateFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("read the supervisor's state: %w", err)
	}
	var state State
	if err := json.Unmarshal(content, &state); err != nil {
		return State{}, fmt.Errorf("read the supervisor's state in %s: %w", stateFile(dir), err)
	}
	return state, nil
}

// Find returns the state of the supervisor that has the directory; up is false without one.
func Find(dir string) (state State, up bool, err error) {
	pid, err := holder(dir)
	if err != nil || pid == 0 {
		return State{}, false, err
	}
	state, err = readState(dir)
	if err != nil {
		return State{}, true, err
	}
	if state.Supervisor != pid {
		// It has the directory, but has put up nothing yet: what is there is its predecessor's.
		state = State{Supervisor: pid, Phase: Starting}
	}
	return state, true, nil
}
