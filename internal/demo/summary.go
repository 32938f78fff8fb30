package demo

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"tidemill/jobs"
	"tidemill/jobs/event"
)

// summary prints the report, where the work ran, and how long each stage took.
func (d *demo) summary(ctx context.Context) error {
	if err := d.printReport(ctx); err != nil {
		return err
	}
	if err := d.printPlacements(ctx); err != nil {
		return err
	}
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

// printPlacements prints the share of splits that ran beside their data.
func (d *demo) printPlacements(ctx context.Context) error {
	fmt.Fprintln(d.Out)
	var all placed
	for _, name := range []jobs.Name{totals, report, restore} {
		p, err := d.placements(ctx, name)
		if err != nil {
			return err
		}
		all.local, all.all = all.local+p.local, all.all+p.all
		if p.all > 0 {
			fmt.Fprintf(d.Out, "%s: %d of %d splits ran beside a replica of their data\n", name, p.local, p.all)
		}
	}
	if all.all > 0 {
		fmt.Fprintf(d.Out, "in all: %d of %d, %.0f %%\n", all.local, all.all, 100*float64(all.local)/float64(all.all))
	}
	return nil
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
Cassandra: %[6]v, keyspace %[7]s
Kafka: %[8]v, topic %[9]s
Logs: %[10]s
`, d.schedulers[0].url, d.Program, door, writer, totals, d.at.Cassandra, d.names.keyspace, d.at.Kafka, d.names.topic, d.dir)
}
