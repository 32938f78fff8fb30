package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FieldError is one thing wrong with one field of a document.
type FieldError struct {
	Field   string `json:"field"` // path: "retry.attempts", "spec.topic"
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"` // of the file, where there is one
}

func (e FieldError) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// FieldErrors is everything that is wrong with a document, at once.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	all := make([]string, len(e))
	for i, f := range e {
		all[i] = f.Error()
	}
	return strings.Join(all, "; ")
}

// Err is nil where nothing is wrong.
func (e FieldErrors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Addf adds one finding.
func (e *FieldErrors) Addf(field, format string, args ...any) {
	*e = append(*e, FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
}

// Within adds a finding where a number is beyond its bounds.
func (e *FieldErrors) Within(field string, v, low, high int64) {
	if v < low || v > high {
		e.Addf(field, "%d is not within %d to %d", v, low, high)
	}
}

// NotNegative adds a finding where a duration is below zero.
func (e *FieldErrors) NotNegative(field string, d Duration) {
	if d < 0 {
		e.Addf(field, "%s is negative", d)
	}
}

// CheckNames adds what is wrong with a list of names, each of which may stand in it once.
func (e *FieldErrors) CheckNames(field string, list []Name) {
	for i, n := range list {
		e.AddAll(field, CheckName(n))
		if slices.Index(list, n) < i {
			e.Addf(field, "%q is named twice", n)
		}
	}
}

// AddAll adds the findings of a part under its field's path.
func (e *FieldErrors) AddAll(prefix string, err error) {
	if err == nil {
		return
	}
	var list FieldErrors
	if !errors.As(err, &list) {
		var one FieldError
		if !errors.As(err, &one) {
			one = FieldError{Message: err.Error()}
		}
		list = FieldErrors{one}
	}
	for _, f := range list {
		switch {
		case f.Field == "":
			f.Field = prefix
		case prefix != "":
			f.Field = prefix + "." + f.Field
		}
		*e = append(*e, f)
	}
}

// Findings joins what reading a document found with what is wrong with that
// which could be read: a field that could not be read is not called missing too.
func Findings(reading, rest error) error {
	switch {
	case reading == nil:
		return rest
	case rest == nil:
		return reading
	}
	var e, more FieldErrors
	e.AddAll("", reading)
	more.AddAll("", rest)
	for _, f := range more {
		if !e.about(f.Field) {
			e = append(e, f)
		}
	}
	return e
}

// about says whether a finding is about the field or about what it is a part of.
func (e FieldErrors) about(field string) bool {
	return slices.ContainsFunc(e, func(f FieldError) bool {
		below, ok := strings.CutPrefix(field, f.Field)
		return ok && (below == "" || f.Field == "" || below[0] == '.' || below[0] == '[')
	})
}

// Code classifies an error for those who must answer it (HTTP status, exit code).
type Code string

// The codes.
const (
	Invalid     Code = "invalid"     // the request can never succeed as it is
	NotFound    Code = "not_found"   // no such job, run or task
	Conflict    Code = "conflict"    // the state refuses it now
	Forbidden   Code = "forbidden"   // not shown to this caller
	Unavailable Code = "unavailable" // no leader, no store, no server: try again
)

// Error is an error with what was tried, on what, and what to do next.
type Error struct {
	Code    Code
	Op      string // "apply", "start run"
	Subject string // "job campaign-daily"
	Message string
	Hint    string // the command or the setting that helps
	Err     error
	// Repeatable says that nothing was done: to ask again is safe, whatever was asked for.
	Repeatable bool
}

func (e *Error) Error() string {
	var parts []string
	for _, s := range []string{e.Op, e.Subject, e.Message} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	s := strings.Join(parts, ": ")
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf finds the code in err's chain; field errors are invalid.
func CodeOf(err error) (Code, bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Code, true
	}
	var f FieldErrors
	if errors.As(err, &f) {
		return Invalid, true
	}
	return "", false
}

// permanent marks a failure that a retry cannot mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks err as one that no retry can mend: the run fails at once.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent says whether err was marked so.
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}
