package event

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Bounds of a document.
const (
	MaxFields = 64
	MaxDepth  = 16
	MaxType   = 64              // bytes of type
	MaxTS     = 253402300799999 // the end of 9999
)

// Decode reads one event from a whole JSON document; white space around it is
// allowed. Fields that are not the event's are checked as JSON and otherwise
// ignored: clients may send more than this version knows, and the log and the
// archive keep what they sent. Names are compared exactly; a name that is there
// twice, known or not, is a fault, since readers differ on which one counts.
func Decode(doc []byte) (Event, *Fault) {
	d := decoder{scanner: scanner{b: doc}}
	if d.document(); len(d.wrong) > 0 {
		return Event{}, &d.wrong[0]
	}
	return d.event, nil
}

// Faults is all that is wrong with a document that Decode or the rules refuse:
// one fault alone where it cannot be read as an object, else one for each field
// at fault. The event has what could be read of it.
func Faults(doc []byte, rules Rules, now time.Time) (Event, []Fault) {
	d := decoder{scanner: scanner{b: doc}}
	if whole := d.document(); !whole {
		return d.event, d.wrong
	}
	if !rules.takes(d.event.Type) {
		d.keep(Fault{"type", BadType})
	}
	if !rules.inWindow(d.event.TS, now) {
		d.keep(Fault{"ts", Window})
	}
	return d.event, d.wrong
}

func (s *scanner) notObject() *Fault {
	if s.i < len(s.b) && s.value(0) == nil {
		return &Fault{Code: NotObject}
	}
	return &Fault{Code: Syntax}
}

// The event's fields, in the order in which a fault is reported.
var fields = [...]string{"id", "ad_id", "campaign", "ts", "type"}

type decoder struct {
	scanner
	event Event
	seen  [len(fields)]bool
	count int
	// others are the names of fields that are not the event's.
	others []string
	// wrong are the faults: of each field the first; the rest of the document
	// is read all the same, so that what is no JSON is called that.
	wrong []Fault
}

// document reads all of the text, and says whether it is one object.
func (d *decoder) document() (whole bool) {
	if fault := d.structure(); fault != nil {
		d.wrong = []Fault{*fault}
		return false
	}
	for i, f := range fields {
		if !d.seen[i] {
			d.keep(Fault{f, Missing})
		}
	}
	return true
}

func (d *decoder) structure() *Fault {
	if !utf8.Valid(d.b) {
		return &Fault{Code: UTF8}
	}
	d.space()
	if !d.at('{') {
		return d.notObject()
	}
	if fault := d.object(); fault != nil {
		return fault
	}
	if d.space(); d.i != len(d.b) {
		return &Fault{Code: Trailing}
	}
	return nil
}

func (d *decoder) object() *Fault {
	d.i++ // {
	d.space()
	if d.take('}') {
		return nil
	}
	for {
		if fault := d.member(); fault != nil {
			return fault
		}
		d.space()
		switch {
		case d.take('}'):
			return nil
		case !d.take(','):
			return &Fault{Code: Syntax}
		}
		d.space()
	}
}

func (d *decoder) member() *Fault {
	name, ok := d.text()
	if !ok {
		return &Fault{Code: Syntax}
	}
	if d.count++; d.count > MaxFields {
		return &Fault{Code: TooMany}
	}
	d.space()
	if !d.take(':') {
		return &Fault{Code: Syntax}
	}
	d.space()
	start := d.i
	if fault := d.value(1); fault != nil {
		return fault
	}
	if fault := d.field(name, d.b[start:d.i]); fault != nil {
		d.keep(*fault)
	}
	return nil
}

// keep adds a fault of a field that has none yet.
func (d *decoder) keep(f Fault) {
	if !slices.ContainsFunc(d.wrong, func(other Fault) bool { return other.Field == f.Field }) {
		d.wrong = append(d.wrong, f)
	}
}

func (d *decoder) field(name, value []byte) *Fault {
	for i, f := range fields {
		if string(name) != f {
			continue
		}
		if d.seen[i] {
			return &Fault{f, Duplicate}
		}
		d.seen[i] = true
		return d.set(i, value)
	}
	for _, o := range d.others {
		if o == string(name) {
			return &Fault{o, Duplicate}
		}
	}
	d.others = append(d.others, string(name))
	return nil
}

func (d *decoder) set(i int, value []byte) *Fault {
	if fields[i] == "ts" {
		return d.setTS(value)
	}
	if value[0] != '"' {
		return &Fault{fields[i], WrongType}
	}
	text := unquote(value)
	var ok bool
	switch fields[i] {
	case "id":
		d.event.ID, ok = parseUUID(text)
	case "ad_id":
		d.event.AdID, ok = parseUUID(text)
	case "campaign":
		d.event.Campaign, ok = parseUUID(text)
	case "type":
		if len(text) == 0 || len(text) > MaxType {
			return &Fault{"type", BadType}
		}
		d.event.Type = typeText(text)
		return nil
	}
	if !ok {
		return &Fault{fields[i], BadUUID}
	}
	return nil
}

func (d *decoder) setTS(value []byte) *Fault {
	for i, c := range value {
		if (c < '0' || c > '9') && (i > 0 || c != '-') {
			return &Fault{"ts", WrongType}
		}
	}
	ts, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || ts < 1 || ts > MaxTS {
		return &Fault{"ts", BadTS}
	}
	d.event.TS = ts
	return nil
}

// typeText spares an allocation for the usual types.
func typeText(b []byte) string {
	switch string(b) {
	case View:
		return View
	case Click:
		return Click
	}
	return string(b)
}

// unquote takes a valid JSON string's value.
func unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				return nil
			}
			return []byte(s)
		}
	}
	return inner
}

func appendString(dst []byte, s string) []byte {
	if s == View || s == Click {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	b, err := json.Marshal(s)
	if err != nil { // a string always marshals
		return append(dst, `""`...)
	}
	return append(dst, b...)
}
