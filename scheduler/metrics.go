package scheduler

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemill/jobs"
)

// collectTimeout bounds how long a scrape waits for the loop.
const collectTimeout = 2 * time.Second

// metrics shows a scheduler's status to Prometheus.
type metrics struct {
	s       *Scheduler
	leading *prometheus.Desc
	records *prometheus.Desc
	values  []metric // of the leader only
}

// metric is one value, and where it is found in a reading.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*reading) float64
}

// reading is what one scrape finds in the leading term.
type reading struct {
	jobs.Status
	waits     time.Duration // how long the split has waited that waits longest
	unstarted time.Duration // how old the oldest live run is of which nothing has started
	skew      time.Duration
	backlog   int
	unsent    [2]Unsent // until it is durable, and then until it has left
}

// Metrics is a collector of this scheduler's status, for a registry.
func (s *Scheduler) Metrics() prometheus.Collector {
	m := &metrics{
		s: s, leading: describe("leading", "1 while this scheduler leads."),
		records: describe("store_records", "Records of the store: the leader knows all, a scheduler that stands by those that it has copied. These two show nothing more."),
	}
	for _, v := range []struct {
		name, help string
		of         func(*reading) float64
	}{
		{"subscribed", "1 while the leader is subscribed with a Mesos master.", func(r *reading) float64 { return truth(r.Subscribed) }},
		{"jobs", "Jobs that are declared.", func(r *reading) float64 { return float64(r.Jobs) }},
		{"runs_live", "Runs that are not final.", func(r *reading) float64 { return float64(r.LiveRuns) }},
		{"oldest_unstarted_run_seconds", "Age of the oldest live run none of whose tasks has started; 0 where there is none.",
			func(r *reading) float64 { return r.unstarted.Seconds() }},
		{"tasks_live", "Attempts that are launching or running.", func(r *reading) float64 { return float64(r.LiveTasks) }},
		{"tasks_waiting", "Splits that wait for an offer.", func(r *reading) float64 { return float64(r.WaitingTasks) }},
		{"oldest_waiting_seconds", "For how long the split has waited for an offer that waits longest; 0 where none does.",
			func(r *reading) float64 { return r.waits.Seconds() }},
		{"launches_held", "1 while all launches are held for maintenance.", func(r *reading) float64 { return truth(r.Hold != nil) }},
		{"tasks_unknown", "Attempts whose outcome nobody can know yet.", func(r *reading) float64 { return float64(r.UnknownTasks) }},
		{"last_offer_timestamp_seconds", "When Mesos last offered something, in Unix time; 0 before the leader's first offer.", lastOffer},
		{"agents", "Agents that have offered something to this leader and are not known to be lost.", func(r *reading) float64 { return float64(r.Agents) }},
		{"agents_avoided", "Agents that nothing is placed on, for what is begun there fails over and over.",
			func(r *reading) float64 { return float64(r.AvoidedAgents) }},
		{"clock_skew_seconds", "By how much this machine's clock and the store's differ, as last measured; either way.",
			func(r *reading) float64 { return r.skew.Seconds() }},
		{"store_backlog", "Pieces of state that wait to be written to the store.", func(r *reading) float64 { return float64(r.backlog) }},
		{"store_bytes", "Bytes of the records in the store.", func(r *reading) float64 { return float64(r.StoreBytes) }},
		{"history_backlog", "Finished runs that wait to be written to history; the store holds them meanwhile.",
			func(r *reading) float64 { return float64(r.HistoryBacklog) }},
		{"offers_held", "Offers whose answer has not left: what it decides is not durable yet, or calls before it are under way.",
			func(r *reading) float64 { return float64(r.unsent[0].Offers + r.unsent[1].Offers) }},
		{"updates_unacknowledged", "Status updates that were taken and are not acknowledged: what they changed is not durable yet, or Mesos is slow.",
			func(r *reading) float64 { return float64(r.unsent[0].Updates + r.unsent[1].Updates) }},
		{"problems", "Things an operator should look at; /v1/status names them.", func(r *reading) float64 { return float64(len(r.Problems)) }},
	} {
		m.values = append(m.values, metric{desc: describe(v.name, v.help), kind: prometheus.GaugeValue, of: v.of})
	}
	m.values = append(m.values, metric{
		desc: describe("launches_total", "Launches since this scheduler began to lead."), kind: prometheus.CounterValue,
		of: func(r *reading) float64 { return float64(r.Launches) },
	}, metric{
		desc: describe("history_dropped_total", "Finished runs that were dropped unwritten, for too many waited for history, since this scheduler began to lead."),
		kind: prometheus.CounterValue, of: func(r *reading) float64 { return float64(r.HistoryDropped) },
	})
	return m
}

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("tidemill_scheduler_"+name, help, nil, nil)
}

// Describe lists the metrics.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.leading
	out <- m.records
	for _, v := range m.values {
		out <- v.desc
	}
}

// Collect reads them. One that does not lead shows but how it stands by; so
// does a leader whose loop does not answer.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	t, err := m.s.leading()
	out <- prometheus.MustNewConstMetric(m.leading, prometheus.GaugeValue, truth(err == nil))
	out <- prometheus.MustNewConstMetric(m.records, prometheus.GaugeValue, float64(m.s.records(ctx)))
	if err != nil {
		return
	}
	var r reading
	if err := t.look(ctx, func(c *Core) {
		r = c.reading(m.s.opt.Now())
		r.Records, r.StoreBytes = t.engine.Stored()
		r.backlog, r.unsent = t.engine.Backlog(), [2]Unsent{t.engine.Unsent(), t.caller.unsent()}
	}); err != nil {
		return
	}
	for _, v := range m.values {
		out <- prometheus.MustNewConstMetric(v.desc, v.kind, v.of(&r))
	}
}

// reading looks at what the core knows, at a time that the core may not have been told yet.
func (c *Core) reading(now time.Time) reading {
	r := reading{Status: c.Status(), skew: c.ahead.Abs()}
	for _, cl := range c.ready.classes {
		if s, ok := cl.head(); ok {
			r.waits = max(r.waits, now.Sub(s.since))
		}
	}
	for _, j := range c.jobs {
		for _, x := range j.live {
			if x.rec.Started.IsZero() {
				r.unstarted = max(r.unstarted, now.Sub(x.rec.Created))
			}
		}
	}
	return r
}

func lastOffer(r *reading) float64 {
	if r.LastOffer.IsZero() {
		return 0
	}
	return float64(r.LastOffer.UnixMilli()) / 1000
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
