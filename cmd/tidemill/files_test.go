package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"tidemill/jobs"
)

// TestFilesOfASandbox lists and reads what a task left on its agent, by the command line, and
// nothing beside it.
func TestFilesOfASandbox(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startAgent("cpus:8;mem:8192;disk:8192")
	m := s.startTidemill("tidemill", nil)
	const text = `mkdir out; head -c 300000 /dev/zero | tr '\0' x > out/large; printf 'a\000b' > "out/b & c"; ln -s ../../.. out/away`
	job := jobs.Job{Name: "writes", Kind: "command", Resources: jobs.Resources{CPUs: 0.1, Mem: 32}, Spec: []byte(`{"argv":["/bin/sh","-c",` + quoted(text) + `]}`)}
	if _, err := m.Apply(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	r, err := m.StartRun(t.Context(), jobs.RunRequest{Job: "writes", RequestID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	var task jobs.TaskID
	m.await("the end of the run", func(ctx context.Context) bool {
		v, err := m.RunView(ctx, r.ID)
		if err != nil || v.State != jobs.RunSucceeded {
			return false
		}
		task = v.Tasks[0].ID
		return true
	})
	list, err := m.ListFiles(t.Context(), task, "out")
	var found []string
	for _, f := range list {
		found = append(found, f.Path)
	}
	if err != nil || !slices.Contains(found, "out/b & c") || !slices.Contains(found, "out/large") {
		t.Errorf("in out: %v, %v", found, err)
	}
	api := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"--api", m.url, "--patience", "0s"}, args...), console{In: strings.NewReader(""), Out: &out, Err: &errs})
		return code, out.String(), errs.String()
	}
	if code, out, errs := api("run", "files", string(r.ID)); code != exitOK || !strings.Contains(out, "out/ ") || !strings.Contains(out, "stdout ") {
		t.Errorf("exit code %d:\n%s%s", code, out, errs)
	}
	if code, out, errs := api("run", "files", string(task), "out/large", "--get"); code != exitOK || out != strings.Repeat("x", 300_000) {
		t.Errorf("exit code %d, %d bytes: %s", code, len(out), errs)
	}
	if code, out, errs := api("run", "files", string(task), "out/b & c", "--get"); code != exitOK || out != "a\000b" {
		t.Errorf("exit code %d, %q: %s", code, out, errs)
	}
	for path, want := range map[string]int{"..": exitUsage, "out/../../x": exitUsage, "/etc": exitUsage, "none": exitFailed} {
		for _, get := range [][]string{nil, {"--get"}} {
			if code, out, errs := api(append([]string{"run", "files", string(task), path}, get...)...); code != want || errs == "" {
				t.Errorf("%s: exit code %d, want %d: %s%s", path, code, want, out, errs)
			}
		}
	}
	if code, _, errs := api("run", "files", string(task), "--get"); code != exitUsage || !strings.Contains(errs, "--get needs a file") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
