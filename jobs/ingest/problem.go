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

// fieldError is what is wrong with one field of an event, or with all of it.
type fieldError struct {
	Index int        `json:"index"`
	ID    string     `json:"id,omitempty"`
	Field string     `json:"field,omitempty"`
	Code  event.Code `json:"code"`
}

// maxErrors bounds the list of what is wrong with a request.
const maxErrors = 100

// add names the faults of one event.
func (p *problem) add(index int, e event.Event, faults []event.Fault) {
	for _, f := range faults {
		if f.Code == event.TooLarge {
			p.Status = http.StatusRequestEntityTooLarge
		}
		if len(p.Errors) == maxErrors {
			p.More = true
			return
		}
		found := fieldError{Index: index, Field: f.Field, Code: f.Code}
		if e.ID != (event.UUID{}) {
			found.ID = e.ID.String()
		}
		p.Errors = append(p.Errors, found)
	}
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
