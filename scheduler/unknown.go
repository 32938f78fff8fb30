package scheduler

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"

	"tidemill/jobs"
)

// unknown are the fields of a stored document that this program has no place
// for: a newer one wrote them. They survive a rewrite. A value is raw JSON,
// or, for a field that is known but holds unknown ones itself: unknown, for an
// object or a map; unknownItems, for a list.
type unknown map[string]any

// unknownItem is an element of a list that holds unknown fields. The list may
// change before it is written again: the element is found by what this program
// knows of it, or else, where none was added or removed, by its place.
type unknownItem struct {
	known  string // as this program writes it
	place  int
	fields any
}

// unknownItems are the elements of a list that hold unknown fields.
type unknownItems struct {
	items  []unknownItem
	length int
}

// decode reads a record, and gives what of it v has no place for. Most have
// nothing of that kind: only where reading finds some is it looked for.
func decode(doc []byte, v any) (unknown, error) {
	strict := json.NewDecoder(bytes.NewReader(doc))
	strict.DisallowUnknownFields()
	if strict.Decode(v) == nil && !strict.More() {
		return nil, nil
	}
	reflect.ValueOf(v).Elem().SetZero()
	if err := json.Unmarshal(doc, v); err != nil {
		return nil, err
	}
	u, _ := unknownIn(doc, reflect.TypeOf(v).Elem()).(unknown)
	return u, nil
}

// encode writes a record with its unknown fields.
func encode(v any, extra unknown) []byte {
	doc := mustJSON(v)
	if len(extra) == 0 {
		return doc
	}
	return extra.mergeInto(doc)
}

// unknownIn gives what of a document a type has no place for; nil: nothing.
func unknownIn(doc json.RawMessage, t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		known := jobs.FieldsOf(t)
		return unknownFields(doc, func(name string) (reflect.Type, bool) { f, ok := known[name]; return f, ok })
	case reflect.Map:
		return unknownFields(doc, func(string) (reflect.Type, bool) { return t.Elem(), true })
	case reflect.Slice, reflect.Array:
		return unknownElements(doc, t.Elem())
	}
	return nil
}

// unknownFields looks into the fields of an object, or the values of a map.
func unknownFields(doc json.RawMessage, typeOf func(name string) (reflect.Type, bool)) any {
	var fields map[string]json.RawMessage
	if json.Unmarshal(doc, &fields) != nil {
		return nil
	}
	out := unknown{}
	for name, value := range fields {
		if t, known := typeOf(name); !known {
			out[name] = value
		} else if within := unknownIn(value, t); within != nil {
			out[name] = within
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func unknownElements(doc json.RawMessage, t reflect.Type) any {
	if k := t.Kind(); k != reflect.Struct && k != reflect.Map && k != reflect.Slice && k != reflect.Pointer {
		return nil // it has no fields, nor has bytes
	}
	var list []json.RawMessage
	if json.Unmarshal(doc, &list) != nil {
		return nil
	}
	out := unknownItems{length: len(list)}
	for i, element := range list {
		fields := unknownIn(element, t)
		if fields == nil {
			continue
		}
		v := reflect.New(t)
		if json.Unmarshal(element, v.Interface()) == nil {
			out.items = append(out.items, unknownItem{known: string(mustJSON(v.Interface())), place: i, fields: fields})
		}
	}
	if len(out.items) == 0 {
		return nil
	}
	return out
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// mergeInto adds the unknown fields to a document that lacks them.
func (u unknown) mergeInto(doc []byte) []byte {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(doc, &fields); err != nil {
		return doc // no object any more: there is no place for them
	}
	for name, value := range u {
		inner, there := fields[name]
		if raw, ok := value.(json.RawMessage); ok && !there {
			fields[name] = raw
		} else if !ok && there {
			fields[name] = merge(value, inner)
		}
	}
	return mustJSON(fields)
}

func merge(extra any, doc []byte) []byte {
	switch extra := extra.(type) {
	case unknown:
		return extra.mergeInto(doc)
	case unknownItems:
		return extra.mergeInto(doc)
	}
	return doc
}

func (u unknownItems) mergeInto(doc []byte) []byte {
	var list []json.RawMessage
	if json.Unmarshal(doc, &list) != nil {
		return doc
	}
	merged := make([]bool, len(list))
	into := func(i int, item unknownItem) { list[i], merged[i] = merge(item.fields, list[i]), true }
	var changed []unknownItem
	for _, item := range u.items {
		i, same := item.place, func(element json.RawMessage) bool { return string(element) == item.known }
		if i >= len(list) || !same(list[i]) {
			i = slices.IndexFunc(list, same)
		}
		if i >= 0 && !merged[i] {
			into(i, item)
		} else {
			changed = append(changed, item)
		}
	}
	for _, item := range changed {
		if len(list) == u.length && !merged[item.place] {
			into(item.place, item)
		}
	}
	return mustJSON(list)
}
