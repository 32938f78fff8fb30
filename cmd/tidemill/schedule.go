package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on the machine

	"tidemill/jobs/schedule"
)

// scheduleCmd works on schedules alone, without a server.
type scheduleCmd struct {
	Next scheduleNextCmd `cmd:"" help:"Print the coming instants of a schedule."`
}

// scheduleNextCmd prints the instants of a schedule strictly after one.
type scheduleNextCmd struct {
	Expressions []string  `arg:"" name:"expression" help:"Cron expressions, as '10 * * * *', or one ISO 8601 repeat, as R/2026-03-01T06:00:00Z/P1D."`
	Zone        string    `help:"IANA name of the zone whose wall clock counts (default: ${default})." default:"UTC" placeholder:"ZONE"`
	From        time.Time `help:"Print instants strictly after this one, in RFC 3339 (default now). A repeat without a start begins here, or else in the next second." placeholder:"TIME"`
	Count       int       `short:"n" help:"How many instants to print, at most 10000." default:"10"`
	Exclude     []string  `help:"Days to leave out: 2026-12-24, 2026-12-24/2027-01-06, 12-25, sunday." placeholder:"DAYS"`
}

const maxInstants = 10_000

// Run prints fewer instants than asked for where the schedule ends.
func (c *scheduleNextCmd) Run(g *globals, out console) error {
	if c.Count < 1 || c.Count > maxInstants {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("schedule next: -n %d is out of 1-%d", c.Count, maxInstants)}
	}
	if err := c.unquoted(); err != nil {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("schedule next: %w", err)}
	}
	begin := c.From
	if c.From.IsZero() {
		c.From = time.Now()
		begin = c.From.Truncate(time.Second).Add(time.Second) // as for a job that is applied now
	}
	compiled, err := schedule.CompileFrom(c.spec(), begin, "")
	if err != nil {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("schedule next: %w", err)}
	}
	var instants []time.Time
	for due := range compiled.All(c.From) {
		if instants = append(instants, due.Nominal); len(instants) == c.Count {
			break
		}
	}
	location, err := time.LoadLocation(c.Zone)
	if err != nil {
		return fmt.Errorf("schedule next: zone %q: %w", c.Zone, err)
	}
	return g.print(out, instants, func(w io.Writer) { c.table(w, instants, location) })
}

// unquoted finds an expression whose fields came as arguments each, its stars
// replaced by the names of files.
func (c *scheduleNextCmd) unquoted() error {
	if len(c.Expressions) < 2 || slices.ContainsFunc(c.Expressions, func(e string) bool { return strings.ContainsAny(e, " @/") }) {
		return nil
	}
	return fmt.Errorf("%d arguments of one word each; put the expression in quotes, as '10 * * * *': else the shell replaces its stars", len(c.Expressions))
}

func (c *scheduleNextCmd) spec() schedule.Spec {
	spec := schedule.Spec{Zone: c.Zone, Exclude: c.Exclude}
	if len(c.Expressions) == 1 && strings.HasPrefix(c.Expressions[0], "R") {
		spec.Repeat = c.Expressions[0]
	} else {
		spec.Cron = c.Expressions
	}
	return spec
}

func (c *scheduleNextCmd) table(to io.Writer, instants []time.Time, location *time.Location) {
	row(to, "INSTANT", "IN "+strings.ToUpper(location.String()))
	for _, instant := range instants {
		row(to, instant.Format(time.RFC3339Nano), instant.In(location).Format("Mon 2006-01-02 15:04:05 -0700"))
	}
}
