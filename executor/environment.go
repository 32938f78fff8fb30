package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidemill/jobs"
)

// defaultRecovery is an agent's --recovery_timeout where it is not said.
const defaultRecovery = 15 * time.Minute

// FromEnvironment reads what a Mesos agent tells its executors; getenv is
// os.Getenv. The rest of the options is left to be filled in.
func FromEnvironment(getenv func(string) string) (Options, error) {
	o := Options{Sandbox: getenv("MESOS_SANDBOX")}
	if o.Sandbox == "" {
		o.Sandbox = getenv("MESOS_DIRECTORY")
	}
	var errs []error
	read := func(name string, into *time.Duration) {
		value := getenv(name)
		if value == "" {
			return
		}
		d, err := parseDuration(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("read %s: %w", name, err))
			return
		}
		*into = d
	}
	read("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", &o.ShutdownGrace)
	read("MESOS_SUBSCRIPTION_BACKOFF_MAX", &o.BackoffMax)
	// Without checkpointing an agent does not find its executors again.
	if getenv("MESOS_CHECKPOINT") == "1" {
		o.RecoveryTimeout = defaultRecovery
		read("MESOS_RECOVERY_TIMEOUT", &o.RecoveryTimeout)
	}
	if text := getenv(jobs.SandboxVariable); text != "" { // an older scheduler says nothing
		o.Bounds = jobs.DefaultSandbox()
		if err := json.Unmarshal([]byte(text), &o.Bounds); err != nil {
			errs = append(errs, fmt.Errorf("read %s: %w", jobs.SandboxVariable, err))
		}
	}
	if o.Sandbox == "" {
		errs = append(errs, errors.New("MESOS_SANDBOX is not set (an executor is started by a Mesos agent, not by hand)"))
	}
	return o, errors.Join(errs...)
}

// units are those of stout's Duration, which Mesos prints durations with.
var units = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond,
	"secs": time.Second, "mins": time.Minute, "hrs": time.Hour,
	"days": 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// parseDuration reads "15mins", "2secs" or "1.5hrs".
func parseDuration(s string) (time.Duration, error) {
	i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if i > 0 {
		number, err := strconv.ParseFloat(s[:i], 64)
		unit, known := units[s[i:]]
		if nanos := number * float64(unit); err == nil && known && nanos < 1<<63 {
			return time.Duration(nanos), nil
		}
	}
	return 0, fmt.Errorf("%q is no duration of Mesos, like 15mins or 2secs", s)
}
