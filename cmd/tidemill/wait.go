package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"tidemill/internal/client"
	"tidemill/jobs"
)

// waiter follows one run to its end.
type waiter struct {
	api      *client.Client
	progress io.Writer
}

const (
	waitEvery = 300 * time.Millisecond
	// waitPatience is how long nobody may lead before a waiting command gives
	// up: longer than an election after a lost session takes.
	waitPatience = 60 * time.Second
	// tailBytes of a failed task's stderr are shown.
	tailBytes = 4 << 10
)

// wait returns the run when it has ended, and says on the way how far it is.
func (w waiter) wait(ctx context.Context, id jobs.RunID) (jobs.RunView, error) {
	ticker := time.NewTicker(waitEvery)
	defer ticker.Stop()
	said := ""
	for {
		v, err := w.api.RunView(ctx, id)
		switch {
		case ctx.Err() != nil:
			return v, fmt.Errorf("no longer waiting; the run goes on (end it with \"tidemill run kill %s\")", id)
		case err != nil:
			return v, fmt.Errorf("wait for run %s: %w", id, err)
		}
		if line := progressLine(v); line != said {
			fmt.Fprintln(w.progress, line)
			said = line
		}
		if v.State.Final() {
			return v, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// waitAfter waits for the runs of the jobs after a run's, and of those after
// them. It gives those that ended, and notes in the list how.
func (w waiter) waitAfter(ctx context.Context, children []jobs.ChildRun) ([]jobs.RunView, error) {
	var ended []jobs.RunView
	for todo, depth := children, 0; len(todo) > 0; depth++ {
		var next []jobs.ChildRun
		for i, child := range todo {
			if child.Run == "" || slices.ContainsFunc(ended, func(r jobs.RunView) bool { return r.ID == child.Run }) {
				continue
			}
			v, err := w.wait(ctx, child.Run)
			if err != nil {
				return nil, err
			}
			if depth == 0 {
				children[i].State, children[i].Reason = v.State, v.Reason
			}
			ended, next = append(ended, v), append(next, v.Children...)
		}
		todo = next
	}
	return ended, nil
}

func progressLine(v jobs.RunView) string {
	line := fmt.Sprintf("%s: %s", v.ID, v.State)
	if v.State.Final() {
		if v.Reason != "" {
			line += ": " + v.Reason
		}
		return line
	}
	if v.Splits.Total > 0 {
		if v.Stage > 0 { // 0 is planning
			line += fmt.Sprintf(", stage %d: %d of %d splits done", v.Stage, v.Splits.Done, v.Splits.Total)
		}
		if n := v.Splits.Live; n > 0 {
			doing := "running"
			if v.State == jobs.RunQueued {
				doing = "launching"
			}
			line += fmt.Sprintf(", %d %s", n, doing)
		}
	}
	if n := len(v.Waiting); n > 0 {
		line += fmt.Sprintf(", %d waiting", n)
		if len(v.Waiting[0].Reasons) > 0 {
			line += " (" + v.Waiting[0].Reasons[0].Message + ")"
		}
	}
	return line
}

// verdict gives the exit code of a run that has ended, after the end of what
// its failed task wrote.
func (w waiter) verdict(ctx context.Context, v jobs.RunView) error {
	if v.State == jobs.RunSucceeded || v.State == jobs.RunSkipped && v.Trigger == jobs.ByParents { // by a policy: no failure
		return nil
	}
	exit := &exitError{Code: exitFailed, Err: fmt.Errorf("run %s %s%s", v.ID, v.State, because(v.Reason))}
	task, ok := decisive(v)
	if !ok {
		return exit
	}
	if task.ExitCode != nil && *task.ExitCode > 0 && *task.ExitCode < 256 {
		exit.Code = *task.ExitCode
	}
	tail, err := w.api.Tail(ctx, task.ID, jobs.StderrFile, tailBytes)
	switch {
	case err != nil:
		fmt.Fprintf(w.progress, "the task's stderr cannot be read: %v\n", err)
	case len(tail) > 0:
		fmt.Fprintf(w.progress, "--- end of stderr of task %s on %s\n%s\n---\n", task.ID, task.Host, trimEnd(tail))
	}
	return exit
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// decisive is the attempt that failed last.
func decisive(v jobs.RunView) (jobs.Task, bool) {
	failed := slices.DeleteFunc(attempts(v), func(t jobs.Task) bool { return t.State != jobs.AttemptFailed })
	if len(failed) == 0 {
		return jobs.Task{}, false
	}
	return slices.MaxFunc(failed, func(a, b jobs.Task) int { return a.Ended.Compare(b.Ended) }), true
}

// attempts are a run's, in the order of their splits.
func attempts(v jobs.RunView) []jobs.Task {
	list := slices.Clone(v.Attempts)
	if len(v.Tasks) > 0 {
		list = list[:0]
	}
	for _, t := range v.Tasks {
		list = append(list, t.Task)
	}
	slices.SortFunc(list, func(a, b jobs.Task) int {
		return cmp.Or(a.Stage-b.Stage, a.Split-b.Split, a.Attempt-b.Attempt)
	})
	return list
}

func trimEnd(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}
