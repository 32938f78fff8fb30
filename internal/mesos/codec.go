package mesos

import (
	"fmt"

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

// decode keeps nothing of b.
func (c Codec) decode(b []byte, m encoding.Unmarshaler) error {
	if c == Protobuf {
		return m.Unmarshal(b)
	}
	return m.UnmarshalJSON(b)
}
