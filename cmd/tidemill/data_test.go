package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"tidemill/jobs"
)

func (s *shell) putLive(name jobs.Name, kind, spec string, jobVersion int64) {
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: name, Kind: kind, Spec: json.RawMessage(spec), Version: 1}})
	s.PutRun(jobs.RunView{Run: jobs.Run{ID: jobs.NewRunID(name, 1, "r-1", 0), Job: name, JobVersion: jobVersion, State: jobs.RunRunning}})
}

func TestTruncateRefuses(t *testing.T) {
	truncate := []string{"data", "truncate", "--keyspace", "ads", "--cassandra", "127.0.0.1:1", "--yes"}
	tests := []struct {
		name, kind, spec string
		jobVersion       int64
		refused          bool
	}{
		{"a rollup of the keyspace", "rollup", `{"keyspace":"ads"}`, 1, true},
		{"a rollup of another", "rollup", `{"keyspace":"other"}`, 1, false},
		{"a rollup of another, edited since", "rollup", `{"keyspace":"other"}`, 0, true},
		{"ingest into the keyspace", "ingest", `{"from":"kafka","to":"cassandra","keyspace":"ads"}`, 1, true},
		{"a kind that reads none", "noop", `{}`, 1, false},
		{"a kind of a later release", "later", `{}`, 1, true},
		{"a spec of a later release", "rollup", `{"later":1}`, 1, true},
	}
	for _, tt := range tests {
		s := newShell(t, "")
		s.putLive("job", tt.kind, tt.spec, tt.jobVersion)
		if got := s.run(t, truncate...); tt.refused {
			got.want(t, exitFailed, "", "1 live run at work on it: job.1.r-1.0")
		} else { // on to Cassandra, which is not there
			got.want(t, exitUnreachable, "", "127.0.0.1:1")
		}
	}
	s := newShell(t, "")
	s.PutRun(jobs.RunView{Run: jobs.Run{ID: "gone.1.r-1.0", Job: "gone", State: jobs.RunRunning}})
	s.run(t, truncate...).want(t, exitFailed, "", "gone.1.r-1.0")
	s.run(t, append(truncate, "--no-scheduler")...).want(t, exitUnreachable, "", "127.0.0.1:1")
	s.run(t, truncate[:len(truncate)-1]...).want(t, exitUsage, "", "--yes")
}

// onWrite does something when a command says its first word.
type onWrite struct {
	bytes.Buffer
	do func()
}

func (w *onWrite) Write(p []byte) (int, error) {
	if w.Len() == 0 {
		w.do()
	}
	return w.Buffer.Write(p)
}

// A job that was paused just now is given the time to end what it has begun.
func TestTruncateWaitsForPausedJobs(t *testing.T) {
	s := newShell(t, "")
	s.putLive("job", "ingest", `{"from":"kafka","to":"cassandra","keyspace":"ads"}`, 1)
	s.run(t, "job", "pause", "job").want(t, exitOK, "", "")
	errs := &onWrite{do: func() {
		s.PutRun(jobs.RunView{Run: jobs.Run{ID: "job.1.r-1.0", Job: "job", JobVersion: 1, State: jobs.RunCancelled}})
	}}
	args := []string{"data", "truncate", "--keyspace", "ads", "--cassandra", "127.0.0.1:1", "--yes", "--api", s.url}
	code := run(t.Context(), args, console{In: strings.NewReader(""), Out: io.Discard, Err: errs})
	if said := errs.String(); code != exitUnreachable || !strings.HasPrefix(said, "waiting for the end of job.1.r-1.0: paused\n") || !strings.Contains(said, "127.0.0.1:1") {
		t.Errorf("code %d, want %d of a Cassandra that is not there; it said\n%s", code, exitUnreachable, said)
	}
}

func TestReportUsage(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "report").want(t, exitUsage, "", "--cassandra")
	for _, args := range []string{"x", "--month 2015", "--limit 0", "--keyspace A --cassandra 127.0.0.1:1"} {
		if got := s.run(t, append([]string{"report"}, strings.Fields(args)...)...); got.code != exitUsage {
			t.Errorf("report %s: %+v", args, got)
		}
	}
	s.run(t, "report", "--cassandra", "127.0.0.1:1").want(t, exitUnreachable, "", "tidemill stack up")
}
