package main

import (
	"fmt"
	"io"
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
	Zone        string    `help:"IANA name of the zone whose wall clock counts." default:"UTC" placeholder:"ZONE"`
	From        time.Time `help:"Print instants strictly after this one, in RFC 3339 (default now). A repeat without a start begins here." placeholder:"TIME"`
	Count       int       `short:"n" help:"How many instants to print, at most 10000." default:"10"`
	Exclude     []string  `help:"Days to leave out: 2026-12-24, 2026-12-24/2027-01-06, 12-25, sunday." placeholder:"DAYS"`
}

const maxInstants = 10_000

// Run prints fewer instants than asked for where the schedule ends.
func (c *scheduleNextCmd) Run(g *globals, out console) error {
	if c.Count < 1 || c.Count > maxInstants {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("schedule next: -n %d is out of 1-%d", c.Count, maxInstants)}
	}
	if c.From.IsZero() {
		c.From = time.Now()
	}
	compiled, err := schedule.Compile(c.spec().WithStart(c.From), "")
	if err != nil {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("schedule next: %w", err)}
	}
	instants := []time.Time{} // [] in JSON, never null
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
	row(to, "INSTANT", "IN "+strings.ToUpper(c.Zone))
	for _, instant := range instants {
		row(to, instant.Format(time.RFC3339Nano), instant.In(location).Format("Mon 2006-01-02 15:04:05 -0700"))
	}
}
