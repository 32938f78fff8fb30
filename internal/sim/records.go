package sim

import (
	"encoding/json"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
)

// The parts of the scheduler's records that the model looks at.
type (
	jobRecord struct {
		Job          jobs.Job  `json:"job"`
		FirstApplied time.Time `json:"first_applied"`
		Rescheduled  time.Time `json:"rescheduled"`
		Deleted      bool      `json:"deleted"`
	}
	stateRecord struct {
		Incarnation int64              `json:"incarnation"`
		Mark        time.Time          `json:"mark"`
		Backlog     []window           `json:"backlog"`
		Edges       map[jobs.Name]edge `json:"edges"`
		Skipped     []span             `json:"skipped"`
		Backfills   []window           `json:"backfills"`
		Forgotten   time.Time          `json:"forgotten"`
		Clock       time.Time          `json:"clock"`
	}
	window struct {
		After time.Time `json:"after"`
		Until time.Time `json:"until"`
	}
	span struct {
		From time.Time `json:"from"`
		To   time.Time `json:"to"`
	}
	edge struct {
		Since   time.Time `json:"since"`
		Pending []pending `json:"pending"`
		Latest  *pending  `json:"latest"`
	}
	pending struct {
		Run     jobs.RunID `json:"run"`
		Key     jobs.Key   `json:"key"`
		Nominal time.Time  `json:"nominal"`
	}
	metaRecord struct {
		Hold  *jobs.Hold `json:"hold"`
		Clock time.Time  `json:"clock"`
	}
	runRecord struct {
		ID           jobs.RunID    `json:"id"`
		Job          jobs.Name     `json:"job"`
		Key          jobs.Key      `json:"key"`
		Generation   int           `json:"generation"`
		JobVersion   int64         `json:"job_version"`
		Trigger      jobs.Trigger  `json:"trigger"`
		Nominal      time.Time     `json:"nominal"`
		Interval     jobs.Interval `json:"interval"`
		Parents      []jobs.RunID  `json:"parents"`
		FireChildren bool          `json:"fire_children"`
		State        jobs.RunState `json:"state"`
		Reason       string        `json:"reason"`
		Created      time.Time     `json:"created"`
		Ended        time.Time     `json:"ended"`
		Stage        int           `json:"stage"`
		Cancel       jobs.RunState `json:"cancel"`
		PlanChunks   int           `json:"plan_chunks"`
		Version      int64         `json:"version"`
		Rerun        *jobs.Rerun   `json:"rerun"`
		Pinned       *pinnedJob    `json:"pinned"`
		Attempts     []taskRecord  `json:"attempts"`
	}
	pinnedJob struct {
		Overlap   jobs.Overlap     `json:"overlap"`
		Version   int64            `json:"version"`
		Placement jobs.Placement   `json:"placement"`
		Spec      json.RawMessage  `json:"spec"`
		After     []jobs.Name      `json:"after"`
		Trigger   jobs.TriggerRule `json:"trigger"`
		Schedule  *struct {
			Cron schedule.Crons `json:"cron"`
		} `json:"schedule"`
		OnUnknown   jobs.OnUnknown `json:"on_unknown"`
		UnknownWait jobs.Duration  `json:"unknown_wait"`
		Retry       jobs.Retry     `json:"retry"`

		Concurrency  int           `json:"concurrency"`
		Priority     int           `json:"priority"`
		Pool         jobs.PoolUse  `json:"pool"`
		LatestWithin jobs.Duration `json:"latest_within"`
	}
	taskRecord struct {
		ID         jobs.TaskID       `json:"id"`
		Run        jobs.RunID        `json:"run"`
		Stage      int               `json:"stage"`
		Split      int               `json:"split"`
		Attempt    int               `json:"attempt"`
		State      jobs.AttemptState `json:"state"`
		Reason     string            `json:"reason"`
		Superseded bool              `json:"superseded"`
		Seen       bool              `json:"seen"`
		Ending     string            `json:"ending"`
		Kill       string            `json:"kill"`
		Agent      string            `json:"agent"`
		Preferred  []string          `json:"preferred"`
		Launched   time.Time         `json:"launched"`
		Ended      time.Time         `json:"ended"`
		StartBy    time.Time         `json:"start_by"`
		JobVersion int64             `json:"job_version"`
		// UnknownSince stays when a given-up attempt succeeds in the same write.
		UnknownSince time.Time `json:"unknown_since"`
	}
)
