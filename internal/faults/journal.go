package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// journal is the fault log: a line of JSON an event, on disk and in memory.
type journal struct {
	log zerolog.Logger

	mu     sync.Mutex
	file   *os.File
	events []Event
}

func openJournal(path string, log zerolog.Logger) (*journal, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("open the fault log: %w", err)
	}
	return &journal{file: file, log: log}, nil
}

// note writes an event down, now.
func (j *journal) note(e Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.At = time.Now()
	j.events = append(j.events, e)
	line := j.log.Info().Str("kind", string(e.Kind))
	if e.Host != "" {
		line = line.Str("host", e.Host)
	}
	if e.Kind == Clock {
		line = line.Dur("offset_ms", e.Offset).Bool("leads", e.Leads)
	}
	if e.Note != "" {
		line = line.Str("what", e.Note)
	}
	line.Msg("fault")
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the fault log: %w", err)
	}
	if _, err := j.file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write the fault log: %w", err)
	}
	return nil
}

func (j *journal) all() []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]Event(nil), j.events...)
}

func (j *journal) close() error { return j.file.Close() }
