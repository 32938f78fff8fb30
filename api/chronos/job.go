package chronos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"tidemill/jobs"
)

// Job is a job in Chronos's own form. Pointers and "omitempty" are where a
// scheduled and a dependent job differ, and where only some have a field.
type Job struct {
	Name                   string          `json:"name"`
	Command                string          `json:"command"`
	Shell                  flag            `json:"shell"`
	Executor               string          `json:"executor"`
	ExecutorFlags          string          `json:"executorFlags"`
	TaskInfoData           string          `json:"taskInfoData"`
	Retries                number          `json:"retries"`
	Owner                  string          `json:"owner"`
	OwnerName              string          `json:"ownerName"`
	Description            string          `json:"description"`
	SuccessCount           number          `json:"successCount"`
	ErrorCount             number          `json:"errorCount"`
	LastSuccess            string          `json:"lastSuccess"`
	LastError              string          `json:"lastError"`
	CPUs                   number          `json:"cpus"`
	Disk                   number          `json:"disk"` // MiB, like mem
	Mem                    number          `json:"mem"`
	Disabled               flag            `json:"disabled"`
	SoftError              flag            `json:"softError"`
	DataProcessingJobType  flag            `json:"dataProcessingJobType"`
	ErrorsSinceLastSuccess number          `json:"errorsSinceLastSuccess"`
	Fetch                  []Fetch         `json:"fetch"`
	URIs                   []string        `json:"uris"` // the old form of Fetch
	EnvironmentVariables   []Variable      `json:"environmentVariables"`
	Arguments              []string        `json:"arguments"`
	HighPriority           flag            `json:"highPriority"`
	RunAsUser              string          `json:"runAsUser"`
	Concurrent             flag            `json:"concurrent"`
	MaxCompletionTime      number          `json:"maxCompletionTime"` // seconds; 0: none
	Container              json.RawMessage `json:"container,omitempty"`
	Constraints            [][]string      `json:"constraints"`
	Schedule               string          `json:"schedule,omitempty"`
	ScheduleTimeZone       *string         `json:"scheduleTimeZone,omitempty"`
	Parents                []string        `json:"parents,omitempty"`
	// Of Chronos 2.x only.
	Epsilon string `json:"epsilon,omitempty"` // latest start after the due time, as PT60S
	Async   flag   `json:"async,omitempty"`
}

// Fetch is a file to download before the command starts.
type Fetch struct {
	URI        string `json:"uri"`
	Executable flag   `json:"executable"`
	Cache      flag   `json:"cache"`
	Extract    flag   `json:"extract"`
	OutputFile string `json:"output_file,omitempty"`
}

// UnmarshalJSON fills in that archives are extracted.
func (f *Fetch) UnmarshalJSON(doc []byte) error {
	type plain Fetch
	p := plain{Extract: true}
	err := json.Unmarshal(doc, &p)
	*f = Fetch(p)
	return err
}

// Variable is one variable of a command's environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Chronos's defaults of what a task needs.
const (
	defaultCPUs = 0.1
	defaultMem  = 128
)

// Decode reads one job and fills in Chronos's defaults. It ignores unknown
// fields, as Chronos did; Unknown lists them.
func Decode(doc []byte) (Job, error) {
	j := Job{Shell: true, Retries: 2, CPUs: defaultCPUs, Disk: 256, Mem: defaultMem}
	if !bytes.HasPrefix(bytes.TrimSpace(doc), []byte("{")) {
		return j, invalid("", "a job is a JSON object")
	}
	err := json.Unmarshal(doc, &j)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch):
		return j, invalid(mismatch.Field, "cannot be a %s", mismatch.Value)
	case err != nil:
		return j, invalid("", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if bytes.Equal(bytes.TrimSpace(j.Container), []byte("null")) {
		j.Container = nil
	}
	return j, nil
}

// DecodeList reads what Chronos answers to GET jobs, each job by itself.
func DecodeList(doc []byte) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(doc, &list); err != nil {
		return nil, invalid("", "Chronos's jobs are a JSON array of objects: %v", err)
	}
	return list, nil
}

// Unknown lists the fields of a document that no job of Chronos has.
func Unknown(doc []byte) []string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(doc, &fields) != nil { // Decode says so
		return nil
	}
	known := reflect.TypeFor[Job]()
	for i := range known.NumField() {
		name, _, _ := strings.Cut(known.Field(i).Tag.Get("json"), ",")
		delete(fields, name)
	}
	unknown := make([]string, 0, len(fields))
	for name := range fields {
		unknown = append(unknown, name)
	}
	slices.Sort(unknown)
	return unknown
}

func invalid(field, format string, args ...any) jobs.FieldErrors {
	return jobs.FieldErrors{{Field: field, Message: fmt.Sprintf(format, args...)}}
}

// number and flag are read from text too, as in "cpus": "0.5": Chronos did so,
// and its own examples are written that way.
type (
	number float64
	flag   bool
)

// UnmarshalJSON reads 0.5 or "0.5".
func (n *number) UnmarshalJSON(doc []byte) error { return lenient(doc, (*float64)(n), "number") }

// UnmarshalJSON reads true or "true".
func (f *flag) UnmarshalJSON(doc []byte) error { return lenient(doc, (*bool)(f), "true or false") }

func lenient(doc []byte, v any, what string) error {
	var text string
	if json.Unmarshal(doc, &text) == nil && text != "" {
		doc = []byte(text)
	}
	if err := json.Unmarshal(doc, v); err != nil {
		return fmt.Errorf("found %.50s where a %s belongs", doc, what)
	}
	return nil
}
