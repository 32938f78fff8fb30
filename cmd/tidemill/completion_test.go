package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"tidemill/jobs"
)

func TestComplete(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "job", "apply", "-f", file(t, "a.yaml", twoJobs)).want(t, exitOK, "", "")
	s.PutRun(jobs.RunView{Run: jobs.Run{ID: "first.1.r-1.0", Job: "first", State: jobs.RunRunning}})
	s.run(t, "pool", "set", "reads", "--slots", "2").want(t, exitOK, "", "")
	for line, want := range map[string]string{
		"jo":                        "job",
		"complet":                   "completion", // and not what it calls
		"job p":                     "pause",
		"job show ":                 "first second",
		"job show --output json fi": "first",
		"job run first --wai":       "--wait",
		"-o ":                       "table json yaml",
		"job list -o y":             "yaml",
		"job run --request-id ":     "",
		"run list --job s":          "second",
		"run show first.1":          "first.1.r-1.0",
		"run mark first.1.r-1.0 s":  "success",
		"pool delete ":              "reads",
		"completion z":              "zsh",
		"nonsense jo":               "job",
	} {
		if got := complete(t, "--api "+s.url+" "+line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if got := complete(t, "--api http://127.0.0.1:1 job show "); got != "" {
		t.Errorf("without a scheduler: %q", got)
	}
}

// complete gives what may stand at the end of a line, and wants nothing else said.
func complete(t *testing.T, line string) string {
	t.Helper()
	var out, errs bytes.Buffer
	args := append([]string{"complete", "--"}, strings.Split(line, " ")...)
	if code := run(t.Context(), args, console{In: strings.NewReader(""), Out: &out, Err: &errs}); code != exitOK || errs.Len() > 0 {
		t.Errorf("%q: exit code %d, %s", line, code, &errs)
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// The words reach a shell that has read the script.
func TestCompletionOfBash(t *testing.T) {
	s := newShell(t, "")
	script := s.run(t, "completion", "bash")
	script.want(t, exitOK, "complete -o default", "")
	const use = `
tidemill() { printf 'got <%s>\n' "${@:3}"; }
COMP_WORDS=(tidemill job "a b"); COMP_CWORD=2
_tidemill tidemill
printf '%s\n' "${COMPREPLY[@]}"`
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script.out+use).CombinedOutput()
	if string(out) != "got <job>\ngot <a b>\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	s.run(t, "completion", "csh").want(t, exitUsage, "", "must be one of")
}
