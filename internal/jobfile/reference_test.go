package jobfile

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tidemill/jobs"
)

const reference = "../../docs/job.md"

// The reference names every field of a job, and no other.
func TestReferenceIsComplete(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if strings.HasPrefix(line, "| `") {
			cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				documented = append(documented, m[1])
			}
		}
	}
	all := leaves(reflect.TypeFor[jobs.Job](), "")
	for _, field := range all {
		if !slices.Contains(documented, field) {
			t.Errorf("%s does not say what %s is", reference, field)
		}
	}
	for _, field := range documented {
		if !slices.Contains(all, field) {
			t.Errorf("%s speaks of %s, which no job has", reference, field)
		}
	}
}

func leaves(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	p := reflect.PointerTo(t)
	if t.Kind() != reflect.Struct || p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler) {
		return []string{path}
	}
	var out []string
	for name, field := range jobs.FieldsOf(t) {
		out = append(out, leaves(field, join(path, name))...)
	}
	return out
}

// The example of the reference is a job that can be applied.
func TestReferenceExample(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("the reference has no example")
	}
	if _, _, err := Load([]Source{{Name: "example.yaml", Data: []byte(example)}}, registry(t)); err != nil {
		t.Error(err)
	}
}
