package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tidemill/scheduler"
)

type stateCmd struct {
	Export  stateExport  `cmd:"" help:"Write all that is stored to a file, from a running Tidemill or from its store."`
	Import  stateImport  `cmd:"" help:"Write an export to an empty store."`
	Check   stateCheck   `cmd:"" help:"Read every record, and say what is wrong with them; exit code 1 if anything is."`
	Upgrade stateUpgrade `cmd:"" help:"Say which records are of an older form; with --yes rewrite them, when no older program is to lead any more."`
}

// readState reads all records: of the store that is named, or else of the
// scheduler that runs.
func readState(ctx context.Context, g *globals, f storeFlags, log zerolog.Logger) (*scheduler.Export, error) {
	if f.given() {
		s, err := f.hold(ctx, log)
		if err != nil {
			return nil, err
		}
		defer s.release(ctx)
		return scheduler.NewExport(s.records, s.Term(), time.Now())
	}
	api, err := g.client()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	state, err := api.State(ctx)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if _, err := state.WriteTo(&text); err != nil {
		return nil, err
	}
	return scheduler.ReadExport(&text)
}

type stateExport struct {
	File string `arg:"" placeholder:"FILE|-" help:"File to write, compressed if its name ends in .gz, or - for standard output."`
	storeFlags
}

// Run writes the export whole, or not at all.
func (c *stateExport) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) error {
	e, err := readState(ctx, g, c.storeFlags, log)
	if err != nil {
		return err
	}
	if c.File == "-" {
		_, err = e.WriteTo(out.Out)
		return err
	}
	if err := writeExport(e, c.File); err != nil {
		return err
	}
	fmt.Fprintf(out.Err, "%d %s of term %d as of %s: %s\n", e.Count, plural(e.Count, "record"), e.Term, e.At.Format(time.RFC3339), c.File)
	return nil
}

// writeExport puts the file in its place when all of it is on the disk. Only
// its owner may read it: jobs may hold what is not everybody's.
func writeExport(e *scheduler.Export, path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	defer os.Remove(file.Name()) // it is not there any more when all went well
	var w io.WriteCloser = file
	if strings.HasSuffix(path, ".gz") {
		w = gzip.NewWriter(file)
	}
	_, err = e.WriteTo(w)
	if w != io.WriteCloser(file) {
		err = errors.Join(err, w.Close())
	}
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	return nil
}

// openExport reads an export, whatever its name says of its compression.
func openExport(path string, in io.Reader) (*scheduler.Export, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, &exitError{Code: exitUsage, Err: fmt.Errorf("read the export: %w", err)}
		}
		defer file.Close()
		in = file
	}
	buffered := bufio.NewReader(in)
	if head, _ := buffered.Peek(2); !bytes.Equal(head, []byte{0x1f, 0x8b}) {
		return scheduler.ReadExport(buffered)
	}
	unzipped, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("read the export %s: %w", path, err)
	}
	return scheduler.ReadExport(unzipped)
}

type stateImport struct {
	File          string `arg:"" placeholder:"FILE|-" help:"What \"state export\" wrote, or - for standard input."`
	Replace       bool   `help:"Remove what the store holds. Marks of schedules never go back."`
	LiveAsUnknown bool   `help:"Take the attempts that were at work as unknown: the on_unknown of their jobs decides on each."`
	DryRun        bool   `help:"Only say what would be done."`
	storeFlags
}

// Run writes the records, while no scheduler leads.
func (c *stateImport) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) error {
	e, err := openExport(c.File, out.In)
	if err != nil {
		return err
	}
	s, err := c.hold(ctx, log)
	if err != nil {
		return err
	}
	defer s.release(ctx)
	groups, report, err := scheduler.Import{Source: c.File, Replace: c.Replace, LiveAsUnknown: c.LiveAsUnknown}.Plan(e, s.records, time.Now())
	if err == nil && !c.DryRun {
		err = scheduler.Write(ctx, s, groups)
	}
	if err != nil {
		return err
	}
	return g.print(out, report, func(w io.Writer) {
		row(w, "RECORDS", "JOBS", "RUNS", "UNKNOWN ATTEMPTS", "REMOVED", "KEPT MARKS")
		row(w, report.Records, report.Jobs, report.Runs, report.Unknown, report.Removed, len(report.Kept))
	})
}

type stateCheck struct {
	File string `arg:"" optional:"" placeholder:"FILE|-" help:"An export to check, in place of what is stored."`
	storeFlags
}

// Run prints the findings, and fails if there are any.
func (c *stateCheck) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) error {
	var e *scheduler.Export
	var err error
	switch {
	case c.File != "" && c.given():
		err = &exitError{Code: exitUsage, Err: errors.New("name a file, or a store, not both")}
	case c.File != "":
		e, err = openExport(c.File, out.In)
	default:
		e, err = readState(ctx, g, c.storeFlags, log)
	}
	if err != nil {
		return err
	}
	known, err := kinds()
	if err != nil {
		return err
	}
	found := scheduler.Check(known, e.Records, time.Now())
	err = g.print(out, found, func(w io.Writer) {
		if len(found) == 0 {
			return
		}
		row(w, "RECORD", "FAULT", "WHAT", "WHAT TO DO")
		for _, f := range found {
			row(w, f.Key, f.Fault, f.Message, f.Hint)
		}
	})
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return &exitError{Code: exitFailed, Err: fmt.Errorf("%d %s in %d records", len(found), plural(len(found), "finding"), e.Count)}
	}
	fmt.Fprintf(out.Err, "%d %s, format %d: nothing is wrong\n", e.Count, plural(e.Count, "record"), e.Format)
	return nil
}

type stateUpgrade struct {
	Yes bool `help:"Do it: an older program may not be able to lead after that."`
	storeFlags
}

// Run says what would be rewritten, or rewrites it.
func (c *stateUpgrade) Run(ctx context.Context, g *globals, out console, log zerolog.Logger) error {
	s, err := c.hold(ctx, log)
	if err != nil {
		return err
	}
	defer s.release(ctx)
	groups, report, err := scheduler.Upgrade(s.records)
	if err == nil && c.Yes {
		err = scheduler.Write(ctx, s, groups)
	}
	if err != nil {
		return err
	}
	err = g.print(out, report, func(w io.Writer) {
		row(w, "FORMAT", "NEW FORMAT", "RECORDS", "REWRITTEN", "LEFT AS THEY ARE")
		row(w, report.From, report.To, report.Records, rewritten(report), strings.Join(report.Left, " "))
	})
	if err == nil && !c.Yes && len(groups) > 0 {
		fmt.Fprintln(out.Err, "nothing was written; do it with --yes, once every scheduler is of this version")
	}
	return err
}

// rewritten counts by family: "12 jobs, 3 runs".
func rewritten(r scheduler.UpgradeReport) string {
	var parts []string
	for family, n := range r.Rewritten {
		parts = append(parts, fmt.Sprintf("%d %s", n, family))
	}
	slices.SortFunc(parts, func(a, b string) int {
		return cmp.Compare(a[strings.IndexByte(a, ' '):], b[strings.IndexByte(b, ' '):])
	})
	return strings.Join(parts, ", ")
}
