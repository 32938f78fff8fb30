package master

import (
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/wire"
)

// metrics counts what /metrics/snapshot shows besides the state itself.
type metrics struct {
	launched int
	ended    map[mesos.TaskState]int
}

func (c *metrics) observe(status mesos.TaskStatus) {
	if !wire.Terminal(*status.State) {
		return
	}
	if c.ended == nil {
		c.ended = map[mesos.TaskState]int{}
	}
	c.ended[*status.State]++
}

func (m *Master) serveMetrics(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	leading := 0.0
	if m.leading {
		leading = 1
	}
	snapshot := map[string]float64{
		"master/elected":              leading,
		"master/uptime_secs":          time.Since(m.started).Seconds(),
		"master/slaves_connected":     float64(len(m.agents)),
		"master/slaves_unreachable":   float64(len(m.unreachable)),
		"master/frameworks_connected": float64(len(m.frameworks)),
		"master/outstanding_offers":   float64(len(m.offers)),
		"master/tasks_launched":       float64(m.metrics.launched),
		"master/tasks_finished":       float64(m.metrics.ended[mesos.TASK_FINISHED]),
		"master/tasks_failed":         float64(m.metrics.ended[mesos.TASK_FAILED]),
		"master/tasks_killed":         float64(m.metrics.ended[mesos.TASK_KILLED]),
		"master/tasks_lost":           float64(m.metrics.ended[mesos.TASK_LOST]),
	}
	for _, f := range m.frameworks {
		for _, t := range f.tasks {
			switch t.state {
			case mesos.TASK_STAGING:
				snapshot["master/tasks_staging"]++
			case mesos.TASK_STARTING:
				snapshot["master/tasks_starting"]++
			case mesos.TASK_RUNNING:
				snapshot["master/tasks_running"]++
			}
		}
	}
	m.mu.Unlock()
	wire.WriteJSON(w, r, snapshot)
}
