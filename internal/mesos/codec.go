package mesos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/gogo/protobuf/proto"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
)

// Codec is the form of the messages on the wire.
type Codec int

// The codecs. Protobuf takes a fraction of JSON's time; JSON can be read.
const (
	JSON Codec = iota
	Protobuf
)

// ParseCodec reads a codec's name: "json" or "protobuf".
func ParseCodec(name string) (Codec, error) {
	switch name {
	case codecs.NameJSON:
		return JSON, nil
	case codecs.NameProtobuf:
		return Protobuf, nil
	}
	return 0, fmt.Errorf("codec %q is neither %q nor %q", name, codecs.NameJSON, codecs.NameProtobuf)
}

func (c Codec) mediaType() string {
	if c == Protobuf {
		return string(codecs.MediaTypeProtobuf)
	}
	return string(codecs.MediaTypeJSON)
}

// The generated methods are called directly: encoding/json would check and
// compact what they wrote once more, and gogo's registry would reflect.

func (c Codec) encode(m encoding.Marshaler) ([]byte, error) {
	if c == Protobuf {
		return m.Marshal()
	}
	return m.MarshalJSON()
}

// message is what an answer or an event is decoded into.
type message interface {
	encoding.Unmarshaler
	Reset()
}

// decode keeps nothing of b.
func (c Codec) decode(b []byte, m message) error {
	if c == Protobuf {
		return m.Unmarshal(b)
	}
	err := m.UnmarshalJSON(b)
	if err == nil {
		return nil
	}
	plain, ok := withoutUnknown(b, m)
	if !ok {
		return err
	}
	m.Reset()
	return m.UnmarshalJSON(plain)
}

// withoutUnknown takes those names out of a JSON message that are younger than
// the generated types, whose decoders give up at them: masters since 1.11 have
// the capability QUOTA_V2. A reader of protobuf skips them by itself.
func withoutUnknown(b []byte, m message) ([]byte, bool) {
	in := json.NewDecoder(bytes.NewReader(b))
	in.UseNumber()
	var tree any
	if in.Decode(&tree) != nil {
		return nil, false
	}
	prune(tree, reflect.TypeOf(m))
	plain, err := json.Marshal(tree)
	return plain, err == nil
}

// prune follows a JSON value along the type that it is meant for.
func prune(v any, t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer:
		prune(v, t.Elem())
	case reflect.Slice:
		list, _ := v.([]any)
		for _, inner := range list {
			prune(inner, t.Elem())
		}
	case reflect.Struct:
		object, ok := v.(map[string]any)
		for i := 0; ok && i < t.NumField(); i++ {
			field := t.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if unknownName(object[name], field.Tag.Get("protobuf")) {
				delete(object, name)
				continue
			}
			prune(object[name], field.Type)
		}
	}
}

// unknownName looks the name up in the enumeration that the field's tag tells.
func unknownName(v any, tag string) bool {
	name, ok := v.(string)
	_, enum, tagged := strings.Cut(tag, "enum=")
	if !ok || !tagged {
		return false
	}
	enum, _, _ = strings.Cut(enum, ",")
	_, known := proto.EnumValueMap(enum)[name]
	return !known
}
