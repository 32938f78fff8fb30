package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"tidemill/jobs/event"
)

// maxIgnored bounds how much of a refused body is read all the same.
const maxIgnored = 64 << 20

// posted is one event of a request: as it was sent, and decoded.
type posted struct {
	doc   []byte
	event event.Event
}

// read takes the events out of a request: all of them, or the reason why none.
func (d *door) read(w http.ResponseWriter, r *http.Request) ([]posted, *problem) {
	body, p := d.body(w, r)
	if p != nil {
		return nil, p
	}
	docs, p := d.documents(r, body)
	if p != nil {
		return nil, p
	}
	return d.decode(docs)
}

// body reads the body whole, decompressed.
func (d *door) body(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	tooLarge := &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is longer than %d bytes", d.limits.MaxBody)}
	if r.ContentLength > d.limits.MaxBody && r.Header.Get("Expect") != "" {
		return nil, tooLarge // said to a client that asks before it sends any of it
	}
	var in io.Reader = http.MaxBytesReader(w, r.Body, d.limits.MaxBody)
	limit := d.limits.MaxBody
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
	case "gzip":
		unzip, err := gzip.NewReader(in)
		if err != nil {
			return nil, bodyProblem(err, tooLarge)
		}
		in, limit = unzip, d.limits.MaxPlain
	default:
		w.Header().Set("Accept-Encoding", "gzip, identity")
		return nil, &problem{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("Content-Encoding %q is neither gzip nor identity", encoding)}
	}
	body, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(body)) <= limit {
		return body, nil
	}
	// Most clients read no answer before they have sent their body.
	_, _ = io.CopyN(io.Discard, r.Body, maxIgnored)
	if err != nil {
		return nil, bodyProblem(err, tooLarge)
	}
	return nil, &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is longer than %d bytes when it is decompressed", limit)}
}

func bodyProblem(err error, tooLarge *problem) *problem {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return tooLarge
	}
	return &problem{Status: http.StatusBadRequest, Detail: "the body cannot be read: " + err.Error()}
}

// documents cuts the body into one document per event, by its content type.
func (d *door) documents(r *http.Request, body []byte) ([][]byte, *problem) {
	media := "application/json"
	if header := r.Header.Get("Content-Type"); header != "" {
		var err error
		if media, _, err = mime.ParseMediaType(header); err != nil {
			return nil, unsupported(header)
		}
	}
	tooMany := &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body holds more than %d events", d.limits.MaxEvents)}
	switch media {
	case "application/json":
		if body = bytes.TrimSpace(body); len(body) == 0 || body[0] != '[' {
			return [][]byte{body}, nil
		}
		docs, fault := event.List(body, d.limits.MaxEvents)
		if fault == nil {
			return docs, nil
		}
		if fault.Code == event.TooMany {
			return nil, tooMany
		}
		return nil, &problem{Status: http.StatusBadRequest, Detail: "the list cannot be read on from here: mend it and post all again",
			Errors: []fieldError{{Index: len(docs), Code: fault.Code}}}
	case "application/x-ndjson", "application/ndjson":
		docs := lines(body, d.limits.MaxEvents+1)
		if len(docs) > d.limits.MaxEvents {
			return nil, tooMany
		}
		return docs, nil
	}
	return nil, unsupported(media)
}

func unsupported(media string) *problem {
	return &problem{Status: http.StatusUnsupportedMediaType,
		Detail: fmt.Sprintf("Content-Type %q is neither application/json nor application/x-ndjson", media)}
}

// lines gives the lines that are not blank, at most limit.
func lines(body []byte, limit int) [][]byte {
	var out [][]byte
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if out = append(out, line); len(out) == limit {
			break
		}
	}
	return out
}

// decode decodes and checks every document. The index of an error is the
// event's place in the request, from 0.
func (d *door) decode(docs [][]byte) ([]posted, *problem) {
	now := d.now()
	out := make([]posted, 0, len(docs))
	p := &problem{Status: http.StatusBadRequest, Detail: "nothing was accepted: drop or mend the events named here and post the rest again"}
	for i, doc := range docs {
		e, faults := d.check(doc, now)
		if len(faults) == 0 {
			out = append(out, posted{oneLine(doc), e})
			continue
		}
		p.add(i, e, faults)
	}
	if len(p.Errors) > 0 {
		return nil, p
	}
	return out, nil
}

func (d *door) check(doc []byte, now time.Time) (event.Event, []event.Fault) {
	if len(doc) > d.limits.MaxEvent {
		return event.Event{}, []event.Fault{{Code: event.TooLarge}}
	}
	e, fault := event.Decode(doc)
	if fault == nil && d.rules.Check(e, now) == nil {
		return e, nil
	}
	return event.Faults(doc, d.rules, now)
}

// oneLine takes the newlines out, so that archives can hold one event a line.
func oneLine(doc []byte) []byte {
	if !bytes.ContainsAny(doc, "\n\r") {
		return doc
	}
	var b bytes.Buffer
	if err := json.Compact(&b, doc); err != nil { // it was decoded: it is JSON
		return doc
	}
	return b.Bytes()
}
