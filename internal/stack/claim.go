package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// shape is what the data of a directory depends on: with another one it cannot be read, or is read
// wrongly (Cassandra's tokens, for one, belong to the number of nodes).
type shape struct {
	ZooKeeper int    `json:"zookeeper"`
	Cassandra []Node `json:"cassandra"`
}

// claim records the stack's shape in its directory, or refuses a directory with another shape.
// Servers without data of their own there, and those that are left out, do not matter.
func claim(dir string, o Options) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the servers' directory: %w", err)
	}
	path := filepath.Join(dir, "stack.json")
	var had shape
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read the shape of the stack: %w", err)
	default:
		if err := json.Unmarshal(content, &had); err != nil {
			return fmt.Errorf("read the shape of the stack from %s: %w (remove %s to start anew)", path, err, dir)
		}
	}
	want := had
	if o.ZooKeeper > 0 {
		want.ZooKeeper = o.ZooKeeper
	}
	if len(o.Cassandra) > 0 {
		want.Cassandra = o.Cassandra
	}
	if had.ZooKeeper > 0 && had.ZooKeeper != want.ZooKeeper {
		return fmt.Errorf("%s holds the data of %d ZooKeeper servers, not of %d: %w", dir, had.ZooKeeper, want.ZooKeeper, ErrOtherData)
	}
	if len(had.Cassandra) > 0 && !slices.Equal(had.Cassandra, want.Cassandra) {
		return fmt.Errorf("%s holds the data of the Cassandra nodes %v, not of %v: %w", dir, had.Cassandra, want.Cassandra, ErrOtherData)
	}
	content, err = json.MarshalIndent(want, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}

// ErrOtherData says that a directory was used with other numbers or places of servers.
var ErrOtherData = errors.New("use the same servers again, or remove the data (tidemill stack down --purge)")
