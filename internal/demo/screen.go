package demo

import (
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"
)

// progressEvery bounds the lines that tell how far a stage is.
const progressEvery = 3 * time.Second

// screen tells a person who waits what happens, and how long each stage took.
type screen struct {
	out   io.Writer
	began time.Time

	mu     sync.Mutex
	stages []stageTime
	told   time.Time // the last line of progress
}

type stageTime struct {
	name string
	took time.Duration
}

func newScreen(out io.Writer) *screen { return &screen{out: out, began: time.Now()} }

// stage runs one stage between its first and last line.
func (s *screen) stage(name string, do func() error) error {
	began := time.Now()
	s.line(name)
	err := do()
	took := time.Since(began)
	s.mu.Lock()
	s.stages = append(s.stages, stageTime{name, took})
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// line begins with the time since the start.
func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "[%6.1f s] %s\n", time.Since(s.began).Seconds(), text)
}

// say tells what has happened within the stage.
func (s *screen) say(format string, args ...any) {
	s.line("  " + fmt.Sprintf(format, args...))
}

// progress tells how far the stage is, once in a while.
func (s *screen) progress(format string, args ...any) {
	s.mu.Lock()
	due := time.Since(s.told) >= progressEvery
	if due {
		s.told = time.Now()
	}
	s.mu.Unlock()
	if due {
		s.say(format, args...)
	}
}

// times prints the table of the stages.
func (s *screen) times() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "STAGE\tSECONDS\t")
	for _, t := range s.stages {
		fmt.Fprintf(table, "%s\t%.1f\t\n", t.name, t.took.Seconds())
	}
	fmt.Fprintf(table, "all\t%.1f\t\n", time.Since(s.began).Seconds())
	return table.Flush()
}
