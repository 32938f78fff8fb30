package jobs

import "time"

// Update is a task status update, as Mesos sends it.
type Update struct {
	Task      TaskID
	State     string // "TASK_RUNNING", …
	Source    string // "SOURCE_EXECUTOR", "SOURCE_AGENT", "SOURCE_MASTER"
	Reason    string // "REASON_…", or none
	Message   string
	Agent     string
	Executor  string
	UUID      []byte // to acknowledge, where there is one
	Data      []byte // an Outcome, from our executor's final updates
	Timestamp time.Time
	Healthy   *bool
}

// Mesos's task states.
const (
	TaskStaging        = "TASK_STAGING"
	TaskStarting       = "TASK_STARTING"
	TaskRunning        = "TASK_RUNNING"
	TaskKilling        = "TASK_KILLING"
	TaskFinished       = "TASK_FINISHED"
	TaskFailed         = "TASK_FAILED"
	TaskKilled         = "TASK_KILLED"
	TaskError          = "TASK_ERROR"
	TaskLost           = "TASK_LOST"
	TaskDropped        = "TASK_DROPPED"
	TaskUnreachable    = "TASK_UNREACHABLE"
	TaskGone           = "TASK_GONE"
	TaskGoneByOperator = "TASK_GONE_BY_OPERATOR"
	TaskUnknown        = "TASK_UNKNOWN"
)
