package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// What documents and messages may hold as a command: in code spans, or on lines of code blocks.
var (
	codeSpan    = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
	commandText = regexp.MustCompile("(?:^|[\\s`$(\"])(?:bin/)?tidemill ((?:[^\\s`|;&\"]+ ?)+)")
)

// TestDocumentedCommandsParse holds every command line in the documents, and every one that a
// message of the program names in quotes, against the program's own grammar: its commands and
// their flags must exist.
func TestDocumentedCommandsParse(t *testing.T) {
	parser, err := kong.New(&commandLine{})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	walkFiles(t, func(path, text string) {
		if filepath.Ext(path) != ".md" {
			return
		}
		for _, span := range codeSpan.FindAllString(strings.ReplaceAll(text, "\\\n", " "), -1) {
			for _, match := range commandText.FindAllStringSubmatch(span, -1) {
				named++
				if fault := misnamed(parser.Model.Node, match[1]); fault != "" {
					t.Errorf("%s: `tidemill %s`: %s", path, strings.TrimSpace(match[1]), fault)
				}
			}
		}
	})
	if named == 0 {
		t.Error("no document names a command")
	}
}

// misnamed says what of a command line the program does not know.
func misnamed(at *kong.Node, line string) string {
	for word := range strings.FieldsSeq(line) {
		word = strings.Trim(word, "[](),.:")
		if name, isFlag := strings.CutPrefix(word, "--"); isFlag {
			name, _, _ = strings.Cut(name, "=")
			if name != "" && name != "help" && !hasFlag(at, name) {
				return "no flag --" + name
			}
			continue
		}
		if len(at.Children) == 0 || strings.HasPrefix(word, "-") || word != strings.ToLower(word) {
			continue // an argument, or a placeholder
		}
		next := child(at, word)
		if next == nil {
			return "no command " + word
		}
		at = next
	}
	return ""
}

func child(at *kong.Node, name string) *kong.Node {
	for _, c := range at.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// hasFlag asks the command and those above it; a group of commands has the flags of each.
func hasFlag(at *kong.Node, name string) bool {
	for n := at; n != nil; n = n.Parent {
		for _, f := range n.Flags {
			if f.Name == name {
				return true
			}
		}
	}
	return false
}

// walkFiles gives the text of every file of the repository's folders.
func walkFiles(t *testing.T, use func(path, text string)) {
	t.Helper()
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if extension := filepath.Ext(path); extension != ".md" && extension != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		use(path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNamedCommandsExist does the same for what the program itself tells people to run.
func TestNamedCommandsExist(t *testing.T) {
	parser, err := kong.New(&commandLine{})
	if err != nil {
		t.Fatal(err)
	}
	hint := regexp.MustCompile("(?:Hint: \"|[`'(]|\\\\\")tidemill ((?:[a-z]+ ?)+)")
	for _, wrong := range []string{"job lst", "job list --frobnicate", "frobnicate"} {
		if misnamed(parser.Model.Node, wrong) == "" {
			t.Errorf("%q passes as a command", wrong)
		}
	}
	walkFiles(t, func(path, text string) {
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, match := range hint.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(match[1])
			if fault := misnamed(parser.Model.Node, strings.Join(words[:min(2, len(words))], " ")); fault != "" {
				t.Errorf("%s names `tidemill %s`: %s", path, strings.TrimSpace(match[1]), fault)
			}
		}
	})
}
