package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// The examples can be applied: each folder as it is (rollups of other folders
// are only named), and all together.
func TestExamplesAreValid(t *testing.T) {
	folders := []string{"examples"}
	for _, text := range exampleTexts(t) {
		folders = append(folders, filepath.Dir(text))
	}
	for _, folder := range folders {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"job", "validate", "-f", folder}, console{Out: &out, Err: &errs}); code != exitOK {
			t.Errorf("%s: exit code %d: %s%s", folder, code, out.String(), errs.String())
		}
	}
}

// The commands in the examples' texts are ones that the program understands.
func TestExamplesSpeakOfRealCommands(t *testing.T) {
	for _, name := range exampleTexts(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for line := range strings.Lines(string(text)) {
			args, ok := strings.CutPrefix(line, "tidemill ")
			if !ok {
				continue
			}
			found++
			parser, err := kong.New(&commandLine{}, kong.BindTo(t.Context(), (*context.Context)(nil)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(strings.Fields(args)); err != nil {
				t.Errorf("%s: tidemill %s%v", name, args, err)
			}
		}
		if found == 0 {
			t.Errorf("%s has no command", name)
		}
	}
}

// exampleTexts goes to the repository's root and lists the READMEs there.
func exampleTexts(t *testing.T) []string {
	t.Helper()
	t.Chdir("../..")
	texts, err := filepath.Glob("examples/*/README.md")
	if err != nil || len(texts) < 5 {
		t.Fatalf("%v, %v", texts, err)
	}
	return texts
}
