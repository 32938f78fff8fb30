package chronos

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemill/jobs"
)

// never is the schedule of a job that only runs by hand, which Chronos has
// not; a client that sends it back changes nothing.
const never = "R0//PT24H"

// stampForm is how Chronos writes an instant.
const stampForm = "2006-01-02T15:04:05.000Z"

// FromView shows a job in Chronos's form.
func FromView(v jobs.JobView) Job {
	j := Job{
		Name: string(v.Name), Owner: v.Owner, Description: v.Description, Retries: number(max(0, v.Retry.Attempts-1)),
		SuccessCount: number(v.Successes), ErrorCount: number(v.Failures), ErrorsSinceLastSuccess: number(v.FailuresSince),
		LastSuccess: stamp(v.LastSuccess), LastError: stamp(v.LastFailure),
		CPUs: number(v.Resources.CPUs), Disk: number(v.Resources.Disk), Mem: number(v.Resources.Mem),
		Disabled: flag(v.Paused), SoftError: flag(v.SoftError), Concurrent: v.Overlap == jobs.OverlapAllow,
		HighPriority:      v.Priority > 0,
		MaxCompletionTime: number(v.MaxRunTime.D().Seconds()),
		Fetch:             []Fetch{}, URIs: []string{}, EnvironmentVariables: []Variable{}, Arguments: []string{}, Constraints: [][]string{},
	}
	var s commandSpec
	if json.Unmarshal(v.Spec, &s) == nil { // it was checked when it was applied
		j.Command, j.Shell = s.Command, len(s.Argv) == 0
		if !j.Shell {
			j.Command, j.Arguments = s.Argv[0], append(j.Arguments, s.Argv[1:]...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		j.EnvironmentVariables = append(j.EnvironmentVariables, Variable{name, s.Env[name]})
	}
	for _, c := range v.Placement.Constraints {
		j.Constraints = append(j.Constraints, []string{c.Field, c.Operator, c.Value})
	}
	if v.StartDeadline > 0 {
		j.Epsilon = "PT" + strconv.FormatFloat(v.StartDeadline.D().Seconds(), 'f', -1, 64) + "S"
	}
	if len(v.After) > 0 {
		j.Parents = texts(v.After)
	} else {
		zone := zoneOf(v.Schedule)
		j.Schedule, j.ScheduleTimeZone = scheduleOf(v), &zone
	}
	j.Container, j.RunAsUser = showContainer(s.Container), s.User
	for _, d := range s.Fetch {
		j.Fetch = append(j.Fetch, Fetch{URI: d.URI, Executable: flag(d.Executable), Cache: flag(d.Cache), Extract: flag(d.Unpacked()), OutputFile: d.File})
	}
	j.restore(v.Labels)
	return j
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(stampForm)
}

// scheduleOf shows a schedule: an ISO 8601 repeat with its start, or else the
// crons, which Chronos's clients can show but not have written.
func scheduleOf(v jobs.JobView) string {
	switch {
	case len(v.After) > 0:
		return ""
	case v.Schedule == nil:
		return never
	case len(v.Schedule.Cron) > 0:
		return strings.Join(v.Schedule.Cron, "; ")
	case v.Start != nil:
		return v.Schedule.WithStart(*v.Start).Repeat
	}
	return v.Schedule.Repeat
}

func zoneOf(s *jobs.Schedule) string {
	if s == nil {
		return ""
	}
	return s.Zone
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}
