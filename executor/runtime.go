package executor

import (
	"context"
	"errors"
	"io"
	"math"

	"tidemill/jobs"
)

// runtime is what one attempt's work is given.
type runtime struct {
	assignment     jobs.Assignment
	dir            string
	stdout, stderr *logFile
	progress       *progress
	connections    *connections
}

var _ jobs.Runtime = (*runtime)(nil)

func (r *runtime) Connections(ctx context.Context) (jobs.Connections, error) {
	return r.connections.get(ctx)
}

func (r *runtime) Progress(p jobs.Progress) {
	p.Task = r.assignment.Task
	p.Note = bounded(p.Note, maxMessage)
	if math.IsNaN(p.Rate) || math.IsInf(p.Rate, 0) {
		p.Rate = 0 // of the first instant
	}
	r.progress.report(p)
}

func (r *runtime) Sandbox() string   { return r.dir }
func (r *runtime) Stdout() io.Writer { return r.stdout }
func (r *runtime) Stderr() io.Writer { return r.stderr }

func (r *runtime) close() error { return errors.Join(r.stdout.Close(), r.stderr.Close()) }
