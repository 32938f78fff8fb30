package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/events"
	"tidemill/jobs"
	"tidemill/jobs/event"
	"tidemill/jobs/ingest"
)

// eventsCmd makes and sends events whose truth is known.
type eventsCmd struct {
	Generate eventsGenerate `cmd:"" help:"Write events, one a line, and what rollups must find in them."`
	Send     eventsSend     `cmd:"" help:"Post events to an ingest service until each is acknowledged or refused."`
}

// generatorFlags say what to generate.
type generatorFlags struct {
	Count      int       `default:"1000" help:"Distinct valid events (default ${default})."`
	Seed       uint64    `default:"1" help:"The same seed gives the same events (default ${default})."`
	Campaigns  int       `default:"20" help:"Campaigns they are spread over (default ${default})."`
	Days       int       `default:"3" help:"Days before --end they are spread over (default ${default})."`
	End        time.Time `format:"2006-01-02" placeholder:"YYYY-MM-DD" help:"They are before this day, UTC (default today)."`
	Broken     int       `help:"Lines that are no valid events, in addition." placeholder:"N"`
	Duplicates int       `help:"Events that are there once more." placeholder:"N"`
	Late       int       `help:"Events, a part of --count, that come last and are of earlier days." placeholder:"N"`
}

func (f generatorFlags) options() (events.Options, error) {
	o := events.Options{Count: f.Count, Seed: f.Seed, Campaigns: f.Campaigns, Days: f.Days, End: f.End,
		Broken: f.Broken, Duplicates: f.Duplicates, Late: f.Late}
	if o.End.IsZero() {
		o.End = time.Now().UTC().Truncate(24 * time.Hour)
	}
	if err := o.Validate(); err != nil {
		return o, &exitError{Code: exitUsage, Err: err}
	}
	return o, nil
}

type eventsGenerate struct {
	generatorFlags
	To    string `placeholder:"FILE" type:"path" help:"File to write the events to (default: standard output)."`
	Truth string `placeholder:"FILE" type:"path" help:"File to write the truth to, as JSON."`
}

// Run writes the lines.
func (c *eventsGenerate) Run(ctx context.Context, out console) (err error) {
	o, err := c.options()
	if err != nil {
		return err
	}
	to := out.Out
	if c.To != "" {
		file, err := os.Create(c.To)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		to = file
	}
	truth := events.NewTruth()
	w := bufio.NewWriter(to)
	for line := range o.Lines() {
		if e, fault := event.Decode(line.Doc); fault == nil && !line.Broken {
			truth.Add(e)
		}
		if _, err := w.Write(append(line.Doc, '\n')); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := w.Flush(); err != nil || c.Truth == "" {
		return err
	}
	return truth.WriteFile(c.Truth)
}

type eventsSend struct {
	URL     string  `name:"url" xor:"door" required:"" placeholder:"URL" help:"Base URL of the ingest service."`
	Job     string  `xor:"door" required:"" placeholder:"NAME" help:"Ingest job; its address is found through the API."`
	File    string  `default:"-" placeholder:"FILE" help:"File with one event a line (default: standard input)."`
	Batch   int     `default:"500" help:"Events of a request (default ${default})."`
	Workers int     `default:"4" help:"Requests at once (default ${default})."`
	Rate    float64 `placeholder:"N" help:"Events a second at most."`
	Truth   string  `placeholder:"FILE" type:"path" help:"File to write the truth of what was acknowledged to, as JSON."`
}

// Run posts the lines.
func (c *eventsSend) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) (err error) {
	if c.Batch < 1 || c.Workers < 1 || c.Rate < 0 {
		return &exitError{Code: exitUsage, Err: errors.New("--batch and --workers must be at least 1, --rate at least 0")}
	}
	find, err := c.door(ctx, g, log)
	if err != nil {
		return err
	}
	in := out.In
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		in = file
	}
	began := time.Now()
	sender := events.Sender{URL: find, Batch: c.Batch, Workers: c.Workers, Rate: c.Rate, Truth: events.NewTruth(), Log: log,
		Progress: everySecond(func(s events.Sent) {
			e := log.Info().Int64("acknowledged", s.Acknowledged).Int64("refused", s.Refused).Int64("retries", s.Retries)
			if s.Why != "" {
				e = e.Str("last_retry", s.Why)
			}
			e.Msg("sending")
		})}
	lines := &lineReader{in: bufio.NewScanner(in)}
	sent, err := sender.Send(ctx, lines.all())
	if err = errors.Join(err, lines.in.Err()); err == nil && c.Truth != "" {
		err = sender.Truth.WriteFile(c.Truth)
	}
	took := time.Since(began)
	report := struct {
		Acknowledged int64   `json:"acknowledged"`
		Distinct     int     `json:"distinct"`
		Refused      int64   `json:"refused"`
		Retries      int64   `json:"retries"`
		Seconds      float64 `json:"seconds"`
		Rate         float64 `json:"rate"`
	}{sent.Acknowledged, sender.Truth.Events(), sent.Refused, sent.Retries, took.Seconds(), float64(sent.Acknowledged) / took.Seconds()}
	return errors.Join(err, g.print(out, report, func(w io.Writer) {
		row(w, "ACKNOWLEDGED", "DISTINCT", "REFUSED", "RETRIES", "SECONDS", "EVENTS/S")
		row(w, report.Acknowledged, report.Distinct, report.Refused, report.Retries, fmt.Sprintf("%.1f", report.Seconds), fmt.Sprintf("%.0f", report.Rate))
	}))
}

// door finds where to post: at a fixed address, or at an instance of the job,
// which may move.
func (c *eventsSend) door(ctx context.Context, g *globals, log zerolog.Logger) (func(context.Context) (string, error), error) {
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, &exitError{Code: exitUsage, Err: fmt.Errorf("--url %q: not an address of an ingest service (write it like http://127.0.0.1:31000)", c.URL)}
		}
		return events.At(strings.TrimSuffix(c.URL, "/")), nil
	}
	api, err := g.client()
	if err != nil {
		return nil, err
	}
	// What no waiting mends is said at once.
	view, err := api.Job(ctx, jobs.Name(c.Job))
	code, _ := jobs.CodeOf(err)
	switch {
	case code == jobs.NotFound:
		return nil, err
	case err != nil || len(view.Endpoints) > 0:
	case view.Kind != ingest.Name:
		return nil, fmt.Errorf("send events: job %s: it is of kind %s and takes none (name an %s job, or give --url)", c.Job, view.Kind, ingest.Name)
	default:
		log.Warn().Str("job", c.Job).Str("state", view.State).Msg("the job listens nowhere yet: waiting until it does (tidemill run list and run show say why)")
	}
	next := make(chan int, 1) // instances take turns
	next <- 0
	return func(ctx context.Context) (string, error) {
		view, err := api.Job(ctx, jobs.Name(c.Job))
		if err != nil {
			return "", err
		}
		if len(view.Endpoints) == 0 {
			return "", fmt.Errorf("job %s listens nowhere now (it is %s)", c.Job, view.State)
		}
		n := <-next
		next <- n + 1
		return view.Endpoints[n%len(view.Endpoints)].URL, nil
	}, nil
}

// lineReader reads lines that are not blank.
type lineReader struct{ in *bufio.Scanner }

// maxLine is far above what a door accepts.
const maxLine = 4 << 20

func (r *lineReader) all() iter.Seq[[]byte] {
	r.in.Buffer(make([]byte, 0, 64<<10), maxLine)
	return func(yield func([]byte) bool) {
		for r.in.Scan() {
			if line := []byte(strings.TrimSpace(r.in.Text())); len(line) > 0 && !yield(line) {
				return
			}
		}
	}
}

// everySecond lets one report a second pass. It is called by many goroutines.
func everySecond(report func(events.Sent)) func(events.Sent) {
	last := make(chan time.Time, 1)
	last <- time.Now()
	return func(s events.Sent) {
		at := <-last
		if now := time.Now(); now.Sub(at) >= time.Second {
			at = now
			report(s)
		}
		last <- at
	}
}
