package jobfile

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"tidemill/jobs"
)

// Document is one job as it was written, and where.
type Document struct {
	Job   jobs.Job
	File  string
	Index int            // among the documents of its source
	lines map[string]int // by field path; "" is the document's first
}

// Error is one thing wrong with one document.
type Error struct {
	File  string
	Index int // of the document in its source
	jobs.FieldError
}

func (e Error) Error() string {
	at := e.File
	if e.Line > 0 {
		at += fmt.Sprintf(":%d", e.Line)
	}
	return at + ": " + e.FieldError.Error()
}

// Errors is everything wrong with all documents, in their order.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Fields gives the findings without their files, for a problem body.
func (e Errors) Fields() jobs.FieldErrors {
	out := make(jobs.FieldErrors, len(e))
	for i, one := range e {
		out[i] = one.FieldError
	}
	return out
}

// Unwrap makes them field errors to those who ask for a code.
func (e Errors) Unwrap() error { return e.Fields() }

// Decode reads the documents of a source: one or several (in YAML parted by
// ---), each a job or a list of jobs. What could be read of wrong ones is
// returned too, so that the rest of their errors can be found; the errors say
// what is wrong.
func Decode(src Source) ([]Document, Errors) {
	roots, err := parse(src)
	var docs []Document
	var errs Errors
	for _, root := range roots {
		items := []*yaml.Node{root}
		if root.Kind == yaml.SequenceNode {
			items = root.Content
		}
		for _, item := range items {
			doc, found := decodeJob(src.Name, len(docs), item)
			docs = append(docs, doc)
			errs = append(errs, found...)
		}
	}
	doc := Document{File: src.Name, Index: len(docs)} // the one that is missing
	if err != nil {
		errs = append(errs, doc.Locate(err)...)
	} else if len(docs) == 0 {
		errs = append(errs, doc.Locate(errors.New("holds no job"))...)
	}
	return docs, errs
}

func decodeJob(file string, index int, n *yaml.Node) (Document, Errors) {
	doc := Document{File: file, Index: index, lines: map[string]int{}}
	found := decodeNode(n, &doc.Job, doc.lines)
	return doc, doc.Locate(jobs.Findings(found.Err(), doc.noStarts()))
}

// noStarts refuses what would mean the default to all who read the job later.
func (d Document) noStarts() error {
	if _, given := d.lines["retry.attempts"]; given && d.Job.Retry.Attempts == 0 {
		return jobs.FieldError{Field: "retry.attempts", Message: "no start is none: write 1 for a single one, or leave it out"}
	}
	return nil
}

// decodeNode reads a node into what v points to, as far as it is right.
func decodeNode(n *yaml.Node, v any, lines map[string]int) jobs.FieldErrors {
	r := reader{lines: lines}
	t := reflect.TypeOf(v).Elem()
	value, ok := r.value(n, t, "", 0)
	if !ok && len(r.errs) == 0 {
		r.addf(n, "", "expected a mapping, found %s", describe(n))
	}
	if ok {
		raw, err := json.Marshal(value)
		if err == nil {
			err = json.Unmarshal(raw, v)
		}
		if err != nil {
			r.addf(n, "", "%v", err)
		}
	}
	return r.errs
}

// DecodeValue reads the only document of a source into what v points to, by
// its JSON names and as strictly as a job. A source without any leaves v as it is.
func DecodeValue(src Source, v any) error {
	roots, err := parse(src)
	doc := Document{File: src.Name, lines: map[string]int{}}
	switch {
	case err != nil:
		return doc.Locate(err)
	case len(roots) > 1:
		return doc.Locate(jobs.FieldError{Line: roots[1].Line, Message: "only one document is expected"})
	case len(roots) == 0:
		return nil
	}
	if found := decodeNode(roots[0], v, doc.lines); len(found) > 0 {
		return doc.Locate(found)
	}
	return nil
}

// Locate says where in the file the findings of err are.
func (d Document) Locate(err error) Errors {
	var found jobs.FieldErrors
	found.AddAll("", err)
	out := make(Errors, len(found))
	for i, f := range found {
		if f.Line == 0 {
			f.Line = d.line(f.Field)
		}
		out[i] = Error{File: d.File, Index: d.Index, FieldError: f}
	}
	return out
}

// line is that of the field, or of the nearest thing around it.
func (d Document) line(field string) int {
	for {
		if line, ok := d.lines[field]; ok || field == "" {
			return line
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
}

// DecodeAll reads the documents of several sources.
func DecodeAll(sources []Source) ([]Document, Errors) {
	var docs []Document
	var errs Errors
	for _, src := range sources {
		found, wrong := Decode(src)
		docs, errs = append(docs, found...), append(errs, wrong...)
	}
	return docs, errs
}

// validate finds what else is wrong with documents that are to be applied
// together, and gives the jobs with their defaults filled in. Parents that
// are in none of them may be known to the scheduler and are taken as given.
func validate(docs []Document, kinds *jobs.Registry) ([]jobs.Job, Errors) {
	var errs Errors
	list := make([]jobs.Job, 0, len(docs))
	first := map[jobs.Name]Document{}
	for _, d := range docs {
		j, _, err := kinds.Check(d.Job)
		errs = append(errs, d.Locate(err)...)
		if other, ok := first[j.Name]; ok && j.Name != "" {
			errs = append(errs, d.Locate(jobs.FieldError{Field: "name", Message: fmt.Sprintf(
				"%q is also in %s:%d", j.Name, other.File, other.line("name"))})...)
			continue
		}
		first[j.Name] = d
		list = append(list, j)
	}
	return list, append(errs, cycles(list, first)...)
}

func cycles(list []jobs.Job, docs map[jobs.Name]Document) Errors {
	graph := jobs.NewGraph()
	for _, j := range list {
		for _, p := range j.After {
			if !graph.Has(p) {
				graph.Put(jobs.Job{Name: p})
			}
		}
		graph.Put(j)
	}
	var errs Errors
	for _, j := range list {
		if !slices.Contains(j.After, j.Name) { // said by the job's own check
			errs = append(errs, docs[j.Name].Locate(graph.Check(j))...)
		}
	}
	return errs
}

// Check checks decoded documents and adds what it finds to what decoding
// found, in the order of files and lines; a field that could not be read is
// not called missing as well.
func Check(docs []Document, errs Errors, kinds *jobs.Registry) ([]jobs.Job, Errors) {
	list, more := validate(docs, kinds)
	type place struct {
		file, field string
		line        int
	}
	said, order := map[place]bool{}, map[string]int{}
	number := func(file string) {
		if _, ok := order[file]; !ok {
			order[file] = len(order)
		}
	}
	for _, d := range docs {
		number(d.File)
	}
	for _, e := range errs {
		said[place{e.File, e.Field, e.Line}] = true
		number(e.File)
	}
	for _, e := range more {
		if !said[place{e.File, e.Field, e.Line}] {
			errs = append(errs, e)
		}
	}
	slices.SortStableFunc(errs, func(a, b Error) int {
		return cmp.Or(order[a.File]-order[b.File], a.Line-b.Line)
	})
	return list, errs
}

// Load decodes and checks: the jobs of all sources with their defaults, each
// beside its document, or everything that is wrong with them.
func Load(sources []Source, kinds *jobs.Registry) ([]jobs.Job, []Document, error) {
	docs, errs := DecodeAll(sources)
	list, errs := Check(docs, errs, kinds)
	if len(errs) > 0 {
		return nil, nil, errs
	}
	return list, docs, nil
}

var listed = regexp.MustCompile(`^\[(\d+)\]\.?`)

// LocateListed says where in the documents the findings are that a scheduler
// had with the list of their jobs: where there are several, its fields begin
// with the job's place, like "[2].after[0]". Any other error is left as it is.
func LocateListed(docs []Document, err error) error {
	var found jobs.FieldErrors
	if !errors.As(err, &found) {
		return err
	}
	var out Errors
	for _, f := range found {
		at := 0
		if m := listed.FindStringSubmatch(f.Field); m != nil && len(docs) > 1 {
			at, _ = strconv.Atoi(m[1]) // digits, by the pattern; out of range is caught below
			f.Field = f.Field[len(m[0]):]
		}
		if at >= len(docs) {
			return err
		}
		f.Line = 0 // that of the request, which is not the file's
		out = append(out, docs[at].Locate(f)...)
	}
	return out
}
