package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"tidemill/internal/client"
	"tidemill/jobs"
)

type runFiles struct {
	ID   string `arg:"" help:"The id of a task, or of a run that has one."`
	Path string `arg:"" optional:"" help:"A directory of the sandbox, or with --get a file."`
	Get  bool   `help:"Print what is in the file, as it is."`
}

// fileChunk is how much of a file is asked for at once.
const fileChunk = 256 << 10

// Run lists a directory, or prints a file.
func (c *runFiles) Run(ctx context.Context, g *globals, out console) error {
	if c.Get && c.Path == "" {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("--get needs a file: tidemill run files %s lists them", c.ID)}
	}
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	tasks, err := (&runLogs{ID: c.ID}).tasks(ctx, api)
	if err != nil {
		return err
	}
	if len(tasks) > 1 {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("the run has %d tasks, each with a sandbox of its own; name one: %s, …", len(tasks), tasks[0])}
	}
	if c.Get {
		return printFile(ctx, api, tasks[0], c.Path, out.Out)
	}
	list, err := api.ListFiles(ctx, tasks[0], c.Path)
	if err != nil {
		return err
	}
	return g.print(out, list, func(w io.Writer) {
		row(w, "PATH", "SIZE", "MODIFIED")
		for _, f := range list {
			name := f.Path
			if f.Directory {
				name += "/"
			}
			row(w, name, f.Size, f.Modified.UTC().Format(time.RFC3339))
		}
	})
}

func printFile(ctx context.Context, api *client.Client, task jobs.TaskID, path string, to io.Writer) error {
	for offset := int64(0); ; {
		chunk, err := api.ReadFile(ctx, task, path, offset, fileChunk)
		if err != nil {
			return err
		}
		if _, err := to.Write(chunk.Data); err != nil {
			return fmt.Errorf("print the file: %w", err)
		}
		offset += int64(len(chunk.Data))
		if len(chunk.Data) == 0 || offset >= chunk.Size {
			return nil
		}
	}
}
