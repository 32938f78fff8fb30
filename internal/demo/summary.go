package demo

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"tidemill/jobs"
	"tidemill/jobs/event"
)

// summary prints the report, where the work ran, and how long each stage took.
func (d *demo) summary(ctx context.Context) error {
	if err := d.printReport(ctx); err != nil {
		return err
	}
	d.printPlacements()
	fmt.Fprintln(d.Out)
	return d.screen.times()
}

func (d *demo) printReport(ctx context.Context) error {
	found, err := readTables(ctx, d.session)
	if err != nil {
		return err
	}
	campaigns := slices.SortedFunc(maps.Keys(found.report), func(a, b event.UUID) int {
		return cmp.Or(cmp.Compare(found.report[b].Views, found.report[a].Views), cmp.Compare(a.String(), b.String()))
	})
	fmt.Fprintln(d.Out)
	table := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "CAMPAIGN\tDAYS\tVIEWS\tCLICKS\t")
	for _, id := range campaigns {
		c := found.report[id]
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t\n", id, len(found.campaign[id]), c.Views, c.Clicks)
	}
	return table.Flush()
}

// notePlacements remembers where the splits of the runs so far ran: the
// schedulers keep each job's last runs only.
func (d *demo) notePlacements(ctx context.Context) error {
	for _, name := range []jobs.Name{totals, report} {
		list, err := d.api.runs(ctx, jobs.RunQuery{Job: name, Limit: 1000})
		if err != nil {
			return err
		}
		for _, r := range list {
			d.placed[r.ID] = r.Splits
		}
	}
	return nil
}

// printPlacements prints the share of splits that ran beside their data.
func (d *demo) printPlacements() {
	local, all := 0, 0
	for _, s := range d.placed {
		local, all = local+s.Local, all+s.Placed
	}
	if all > 0 {
		fmt.Fprintf(d.Out, "\n%d of %d splits that had a choice ran beside a replica of their data: %.0f %%\n", local, all, 100*float64(local)/float64(all))
	}
}

// hints say what there is to look at while the demo stays up.
func (d *demo) hints() {
	fmt.Fprintf(d.Out, `
Everything stays up until Ctrl-C. What to look at:
  %[1]s                       jobs, runs and why they wait
  export TIDEMILL_API=%[1]s
  %[2]s job list
  %[2]s run list
  %[2]s job resume %[3]s %[4]s %[5]s
  %[2]s events generate --count 1000 | %[2]s events send --job %[3]s
  %[2]s report --keyspace %[7]s --cassandra %[6]s
Cassandra: %[6]s, keyspace %[7]s
Kafka: %[8]s, topic %[9]s
Logs: %[10]s
`, d.schedulers[0].url, d.Program, door, writer, totals, strings.Join(d.at.Cassandra, ","), d.names.keyspace, strings.Join(d.at.Kafka, ","), d.names.topic, d.dir)
}
