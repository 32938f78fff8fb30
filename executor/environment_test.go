package executor

import (
	"strings"
	"testing"
	"time"

	"tidemill/jobs"
)

func TestEnvironmentOfAnAgent(t *testing.T) {
	agent := map[string]string{
		"MESOS_SANDBOX": "/sandbox", "MESOS_DIRECTORY": "/elsewhere", "MESOS_CHECKPOINT": "1",
		"MESOS_RECOVERY_TIMEOUT": "15mins", "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs", "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs",
	}
	with := func(name, value string) func(string) string {
		return func(n string) string {
			if n == name {
				return value
			}
			return agent[n]
		}
	}
	full := Options{Sandbox: "/sandbox", RecoveryTimeout: 15 * time.Minute, BackoffMax: 2 * time.Second, ShutdownGrace: 5 * time.Second}
	volatile, elsewhere, bounded := full, full, full
	bounded.Bounds = jobs.Sandbox{LogBytes: 7, KeepTasks: 2000, KeepBytes: 2 << 30}
	volatile.RecoveryTimeout, elsewhere.Sandbox = 0, "/elsewhere"
	tests := []struct {
		name        string
		variable    string
		value       string
		want        Options
		wantFailure string
	}{
		{"checkpointing", "", "", full, ""},
		{"not checkpointing", "MESOS_CHECKPOINT", "0", volatile, ""},
		{"an agent that does not say for how long it recovers", "MESOS_RECOVERY_TIMEOUT", "", full, ""},
		{"a scheduler that bounds the sandbox", jobs.SandboxVariable, `{"log_bytes":7}`, bounded, ""},
		{"bounds that are none", jobs.SandboxVariable, `7`, Options{}, jobs.SandboxVariable},
		{"an older agent", "MESOS_SANDBOX", "", elsewhere, ""},
		{"a bad duration", "MESOS_RECOVERY_TIMEOUT", "soon", Options{}, `MESOS_RECOVERY_TIMEOUT: "soon"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FromEnvironment(with(tt.variable, tt.value))
			if tt.wantFailure != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantFailure) {
					t.Errorf("got %v, want %q", err, tt.wantFailure)
				}
				return
			}
			if err != nil || got.Sandbox != tt.want.Sandbox || got.RecoveryTimeout != tt.want.RecoveryTimeout ||
				got.BackoffMax != tt.want.BackoffMax || got.ShutdownGrace != tt.want.ShutdownGrace {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	if _, err := FromEnvironment(func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "started by a Mesos agent") {
		t.Errorf("without an agent: %v", err)
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"15mins", "1.5hrs", "100ms", "1weeks", "", "ns", "1e9secs", "999999999999weeks", "1..2secs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := parseDuration(s); err == nil && d < 0 {
			t.Errorf("%q is %s", s, d)
		}
	})
}
