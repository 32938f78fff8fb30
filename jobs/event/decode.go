package event

import (
	"encoding/json"
	"strconv"
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
	if !utf8.Valid(doc) {
		return Event{}, &Fault{Code: UTF8}
	}
	s := scanner{b: doc}
	s.space()
	if !s.at('{') {
		return Event{}, s.notObject()
	}
	d := decoder{scanner: s}
	if fault := d.object(); fault != nil {
		return Event{}, fault
	}
	d.space()
	if d.i != len(doc) {
		return Event{}, &Fault{Code: Trailing}
	}
	return d.event, d.missing()
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
	// first is the first wrong field; the rest of the document is read
	// all the same, so that what is no JSON is called that.
	first *Fault
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
			return d.first
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
	d.keep(d.field(name, d.b[start:d.i]))
	return nil
}

func (d *decoder) keep(f *Fault) {
	if d.first == nil {
		d.first = f
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

func (d *decoder) missing() *Fault {
	for i, f := range fields {
		if !d.seen[i] {
			return &Fault{f, Missing}
		}
	}
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
