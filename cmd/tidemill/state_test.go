package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidemill/internal/bolt"
	"tidemill/scheduler"
)

// runHere runs a command line in this process.
func runHere(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, console{In: strings.NewReader(""), Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

// stateDir makes a state folder with these records.
func stateDir(t *testing.T, records map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	file, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	writeState(t, file, records)
	return dir
}

// writeState writes records to an empty store, in a term of its own.
func writeState(t *testing.T, store scheduler.Elector, records map[string]string) {
	t.Helper()
	l, err := store.Campaign(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var groups []scheduler.Group
	for key, value := range records {
		groups = append(groups, scheduler.Group{{Key: key, Value: []byte(value)}})
	}
	if err := scheduler.Write(t.Context(), l, groups); err != nil {
		t.Fatal(err)
	}
	if err := l.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
}

const (
	metaDocument = `{"format":1,"framework":"F-1","secret":"c2VjcmV0"}`
	jobDocument  = `{"job":{"name":"a","kind":"noop","version":1},"first_applied":"2026-01-01T00:00:00Z","rescheduled":"2026-01-01T00:00:00Z"}`
)

func TestStateIsExportedCheckedAndImported(t *testing.T) {
	from := stateDir(t, map[string]string{"meta/scheduler": metaDocument, "jobs/a": jobDocument, "state/a": `{"incarnation":3}`})
	for _, name := range []string{"state.ndjson", "state.ndjson.gz"} {
		file := filepath.Join(t.TempDir(), name)
		if code, _, errs := runHere(t, "state", "export", file, "--dir", from); code != exitOK || !strings.Contains(errs, "3 records") {
			t.Fatalf("export: exit code %d: %s", code, errs)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v: want it for its owner only", name, info.Mode(), err)
		}
		if code, out, errs := runHere(t, "state", "check", file); code != exitOK || out != "" {
			t.Errorf("check: exit code %d: %s%s", code, out, errs)
		}
		to := stateDir(t, nil)
		code, out, errs := runHere(t, "state", "import", file, "--dir", to, "-o", "json")
		var report scheduler.ImportReport
		if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitOK || report.Jobs != 1 {
			t.Fatalf("import: exit code %d, %+v: %s", code, report, errs)
		}
		if code, _, errs := runHere(t, "state", "import", file, "--dir", to); code != exitFailed || !strings.Contains(errs, "--replace") {
			t.Errorf("imported twice: exit code %d: %s", code, errs)
		}
		_, out, _ = runHere(t, "state", "export", "-", "--dir", to)
		if !strings.Contains(out, `"incarnation":3`) || strings.Contains(out, "F-1") || strings.Contains(out, "secret") {
			t.Errorf("what was imported is\n%s", out)
		}
	}
}

func TestStateCheckFindsWhatIsWrong(t *testing.T) {
	dir := stateDir(t, map[string]string{"meta/scheduler": metaDocument, "jobs/a": strings.Replace(jobDocument, "noop", "novel", 1), "state/a": `{"incarnation":1}`})
	code, out, errs := runHere(t, "state", "check", "--dir", dir, "-o", "json")
	var found []scheduler.Finding
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != exitFailed || len(found) != 1 || found[0].Key != "jobs/a" {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}

func TestStateUpgradeWritesOnlyWhenAsked(t *testing.T) {
	dir := stateDir(t, map[string]string{"meta/scheduler": metaDocument, "state/a": `{"incarnation":1,"successes":0}`})
	for _, asked := range []bool{false, true, false} {
		args := []string{"state", "upgrade", "--dir", dir}
		if asked {
			args = append(args, "--yes")
		}
		if code, _, errs := runHere(t, args...); code != exitOK {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		_, out, _ := runHere(t, "state", "export", "-", "--dir", dir)
		if old := strings.Contains(out, "successes"); old == asked && asked {
			t.Errorf("asked: %v; the record is\n%s", asked, out)
		}
	}
}

func TestStateCommandsNeedAStoreOfNobody(t *testing.T) {
	dir := stateDir(t, nil)
	file, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "state.db"), Advertise: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, args := range [][]string{{"state", "upgrade", "--dir", dir}, {"state", "export", "-", "--dir", dir}} {
		if code, _, errs := runHere(t, args...); code != exitFailed || !strings.Contains(errs, "http://127.0.0.1:1") {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
	}
	for _, args := range [][]string{
		{"state", "upgrade"}, {"state", "upgrade", "--dir", t.TempDir()}, {"state", "check", "x", "--dir", dir},
		{"state", "upgrade", "--dir", dir, "--zk", "h:1"}, {"state", "check", filepath.Join(dir, "absent")},
	} {
		if code, _, errs := runHere(t, args...); code != exitUsage {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
	}
}

// A state that a scheduler serves is read through it, and only whole.
func TestStateOfARunningScheduler(t *testing.T) {
	s := newShell(t, "")
	const head, record = `{"tidemill":"state","version":1,"format":1,"at":"2026-01-01T00:00:00Z","term":4,"records":1}`, `{"key":"jobs/a","bytes":"ew=="}`
	s.SetState(head + "\n" + record + "\n")
	file := filepath.Join(t.TempDir(), "state.ndjson")
	s.run(t, "state", "export", file).want(t, exitOK, "", "1 record of term 4")
	if text, err := os.ReadFile(file); err != nil || string(text) != head+"\n"+record+"\n" {
		t.Errorf("%v, it holds\n%s", err, text)
	}
	s.run(t, "state", "check").want(t, exitFailed, "unreadable", "1 finding in 1 records")
	s.SetState(head + "\n")
	s.run(t, "state", "export", filepath.Join(t.TempDir(), "cut")).want(t, exitUsage, "", "cut short")
}
