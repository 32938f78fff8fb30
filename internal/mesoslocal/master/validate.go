package master

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"net/http"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// validateCall checks the form of a call, in the order of Mesos's own checks.
func validateCall(call *scheduler.Call, typed bool, principal string) *wire.Fault {
	invalid := func(format string, args ...any) *wire.Fault {
		return wire.Faultf(http.StatusBadRequest, "Failed to validate scheduler::Call: "+format, args...)
	}
	missing := func(field string) *wire.Fault { return invalid("Expecting '%s' to be present", field) }
	if !typed {
		return missing("type")
	}
	if call.Type == scheduler.Call_SUBSCRIBE {
		if call.Subscribe == nil {
			return missing("subscribe")
		}
		info := call.Subscribe.FrameworkInfo
		if info.ID.GetValue() != call.FrameworkID.GetValue() {
			return invalid("'framework_id' differs from 'subscribe.framework_info.id'")
		}
		if principal != "" && info.GetPrincipal() != "" && info.GetPrincipal() != principal {
			return invalid("Authenticated principal '%s' does not match principal '%s' set in `FrameworkInfo`",
				principal, info.GetPrincipal())
		}
		return nil
	}
	if call.FrameworkID == nil {
		return missing("framework_id")
	}
	if field, absent := missingPart(call); absent {
		return missing(field)
	}
	switch {
	case call.Type == scheduler.Call_ACKNOWLEDGE && len(call.Acknowledge.UUID) != 16:
		return invalid("Not a valid UUID")
	case call.Type == scheduler.Call_UPDATE_FRAMEWORK &&
		call.UpdateFramework.FrameworkInfo.ID.GetValue() != call.FrameworkID.Value:
		return invalid("'framework_id' differs from 'update_framework.framework_info.id'")
	}
	return nil
}

// missingPart names the message that a call's type asks for where it is absent.
func missingPart(call *scheduler.Call) (string, bool) {
	switch call.Type {
	case scheduler.Call_ACCEPT:
		return "accept", call.Accept == nil
	case scheduler.Call_DECLINE:
		return "decline", call.Decline == nil
	case scheduler.Call_ACCEPT_INVERSE_OFFERS:
		return "accept_inverse_offers", call.AcceptInverseOffers == nil
	case scheduler.Call_DECLINE_INVERSE_OFFERS:
		return "decline_inverse_offers", call.DeclineInverseOffers == nil
	case scheduler.Call_KILL:
		return "kill", call.Kill == nil
	case scheduler.Call_SHUTDOWN:
		return "shutdown", call.Shutdown == nil
	case scheduler.Call_ACKNOWLEDGE:
		return "acknowledge", call.Acknowledge == nil
	case scheduler.Call_RECONCILE:
		return "reconcile", call.Reconcile == nil
	case scheduler.Call_MESSAGE:
		return "message", call.Message == nil
	case scheduler.Call_REQUEST:
		return "request", call.Request == nil
	case scheduler.Call_UPDATE_FRAMEWORK:
		return "update_framework", call.UpdateFramework == nil
	}
	return "", false
}

// validateSubscribe checks a FrameworkInfo; its errors reach the framework as an ERROR.
func validateSubscribe(info mesos.FrameworkInfo, suppressed []string) error {
	if id := info.ID.GetValue(); id != "" {
		if err := validateID(id); err != nil {
			return err
		}
	}
	multiRole := slices.ContainsFunc(info.Capabilities, func(c mesos.FrameworkInfo_Capability) bool {
		return c.Type == mesos.FrameworkInfo_Capability_MULTI_ROLE
	})
	switch {
	case multiRole && info.Role != nil:
		return errors.New("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable")
	case !multiRole && len(info.Roles) > 0:
		return errors.New("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable")
	}
	if err := validateRoles(info.Roles); err != nil {
		return err
	}
	if info.Role != nil {
		if err := validateRole(*info.Role); err != nil {
			return fmt.Errorf("'FrameworkInfo.role' is not a valid role: %w", err)
		}
	}
	if math.Abs(info.GetFailoverTimeout()) > math.MaxInt64/float64(time.Second) {
		return fmt.Errorf("The framework failover_timeout (%s) is invalid",
			strconv.FormatFloat(info.GetFailoverTimeout(), 'g', -1, 64))
	}
	for _, role := range suppressed {
		if !slices.Contains(rolesOf(info), role) {
			return fmt.Errorf("Suppressed roles { %s } are not contained in the set of roles", role)
		}
	}
	return nil
}

func validateRoles(roles []string) error {
	for i, role := range roles {
		if slices.Contains(roles[:i], role) {
			return fmt.Errorf("'FrameworkInfo.roles' contains duplicate items: { %s }", role)
		}
		if err := validateRole(role); err != nil {
			return fmt.Errorf("'FrameworkInfo.roles' contains invalid role: %w", err)
		}
	}
	return nil
}

func validateRole(role string) error {
	switch {
	case role == "*":
		return nil
	case role == "":
		return errors.New("Empty role name is invalid")
	case strings.HasPrefix(role, "/"):
		return fmt.Errorf("Role '%s' cannot start with a slash", role)
	case strings.HasSuffix(role, "/"):
		return fmt.Errorf("Role '%s' cannot end with a slash", role)
	}
	for component := range strings.SplitSeq(role, "/") {
		switch {
		case component == "":
			return fmt.Errorf("Role '%s' cannot contain two adjacent slashes", role)
		case component == "." || component == "..":
			return fmt.Errorf("Role '%s' cannot include '%s' as a component", role, component)
		case component == "*":
			return fmt.Errorf("Role '%s' cannot include '*' as a component", role)
		case strings.HasPrefix(component, "-"):
			return fmt.Errorf("Role component '%s' is invalid because it starts with a dash", component)
		case strings.ContainsAny(component, "\t\n\v\f\r \b\x7f"):
			return fmt.Errorf("Role component '%s' is invalid because it contains backspace or whitespace", component)
		}
	}
	return nil
}

func validateUpdate(old, info mesos.FrameworkInfo, suppressed []string) error {
	if err := validateSubscribe(info, suppressed); err != nil {
		return err
	}
	checkpoint := func(i mesos.FrameworkInfo) bool { return i.Checkpoint != nil && *i.Checkpoint }
	switch {
	case old.GetPrincipal() != info.GetPrincipal():
		return errors.New("Changing framework's principal is not allowed.")
	case old.User != info.User:
		return fmt.Errorf("Updating 'FrameworkInfo.user' is unsupported; attempted to update from '%s' to '%s'", old.User, info.User)
	case checkpoint(old) != checkpoint(info):
		return fmt.Errorf("Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update from '%t' to '%t'",
			checkpoint(old), checkpoint(info))
	}
	return nil
}

// validateID applies Mesos's rules for ids, which become parts of paths.
func validateID(id string) error {
	switch {
	case id == "":
		return errors.New("ID must not be empty")
	case len(id) > 255:
		return errors.New("ID must not be greater than 255 characters")
	case id == "." || id == "..":
		return fmt.Errorf("'%s' is disallowed", id)
	}
	if strings.ContainsFunc(id, func(c rune) bool { return c == '/' || c == '\\' || c < 0x20 || c == 0x7f }) {
		return fmt.Errorf("'%s' contains invalid characters", id)
	}
	return nil
}

// validate checks one task against Mesos's rules and what is left of the offers.
func (l *launcher) validate(info *mesos.TaskInfo) error {
	if err := l.validateTask(info); err != nil {
		return err
	}
	if (info.Command == nil) == (info.Executor == nil) {
		return errors.New("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")
	}
	if info.Executor != nil {
		if err := l.validateExecutor(info.Executor); err != nil {
			return err
		}
	}
	return l.validateAmount(info.Resources, info.Executor)
}

func (l *launcher) validateTask(info *mesos.TaskInfo) error {
	if err := validateID(info.TaskID.Value); err != nil {
		return err
	}
	if l.framework.tasks[info.TaskID.Value] != nil || l.framework.unreachable[info.TaskID.Value] != nil {
		return fmt.Errorf("Task has duplicate ID: %s", info.TaskID.Value)
	}
	if info.AgentID.Value != l.agent.id {
		return fmt.Errorf("Task uses invalid agent %s while agent %s is expected", info.AgentID.Value, l.agent.id)
	}
	if info.KillPolicy != nil && info.KillPolicy.GracePeriod != nil && info.KillPolicy.GracePeriod.Nanoseconds < 0 {
		return errors.New("Task's 'kill_policy.grace_period' must be non-negative")
	}
	if check := info.HealthCheck; check != nil && check.Type == mesos.HealthCheck_COMMAND && check.Command == nil {
		return errors.New("Task uses invalid health check: Expecting 'command' to be set for COMMAND health check")
	}
	if info.Command != nil {
		if err := validateEnvironment(info.Command); err != nil {
			return fmt.Errorf("Task's `CommandInfo` is invalid: %w", err)
		}
	}
	if len(info.Resources) == 0 {
		return errors.New("Task uses no resources")
	}
	return validateResources(info.Resources)
}

func validateEnvironment(command *mesos.CommandInfo) error {
	if command.Environment == nil {
		return nil
	}
	for _, variable := range command.Environment.Variables {
		if variable.Value == nil && variable.Secret == nil {
			return fmt.Errorf("Environment variable '%s' of type 'VALUE' must have a value set", variable.Name)
		}
	}
	return nil
}

func validateResources(list []mesos.Resource) error {
	for _, resource := range list {
		switch {
		case resource.Scalar != nil && resource.Scalar.Value < 0:
			return fmt.Errorf("Resource '%s:%s' is invalid: Invalid scalar resource: value <= 0",
				resource.Name, strconv.FormatFloat(resource.Scalar.Value, 'f', -1, 64))
		}
	}
	return nil
}

func (l *launcher) validateExecutor(info *mesos.ExecutorInfo) error {
	if err := validateID(info.ExecutorID.Value); err != nil {
		return err
	}
	switch {
	case info.Type == mesos.ExecutorInfo_DEFAULT:
		return errors.New("'ExecutorInfo.type' must be 'CUSTOM'") // also for groups: the local Mesos has no default executor
	case info.Command == nil:
		return errors.New("'ExecutorInfo.command' must be set for 'CUSTOM' executor")
	}
	known := l.agent.executors[l.framework.id][info.ExecutorID.Value]
	if known != nil && !info.Equal(known.info) {
		line := strings.Repeat("-", 60)
		return fmt.Errorf("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n"+
			"%s\nExisting ExecutorInfo:\n%s\n%s\nTask's ExecutorInfo:\n%s\n%s\n", line, known.info.String(), line, info.String(), line)
	}
	return validateResources(info.Resources)
}

// validateAmount checks that a task, with its executor where that is new, fits.
func (l *launcher) validateAmount(list []mesos.Resource, custom *mesos.ExecutorInfo) error {
	required := slices.Clone(list)
	if custom != nil && l.agent.executors[l.framework.id][custom.ExecutorID.Value] == nil {
		required = append(required, custom.Resources...)
	}
	fits := l.free.Contains(resources.Of(required))
	for _, resource := range required {
		fits = fits && resource.AllocationInfo.GetRole() == l.role
	}
	if !fits {
		return fmt.Errorf("Total resources %s required by task and its executor is more than available %s",
			resources.Text(required), resources.Text(l.free.Mesos(l.role)))
	}
	return nil
}

func (l *launcher) validateGroup(executor *mesos.ExecutorInfo, tasks []mesos.TaskInfo) error {
	if executor.Type == mesos.ExecutorInfo_DEFAULT && len(executor.Resources) == 0 {
		return fmt.Errorf("Executor '%s' uses less CPUs (None) than the minimum required (0.01)", executor.ExecutorID.Value)
	}
	if err := l.validateExecutor(executor); err != nil {
		return err
	}
	var all []mesos.Resource
	for i := range tasks {
		if err := l.validateTask(&tasks[i]); err != nil {
			return fmt.Errorf("Task '%s' is invalid: %w", tasks[i].TaskID.Value, err)
		}
		if tasks[i].Executor != nil {
			return fmt.Errorf("Task '%s' is invalid: 'TaskInfo.executor' must not be set", tasks[i].TaskID.Value)
		}
		all = append(all, tasks[i].Resources...)
	}
	return l.validateAmount(all, executor)
}
