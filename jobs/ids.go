package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Name is a job's name: 1 to 100 letters, digits, '.', '_' and '-'.
type Name string

// RunID names one run of one job: job, incarnation, instant key, generation.
// It is deterministic, so that creating a run twice is creating it once.
type RunID string

// TaskID names one attempt of one split of a run, and is its Mesos task id.
type TaskID string

// MaxName leaves room for the rest of a task id below Mesos's path limits.
const MaxName = 100

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// CheckName says what is wrong with the name of a job or a pool.
func CheckName(n Name) error {
	switch {
	case n == "":
		return fmt.Errorf("a job needs a name")
	case len(n) > MaxName:
		return fmt.Errorf("name has %d characters; at most %d are allowed", len(n), MaxName)
	case !nameForm.MatchString(string(n)):
		return fmt.Errorf("name %q may hold only letters, digits, '.', '_' and '-'", n)
	case strings.Trim(string(n), ".") == "":
		return fmt.Errorf("name %q may not be dots only", n)
	}
	return nil
}

// Key is the part of a run's id that says which instant it is for.
type Key string

// InstantKey is the key of a nominal instant, to the second, in UTC.
func InstantKey(nominal time.Time) Key { return Key(nominal.UTC().Format("20060102T150405Z")) }

// RequestKey is the key of a run asked for by hand, from the request's id.
func RequestKey(requestID string) Key { return Key("r-" + shortHash(requestID)) }

// ConsumedKey is the key of a child's run under Chronos's rule: the hash of
// the parents' runs that it consumed, in any order.
func ConsumedKey(parents []RunID) Key {
	sorted := slices.Sorted(slices.Values(parents))
	var b strings.Builder
	for _, p := range sorted {
		b.WriteString(string(p))
		b.WriteByte('\n')
	}
	return Key("p-" + shortHash(b.String()))
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// NewRunID puts a run's id together.
func NewRunID(job Name, incarnation int64, key Key, generation int) RunID {
	return RunID(fmt.Sprintf("%s.%d.%s.%d", job, incarnation, key, generation))
}

// NewTaskID puts an attempt's id together.
func NewTaskID(run RunID, stage, split, attempt int) TaskID {
	return TaskID(string(run) + "." + strconv.Itoa(stage) + "." + strconv.Itoa(split) + "." + strconv.Itoa(attempt))
}

// TaskParts is what a task id says.
type TaskParts struct {
	Run                   RunID
	Stage, Split, Attempt int
}

// ParseTaskID takes a task id apart. Ids of other frameworks' making fail.
func ParseTaskID(id TaskID) (TaskParts, error) {
	rest := string(id)
	var n [3]int
	for i := 2; i >= 0; i-- {
		dot := strings.LastIndexByte(rest, '.')
		if dot <= 0 {
			return TaskParts{}, fmt.Errorf("task id %q is not <run>.<stage>.<split>.<attempt>", id)
		}
		v, err := strconv.Atoi(rest[dot+1:])
		if err != nil || v < 0 {
			return TaskParts{}, fmt.Errorf("task id %q is not <run>.<stage>.<split>.<attempt>", id)
		}
		n[i], rest = v, rest[:dot]
	}
	if _, err := ParseRunID(RunID(rest)); err != nil {
		return TaskParts{}, fmt.Errorf("task id %q: %w", id, err)
	}
	return TaskParts{Run: RunID(rest), Stage: n[0], Split: n[1], Attempt: n[2]}, nil
}

// RunParts is what a run id says.
type RunParts struct {
	Job         Name
	Incarnation int64
	Key         Key
	Generation  int
}

// ParseRunID takes a run id apart, from the right: names may hold dots.
func ParseRunID(id RunID) (RunParts, error) {
	fail := func() (RunParts, error) {
		return RunParts{}, fmt.Errorf("run id %q is not <job>.<incarnation>.<key>.<generation>", id)
	}
	fields := strings.Split(string(id), ".")
	if len(fields) < 4 {
		return fail()
	}
	n := len(fields)
	gen, err := strconv.Atoi(fields[n-1])
	if err != nil || gen < 0 {
		return fail()
	}
	inc, err := strconv.ParseInt(fields[n-3], 10, 64)
	if err != nil || inc < 0 || fields[n-2] == "" {
		return fail()
	}
	name := Name(strings.Join(fields[:n-3], "."))
	if CheckName(name) != nil {
		return fail()
	}
	return RunParts{Job: name, Incarnation: inc, Key: Key(fields[n-2]), Generation: gen}, nil
}
