package scheduler

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collectTimeout bounds how long a scrape waits for the loop.
const collectTimeout = 2 * time.Second

// metrics shows a scheduler's status to Prometheus.
type metrics struct {
	s      *Scheduler
	values []metric
}

type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// Metrics is a collector of this scheduler's status, for a registry.
func (s *Scheduler) Metrics() prometheus.Collector {
	m := &metrics{s: s}
	for _, d := range []struct {
		name, help string
		kind       prometheus.ValueType
	}{
		{"leading", "1 while this scheduler leads.", prometheus.GaugeValue},
		{"subscribed", "1 while the leader is subscribed with a Mesos master.", prometheus.GaugeValue},
		{"jobs", "Jobs that are declared.", prometheus.GaugeValue},
		{"runs_live", "Runs that are not final.", prometheus.GaugeValue},
		{"tasks_live", "Attempts that are launching or running.", prometheus.GaugeValue},
		{"tasks_waiting", "Splits that wait for an offer.", prometheus.GaugeValue},
		{"tasks_unknown", "Attempts whose outcome nobody can know yet.", prometheus.GaugeValue},
		{"launches_total", "Launches since this scheduler began to lead.", prometheus.CounterValue},
		{"problems", "Things an operator should look at.", prometheus.GaugeValue},
	} {
		m.values = append(m.values, metric{desc: prometheus.NewDesc("tidemill_scheduler_"+d.name, d.help, nil, nil), kind: d.kind})
	}
	return m
}

// Describe lists the metrics.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, v := range m.values {
		out <- v.desc
	}
}

// Collect reads them; nothing but "leading 0" comes from one that does not lead.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	st, err := m.s.Status(ctx)
	values := []float64{
		truth(st.Leading), truth(st.Subscribed), float64(st.Jobs), float64(st.LiveRuns), float64(st.LiveTasks),
		float64(st.WaitingTasks), float64(st.UnknownTasks), float64(st.Launches), float64(len(st.Problems)),
	}
	if err != nil || !st.Leading {
		values = values[:1]
	}
	for i, v := range values {
		out <- prometheus.MustNewConstMetric(m.values[i].desc, m.values[i].kind, v)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
