package jobfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"tidemill/jobs"
)

// maxDepth bounds nesting, and so the recursion over nodes.
const maxDepth = 100

// parse gives the roots of a source's documents. A syntax error ends it; the
// documents before it are returned too.
func parse(src Source) ([]*yaml.Node, error) {
	if !utf8.Valid(src.Data) { // a decoder would put other letters in its place
		return nil, notUTF8(src.Data)
	}
	src.Data = bytes.TrimPrefix(src.Data, []byte("\ufeff"))
	if strings.EqualFold(filepath.Ext(src.Name), ".json") || json.Valid(src.Data) {
		return parseJSON(src.Data)
	}
	return parseYAML(src.Data)
}

func notUTF8(data []byte) error {
	line := 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		data = data[size:]
	}
	return jobs.FieldError{Message: "is not UTF-8: save it in that encoding", Line: line}
}

func parseYAML(data []byte) ([]*yaml.Node, error) {
	var roots []*yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		switch err := d.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return roots, nil
		case err != nil:
			return roots, syntaxError(err)
		}
		if len(doc.Content) == 1 && doc.Content[0].ShortTag() != "!!null" {
			roots = append(roots, doc.Content[0])
		}
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func syntaxError(err error) error {
	text := err.Error()
	found := jobs.FieldError{Message: "not YAML: " + text[len(yamlLine.FindString(text)):]}
	if m := yamlLine.FindStringSubmatch(text); m != nil && m[1] != "" {
		found.Line, _ = strconv.Atoi(m[1]) // digits only, by the pattern
	}
	return found
}

// parseJSON reads JSON values, one after the other, into YAML's nodes.
func parseJSON(data []byte) ([]*yaml.Node, error) {
	j := jsonReader{data: data, Decoder: json.NewDecoder(bytes.NewReader(data))}
	j.UseNumber()
	var roots []*yaml.Node
	for {
		root, err := j.node(0)
		if errors.Is(err, io.EOF) && root == nil && len(bytes.TrimSpace(data[j.InputOffset():])) == 0 {
			return roots, nil
		}
		if err != nil {
			return roots, jobs.FieldError{Message: "not JSON: " + strings.TrimPrefix(err.Error(), "json: "), Line: j.line()}
		}
		if root.Tag != "!!null" {
			roots = append(roots, root)
		}
	}
}

type jsonReader struct {
	*json.Decoder
	data    []byte
	counted int64 // offset up to which lines are counted
	lines   int
}

// line is the line of the token read last.
func (j *jsonReader) line() int {
	offset := min(j.InputOffset(), int64(len(j.data)))
	j.lines += bytes.Count(j.data[j.counted:offset], []byte("\n"))
	j.counted = offset
	return j.lines + 1
}

func (j *jsonReader) node(depth int) (*yaml.Node, error) {
	token, err := j.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: j.line()}
	switch v := token.(type) {
	case json.Delim:
		if depth > maxDepth {
			return n, fmt.Errorf("nested more than %d deep", maxDepth)
		}
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		if v == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		for j.More() {
			child, err := j.node(depth + 1)
			if err != nil {
				return n, truncated(err)
			}
			n.Content = append(n.Content, child)
		}
		_, err = j.Token() // the closing one
		return n, truncated(err)
	case string:
		n.Tag, n.Value = "!!str", v
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
