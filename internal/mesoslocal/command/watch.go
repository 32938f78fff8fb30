package command

import (
	"context"
	"errors"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// watch starts the check and the health check that the task asks for; mu is held.
func (e *Executor) watch() {
	if info := e.task.Check; info != nil {
		e.lastCheck = checkStatus(info, nil)
		e.check = &check{
			clock: e.clock, interval: seconds(info.GetIntervalSeconds()), timeout: seconds(info.GetTimeoutSeconds()),
			probe: checkProbe(info), seen: func(found *outcome) { e.checked(checkStatus(info, found)) },
		}
		e.check.start(seconds(info.GetDelaySeconds()))
	}
	if info := e.task.HealthCheck; info != nil {
		e.began = e.clock.Now()
		e.health = &check{
			clock: e.clock, interval: seconds(info.GetIntervalSeconds()), timeout: seconds(info.GetTimeoutSeconds()),
			probe: healthProbe(info), seen: func(found *outcome) { e.examined(info, found != nil && healthy(info, *found)) },
		}
		e.health.start(seconds(info.GetDelaySeconds()))
	}
}

// unwatch ends both; mu is held.
func (e *Executor) unwatch() {
	e.check.stop()
	e.health.stop()
}

// nothing is the probe of a check of a type that there is not.
func nothing(context.Context) (outcome, error) {
	return 0, errors.New("the local Mesos knows COMMAND, HTTP and TCP checks only")
}

func checkProbe(info *mesos.CheckInfo) func(context.Context) (outcome, error) {
	switch {
	case info.Type == mesos.CheckInfo_COMMAND && info.Command != nil:
		return probeCommand(info.Command.Command)
	case info.Type == mesos.CheckInfo_HTTP && info.HTTP != nil:
		return probeHTTP("http", info.HTTP.Port, info.HTTP.GetPath())
	case info.Type == mesos.CheckInfo_TCP && info.TCP != nil:
		return probeTCP(info.TCP.Port)
	}
	return nothing
}

func healthProbe(info *mesos.HealthCheck) func(context.Context) (outcome, error) {
	switch {
	case info.Type == mesos.HealthCheck_COMMAND && info.Command != nil:
		return probeCommand(*info.Command)
	case info.Type == mesos.HealthCheck_HTTP && info.HTTP != nil:
		scheme := info.HTTP.GetScheme()
		if scheme == "" {
			scheme = "http"
		}
		return probeHTTP(scheme, info.HTTP.Port, info.HTTP.GetPath())
	case info.Type == mesos.HealthCheck_TCP && info.TCP != nil:
		return probeTCP(info.TCP.Port)
	}
	return nothing
}

// healthy tells a good outcome: exit code 0, a status from 200 to 399, a connection.
func healthy(info *mesos.HealthCheck, found outcome) bool {
	switch info.Type {
	case mesos.HealthCheck_HTTP:
		return found >= 200 && found < 400
	case mesos.HealthCheck_TCP:
		return found == 1
	}
	return found == 0
}

// checkStatus is what updates say of a check; where there is no outcome, only its type.
func checkStatus(info *mesos.CheckInfo, found *outcome) *mesos.CheckStatusInfo {
	status := &mesos.CheckStatusInfo{Type: &info.Type}
	switch info.Type {
	case mesos.CheckInfo_COMMAND:
		status.Command = &mesos.CheckStatusInfo_Command{}
		if found != nil {
			status.Command.ExitCode = new(int32(*found))
		}
	case mesos.CheckInfo_HTTP:
		status.HTTP = &mesos.CheckStatusInfo_Http{}
		if found != nil {
			status.HTTP.StatusCode = new(uint32(*found))
		}
	case mesos.CheckInfo_TCP:
		status.TCP = &mesos.CheckStatusInfo_Tcp{}
		if found != nil {
			status.TCP.Succeeded = new(*found == 1)
		}
	}
	return status
}

// checked reports a check's outcome, if it is another than before.
func (e *Executor) checked(status *mesos.CheckStatusInfo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.finished || e.killing || status.Equal(e.lastCheck) {
		return
	}
	e.lastCheck = status
	e.reportCheck(mesos.REASON_TASK_CHECK_STATUS_UPDATED)
}

// examined reports a health check's first success, the first after failures, and each
// failure but those of the grace period; after too many of them in a row it kills the task.
func (e *Executor) examined(info *mesos.HealthCheck, healthy bool) {
	e.mu.Lock()
	grace := seconds(info.GetGracePeriodSeconds())
	forgiven := !healthy && e.lastHealth == nil && grace > 0 && e.clock.Now().Sub(e.began) <= grace
	same := healthy && e.lastHealth != nil && *e.lastHealth
	if e.finished || e.killing || forgiven || same {
		e.mu.Unlock()
		return
	}
	e.lastHealth = &healthy
	if e.failures++; healthy {
		e.failures = 0
	}
	e.unhealthy = !healthy && e.failures >= info.GetConsecutiveFailures()
	e.reportCheck(mesos.REASON_TASK_HEALTH_CHECK_STATUS_UPDATED)
	kill := e.unhealthy
	e.mu.Unlock()
	if kill {
		e.kill(nil)
	}
}

// reportCheck reports what is known of the task from both checks; mu is held.
func (e *Executor) reportCheck(reason mesos.TaskStatus_Reason) {
	status := e.status(mesos.TASK_RUNNING, "")
	status.Reason, status.Healthy, status.CheckStatus = &reason, e.lastHealth, e.lastCheck
	e.send(status)
}
