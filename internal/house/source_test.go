package house

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// loop are the files of package scheduler that perform what the core decides; all others are pure.
var loop = []string{"scheduler.go", "term.go", "caller.go", "subscriber.go", "hub.go", "metrics.go"}

func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		begin := "Package " + p.Name + " "
		if p.Name == "main" {
			begin = "Command " + filepath.Base(p.Dir) + " "
		}
		if sentence := new(doc.Package).Synopsis(p.Doc); !strings.HasPrefix(sentence, begin) || !strings.HasSuffix(sentence, ".") {
			t.Errorf("%s is documented as %q: want a sentence that begins with %q", p.room(), sentence, begin)
		}
	}
}

// A test that sleeps is slow when it need not be and fails when the machine is busy.
func TestTestsDoNotSleep(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			eachCall(t, filepath.Join(p.Dir, name), func(at token.Position, call string) {
				if call == "time.Sleep" {
					t.Errorf("%s: %s: wait for a condition, or use testing/synctest", at, call)
				}
			})
		}
	}
}

// The core owns no clock, no goroutine and no I/O: its time is the one it is given.
func TestTheCoreAsksNobody(t *testing.T) {
	asks := []string{"time.Now", "time.Since", "time.Until", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Sleep", "go"}
	seen := map[string]bool{}
	for _, p := range packages(t) {
		core := p.room() == "scheduler"
		if !core && !slices.Contains(pure, p.room()) {
			continue
		}
		for _, name := range p.GoFiles {
			if core && slices.Contains(loop, name) {
				seen[name] = true
				continue
			}
			eachCall(t, filepath.Join(p.Dir, name), func(at token.Position, call string) {
				if slices.Contains(asks, call) {
					t.Errorf("%s: %s in pure code", at, call)
				}
			})
		}
	}
	for _, name := range loop {
		if !seen[name] {
			t.Errorf("scheduler/%s is not there any more", name)
		}
	}
}

// eachCall tells of each package's function that a file names, as "time.Now", and of each go statement, as "go".
func eachCall(t *testing.T, path string, tell func(at token.Position, call string)) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			tell(files.Position(n.Pos()), "go")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				tell(files.Position(n.Pos()), x.Name+"."+n.Sel.Name)
			}
		}
		return true
	})
}
