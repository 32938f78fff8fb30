package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The root of the repository, from this folder.
const root = "../.."

var (
	links   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	targets = regexp.MustCompile(`(?m)^([a-z]+):.*## `)
	made    = regexp.MustCompile("(?:^|[`( \n])make ((?:[a-z]+ ?)+)")
	code    = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
)

// documents are the Markdown files, by path from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no documents")
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	for name, text := range documents(t) {
		for _, match := range links.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(match[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, match[1])
			}
		}
	}
}

// The commands of the program itself are checked where its grammar is: cmd/tidemill.
func TestDocumentedMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, match := range targets.FindAllStringSubmatch(string(makefile), -1) {
		known = append(known, match[1])
	}
	named := map[string]bool{}
	for name, text := range documents(t) {
		for _, span := range code.FindAllString(text, -1) {
			for _, match := range made.FindAllStringSubmatch(span, -1) {
				for target := range strings.FieldsSeq(match[1]) {
					named[target] = true
					if !slices.Contains(known, target) {
						t.Errorf("%s names `make %s`, which is no target", name, target)
					}
				}
			}
		}
	}
	for _, target := range []string{"build", "demo", "test"} {
		if !named[target] {
			t.Errorf("no document names `make %s`", target)
		}
	}
}

func TestDecisionsAreIndexed(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(root, "docs/adr/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		if filepath.Dir(name) != "docs/adr" || filepath.Base(name) == "README.md" {
			continue
		}
		heading, _, _ := strings.Cut(text, "\n")
		_, title, _ := strings.Cut(strings.TrimPrefix(heading, "# "), ". ")
		if want := "[" + title + "](" + filepath.Base(name) + ")"; !strings.Contains(string(index), want) {
			t.Errorf("the index of decisions lacks %s", want)
		}
	}
}

// grouped is a folder with several of its rooms, as in internal/{kafka,s3}.
var grouped = regexp.MustCompile(`([a-z/]+/)\{([a-z0-9,]+)\}`)

// The page that draws the rooms has all of them; a kind is named without its folder.
func TestArchitectureNamesEveryRoom(t *testing.T) {
	text := documents(t)["docs/ARCHITECTURE.md"]
	text = grouped.ReplaceAllStringFunc(text, func(group string) string {
		parts := grouped.FindStringSubmatch(group)
		return parts[1] + strings.ReplaceAll(parts[2], ",", " "+parts[1])
	})
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n`,.;:|()", r) })
	for _, p := range packages(t) {
		room, _, _ := roomOf(p.room())
		if folder, name, _ := strings.Cut(room, "/"); !listed(room) && folder == "jobs" {
			room = name
		} else if !listed(room) {
			room = folder
		}
		if !slices.Contains(words, room) && !slices.Contains(supports, p.room()) {
			t.Errorf("docs/ARCHITECTURE.md does not name %s", room)
		}
	}
}
