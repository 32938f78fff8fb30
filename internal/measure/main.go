// Command measure runs the project's benchmarks and writes what they say, with
// the machine it was on, as docs/benchmarks.md.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	only := flag.String("bench", ".", "run the benchmarks that match this expression; the page is only written when all are run")
	page := flag.String("page", filepath.Join("docs", "benchmarks.md"), "the page to write")
	flag.Parse()
	if err := run(*only, *page, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

// run measures one package after the other: nothing else may take the
// processors meanwhile.
func run(only, page string, progress io.Writer) error {
	packages, err := withBenchmarks()
	if err != nil {
		return err
	}
	var all []result
	for _, p := range packages {
		out, err := measure(p, only, progress)
		if err != nil {
			return err
		}
		all = append(all, parse(p, out)...)
	}
	if only != "." {
		return nil
	}
	here, err := machine()
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(render(all, here, time.Now())), 0o644)
}

// withBenchmarks lists the packages that have any.
func withBenchmarks() ([]string, error) {
	seen := map[string]bool{}
	var out []string
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if dir := filepath.Dir(path); err == nil && bytes.Contains(text, []byte("\nfunc Benchmark")) && !seen[dir] {
			seen[dir] = true
			out = append(out, dir)
		}
		return err
	})
	return out, err
}

// measure runs one package's benchmarks. Those that start processes take their
// time by themselves.
func measure(pkg, only string, progress io.Writer) ([]byte, error) {
	benchtime := "1s"
	if pkg == filepath.Join("internal", "e2e") {
		benchtime = "1x"
	}
	var out bytes.Buffer
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", only, "-benchmem", "-benchtime", benchtime, "-timeout", "30m", "./"+pkg)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, progress), os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("benchmarks of %s: %w", pkg, err)
	}
	return out.Bytes(), nil
}
