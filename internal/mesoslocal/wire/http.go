// Package wire is what both servers of the local Mesos speak: Mesos's v1 HTTP calls in
// JSON and protobuf, its event streams, and the private link between master and agents.
package wire

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/gogo/protobuf/proto"
)

// Media types of the v1 API.
const (
	JSON     = "application/json"
	Protobuf = "application/x-protobuf"
)

// maxBody bounds a request's body.
const maxBody = 64 << 20

// Message is a protobuf message as mesos-go generates it.
type Message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// Fault is an answer other than success: a status and its text.
type Fault struct {
	Status int
	Text   string
}

func (f *Fault) Error() string { return f.Text }

// Faultf makes a Fault.
func Faultf(status int, format string, args ...any) *Fault {
	return &Fault{Status: status, Text: fmt.Sprintf(format, args...)}
}

// Write answers with the fault.
func (f *Fault) Write(w http.ResponseWriter) { Text(w, f.Status, f.Text) }

// Text answers with plain text, as Mesos words its errors.
func Text(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// Object is a JSON object of the endpoints that have no protobuf form.
type Object = map[string]any

// WriteJSON answers with a JSON document, as JSONP where the request asks for that.
func WriteJSON(w http.ResponseWriter, r *http.Request, value any) {
	document, err := json.Marshal(value)
	if err != nil {
		Text(w, http.StatusInternalServerError, err.Error())
		return
	}
	media := JSON
	if callback := r.URL.Query().Get("jsonp"); callback != "" {
		media = "text/javascript"
		document = fmt.Appendf(nil, "%s(%s);", callback, document)
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(document)))
	_, _ = w.Write(document) // a client that went away needs no answer
}

// RequireMethod answers 405 unless the request has the one method allowed.
func RequireMethod(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	w.Header().Set("Allow", method)
	Text(w, http.StatusMethodNotAllowed,
		fmt.Sprintf("405 Method Not Allowed. Expecting one of { '%s' }, but received '%s'.", method, r.Method))
	return false
}

// Body is a decoded call and how its answer is to be written.
type Body struct {
	Accept string // JSON or Protobuf
	Typed  bool   // the field "type" was present with a known name
}

// ReadCall decodes the request's body into the message; typeEnum is the full name of
// the enum of its field "type".
func ReadCall(r *http.Request, message Message, typeEnum string) (Body, *Fault) {
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		return Body{}, Faultf(http.StatusBadRequest, "Expecting 'Content-Type' to be present")
	}
	if contentType != JSON && contentType != Protobuf {
		return Body{}, Faultf(http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of %s or %s", JSON, Protobuf)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return Body{}, Faultf(http.StatusBadRequest, "Failed to read the body: %v", err)
	}
	body := Body{Typed: true}
	if contentType == Protobuf {
		if err := message.Unmarshal(raw); err != nil {
			return Body{}, Faultf(http.StatusBadRequest, "Failed to parse body into Call protobuf")
		}
	} else {
		tree, err := DecodeJSON(raw, message)
		if err != nil {
			return Body{}, Faultf(http.StatusBadRequest, "%s", err)
		}
		name, _ := tree["type"].(string)
		_, body.Typed = proto.EnumValueMap(typeEnum)[name]
	}
	body.Accept = Accepted(r)
	return body, nil
}

// NotAcceptable is the answer to an Accept header that allows neither media type.
func NotAcceptable() *Fault {
	return Faultf(http.StatusNotAcceptable, "Expecting 'Accept' to allow '%s' or '%s'", Protobuf, JSON)
}

// Accepted returns the media type to answer in; empty: the client accepts neither.
func Accepted(r *http.Request) string {
	values := r.Header.Values("Accept")
	if len(values) == 0 {
		return JSON
	}
	protobuf := false
	for entry := range strings.SplitSeq(strings.Join(values, ","), ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(entry))
		if err != nil || params["q"] == "0" {
			continue
		}
		switch media {
		case JSON, "*/*", "application/*":
			return JSON
		case Protobuf:
			protobuf = true
		}
	}
	if protobuf {
		return Protobuf
	}
	return ""
}

// Encode renders a message in a media type.
func Encode(message Message, media string) ([]byte, error) {
	if media == Protobuf {
		return message.Marshal()
	}
	return AppendJSON(nil, message)
}
