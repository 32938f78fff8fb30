package scheduler

import (
	"encoding/json"
	"reflect"
	"strings"
)

// unknown are the fields of a stored document that this program has no place
// for: a newer one wrote them. They survive a rewrite. A value is raw JSON,
// or unknown again for a field that is known but holds unknown ones itself.
// Documents within lists and maps are not looked into.
type unknown map[string]any

// decode reads a record, and gives what of it v has no place for.
func decode(doc []byte, v any) (unknown, error) {
	if err := json.Unmarshal(doc, v); err != nil {
		return nil, err
	}
	return unknownOf(doc, reflect.TypeOf(v).Elem()), nil
}

// encode writes a record with its unknown fields.
func encode(v any, extra unknown) []byte {
	doc := mustJSON(v)
	if len(extra) == 0 {
		return doc
	}
	return extra.mergeInto(doc)
}

func unknownOf(doc json.RawMessage, t reflect.Type) unknown {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(doc, &fields) != nil {
		return nil
	}
	var out unknown
	put := func(name string, v any) {
		if out == nil {
			out = unknown{}
		}
		out[name] = v
	}
	known := jsonFields(t)
	for name, value := range fields {
		field, ok := known[name]
		if !ok {
			put(name, value)
		} else if within := unknownOf(value, field); within != nil {
			put(name, within)
		}
	}
	return out
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// jsonFields are the fields of a struct by their JSON names, those of
// embedded structs included.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for n, inner := range jsonFields(f.Type) {
				out[n] = inner
			}
		case f.IsExported() && name != "" && name != "-":
			out[name] = f.Type
		}
	}
	return out
}

// mergeInto adds the unknown fields to a document that lacks them.
func (u unknown) mergeInto(doc []byte) []byte {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(doc, &fields); err != nil {
		return doc // no object any more: there is no place for them
	}
	for name, value := range u {
		switch v := value.(type) {
		case json.RawMessage:
			if _, taken := fields[name]; !taken {
				fields[name] = v
			}
		case unknown:
			if inner, ok := fields[name]; ok {
				fields[name] = v.mergeInto(inner)
			}
		}
	}
	return mustJSON(fields)
}
