package jobfile

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"tidemill/jobs"
)

// inlineWidth is the longest mapping or list that is written in one line.
const inlineWidth = 100

// Encode writes jobs as YAML documents that can be applied again: the fields
// in the order of the type, short groups in one line, and without what only
// the scheduler sets.
func Encode(w io.Writer, list ...jobs.Job) error {
	for i, j := range list {
		j.Version, j.Incarnation = 0, 0
		j.Created, j.Updated = time.Time{}, time.Time{}
		if i > 0 {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return err
			}
		}
		if err := EncodeValue(w, j); err != nil {
			return fmt.Errorf("write job %s: %w", j.Name, err)
		}
	}
	return nil
}

// EncodeValue writes anything that JSON can hold as one YAML document, in the
// order and under the names that its JSON has.
func EncodeValue(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	roots, err := parseJSON(raw)
	if err != nil {
		return err
	}
	if len(roots) == 0 {
		_, err := io.WriteString(w, "null\n")
		return err
	}
	layOut(roots[0], 0)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(roots[0]); err != nil {
		return err
	}
	return e.Close()
}

// layOut chooses between one line and many: a group without texts of several
// lines goes into one where it is short. The root never does.
func layOut(n *yaml.Node, depth int) (width int, inline bool) {
	if n.Kind == yaml.ScalarNode {
		if n.Tag == "!!str" && strings.Contains(n.Value, "\n") {
			n.Style = yaml.LiteralStyle
			return 0, false
		}
		return len(n.Value), true
	}
	inline = true
	for _, child := range n.Content {
		w, ok := layOut(child, depth+1)
		width += w + 2
		inline = inline && ok
	}
	inline = inline && width <= inlineWidth && depth > 0
	if inline {
		n.Style = yaml.FlowStyle
	}
	return width, inline
}
