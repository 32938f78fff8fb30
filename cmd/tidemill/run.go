package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tidemill/internal/client"
	"tidemill/jobs"
)

type runCmd struct {
	List    runList    `cmd:"" help:"List runs, newest first."`
	Show    runShow    `cmd:"" help:"Show a run: where its tasks are and why, and why the rest waits."`
	Logs    runLogs    `cmd:"" help:"Print what a run's tasks, or one task, wrote."`
	Files   runFiles   `cmd:"" help:"List and read the files of a task's sandbox."`
	Kill    runKill    `cmd:"" help:"Kill runs."`
	Mark    runMark    `cmd:"" help:"Declare by hand how a run ended."`
	Rerun   runRerun   `cmd:"" help:"Do final runs again, as their jobs are now."`
	Resolve runResolve `cmd:"" help:"Say how attempts went whose outcome nobody can know."`
}

type runList struct {
	Job    string `placeholder:"NAME" help:"Only runs of this job."`
	State  string `placeholder:"STATE" help:"Only runs in this state: pending, queued, planning, running, succeeded, failed, skipped, upstream_failed, cancelled."`
	Live   bool   `help:"Only runs that have not ended."`
	Limit  int    `default:"50" help:"At most so many (1 to 1000)."`
	Offset int    `default:"0" help:"Leave out the first so many."`
	Before string `placeholder:"PLACE" help:"Go on from there: a page that is not the last says where."`
}

// Run lists runs.
func (c *runList) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	q := jobs.RunQuery{Job: jobs.Name(c.Job), State: jobs.RunState(c.State), Live: c.Live, Limit: c.Limit, Offset: c.Offset}
	if err := q.Before.UnmarshalText([]byte(c.Before)); err != nil {
		return &exitError{Code: exitUsage, Err: err}
	}
	page, err := api.Runs(ctx, q)
	if err != nil {
		return err
	}
	err = g.print(out, page.Runs, func(w io.Writer) { runRows(w, page.Runs) })
	next, _ := page.Next.MarshalText() // never fails
	switch {
	case err != nil:
	case page.Incomplete != "":
		fmt.Fprintln(out.Err, "older runs are missing: "+page.Incomplete)
	case len(next) > 0:
		fmt.Fprintf(out.Err, "there are more; go on with --before %s\n", next)
	}
	return err
}

func runRows(w io.Writer, list []jobs.RunView) {
	row(w, "RUN", "STATE", "TRIGGER", "SPLITS", "LOCAL", "STARTED", "TOOK", "REASON")
	for _, r := range list {
		row(w, r.ID, r.State, r.Trigger, progressOf(r.Splits), localShare(r.Splits), ago(r.Started), took(r.Started, r.Ended), cmp.Or(r.Reason, waitsFor(r.Waiting)))
	}
}

// waitsFor is why the first split that waits does.
func waitsFor(list []jobs.WaitingSplit) string {
	if len(list) == 0 {
		return ""
	}
	return reasonsOf(list[0])
}

func reasonsOf(s jobs.WaitingSplit) string {
	reasons := make([]string, len(s.Reasons))
	for i, r := range s.Reasons {
		reasons[i] = r.Message
	}
	return strings.Join(reasons, "; ")
}

type runShow struct {
	ID string `arg:"" help:"The run's id."`
}

// Run shows one run.
func (c *runShow) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	v, err := api.RunView(ctx, jobs.RunID(c.ID))
	if err != nil {
		return err
	}
	return g.print(out, v, func(w io.Writer) { describeRun(w, v) })
}

func describeRun(w io.Writer, v jobs.RunView) {
	short := v
	short.Waiting = nil // they follow, all of them
	runRows(w, []jobs.RunView{short})
	if v.Rerun != nil {
		fmt.Fprintln(w)
		row(w, "KEEPS", keeps(v.Rerun))
	}
	if len(v.Tasks) > 0 {
		fmt.Fprintln(w)
		row(w, "TASK", "STATE", "HOST", "LOCALITY", "TOOK", "PLACEMENT", "SAID")
		for _, t := range v.Tasks {
			row(w, t.ID, t.State, t.Host, t.Locality, took(t.Started, t.Ended), t.Placement, taskWord(t))
		}
	}
	childRows(w, v.Children)
	if len(v.Waiting) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, "WAITING SPLIT", "SINCE", "PREFERS", "BECAUSE")
	for _, s := range v.Waiting {
		row(w, fmt.Sprintf("%d.%d", s.Stage, s.Split), ago(s.Since), strings.Join(s.Preferred, ","), reasonsOf(s))
	}
}

// childRows says what became of the jobs after a run's.
func childRows(w io.Writer, list []jobs.ChildRun) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, "JOB AFTER IT", "RUN", "STATE", "REASON")
	for _, c := range list {
		row(w, c.Job, c.Run, c.State, c.Reason)
	}
}

// taskWord is the last that a task said of itself.
func taskWord(t jobs.TaskView) string {
	if p := t.Progress; p != nil && !t.State.Final() {
		text := fmt.Sprintf("%d", p.Done)
		if p.Total > 0 {
			text += fmt.Sprintf(" of %d", p.Total)
		}
		return strings.TrimSpace(text + " " + p.Unit + " " + p.Note)
	}
	if t.ExitCode != nil && *t.ExitCode != 0 && !strings.HasPrefix(t.Message, "exit code") { // a command's error says it itself
		return fmt.Sprintf("exit code %d: %s", *t.ExitCode, t.Message)
	}
	return t.Message
}

type runLogs struct {
	ID     string `arg:"" help:"The id of a run or of a task."`
	Follow bool   `short:"f" help:"Print what comes until the task has ended."`
	Stderr bool   `help:"What was written to stderr instead of stdout."`
}

// Run prints logs: of the one task that there is or was named, or of all of a
// run's under headings.
func (c *runLogs) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	tasks, err := c.tasks(ctx, api)
	if err != nil {
		return err
	}
	stream := jobs.StdoutFile
	if c.Stderr {
		stream = jobs.StderrFile
	}
	if c.Follow {
		return followLogs(ctx, api, tasks, stream, out.Out)
	}
	for _, t := range tasks {
		if len(tasks) > 1 {
			fmt.Fprintf(out.Out, "==> %s <==\n", t)
		}
		if err := printLog(ctx, api, t, stream, out.Out); err != nil {
			return err
		}
	}
	return nil
}

func followLogs(ctx context.Context, api *client.Client, tasks []jobs.TaskID, stream string, to io.Writer) error {
	if len(tasks) > 1 {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("the run has %d tasks and only one can be followed; name it: %s, …", len(tasks), tasks[0])}
	}
	err := api.Follow(ctx, tasks[0], stream, 0, to)
	if errors.Is(err, context.Canceled) { // the user has seen enough
		return nil
	}
	return err
}

// tasks are those meant by the id; those of a run that has none yet are waited for.
func (c *runLogs) tasks(ctx context.Context, api *client.Client) ([]jobs.TaskID, error) {
	ticker := time.NewTicker(waitEvery)
	defer ticker.Stop()
	for {
		v, err := api.RunView(ctx, jobs.RunID(c.ID))
		if err != nil {
			code, _ := jobs.CodeOf(err)
			if _, bad := jobs.ParseTaskID(jobs.TaskID(c.ID)); bad == nil && code == jobs.NotFound {
				return []jobs.TaskID{jobs.TaskID(c.ID)}, nil
			}
			return nil, err
		}
		var ids []jobs.TaskID
		for _, t := range c.meant(attempts(v)) {
			ids = append(ids, t.ID)
		}
		if len(ids) > 0 {
			return ids, nil
		}
		if !c.Follow || v.State.Final() {
			return nil, fmt.Errorf("run %s has no task%s (\"tidemill run show %s\" says why)", v.ID, because(v.Reason), v.ID)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// meant are all attempts of a run or, to follow, those that live, or else the
// one that was launched last.
func (c *runLogs) meant(all []jobs.Task) []jobs.Task {
	if !c.Follow || len(all) == 0 {
		return all
	}
	live := slices.DeleteFunc(slices.Clone(all), func(t jobs.Task) bool { return t.State.Final() })
	if len(live) > 0 {
		return live
	}
	return []jobs.Task{slices.MaxFunc(all, func(a, b jobs.Task) int { return a.Launched.Compare(b.Launched) })}
}

// printLog copies what there is now, part by part.
func printLog(ctx context.Context, api *client.Client, task jobs.TaskID, stream string, to io.Writer) error {
	for offset := int64(0); ; {
		chunk, err := api.Log(ctx, task, stream, offset, 256<<10)
		if err != nil {
			return err
		}
		if _, err := to.Write(chunk.Data); err != nil {
			return fmt.Errorf("print the log: %w", err)
		}
		offset += int64(len(chunk.Data))
		if len(chunk.Data) == 0 || offset >= chunk.Size {
			return nil
		}
	}
}

type runMark struct {
	ID    string `arg:"" help:"The run's id."`
	State string `arg:"" enum:"success,failure" help:"success (its children start) or failure."`
}

// Run marks the run.
func (c *runMark) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	run, err := api.MarkRun(ctx, jobs.RunID(c.ID), c.State == "success")
	if err != nil {
		return err
	}
	fmt.Fprintf(out.Err, "%s is %s\n", run.ID, run.State)
	return nil
}

type runKill struct {
	ID     []string `arg:"" help:"The runs' ids."`
	Reason string   `placeholder:"TEXT" help:"Why, for the record."`
}

// Run kills the runs.
func (c *runKill) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	for _, id := range c.ID {
		if err := api.KillRun(ctx, jobs.RunID(id), c.Reason); err != nil {
			return err
		}
		fmt.Fprintf(out.Err, "%s is being killed\n", id)
	}
	return nil
}
