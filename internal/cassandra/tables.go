package cassandra

import (
	"fmt"
	"strings"
)

// DirtyShards is over how many partitions a rollup's dirty marks are spread,
// by event.Shard of the campaign. It is part of the schema: it never changes.
const DirtyShards = 16

// table is one table's definition: what is created, and what is verified.
type table struct {
	name    string
	columns [][2]string // name, type
	key     string      // as CQL writes it
	options string
}

// TableSet is the tables that stand together in a keyspace.
type TableSet []table

// Data is the user's own three tables, exactly as they always were, and their
// companions. event is the truth; event_by_day and campaign_by_month answer
// what event and campaign can only answer by a full scan.
func Data() TableSet { return dataTables }

// RunHistory is the tables of finished runs.
func RunHistory() TableSet { return historyTables }

var dataTables = TableSet{
	{
		name:    "event",
		columns: [][2]string{{"id", "uuid"}, {"ad_id", "uuid"}, {"campaign", "uuid"}, {"ts", "bigint"}, {"type", "text"}},
		key:     "id",
	},
	{
		name: "campaign",
		columns: [][2]string{{"id", "uuid"}, {"year", "int"}, {"month", "int"}, {"day", "int"},
			{"views", "bigint"}, {"clicks", "bigint"}},
		key: "id, year, month, day",
	},
	{
		name:    "campaign_report",
		columns: [][2]string{{"id", "uuid"}, {"views", "bigint"}, {"clicks", "bigint"}},
		key:     "id",
	},
	{
		// The events of a UTC day, in as many partitions as day_buckets says.
		name: "event_by_day",
		columns: [][2]string{{"day", "date"}, {"bucket", "int"}, {"campaign", "uuid"}, {"type", "text"}, {"id", "uuid"},
			{"ts", "bigint"}, {"ad_id", "uuid"}},
		key: "(day, bucket), campaign, type, id",
	},
	{
		// Written by lightweight transaction alone, once per day.
		name:    "day_buckets",
		columns: [][2]string{{"day", "date"}, {"buckets", "int"}},
		key:     "day",
	},
	{
		name: "campaign_by_month",
		columns: [][2]string{{"year", "int"}, {"month", "int"}, {"id", "uuid"}, {"day", "int"},
			{"views", "bigint"}, {"clicks", "bigint"}},
		key: "(year, month), id, day",
	},
	{
		// Where a campaign_report row comes from, and how fresh it is.
		name:    "campaign_report_meta",
		columns: [][2]string{{"id", "uuid"}, {"source", "text"}, {"as_of", "timestamp"}, {"run", "text"}},
		key:     "id",
	},
	{
		// Which (day, campaign) a rollup has to count again. A mark that
		// comes back from the dead only costs a recount, so its tombstone
		// may go soon.
		name: "dirty",
		columns: [][2]string{{"rollup", "text"}, {"shard", "int"}, {"day", "date"}, {"campaign", "uuid"}, {"writer", "text"},
			{"pos", "bigint"}},
		key:     "(rollup, shard), day, campaign, writer",
		options: "gc_grace_seconds = 3600",
	},
	{
		// What one attempt of one split of a rollup counted; bucket spreads
		// the publishing. They go by themselves a week after.
		name: "rollup_partials",
		columns: [][2]string{{"run", "text"}, {"version", "bigint"}, {"split", "int"}, {"attempt", "int"}, {"bucket", "int"},
			{"id", "uuid"}, {"day", "date"}, {"views", "bigint"}, {"clicks", "bigint"}},
		key:     "(run, version, split, attempt, bucket), id, day",
		options: "default_time_to_live = 604800 AND gc_grace_seconds = 3600",
	},
	{
		// The marks that one planning of a run took from dirty, so that every
		// later attempt counts and clears exactly these.
		name: "rollup_marks",
		columns: [][2]string{{"run", "text"}, {"version", "bigint"}, {"attempt", "int"}, {"shard", "int"},
			{"day", "date"}, {"campaign", "uuid"}, {"writer", "text"}, {"pos", "bigint"}},
		key:     "(run, version, attempt, shard), day, campaign, writer",
		options: "default_time_to_live = 604800 AND gc_grace_seconds = 3600",
	},
	{
		// The latest version under which a target was planned. Written by
		// lightweight transaction alone.
		name:    "rollup_versions",
		columns: [][2]string{{"target", "text"}, {"version", "bigint"}},
		key:     "target",
	},
	{
		// How far a restore has come with each object; another ETag is
		// another file.
		name: "restore_manifest",
		columns: [][2]string{{"run", "text"}, {"split", "int"}, {"key", "text"}, {"etag", "text"}, {"state", "text"},
			{"lines", "bigint"}, {"good", "bigint"}, {"bad", "bigint"}, {"shadowed", "bigint"}, {"note", "text"}},
		key: "(run, split), key, etag",
	},
}

// byAge has expired rows leave with the files that they came in.
const byAge = "compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': 7}"

var historyTables = TableSet{
	{
		// A run with its tasks, as JSON.
		name: "run",
		columns: [][2]string{{"id", "text"}, {"job", "text"}, {"state", "text"}, {"created", "timestamp"}, {"ended", "timestamp"},
			{"document", "text"}},
		key:     "id",
		options: byAge,
	},
	{
		// A job's runs by the month of their creation, in ns since 1970, newest
		// first; month is like 202601.
		name: "run_by_month",
		columns: [][2]string{{"job", "text"}, {"month", "int"}, {"created", "bigint"}, {"id", "text"}, {"state", "text"},
			{"summary", "text"}},
		key:     "(job, month), created, id",
		options: "CLUSTERING ORDER BY (created DESC, id DESC) AND " + byAge,
	},
	{
		// In which months a job has runs.
		name:    "run_months",
		columns: [][2]string{{"job", "text"}, {"month", "int"}},
		key:     "job, month",
		options: "CLUSTERING ORDER BY (month DESC)",
	},
}

// Names are the names of the tables.
func (set TableSet) Names() []string {
	names := make([]string, len(set))
	for i, t := range set {
		names[i] = t.name
	}
	return names
}

func (t table) create(keyspace string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s.%s (", keyspace, t.name)
	for _, c := range t.columns {
		fmt.Fprintf(&b, "%s %s, ", c[0], c[1])
	}
	fmt.Fprintf(&b, "PRIMARY KEY (%s))", t.key)
	if t.options != "" {
		b.WriteString(" WITH " + t.options)
	}
	return b.String()
}
