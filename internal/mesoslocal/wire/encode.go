package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
)

// AppendJSON appends the message as Mesos writes it: snake_case names, enums by name,
// bytes in base64, what is unset or empty left out.
func AppendJSON(out []byte, message any) ([]byte, error) {
	return appendMessage(out, reflect.Indirect(reflect.ValueOf(message)))
}

func appendMessage(out []byte, message reflect.Value) ([]byte, error) {
	out = append(out, '{')
	first := true
	for _, field := range planOf(message.Type()).fields {
		value := message.Field(field.index)
		if absent(value, field) {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(out, '"')
		out = append(out, field.name...)
		out = append(out, '"', ':')
		var err error
		if out, err = appendField(out, value, field); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

func absent(value reflect.Value, field fieldPlan) bool {
	switch value.Kind() {
	case reflect.Pointer:
		return value.IsNil()
	case reflect.Slice, reflect.Map:
		return value.Len() == 0 && !(field.required && !field.repeated)
	}
	if field.enum != "" && !field.required && value.Int() == 0 { // of an optional enum held by value
		return fmt.Sprint(value.Interface()) == "UNKNOWN"
	}
	return !field.always
}

func appendField(out []byte, value reflect.Value, field fieldPlan) ([]byte, error) {
	switch {
	case field.isMap:
		return appendMap(out, value, field)
	case field.repeated:
		out = append(out, '[')
		for i := range value.Len() {
			if i > 0 {
				out = append(out, ',')
			}
			var err error
			if out, err = appendSingle(out, value.Index(i), field); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	}
	return appendSingle(out, value, field)
}

func appendMap(out []byte, value reflect.Value, field fieldPlan) ([]byte, error) {
	keys := value.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	out = append(out, '{')
	for i, key := range keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendString(out, key.String())
		out = append(out, ':')
		element := reflect.New(value.Type().Elem()).Elem()
		element.Set(value.MapIndex(key))
		var err error
		if out, err = appendSingle(out, element, field); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

func appendSingle(out []byte, value reflect.Value, field fieldPlan) ([]byte, error) {
	value = reflect.Indirect(value)
	if field.enum != "" {
		return appendString(out, fmt.Sprint(value.Interface())), nil // enums are Stringers
	}
	switch value.Kind() {
	case reflect.Struct:
		return appendMessage(out, value)
	case reflect.String:
		return appendString(out, value.String()), nil
	case reflect.Slice:
		out = append(out, '"')
		out = base64.StdEncoding.AppendEncode(out, value.Bytes())
		return append(out, '"'), nil
	case reflect.Bool:
		return strconv.AppendBool(out, value.Bool()), nil
	case reflect.Int32, reflect.Int64:
		return strconv.AppendInt(out, value.Int(), 10), nil
	case reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(out, value.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		return appendFloat(out, value.Float()), nil
	}
	return nil, fmt.Errorf("encode field %s: no JSON for a %s", field.name, value.Type())
}

// appendFloat writes whole numbers as Mesos does ("2.0").
func appendFloat(out []byte, number float64) []byte {
	if number == math.Trunc(number) && math.Abs(number) < 1e15 {
		return strconv.AppendFloat(out, number, 'f', 1, 64)
	}
	return strconv.AppendFloat(out, number, 'g', -1, 64)
}

func appendString(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(text) // a string always encodes
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, text...)
	return append(out, '"')
}
