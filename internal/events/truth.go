package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"sync"

	"tidemill/jobs/event"
)

// Counts are the views and clicks of one campaign and day.
type Counts struct {
	Views  int64 `json:"views"`
	Clicks int64 `json:"clicks"`
}

// Truth is what rollups must find: the distinct valid events that were
// acknowledged. It may be used by several goroutines.
type Truth struct {
	mu   sync.Mutex
	seen map[event.UUID]struct{}
	days map[event.UUID]map[event.Day]Counts
}

// NewTruth makes an empty truth.
func NewTruth() *Truth {
	return &Truth{seen: map[event.UUID]struct{}{}, days: map[event.UUID]map[event.Day]Counts{}}
}

// Add counts an event, unless its id was counted before.
func (t *Truth) Add(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.seen[e.ID]; ok {
		return
	}
	t.seen[e.ID] = struct{}{}
	days := t.days[e.Campaign]
	if days == nil {
		days = map[event.Day]Counts{}
		t.days[e.Campaign] = days
	}
	c := days[e.Day()]
	switch e.Type {
	case event.View:
		c.Views++
	case event.Click:
		c.Clicks++
	}
	days[e.Day()] = c
}

// Events is the number of distinct events.
func (t *Truth) Events() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.seen)
}

// Days gives the counts of each campaign's days.
func (t *Truth) Days() map[event.UUID]map[event.Day]Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[event.UUID]map[event.Day]Counts{}
	for campaign, days := range t.days {
		out[campaign] = maps.Clone(days)
	}
	return out
}

// Totals gives the counts of each campaign over all days.
func (t *Truth) Totals() map[event.UUID]Counts {
	out := map[event.UUID]Counts{}
	for campaign, days := range t.Days() {
		var sum Counts
		for _, c := range days {
			sum.Views += c.Views
			sum.Clicks += c.Clicks
		}
		out[campaign] = sum
	}
	return out
}

// document is the truth's form in a file.
type document struct {
	Events    int                                 `json:"events"`
	Campaigns map[event.UUID]map[event.Day]Counts `json:"campaigns"`
}

// WriteFile writes the truth as JSON.
func (t *Truth) WriteFile(path string) error {
	doc, err := json.MarshalIndent(document{t.Events(), t.Days()}, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(doc, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write truth: %w", err)
	}
	return nil
}
