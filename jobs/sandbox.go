package jobs

// Sandbox bounds what executors leave on an agent's disk until Mesos removes
// their sandboxes.
type Sandbox struct {
	LogBytes  int64 `json:"log_bytes"`  // of an attempt's stdout, and of its stderr
	KeepTasks int   `json:"keep_tasks"` // ended attempts whose folders stay in a warm executor's sandbox
	KeepBytes int64 `json:"keep_bytes"` // that these may hold together
}

// SandboxVariable is the variable that tells executors their Sandbox, as JSON.
const SandboxVariable = "TIDEMILL_SANDBOX_BOUNDS"

// DefaultSandbox is for agents with some gigabytes to spare.
func DefaultSandbox() Sandbox {
	return Sandbox{LogBytes: 64 << 20, KeepTasks: 2000, KeepBytes: 2 << 30}
}

// Validate finds everything that is wrong with the bounds.
func (s Sandbox) Validate() error {
	var e FieldErrors
	e.Within("log_bytes", s.LogBytes, 64<<10, 1<<40)
	e.Within("keep_tasks", int64(s.KeepTasks), 1, 1_000_000)
	e.Within("keep_bytes", s.KeepBytes, 1<<20, 1<<50)
	return e.Err()
}
