package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemill/jobs"
)

// beat is how often a task shows that it is at work.
const beat = 200 * time.Millisecond

// The words of a task's file: each line is a word, a time, and the process that wrote it.
const (
	wordStart = "start"
	wordBeat  = "beat"
	wordEnd   = "end"
)

// Work is what a task does: it writes down that it starts, works for a while, and writes down that
// it is done, each on disk before it goes on. A second process under the same task id, which must
// never be, shows in the same file.
func Work(ctx context.Context, dir string, d time.Duration, getenv func(string) string) error {
	task, nominal := getenv("TIDEMILL_TASK"), getenv("TIDEMILL_NOMINAL")
	if task == "" || nominal == "" {
		return errors.New("TIDEMILL_TASK or TIDEMILL_NOMINAL is not set: this is for a task of Tidemill's")
	}
	file, err := os.OpenFile(filepath.Join(dir, task), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	say := func(word string, more ...string) error {
		line := strings.Join(append([]string{word, time.Now().UTC().Format(time.RFC3339Nano), strconv.Itoa(os.Getpid())}, more...), " ")
		_, err := file.WriteString(line + "\n")
		return err
	}
	if err := errors.Join(say(wordStart, getenv("TIDEMILL_HOST"), nominal), file.Sync()); err != nil {
		return err
	}
	done := time.NewTimer(d)
	defer done.Stop()
	beats := time.NewTicker(beat)
	defer beats.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-done.C:
			return errors.Join(say(wordEnd), file.Sync())
		case <-beats.C:
			if err := say(wordBeat); err != nil {
				return err
			}
		}
	}
}

// ReadAttempts reads what all tasks wrote.
func ReadAttempts(dir string) ([]Attempt, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read what the tasks wrote: %w", err)
	}
	var all []Attempt
	for _, e := range entries {
		list, err := readTask(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read what task %s wrote: %w", e.Name(), err)
		}
		all = append(all, list...)
	}
	return all, nil
}

func readTask(path string) ([]Attempt, error) {
	parts, err := jobs.ParseTaskID(jobs.TaskID(filepath.Base(path)))
	if err != nil {
		return nil, err
	}
	run, err := jobs.ParseRunID(parts.Run)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var attempts []Attempt
	var processes []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 3 {
			continue // it was killed while it wrote
		}
		at, err := time.Parse(time.RFC3339Nano, words[1])
		if err != nil {
			continue
		}
		i := slices.Index(processes, words[2])
		switch {
		case words[0] == wordStart && len(words) == 5:
			nominal, err := time.Parse(time.RFC3339, words[4])
			if err != nil {
				return nil, err
			}
			processes = append(processes, words[2])
			attempts = append(attempts, Attempt{
				Task: jobs.TaskID(filepath.Base(path)), Run: parts.Run, Job: run.Job, Nominal: nominal,
				Host: words[3], Start: at, Seen: at,
			})
		case i >= 0 && words[0] == wordBeat:
			attempts[i].Seen = at
		case i >= 0 && words[0] == wordEnd:
			attempts[i].Seen, attempts[i].End = at, at
		}
	}
	return attempts, lines.Err()
}
