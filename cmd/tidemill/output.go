package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"

	"tidemill/internal/client"
	"tidemill/internal/config"
	"tidemill/internal/jobfile"
	"tidemill/jobs"
	"tidemill/scheduler"
)

// client connects to the scheduler that the flags name.
func (g *globals) client() (*client.Client, error) {
	token, err := config.Token(g.TokenFile)
	if err != nil {
		return nil, err
	}
	c, err := client.New(g.API, token)
	if err != nil {
		return nil, err
	}
	return c.WithPatience(g.Patience), nil
}

// print shows a result in the form that the flags ask for.
func (g *globals) print(c console, v any, table func(w io.Writer)) error {
	if list := reflect.ValueOf(v); list.Kind() == reflect.Slice && list.IsNil() {
		v = []struct{}{} // a list that holds nothing is [], never null
	}
	switch g.Output {
	case "json":
		e := json.NewEncoder(c.Out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		return jobfile.EncodeValue(c.Out, v)
	}
	w := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// row writes one line of a table; the writer keeps the first error for Flush.
func row(w io.Writer, cells ...any) {
	text := make([]string, len(cells))
	for i, cell := range cells {
		if text[i] = oneLine(fmt.Sprint(cell)); text[i] == "" {
			text[i] = "-"
		}
	}
	_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(text, "\t"), "\t "))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// exitCode is the code that goes with a kind of error.
func exitCode(err error) int {
	var unreachable *client.UnreachableError
	var removed *scheduler.RemovedError
	code, _ := jobs.CodeOf(err)
	switch {
	case errors.As(err, &removed):
		return exitRemoved
	case errors.As(err, &unreachable), code == jobs.Unavailable:
		return exitUnreachable
	case code == jobs.Invalid:
		return exitUsage
	}
	return exitFailed
}

// explain writes an error for people: where it holds many findings, each in a
// line of its own.
func explain(err error) string {
	var files jobfile.Errors
	if errors.As(err, &files) {
		return fmt.Sprintf("%d %s\n%s", len(files), plural(len(files), "error"), files)
	}
	var fields jobs.FieldErrors
	var e *jobs.Error
	if !errors.As(err, &fields) || !errors.As(err, &e) {
		return err.Error()
	}
	lines := []string{strings.TrimSuffix(e.Message, ": ")}
	for _, f := range fields {
		at := "  "
		if f.Line > 0 {
			at += fmt.Sprintf("line %d: ", f.Line)
		}
		lines = append(lines, at+f.Error())
	}
	if e.Hint != "" {
		lines = append(lines, "("+e.Hint+")")
	}
	return strings.Join(lines, "\n")
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// ago and until are short for people; zero times are "-".
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return short(time.Since(t)) + " ago"
}

func until(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	if d := time.Until(*t); d > 0 {
		return "in " + short(d)
	}
	return "now"
}

func short(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// took is how long a run or task has been at work.
func took(started, ended time.Time) string {
	switch {
	case started.IsZero():
		return "-"
	case ended.IsZero():
		return short(time.Since(started))
	}
	return short(ended.Sub(started))
}

// when says when a job is due.
func when(j jobs.Job) string {
	switch {
	case len(j.After) > 0:
		names := make([]string, len(j.After))
		for i, n := range j.After {
			names[i] = string(n)
		}
		return "after " + strings.Join(names, ", ")
	case j.Schedule == nil:
		return "-"
	}
	text := j.Schedule.Repeat
	if len(j.Schedule.Cron) > 0 {
		text = strings.Join(j.Schedule.Cron, "; ")
	}
	return strings.TrimSpace(text + " " + j.Schedule.Zone)
}

func progressOf(s jobs.SplitCounts) string {
	if s.Total == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", s.Done, s.Total)
}

func localShare(s jobs.SplitCounts) string {
	if s.Placed == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(s.Local)/float64(s.Placed))
}
