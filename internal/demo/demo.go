// Package demo runs the whole way of the data on real servers, kills parts of
// it on the way, and checks every total against what was sent.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/cassandra"
	"tidemill/internal/events"
	"tidemill/internal/kafka"
	"tidemill/internal/mesoslocal/cluster"
	"tidemill/internal/s3"
	"tidemill/internal/stack"
	"tidemill/jobs"
)

// Options say how large the demo is, and on which servers it runs.
type Options struct {
	Events int  // distinct valid events
	Keep   bool // stay up after the check until ctx ends
	// Servers are used instead of own ones, where they are named; the demo
	// makes a keyspace, topics, a bucket and paths of its own there.
	Servers stack.Addresses

	Program string         // path of the tidemill program
	Kinds   *jobs.Registry // what the demo's jobs are checked by
	Out     io.Writer
	Log     zerolog.Logger
}

// The demo's jobs, as deploy/demo declares them.
const (
	door     jobs.Name = "events-in"
	writer   jobs.Name = "events-to-cassandra"
	totals   jobs.Name = "campaign-totals"
	report   jobs.Name = "campaign-report"
	archive  jobs.Name = "events-archive"
	truncate jobs.Name = "truncate"
	restore  jobs.Name = "events-restore"
)

// demo is one run of it.
type demo struct {
	Options
	screen *screen
	dir    string
	names  names
	close  []func() // in the order of opening

	at         stack.Addresses
	mesos      *cluster.Cluster
	schedulers []*process
	api        *api

	session *cassandra.Session // reads only
	kafka   *kgo.Client        // reads only
	bucket  *s3.Bucket

	traffic events.Options
	truth   *events.Truth
	broken  brokenLines
	placed  map[jobs.RunID]jobs.SplitCounts // of the runs so far
}

// Run runs the demo. It fails where a total differs from what was sent.
func Run(ctx context.Context, o Options) (err error) {
	if o.Events < minEvents {
		return fmt.Errorf("a demo of %d events shows nothing: at least %d are needed", o.Events, minEvents)
	}
	d := &demo{Options: o, screen: newScreen(o.Out), truth: events.NewTruth(), placed: map[jobs.RunID]jobs.SplitCounts{}}
	if d.dir, err = os.MkdirTemp("", "tidemill-demo-"); err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(o.Out, "\nThe logs of schedulers, master, agents and tasks are kept in %s\n", d.dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(d.dir))
	}()
	defer func() {
		for _, end := range slices.Backward(d.close) {
			end()
		}
	}()
	for _, s := range d.stages() {
		if err := d.screen.stage(s.name, func() error { return s.do(ctx) }); err != nil {
			return err
		}
	}
	if err := d.summary(ctx); err != nil {
		return err
	}
	if o.Keep {
		d.hints()
		<-ctx.Done()
	}
	return nil
}

type stage struct {
	name string
	do   func(context.Context) error
}

// stages are the demo's, in order.
func (d *demo) stages() []stage {
	return []stage{
		{"Start the servers", d.startServers},
		{"Make keyspace, topics and bucket", d.applySchema},
		{"Start Mesos and two schedulers", d.startCluster},
		{"Apply the jobs", d.applyJobs},
		{"Send events, and kill on the way", d.sendWhileKilling},
		{"Send events that are days late", d.sendLate},
		{"Drain", d.drain},
		{"Compare every total", d.compare},
		{"Archive the log, and compare the objects", d.archiveLog},
		{"Add objects with broken lines", d.addBroken},
		{"Truncate every table", d.truncateTables},
		{"Restore the objects", d.restoreObjects},
		{"Count and report again", d.countAgain},
		{"Compare every total again", d.compare},
	}
}

func (d *demo) onClose(end func()) { d.close = append(d.close, end) }

// Differences are what a check found wrong.
type Differences []string

func (d Differences) Error() string {
	const shown = 20
	list := []string(d)
	more := ""
	if len(list) > shown {
		list, more = list[:shown], fmt.Sprintf("\n  … and %d more", len(d)-shown)
	}
	return fmt.Sprintf("%d differences:\n  %s%s", len(d), strings.Join(list, "\n  "), more)
}

func (d *Differences) addf(format string, args ...any) { *d = append(*d, fmt.Sprintf(format, args...)) }

func (d Differences) err() error {
	if len(d) == 0 {
		return nil
	}
	return d
}

// settle returns when nothing is left to be counted or reported, and nothing
// runs.
func (d *demo) settle(ctx context.Context) error {
	return d.await(ctx, "the end of all counting", longest, func(ctx context.Context) (bool, string, error) {
		live, err := d.liveRuns(ctx)
		if err != nil {
			return false, "", err
		}
		marks, err := d.dirtyMarks(ctx)
		return marks == 0 && live == 0, fmt.Sprintf("%d marks to count or report, %d runs under way", marks, live), err
	})
}

func (d *demo) liveRuns(ctx context.Context) (int, error) {
	list, err := d.api.runs(ctx, jobs.RunQuery{Live: true, Limit: 1000})
	return len(list), err
}

func (d *demo) lag(ctx context.Context) (int64, error) {
	return kafka.Lag(ctx, d.kafka, d.names.group(), d.names.topic)
}
