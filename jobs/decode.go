package jobs

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// DecodeStrict reads a JSON document into v, refusing unknown fields and
// trailing bytes, and says which fields are at fault, all of them. What can be
// read of such a document is in v all the same, so that the rest of what is
// wrong with it can be found. Kinds decode their specs with it. An absent
// document leaves v as it is.
func DecodeStrict(doc json.RawMessage, v any) error {
	if len(bytes.TrimSpace(doc)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		return FieldErrors{{Message: "more follows after the end of the document"}}
	}
	if err == nil {
		return nil
	}
	var e FieldErrors
	if json.Valid(doc) { // the decoder stops at the first fault
		if rest, ok := readable(&e, doc, reflect.TypeOf(v), ""); ok {
			err = errors.Join(err, json.Unmarshal(rest, v))
		}
	}
	if len(e) == 0 {
		e.Addf("", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return e
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// readable walks a document beside the type that it is for, and gives what of
// it that type can hold.
func readable(e *FieldErrors, doc json.RawMessage, t reflect.Type, at string) (json.RawMessage, bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p := reflect.PointerTo(t); p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler) {
		return leaf(e, doc, t, at)
	}
	switch t.Kind() {
	case reflect.Struct:
		known := FieldsOf(t)
		return mapping(e, doc, at, func(name string, value json.RawMessage, at string) (json.RawMessage, bool) {
			for field, ft := range known {
				if strings.EqualFold(field, name) { // as the decoder takes it
					return readable(e, value, ft, at)
				}
			}
			e.Addf(at, "unknown field%s", Suggestion(name, known))
			return nil, false
		})
	case reflect.Map:
		return mapping(e, doc, at, func(_ string, value json.RawMessage, at string) (json.RawMessage, bool) {
			return readable(e, value, t.Elem(), at)
		})
	case reflect.Slice:
		return list(e, doc, t, at)
	}
	return leaf(e, doc, t, at)
}

func mapping(e *FieldErrors, doc json.RawMessage, at string, each func(name string, value json.RawMessage, at string) (json.RawMessage, bool)) (json.RawMessage, bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(doc, &fields) != nil {
		e.Addf(at, "expected a mapping, found %s", found(doc))
		return nil, false
	}
	out := map[string]json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		below := name
		if at != "" {
			below = at + "." + name
		}
		if value, ok := each(name, fields[name], below); ok {
			out[name] = value
		}
	}
	return rewritten(out)
}

func list(e *FieldErrors, doc json.RawMessage, t reflect.Type, at string) (json.RawMessage, bool) {
	var all []json.RawMessage
	if json.Unmarshal(doc, &all) != nil {
		return leaf(e, doc, t, at)
	}
	out := make([]json.RawMessage, 0, len(all))
	for i, value := range all {
		if value, ok := readable(e, value, t.Elem(), fmt.Sprintf("%s[%d]", at, i)); ok {
			out = append(out, value)
		}
	}
	return rewritten(out)
}

func rewritten(v any) (json.RawMessage, bool) {
	b, err := json.Marshal(v)
	return b, err == nil // pieces of valid JSON
}

func leaf(e *FieldErrors, doc json.RawMessage, t reflect.Type, at string) (json.RawMessage, bool) {
	err := json.Unmarshal(doc, reflect.New(t).Interface())
	var typeErr *json.UnmarshalTypeError
	switch {
	case err == nil:
		return doc, true
	case errors.As(err, &typeErr):
		e.Addf(at, "expected %s, found %s", typeName(t), found(doc))
	default:
		e.Addf(at, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil, false
}

func typeName(t reflect.Type) string {
	switch k := t.Kind(); {
	case k == reflect.Slice, k == reflect.Array:
		return "a list"
	case k == reflect.Struct, k == reflect.Map:
		return "a mapping"
	case k == reflect.String:
		return "text"
	case k == reflect.Bool:
		return "true or false"
	case k >= reflect.Int && k <= reflect.Uint64:
		return "a whole number"
	case k == reflect.Float32, k == reflect.Float64:
		return "a number"
	}
	return t.String()
}

// found says what a value is.
func found(doc json.RawMessage) string {
	text := []rune(string(bytes.TrimSpace(doc)))
	if len(text) > 40 {
		text = append(text[:40], '…')
	}
	switch text[0] {
	case '{':
		return "a mapping"
	case '[':
		return "a list"
	case '"', 't', 'f':
		return string(text)
	case 'n':
		return "nothing"
	}
	return "the number " + string(text)
}

// FieldsOf are a struct's fields by their JSON names, embedded ones included.
func FieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			maps.Copy(out, FieldsOf(f.Type))
		case f.IsExported() && name != "" && name != "-":
			out[name] = f.Type
		}
	}
	return out
}

// Suggestion names the known field that a wrong one was probably meant to be.
func Suggestion(name string, known map[string]reflect.Type) string {
	best, bestDistance := "", max(2, min(3, len(name))) // of two letters one must be right
	for k := range known {
		d := distance(strings.ToLower(name), k)
		if d < bestDistance || d == bestDistance && k < best {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; is it %q that you mean?", best)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + slices.Min([]int{diagonal, row[j], row[j+1]})
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
