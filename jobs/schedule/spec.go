package schedule

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Spec is a schedule as its user writes it: one or several cron expressions,
// or one ISO 8601 repeat, and what bounds them.
type Spec struct {
	// Cron holds expressions of five fields, or six with seconds first; an
	// instant named by several of them is one run. One string or a list.
	Cron Crons `json:"cron,omitempty"`
	// Repeat is an ISO 8601 repeating interval, R[n]/start/period. An empty
	// start is filled in once, by WithStart, when the job is first applied.
	Repeat string `json:"repeat,omitempty"`
	// Zone is the IANA name of the zone whose wall clock counts; UTC if empty.
	Zone string `json:"zone,omitempty"`
	// Start is the first instant allowed.
	Start *time.Time `json:"start,omitempty"`
	// End is the first instant no longer allowed.
	End *time.Time `json:"end,omitempty"`
	// Jitter delays every run of the job by the same part of it, from 0 up to
	// but excluding Jitter, which is a hash of the job's name.
	Jitter Duration `json:"jitter,omitempty"`
	// Exclude lists days, in the schedule's zone, on which nothing runs: dates
	// (2026-12-24), ranges of dates (2026-12-24/2027-01-06), days of every
	// year (12-25, 12-24/01-06) and weekdays (sunday, sat).
	Exclude []string `json:"exclude,omitempty"`
}

// IsZero reports whether the spec names no schedule at all.
func (s Spec) IsZero() bool { return len(s.Cron) == 0 && s.Repeat == "" }

// NeedsStart reports whether the repeat leaves its start open, which Compile
// refuses: the start must be fixed once and stored, or each compilation would
// begin another series.
func (s Spec) NeedsStart() bool {
	_, start, _, ok := splitRepeat(s.Repeat)
	return ok && start == ""
}

// WithStart returns the spec with an open start of its repeat set to t, and
// any other spec unchanged.
func (s Spec) WithStart(t time.Time) Spec {
	if count, start, period, ok := splitRepeat(s.Repeat); ok && start == "" {
		s.Repeat = count + "/" + t.UTC().Format(time.RFC3339Nano) + "/" + period
	}
	return s
}

// Crons is a list of cron expressions; a list of one is written as a string.
type Crons []string

// UnmarshalJSON accepts a string or a list of strings.
func (c *Crons) UnmarshalJSON(data []byte) error {
	var list []string
	if err := json.Unmarshal(data, &list); err == nil {
		*c = list
		return nil
	}
	var one string
	if err := json.Unmarshal(data, &one); err != nil {
		return fmt.Errorf("cron is neither a string nor a list of strings: %w", err)
	}
	*c = Crons{one}
	return nil
}

// MarshalJSON writes a list of one as a string.
func (c Crons) MarshalJSON() ([]byte, error) {
	if len(c) == 1 {
		return json.Marshal(c[0])
	}
	return json.Marshal([]string(c))
}

// Duration is a time.Duration written as text, as in "90s" or "1h30m".
type Duration time.Duration

// D is the duration as the standard library knows it.
func (d Duration) D() time.Duration { return time.Duration(d) }

// MarshalText writes the duration without the zero units time.Duration adds:
// 1h, not 1h0m0s.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: %w; write it as 90s, 15m or 1h30m", text, err)
	}
	*d = Duration(parsed)
	return nil
}

func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
