// Package golden holds recordings of a real Apache Mesos 1.12 (master, agents,
// executors) as they were seen on the wire, for tests of both ends of its protocol.
package golden

import (
	"bufio"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed *.jsonl.gz
var recordings embed.FS

const suffix = ".jsonl.gz"

// Directions of a Line.
const (
	Sent     = ">" // by the client: a framework, an executor or an operator
	Received = "<" // by the client
	Note     = "#" // a remark of the recorder
)

// What a Line holds.
const (
	Request      = "request"
	ResponseHead = "response-head"
	ResponseBody = "response-body"
	Chunk        = "chunk" // the payload of one HTTP chunk; empty: the last one
	RawBytes     = "raw-bytes"
	EOF          = "eof"
	Environment  = "environment" // of a recorded executor, as JSON
)

// Line is one thing that was seen in a recording.
type Line struct {
	T    float64 `json:"t"`    // seconds since the recording began
	Conn string  `json:"conn"` // label of the connection
	Dir  string  `json:"dir"`
	What string  `json:"what"`
	Raw  string  `json:"raw"`
}

// Open returns the lines of the named recording ("01_subscribe_fresh"), in order.
func Open(name string) ([]Line, error) {
	file, err := recordings.Open(name + suffix)
	if err != nil {
		return nil, fmt.Errorf("open recording %q: %w (golden.Names lists those there are)", name, err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("read recording %q: %w", name, err)
	}
	var lines []Line
	for decoder := json.NewDecoder(bufio.NewReader(unzipped)); decoder.More(); {
		var line Line
		if err := decoder.Decode(&line); err != nil {
			return nil, fmt.Errorf("read recording %q after line %d: %w", name, len(lines), err)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// Names returns the names of all recordings, sorted.
func Names() ([]string, error) {
	entries, err := recordings.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = strings.TrimSuffix(entry.Name(), suffix)
	}
	return names, nil
}
