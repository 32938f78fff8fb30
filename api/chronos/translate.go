package chronos

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/sosodev/duration"

	"tidemill/jobs"
)

// Kind is the kind of Chronos's jobs. Jobs of other kinds are not seen
// through this door.
const Kind = "command"

// Translation turns Chronos's jobs into Tidemill's.
type Translation struct {
	// User is whom tasks run as: a job that names the same asks for nothing.
	User string
	// Drop names fields that are kept, but not heeded, instead of refused.
	Drop []string
}

// Job translates one job. What Chronos has no word for stays as it is in the
// stored job, where there is one. The remarks say what is not as it was in
// Chronos; errors are jobs.FieldErrors with Chronos's names.
func (t Translation) Job(c Job, stored *jobs.JobView) (out jobs.Job, remarks []string, err error) {
	out = jobs.Job{Kind: Kind}
	if stored != nil {
		out = stored.Job
		out.Version, out.Incarnation, out.Created, out.Updated = 0, 0, time.Time{}, time.Time{}
	}
	var e jobs.FieldErrors
	var runs commandSpec // beyond the command itself
	if !t.dropped(&c, out.Labels, containerField) {
		runs.Container, c.Container = readContainer(c.Container, &e), nil
	}
	if c.twice() {
		e.Addf("uris", "is the old form of fetch; give one of them")
	}
	if !t.dropped(&c, out.Labels, "fetch") {
		runs.Fetch, c.Fetch, c.URIs = c.downloads(), nil, nil
	}
	if !t.dropped(&c, out.Labels, "runAsUser") && c.RunAsUser != t.User {
		runs.User, c.RunAsUser = c.RunAsUser, ""
	}
	remarks = t.keep(&c, &out, &e)
	out.Name, out.Owner, out.Description = jobs.Name(c.Name), c.Owner, c.Description
	out.Paused, out.SoftError = bool(c.Disabled), bool(c.SoftError)
	c.policies(&out, &e)
	c.placement(&out, &e)
	c.when(&out, stored, &e)
	if out.Spec, err = c.spec(out.Spec, runs); err != nil {
		return out, remarks, err
	}
	return out, remarks, e.Err()
}

func (j *Job) policies(out *jobs.Job, e *jobs.FieldErrors) {
	switch {
	case j.Retries < 0 || j.Retries != number(int(j.Retries)):
		e.Addf("retries", "%g is no count of retries", j.Retries)
	default:
		out.Retry.Attempts = int(j.Retries) + 1
	}
	out.MaxRunTime = jobs.Duration(float64(j.MaxCompletionTime) * float64(time.Second))
	if j.MaxCompletionTime < 0 || out.MaxRunTime < 0 {
		e.Addf("maxCompletionTime", "%g is no count of seconds", j.MaxCompletionTime)
	}
	out.StartDeadline = 0
	if j.Epsilon != "" {
		d, err := duration.Parse(j.Epsilon)
		if err != nil || d.Negative {
			e.Addf("epsilon", "%q is no ISO 8601 duration; write it as PT60S", j.Epsilon)
		} else {
			out.StartDeadline = jobs.Duration(d.ToTimeDuration())
		}
	}
	// Tidemill has more priorities than two, and more ways than two not to run at once.
	if high := out.Priority > 0; high != bool(j.HighPriority) {
		out.Priority = 0
		if j.HighPriority {
			out.Priority = highPriority
		}
	}
	if concurrent := out.Overlap == jobs.OverlapAllow; concurrent != bool(j.Concurrent) || out.Overlap == "" {
		out.Overlap = jobs.OverlapSkip
		if j.Concurrent {
			out.Overlap = jobs.OverlapAllow
		}
	}
}

func (j *Job) placement(out *jobs.Job, e *jobs.FieldErrors) {
	// No cpus and no mem are the default ones, as in Chronos.
	out.Resources.CPUs, out.Resources.Mem, out.Resources.Disk = cmp.Or(float64(j.CPUs), defaultCPUs), cmp.Or(float64(j.Mem), defaultMem), float64(j.Disk)
	out.Placement.Constraints = nil
	for i, c := range j.Constraints {
		if len(c) != 3 || !slices.Contains([]string{"EQUALS", "LIKE", "UNLIKE"}, c[1]) {
			e.Addf(fmt.Sprintf("constraints[%d]", i), "%q is not [attribute, EQUALS or LIKE or UNLIKE, value]", c)
			continue
		}
		out.Placement.Constraints = append(out.Placement.Constraints, jobs.Constraint{Field: c[0], Operator: c[1], Value: c[2]})
	}
}

// What the kind's spec holds of a job of Chronos; the rest of it stays.
type commandSpec struct {
	Command string            `json:"command,omitempty"`
	Argv    []string          `json:"argv,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	User    string            `json:"user,omitempty"`
	Fetch   []jobs.Download   `json:"fetch,omitempty"`

	Container *jobs.Container `json:"container,omitempty"`
}

func (j *Job) spec(stored json.RawMessage, s commandSpec) (json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if len(stored) > 0 {
		if err := json.Unmarshal(stored, &fields); err != nil {
			return nil, fmt.Errorf("read the stored spec of job %s: %w", j.Name, err)
		}
	}
	s.Command, s.Env = j.Command, map[string]string{}
	box := s.Container
	bare := box != nil && j.Command == "" && len(j.Arguments) == 0 // the image says what is run
	if !bool(j.Shell) && !bare {
		s.Command, s.Argv = "", append([]string{j.Command}, j.Arguments...)
	}
	if box != nil {
		var before commandSpec
		if json.Unmarshal(stored, &before) == nil && before.Container != nil {
			box.Privileged = before.Container.Privileged // which Chronos has no word for
		}
	}
	for _, v := range j.EnvironmentVariables {
		s.Env[v.Name] = v.Value
	}
	for name, value := range map[string]any{"command": s.Command, "argv": s.Argv, "env": s.Env, "container": box, "user": s.User, "fetch": s.Fetch} {
		delete(fields, name)
		if text := document(value); text != `""` && text != "null" && text != "{}" {
			fields[name] = json.RawMessage(text)
		}
	}
	return json.Marshal(fields)
}

// highPriority is the priority of a job of which Chronos says no more.
const highPriority = 100

// once is the schedule of a job that says neither when nor after what: now.
const once = "R1//PT24H"

// scheduleForm is the form of a schedule; jobs/schedule reads the parts.
var scheduleForm = regexp.MustCompile(`^R[0-9]*/[^/]*/P[^/]+$`)

// neverForm is how clients unschedule a job: they give it no period at all.
var neverForm = regexp.MustCompile(`^R0/[^/]*/PT?0[YMWDHS]$`)

// when sets when the job runs: on its schedule, after its parents, or once,
// now. A schedule that is stored already, whether written as it was or as this
// door shows it, stays with all that Chronos has no word for.
func (j *Job) when(out *jobs.Job, stored *jobs.JobView, e *jobs.FieldErrors) {
	if len(j.Parents) > 0 {
		j.after(out, e)
		return
	}
	text, zone := cmp.Or(j.Schedule, once), ""
	if j.ScheduleTimeZone != nil {
		zone = *j.ScheduleTimeZone
	}
	if stored != nil && j.Schedule != "" && j.Schedule == scheduleOf(*stored) && zone == zoneOf(stored.Schedule) {
		return
	}
	if !scheduleForm.MatchString(text) {
		e.Addf("schedule", "%q is not R[n]/start/period, as R/2026-03-01T06:00:00Z/P1D; an empty start means now", text)
		return
	}
	s := &jobs.Schedule{}
	if stored != nil && stored.Schedule != nil {
		s.CatchUp = stored.Schedule.CatchUp
	}
	if neverForm.MatchString(text) {
		text = never
	}
	s.Repeat, s.Zone = text, zone
	out.Schedule, out.After, out.Trigger = s, nil, ""
}

func (j *Job) after(out *jobs.Job, e *jobs.FieldErrors) {
	if j.Schedule != "" {
		e.Addf("schedule", "a job has a schedule or parents, not both")
	}
	out.Schedule, out.After = nil, nil
	for _, p := range j.Parents {
		if !slices.Contains(out.After, jobs.Name(p)) {
			out.After = append(out.After, jobs.Name(p))
		}
	}
}

func compact(doc json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, doc) != nil {
		return ""
	}
	return b.String()
}

// document writes what always can be written: texts, lists and mappings of them.
func document(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return string(bytes.TrimSpace(b.Bytes()))
}
