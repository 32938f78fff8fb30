package chronos

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tidemill/jobs"
)

// labelPrefix begins the labels that hold what Chronos's jobs say and
// Tidemill's do not: a field's name follows.
const labelPrefix = "chronos."

// maxKept bounds what the labels of one job hold.
const maxKept = 16 << 10

// keptFields are the fields that live on as labels. Those with a refusal
// change what would run, so that they are not accepted unheeded; those with a
// remark are. Those with neither hold what says nothing of the run, or was
// dropped from it.
var keptFields = []struct{ name, refusal, remark string }{
	{name: "ownerName"},
	{name: "dataProcessingJobType"},
	{name: "executorFlags", remark: "is kept, but was for a custom executor only"},
	{name: "taskInfoData", remark: "is kept, but was for a custom executor only"},
	{name: "async", remark: "is kept, but the run ends with its command; PUT task/{id} then says how it went"},
	{name: "arguments", remark: "is kept, but a shell command is given none, in Chronos neither; with \"shell\": false it is"},
	{name: "executor", refusal: "custom executors are not supported; leave it empty and run the command itself"},
	{name: containerField},
	{name: "fetch"},
	{name: "runAsUser"},
}

// Droppable lists the fields that can be left unheeded: those that refuse a
// job unless they are, and those that need something of the agents.
func Droppable() []string {
	names := []string{containerField, "fetch", "runAsUser"}
	for _, f := range keptFields {
		if f.refusal != "" {
			names = append(names, f.name)
		}
	}
	slices.Sort(names)
	return names
}

// labels gives what the job says beyond Tidemill's words; defaults are left out.
func (j *Job) labels() map[string]string {
	out := map[string]string{}
	text := func(name, value string) {
		if value != "" {
			out[labelPrefix+name] = value
		}
	}
	yes := func(name string, value flag) {
		if value {
			out[labelPrefix+name] = strconv.FormatBool(true)
		}
	}
	text("ownerName", j.OwnerName)
	text("executor", j.Executor)
	text("executorFlags", j.ExecutorFlags)
	text("taskInfoData", j.TaskInfoData)
	text("runAsUser", j.RunAsUser)
	yes("dataProcessingJobType", j.DataProcessingJobType)
	yes("async", j.Async)
	text("container", compact(j.Container))
	if j.Shell && len(j.Arguments) > 0 {
		text("arguments", document(j.Arguments))
	}
	if list := j.fetches(); len(list) > 0 {
		text("fetch", document(list))
	}
	return out
}

// twice says that the downloads are in both forms, and not the same.
func (j *Job) twice() bool {
	old := make([]string, len(j.Fetch))
	for i, f := range j.Fetch {
		old[i] = f.URI
	}
	return len(j.URIs) > 0 && len(j.Fetch) > 0 && !slices.Equal(j.URIs, old)
}

// fetches are the downloads, in whichever form they are written.
func (j *Job) fetches() []Fetch {
	if len(j.Fetch) > 0 {
		return j.Fetch
	}
	list := make([]Fetch, len(j.URIs))
	for i, uri := range j.URIs {
		list[i] = Fetch{URI: uri, Extract: true}
	}
	return list
}

// downloads are the same in Tidemill's words.
func (j *Job) downloads() (out []jobs.Download) {
	for _, f := range j.fetches() {
		d := jobs.Download{URI: f.URI, File: f.OutputFile, Executable: bool(f.Executable), Cache: bool(f.Cache)}
		if !f.Extract {
			no := false
			d.Extract = &no
		}
		out = append(out, d)
	}
	return out
}

// restore reads the labels back. Chronos shows downloads in both forms.
func (j *Job) restore(labels map[string]string) {
	get := func(name string) string { return labels[labelPrefix+name] }
	yes := func(name string) flag { return get(name) == strconv.FormatBool(true) }
	j.OwnerName, j.Executor, j.ExecutorFlags = get("ownerName"), get("executor"), get("executorFlags")
	j.TaskInfoData, j.RunAsUser = get("taskInfoData"), cmp.Or(j.RunAsUser, get("runAsUser"))
	j.DataProcessingJobType, j.Async = yes("dataProcessingJobType"), yes("async")
	if c := json.RawMessage(get("container")); json.Valid(c) && j.Container == nil {
		j.Container = c
	}
	// A label that a user wrote by hand may hold anything: what is no list is left out.
	if text := get("arguments"); text != "" && bool(j.Shell) {
		_ = json.Unmarshal([]byte(text), &j.Arguments)
	}
	if text := get("fetch"); text != "" {
		_ = json.Unmarshal([]byte(text), &j.Fetch)
	}
	for _, f := range j.Fetch {
		j.URIs = append(j.URIs, f.URI)
	}
}

// dropped says whether a field is left unheeded: as it is asked for, or since
// it was so before, and is what it was.
func (t Translation) dropped(j *Job, stored map[string]string, field string) bool {
	value := j.labels()[labelPrefix+field]
	return value != "" && (slices.Contains(t.Drop, field) || value == stored[labelPrefix+field])
}

// keep puts the job's labels in the place of those it had, and says which
// fields it cannot be run by. A field that is stored already as it is was
// accepted before.
func (t Translation) keep(j *Job, out *jobs.Job, e *jobs.FieldErrors) (remarks []string) {
	kept := j.labels()
	size := 0
	for name, value := range kept {
		size += len(name) + len(value)
	}
	if size > maxKept {
		e.Addf("", "%s together have %d bytes; at most %d are kept", strings.Join(slices.Sorted(maps.Keys(kept)), ", "), size, maxKept)
	}
	for _, f := range keptFields {
		label := labelPrefix + f.name
		value, given := kept[label]
		switch {
		case !given || value == out.Labels[label] || f.name == "runAsUser" && value == t.User:
		case slices.Contains(t.Drop, f.name):
			remarks = append(remarks, f.name+" is kept, but dropped from what runs")
		case f.refusal != "":
			e.Addf(f.name, "%s", f.refusal)
		case f.remark != "":
			remarks = append(remarks, f.name+" "+f.remark)
		}
	}
	for name, value := range out.Labels {
		if !strings.HasPrefix(name, labelPrefix) {
			kept[name] = value
		}
	}
	out.Labels = nil
	if len(kept) > 0 {
		out.Labels = kept
	}
	return remarks
}
