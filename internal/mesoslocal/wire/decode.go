package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/gogo/protobuf/proto"
)

// DecodeJSON fills the message with the JSON document as Mesos's own reader does,
// down to the wording of its errors: unknown fields are ignored, numbers may come as
// strings, and every required field that is missing is named.
func DecodeJSON(body []byte, message any) (map[string]any, error) {
	tree, err := parseJSON(body)
	if err != nil {
		return nil, fmt.Errorf("Failed to parse body into JSON: %w", err)
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return nil, errors.New("Failed to convert JSON into Call protobuf: Expecting a JSON object")
	}
	decoder := jsonDecoder{}
	target := reflect.ValueOf(message).Elem()
	if err := decoder.message(object, target, ""); err != nil {
		return nil, fmt.Errorf("Failed to convert JSON into Call protobuf: %w", err)
	}
	if len(decoder.missing) > 0 {
		return nil, errors.New("Failed to convert JSON into Call protobuf: Missing required fields: " +
			strings.Join(decoder.missing, ", "))
	}
	return object, nil
}

func parseJSON(body []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, syntaxError(body, err)
	}
	rest := body[decoder.InputOffset():]
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("Parsed JSON included non-whitespace trailing characters: %s", rest)
	}
	return tree, nil
}

// syntaxError says where the document went wrong: the line, and what follows on it.
func syntaxError(body []byte, err error) error {
	at := len(body)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(syntax.Error(), "unexpected end") {
		at = int(syntax.Offset) - 1
	}
	at = min(max(at, 0), len(body))
	line := 1 + bytes.Count(body[:at], []byte("\n"))
	rest, _, _ := bytes.Cut(body[at:], []byte("\n"))
	return fmt.Errorf("syntax error at line %d near: %s", line, rest)
}

type jsonDecoder struct {
	missing []string
}

func (d *jsonDecoder) message(object map[string]any, target reflect.Value, path string) error {
	for _, field := range planOf(target.Type()).fields {
		value, present := object[field.name]
		if !present || value == nil {
			if field.required {
				d.missing = append(d.missing, path+field.name)
			}
			continue
		}
		if err := d.field(value, field, target.Field(field.index), path+field.name); err != nil {
			return err
		}
	}
	return nil
}

func (d *jsonDecoder) field(value any, field fieldPlan, target reflect.Value, path string) error {
	switch {
	case field.isMap:
		return d.mapField(value, field, target, path)
	case field.repeated:
		items, ok := value.([]any)
		if !ok {
			return unexpected(value, field)
		}
		target.Set(reflect.MakeSlice(target.Type(), 0, len(items)))
		for i, item := range items {
			element := reflect.New(target.Type().Elem()).Elem()
			set, err := d.single(item, field, element, fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return err
			}
			if set {
				target.Set(reflect.Append(target, element))
			}
		}
		return nil
	}
	_, err := d.single(value, field, target, path)
	return err
}

func (d *jsonDecoder) mapField(value any, field fieldPlan, target reflect.Value, path string) error {
	object, ok := value.(map[string]any)
	if !ok {
		return unexpected(value, field)
	}
	target.Set(reflect.MakeMapWithSize(target.Type(), len(object)))
	for key, item := range object {
		element := reflect.New(target.Type().Elem()).Elem()
		if _, err := d.single(item, field, element, path+"."+key); err != nil {
			return err
		}
		target.SetMapIndex(reflect.ValueOf(key), element)
	}
	return nil
}

// single sets one value; it reports false where the value counts as not given: the
// unknown name of an optional enum.
func (d *jsonDecoder) single(value any, field fieldPlan, target reflect.Value, path string) (bool, error) {
	if field.enum != "" {
		return setEnum(value, field, target)
	}
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	if target.Kind() == reflect.Struct {
		object, ok := value.(map[string]any)
		if !ok {
			return false, unexpected(value, field)
		}
		return true, d.message(object, target, path+".")
	}
	return true, setScalar(value, field, target)
}

func setEnum(value any, field fieldPlan, target reflect.Value) (bool, error) {
	name, ok := value.(string)
	if !ok {
		return false, unexpected(value, field)
	}
	number, known := proto.EnumValueMap(field.enum)[name]
	if !known {
		if field.required {
			return false, fmt.Errorf("Failed to find enum for '%s'", name)
		}
		return false, nil
	}
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	target.SetInt(int64(number))
	return true, nil
}

func setScalar(value any, field fieldPlan, target reflect.Value) error {
	switch typed := value.(type) {
	case bool:
		if target.Kind() == reflect.Bool {
			target.SetBool(typed)
			return nil
		}
	case json.Number:
		if isNumber(target.Kind()) {
			return setNumber(typed.String(), field, target)
		}
	case string:
		return setText(typed, field, target)
	}
	return unexpected(value, field)
}

func setText(text string, field fieldPlan, target reflect.Value) error {
	switch {
	case target.Kind() == reflect.String:
		target.SetString(text)
	case target.Kind() == reflect.Slice: // bytes
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("Failed to base64 decode bytes field '%s': %s", field.name, base64Fault(text, err))
		}
		target.SetBytes(data)
	case target.Kind() == reflect.Bool && (text == "true" || text == "false"):
		target.SetBool(text == "true")
	case isNumber(target.Kind()):
		return setNumber(text, field, target)
	default:
		return unexpected(text, field)
	}
	return nil
}

func base64Fault(text string, err error) string {
	var corrupt base64.CorruptInputError
	if errors.As(err, &corrupt) && int(corrupt) < len(text) {
		return fmt.Sprintf("Invalid character '%c'", text[corrupt])
	}
	return err.Error()
}

func isNumber(kind reflect.Kind) bool {
	switch kind {
	case reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return true
	}
	return false
}

func setNumber(text string, field fieldPlan, target reflect.Value) error {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("Failed to parse '%s' as a number for field '%s'", text, field.name)
	}
	switch target.Kind() {
	case reflect.Int32, reflect.Int64:
		if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
			target.SetInt(whole)
		} else {
			target.SetInt(int64(number))
		}
	case reflect.Uint32, reflect.Uint64:
		if whole, err := strconv.ParseUint(text, 10, 64); err == nil {
			target.SetUint(whole)
		} else {
			target.SetUint(uint64(number))
		}
	default:
		target.SetFloat(number)
	}
	return nil
}

func unexpected(value any, field fieldPlan) error {
	kind := "object"
	switch value.(type) {
	case string:
		kind = "string"
	case json.Number:
		kind = "number"
	case bool:
		kind = "boolean"
	case []any:
		kind = "array"
	}
	return fmt.Errorf("Not expecting a JSON %s for field '%s'", kind, field.name)
}
