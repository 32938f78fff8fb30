package schedule

import (
	"fmt"
	"strings"
)

// Error is one fault of a Spec.
type Error struct {
	Field   string // the field at fault, as cron[0], zone or exclude[2]
	Value   string // what the field held
	Column  int    // where in the value the fault begins, counted from 1; 0 for all of it
	Problem string // what is wrong
	Hint    string // what to write instead
}

func (e *Error) Error() string { return e.Field + ": " + e.Message() }

// Message is the error without its field, for those who list fields themselves.
func (e *Error) Message() string {
	var text strings.Builder
	if e.Value != "" {
		fmt.Fprintf(&text, "%q ", e.Value)
	}
	if e.Column > 0 {
		fmt.Fprintf(&text, "column %d ", e.Column)
	}
	if text.Len() > 0 {
		text.WriteString("- ")
	}
	text.WriteString(e.Problem)
	if e.Hint != "" {
		text.WriteString("; " + e.Hint)
	}
	return text.String()
}

// Errors are all the faults of a Spec, in the order of its fields.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, fault := range e {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As reach each fault.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, fault := range e {
		list[i] = fault
	}
	return list
}

// add records a fault unless it is nil, with the field it was found in.
func (e *Errors) add(field, value string, fault *Error) {
	if fault != nil {
		fault.Field, fault.Value = field, value
		*e = append(*e, fault)
	}
}

func faultAt(column int, hint, problem string, args ...any) *Error {
	return &Error{Column: column, Problem: fmt.Sprintf(problem, args...), Hint: hint}
}
