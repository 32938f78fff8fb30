package jobs

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RunCursor is a place in a list of runs, newest first: just behind one of
// them. It stays right while newer runs come, and when its own is forgotten.
type RunCursor struct {
	Created time.Time
	ID      RunID
}

// Cursor is the place just behind the run.
func (r *Run) Cursor() RunCursor { return RunCursor{Created: r.Created, ID: r.ID} }

// IsZero says whether it is the beginning of the list.
func (c RunCursor) IsZero() bool { return c.ID == "" }

// Compare is negative where c comes before other in a list, newest first.
func (c RunCursor) Compare(other RunCursor) int {
	return cmp.Or(other.Created.Compare(c.Created), cmp.Compare(other.ID, c.ID))
}

// MarshalText writes it as "<nanoseconds since 1970>.<run id>".
func (c RunCursor) MarshalText() ([]byte, error) {
	if c.IsZero() {
		return nil, nil
	}
	return []byte(strconv.FormatInt(c.Created.UnixNano(), 10) + "." + string(c.ID)), nil
}

// UnmarshalText reads what MarshalText wrote.
func (c *RunCursor) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*c = RunCursor{}
		return nil
	}
	at, id, _ := strings.Cut(string(text), ".")
	nanos, err := strconv.ParseInt(at, 10, 64)
	if err == nil {
		_, err = ParseRunID(RunID(id))
	}
	if err != nil {
		return fmt.Errorf("%q is no place in a list of runs; take \"next\" of the page before it", text)
	}
	*c = RunCursor{Created: time.Unix(0, nanos).UTC(), ID: RunID(id)}
	return nil
}
