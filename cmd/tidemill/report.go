package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/cassandra"
	"tidemill/internal/config"
	"tidemill/internal/reportview"
	"tidemill/jobs"
	"tidemill/jobs/event"
)

// cassandraFlags name a keyspace and where it is.
type cassandraFlags struct {
	Keyspace    string   `default:"tidemill" env:"TIDEMILL_KEYSPACE" help:"Cassandra keyspace (default ${default})."`
	Cassandra   []string `env:"TIDEMILL_CASSANDRA" placeholder:"HOST[:PORT],..." help:"Cassandra nodes."`
	CassandraDC string   `name:"cassandra-dc" env:"TIDEMILL_CASSANDRA_DC" placeholder:"NAME" help:"Data centre to connect to."`
	Config      string   `type:"existingfile" env:"TIDEMILL_CONFIG" placeholder:"FILE" help:"Configuration file whose default connection is used."`
}

func (f cassandraFlags) connection() (jobs.CassandraConnection, error) {
	if err := cassandra.CheckKeyspace(f.Keyspace); err != nil {
		return jobs.CassandraConnection{}, &exitError{Code: exitUsage, Err: err}
	}
	options, err := config.Flags{Config: f.Config, Cassandra: f.Cassandra, CassandraDC: f.CassandraDC}.Options("")
	if err != nil {
		return jobs.CassandraConnection{}, err
	}
	conn, ok := options.Connections.Cassandra[jobs.DefaultConnection]
	if !ok {
		return conn, &exitError{Code: exitUsage, Err: fmt.Errorf("no Cassandra to ask: give --cassandra; " +
			"a development one is started by: tidemill stack up, and named by: eval \"$(tidemill stack env)\"")}
	}
	return conn, nil
}

// reportCmd shows what rollups counted and reports summed up.
type reportCmd struct {
	Campaign string `arg:"" optional:"" help:"Only this campaign, with its days."`
	Month    string `placeholder:"2015-09" help:"Only this month."`
	Limit    int    `default:"100" help:"At most so many campaigns (default ${default})."`
	cassandraFlags
}

// reportWait bounds the reading of a report.
const reportWait = time.Minute

// Run reads and prints.
func (c *reportCmd) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	read, err := c.reader()
	if err != nil {
		return &exitError{Code: exitUsage, Err: err}
	}
	conn, err := c.connection()
	if err != nil {
		return err
	}
	s, err := cassandra.Open(ctx, conn, c.Keyspace, log)
	if err != nil {
		return err
	}
	defer s.Close()
	rows, more, err := read(ctx, s)
	if err != nil {
		return err
	}
	err = g.print(out, rows, func(w io.Writer) { c.table(w, rows) })
	if err == nil && more {
		fmt.Fprintf(out.Err, "There are more campaigns; show them with a larger --limit.\n")
	}
	return err
}

type reportReader func(context.Context, *cassandra.Session) ([]reportview.Row, bool, error)

// reader picks what to read by the flags.
func (c *reportCmd) reader() (read reportReader, err error) {
	var id event.UUID
	var month reportview.Month
	if c.Campaign != "" {
		if id, err = event.ParseUUID(c.Campaign); err != nil {
			return nil, err
		}
	}
	if c.Month != "" {
		if month, err = reportview.ParseMonth(c.Month); err != nil {
			return nil, err
		}
	}
	if c.Limit < 1 || c.Limit > 100_000 {
		return nil, fmt.Errorf("--limit %d is not within 1 to 100000", c.Limit)
	}
	one := func(r reportview.Row, err error) ([]reportview.Row, bool, error) {
		return []reportview.Row{r}, false, err
	}
	return func(ctx context.Context, s *cassandra.Session) ([]reportview.Row, bool, error) {
		switch {
		case c.Campaign != "" && c.Month != "":
			return one(reportview.MonthOf(ctx, s, id, month))
		case c.Campaign != "":
			return one(reportview.Campaign(ctx, s, id))
		case c.Month != "":
			return reportview.Months(ctx, s, month, c.Limit)
		}
		return reportview.List(ctx, s, c.Limit)
	}, nil
}

func (c *reportCmd) table(w io.Writer, rows []reportview.Row) {
	row(w, "CAMPAIGN", "VIEWS", "CLICKS", "SOURCE", "AS OF")
	for _, r := range rows {
		asOf := "-"
		if !r.AsOf.IsZero() {
			asOf = r.AsOf.UTC().Format(time.RFC3339)
		}
		row(w, r.Campaign, r.Views, r.Clicks, r.Source, asOf)
	}
	if c.Campaign == "" {
		return
	}
	_, _ = fmt.Fprintln(w)
	row(w, "DAY", "VIEWS", "CLICKS")
	for _, d := range rows[0].Days {
		row(w, d.Day, d.Views, d.Clicks)
	}
}
