package ingest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tidemill/jobs/event"
)

// problem is an answer that is not 202, in the form of RFC 9457.
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
	// Errors say which events are at fault, at most maxErrors; More that
	// there are others.
	Errors []fieldError `json:"errors,omitempty"`
	More   bool         `json:"more,omitempty"`
	// Unacknowledged are the indexes of events whose fate is not known.
	// Posting all again is safe.
	Unacknowledged []int `json:"unacknowledged,omitempty"`

	retryAfter time.Duration
}

// fieldError is what is wrong with one event.
type fieldError struct {
	Index int        `json:"index"`
	ID    string     `json:"id,omitempty"`
	Field string     `json:"field,omitempty"`
	Code  event.Code `json:"code"`
}

func newFieldError(i int, e event.Event, f *event.Fault) fieldError {
	out := fieldError{Index: i, Field: f.Field, Code: f.Code}
	if e.ID != (event.UUID{}) {
		out.ID = e.ID.String()
	}
	return out
}

func (p *problem) write(w http.ResponseWriter) error {
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(max(p.retryAfter, time.Second).Seconds())))
	}
	w.WriteHeader(p.Status)
	return json.NewEncoder(w).Encode(p)
}
