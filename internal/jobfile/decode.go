package jobfile

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"

	"tidemill/jobs"
)

// maxNodes bounds what aliases can blow a document up to.
const maxNodes = 100_000

// reader walks a document beside the Go type that it is for. It notes the
// line of each field and everything that is wrong, and builds the JSON value
// of what is right.
type reader struct {
	lines map[string]int
	errs  jobs.FieldErrors
	nodes int
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (r *reader) addf(n *yaml.Node, path, format string, args ...any) {
	r.errs = append(r.errs, jobs.FieldError{Field: path, Line: n.Line, Message: fmt.Sprintf(format, args...)})
}

// enter resolves aliases and refuses what is too deep or too much.
func (r *reader) enter(n *yaml.Node, path string, depth int) (*yaml.Node, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if _, ok := r.lines[path]; !ok {
		r.lines[path] = n.Line
	}
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		if r.nodes <= maxNodes+1 { // said once
			r.addf(n, path, "nested or repeated beyond reason")
			r.nodes = maxNodes + 1
		}
		return n, false
	}
	return n, true
}

// value reads a node for type t; not ok means that it is null or wrong.
func (r *reader) value(n *yaml.Node, t reflect.Type, path string, depth int) (v any, ok bool) {
	n, ok = r.enter(n, path, depth)
	if !ok || n.ShortTag() == "!!null" {
		return nil, false
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(jsonUnmarshaler), p.Implements(textUnmarshaler):
		return r.leaf(n, t, path, depth)
	case t.Kind() == reflect.Struct:
		return r.object(n, jobs.FieldsOf(t), path, depth)
	case t.Kind() == reflect.Map:
		return r.mapping(n, t.Elem(), path, depth)
	case t.Kind() == reflect.Slice:
		return r.list(n, t.Elem(), path, depth)
	}
	return r.leaf(n, t, path, depth)
}

// leaf reads what the type itself decodes from JSON.
func (r *reader) leaf(n *yaml.Node, t reflect.Type, path string, depth int) (any, bool) {
	before := len(r.errs)
	v, ok := r.plain(n, path, depth)
	if !ok || len(r.errs) > before {
		return nil, false
	}
	raw, err := json.Marshal(v)
	if err != nil {
		r.addf(n, path, "%v", err)
		return nil, false
	}
	if err := json.Unmarshal(raw, reflect.New(t).Interface()); err != nil {
		r.addf(n, path, "%s", leafMessage(err, n, t))
		return nil, false
	}
	return json.RawMessage(raw), true
}

func leafMessage(err error, n *yaml.Node, t reflect.Type) string {
	var typeErr *json.UnmarshalTypeError
	switch {
	case t == reflect.TypeFor[time.Time]():
		return fmt.Sprintf("%s is no time; write it like 2026-01-31T12:00:00Z", describe(n))
	case errors.As(err, &typeErr) && t == reflect.TypeFor[jobs.Duration]():
		return fmt.Sprintf("expected a duration with its unit, like \"10s\" or \"15m\", found %s", describe(n))
	case errors.As(err, &typeErr):
		return fmt.Sprintf("expected %s, found %s", wanted(t), describe(n))
	}
	return err.Error()
}

func wanted(t reflect.Type) string {
	switch k := t.Kind(); {
	case k == reflect.String:
		return "text"
	case k == reflect.Bool:
		return "true or false"
	case k == reflect.Float64, k == reflect.Float32:
		return "a number"
	case k >= reflect.Int && k <= reflect.Uint64:
		return "a whole number"
	}
	return t.String()
}

// describe says what a node holds, for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return n.Value
	}
	text := []rune(n.Value)
	if len(text) > 40 {
		text = append(text[:40], '…')
	}
	return strconv.Quote(string(text))
}

// object reads a mapping with known fields.
func (r *reader) object(n *yaml.Node, known map[string]reflect.Type, path string, depth int) (any, bool) {
	out := map[string]any{}
	return out, r.pairs(n, path, func(key, value *yaml.Node, at string) {
		t, ok := known[key.Value]
		if !ok {
			r.addf(key, at, "unknown field%s", jobs.Suggestion(key.Value, known))
			return
		}
		if v, ok := r.value(value, t, at, depth+1); ok {
			out[key.Value] = v
		}
	})
}

func (r *reader) mapping(n *yaml.Node, elem reflect.Type, path string, depth int) (any, bool) {
	out := map[string]any{}
	return out, r.pairs(n, path, func(key, value *yaml.Node, at string) {
		v, ok := r.value(value, elem, at, depth+1)
		if ok {
			out[key.Value] = v
		}
	})
}

// pairs calls each for every key of a mapping and refuses what is none.
func (r *reader) pairs(n *yaml.Node, path string, each func(key, value *yaml.Node, at string)) bool {
	if n.Kind != yaml.MappingNode {
		r.addf(n, path, "expected a mapping, found %s", describe(n))
		return false
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		at := join(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode:
			r.addf(key, path, "a field's name is text, not %s", describe(key))
		case key.ShortTag() == "!!merge":
			r.addf(key, path, "merge keys (<<) are not supported; write the fields out")
		case seen[key.Value] > 0:
			r.addf(key, at, "given twice, first in line %d", seen[key.Value])
		default:
			seen[key.Value] = key.Line
			r.lines[at] = key.Line
			each(key, value, at)
		}
	}
	return true
}

func (r *reader) list(n *yaml.Node, elem reflect.Type, path string, depth int) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		r.addf(n, path, "expected a list, found %s", describe(n))
		return nil, false
	}
	out := make([]any, 0, len(n.Content))
	for i, child := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if child.ShortTag() == "!!null" {
			r.addf(child, at, "expected %s, found nothing", wanted(elem))
			continue
		}
		if v, ok := r.value(child, elem, at, depth+1); ok {
			out = append(out, v)
		}
	}
	return out, true
}

// plain reads a node of any shape.
func (r *reader) plain(n *yaml.Node, path string, depth int) (any, bool) {
	n, ok := r.enter(n, path, depth)
	if !ok {
		return nil, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		return out, r.pairs(n, path, func(key, value *yaml.Node, at string) {
			out[key.Value], _ = r.plain(value, at, depth+1)
		})
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, child := range n.Content {
			out[i], _ = r.plain(child, fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
		return out, true
	}
	return r.scalar(n, path)
}

func (r *reader) scalar(n *yaml.Node, path string) (any, bool) {
	var v any
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
		return n.Value, true
	case "!!null", "!!bool":
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) { // kept to the digit
			return json.Number(n.Value), true
		}
	default:
		r.addf(n, path, "YAML's tag %s is not supported", tag)
		return nil, false
	}
	err := n.Decode(&v)
	if f, ok := v.(float64); err != nil || ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		r.addf(n, path, "%s cannot be read as a value", describe(n))
		return nil, false
	}
	return v, true
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
