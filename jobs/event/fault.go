package event

import (
	"fmt"
	"slices"
	"time"
)

// Code says what is wrong with an event, for programs.
type Code string

// The codes.
const (
	Syntax    Code = "syntax"     // no JSON
	Trailing  Code = "trailing"   // more follows after the event
	UTF8      Code = "utf8"       // not valid UTF-8
	NotObject Code = "not_object" // JSON, but no object
	TooMany   Code = "too_many"   // more than MaxFields fields, or than a list may have
	TooDeep   Code = "too_deep"   // nested deeper than MaxDepth
	TooLarge  Code = "too_large"  // longer than the reader allows
	Missing   Code = "missing"    // the field is absent
	Duplicate Code = "duplicate"  // the field is there twice
	WrongType Code = "wrong_type" // the field's JSON type is another
	BadUUID   Code = "uuid"       // no UUID
	BadTS     Code = "range"      // ts is not within 1 ms after 1970 and the year 9999
	Window    Code = "window"     // ts is too old or too far in the future
	BadType   Code = "type"       // type is not one of those accepted
)

// Fault is why a document is not accepted as an event.
type Fault struct {
	Field string `json:"field,omitempty"`
	Code  Code   `json:"code"`
}

var texts = map[Code]string{
	Syntax: "is no JSON", Trailing: "has more after its end", UTF8: "is not valid UTF-8",
	NotObject: "is no JSON object", TooMany: "has too many fields", TooDeep: "is nested too deep", TooLarge: "is too large",
	Missing: "is missing", Duplicate: "is there twice", WrongType: "has another JSON type than it should",
	BadUUID: "is no UUID", BadTS: "is no time in ms between 1970 and 9999",
	Window: "is too old or too far in the future", BadType: "is not one of the accepted types",
}

func (f *Fault) Error() string {
	subject := "the event"
	if f.Field != "" {
		subject = f.Field
	}
	return fmt.Sprintf("%s %s", subject, texts[f.Code])
}

// Rules are what a door asks of events beyond their form.
type Rules struct {
	// Types accepted; view and click where it is empty.
	Types []string
	// Oldest and Newest bound ts relative to now, where they are not zero.
	// Only the HTTP door has a window: what is restored is old.
	Oldest, Newest time.Duration
}

// CheckType says what is wrong with a type to accept.
func CheckType(name string) error {
	if name == "" || len(name) > MaxType {
		return fmt.Errorf("%q has not 1 to %d bytes", name, MaxType)
	}
	return nil
}

// Check says which rule the event breaks; nil if none.
func (r Rules) Check(e Event, now time.Time) *Fault {
	switch {
	case !r.takes(e.Type):
		return &Fault{"type", BadType}
	case !r.inWindow(e.TS, now):
		return &Fault{"ts", Window}
	}
	return nil
}

func (r Rules) takes(kind string) bool {
	if len(r.Types) == 0 {
		return kind == View || kind == Click
	}
	return slices.Contains(r.Types, kind)
}

func (r Rules) inWindow(ts int64, now time.Time) bool {
	ms := now.UnixMilli()
	return (r.Oldest <= 0 || ts >= ms-r.Oldest.Milliseconds()) && (r.Newest <= 0 || ts <= ms+r.Newest.Milliseconds())
}
