// Package line is the form that a record of any bytes has as one line of an
// archive: itself where it is JSON without line breaks, else wrapped.
package line

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// The wrapper of what may not stand as it is. A record that looks wrapped
// already is wrapped once more, so that unwrapping always gives the record.
const (
	prefix  = `{"base64":`
	suffix  = `}`
	nothing = prefix + `null` + suffix // a record without a value, as Kafka's tombstones are
)

// Append appends a record as one line, with its newline.
func Append(dst, record []byte) []byte {
	switch {
	case record == nil:
		dst = append(dst, nothing...)
	case bytes.ContainsAny(record, "\r\n") || bytes.HasPrefix(record, []byte(prefix)) || !json.Valid(record):
		dst = append(dst, prefix+`"`...)
		dst = base64.StdEncoding.AppendEncode(dst, record)
		dst = append(dst, `"`+suffix...)
	default:
		dst = append(dst, record...)
	}
	return append(dst, '\n')
}

// Record gives the record of a line without its newline. What looks wrapped
// and is not is taken as it stands.
func Record(text []byte) []byte {
	inner, ok := bytes.CutPrefix(text, []byte(prefix))
	if ok {
		inner, ok = bytes.CutSuffix(inner, []byte(suffix))
	}
	switch {
	case !ok:
		return text
	case string(inner) == "null":
		return nil
	case len(inner) < 2 || inner[0] != '"' || inner[len(inner)-1] != '"':
		return text
	}
	record, err := base64.StdEncoding.AppendDecode([]byte{}, inner[1:len(inner)-1])
	if err != nil {
		return text
	}
	return record
}
