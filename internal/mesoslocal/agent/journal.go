package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// journal is the checkpoint of one executor's run: a file of JSON lines, appended to as
// things happen. It survives the agent's death, not the machine's: nothing is synced.
type journal struct {
	file *os.File
}

// record is one line: exactly one field is set besides the first line's, which tells
// what runs.
type record struct {
	Framework []byte     `json:"framework,omitempty"`
	Executor  []byte     `json:"executor,omitempty"`
	Command   bool       `json:"command,omitempty"`
	Container string     `json:"container,omitempty"`
	Agent     string     `json:"agent,omitempty"`
	Process   *process   `json:"process,omitempty"`
	Task      []byte     `json:"task,omitempty"`
	Update    []byte     `json:"update,omitempty"`
	Ack       *ackRecord `json:"ack,omitempty"`
}

type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

type ackRecord struct {
	Task string `json:"task"`
	UUID []byte `json:"uuid"`
}

const journalName = "journal.jsonl"

func createJournal(e *executor, agentID string) (*journal, error) {
	if err := os.MkdirAll(e.meta, 0o755); err != nil {
		return nil, fmt.Errorf("checkpoint executor %s: %w", e.id(), err)
	}
	file, err := os.OpenFile(filepath.Join(e.meta, journalName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("checkpoint executor %s: %w", e.id(), err)
	}
	j := &journal{file: file}
	first := record{Command: e.command, Container: e.container, Agent: agentID}
	if first.Framework, err = e.framework.info.Marshal(); err == nil {
		first.Executor, err = e.info.Marshal()
	}
	if err == nil {
		err = j.write(first)
	}
	return j, err
}

func (j *journal) write(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// note appends a record as well as can be: an agent whose disk is full goes on, and a
// recovery then knows less.
func (j *journal) note(r record, err error) {
	if j != nil && j.file != nil && err == nil {
		_ = j.write(r)
	}
}

func (j *journal) started(pid int, start uint64) error {
	return j.write(record{Process: &process{PID: pid, Start: start}})
}

func (j *journal) launched(info mesos.TaskInfo) {
	data, err := info.Marshal()
	j.note(record{Task: data}, err)
}

func (j *journal) updated(status mesos.TaskStatus) {
	data, err := status.Marshal()
	j.note(record{Update: data}, err)
}

func (j *journal) acknowledged(taskID string, uuid []byte) {
	j.note(record{Ack: &ackRecord{Task: taskID, UUID: uuid}}, nil)
}

func (j *journal) close() {
	if j != nil && j.file != nil {
		_ = j.file.Close() // all of it is written already
		j.file = nil
	}
}

// readJournal reads the records of a run; a torn last line is left out.
func readJournal(path string) ([]record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	var records []record
	for line := range bytes.Lines(data) {
		var r record
		if json.Unmarshal(line, &r) != nil {
			break
		}
		records = append(records, r)
	}
	return records, nil
}
