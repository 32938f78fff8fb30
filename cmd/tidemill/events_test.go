package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tidemill/internal/stack/stacktest"
	"tidemill/jobs"
)

func TestEventsGenerate(t *testing.T) {
	s := newShell(t, "")
	truth := filepath.Join(t.TempDir(), "truth.json")
	args := []string{"events", "generate", "--count", "50", "--broken", "7", "--duplicates", "3", "--late", "5", "--end", "2026-03-01", "--truth", truth}
	first := s.run(t, args...)
	if first.code != exitOK || strings.Count(first.out, "\n") != 60 {
		t.Fatalf("exit %d, %d lines: %s", first.code, strings.Count(first.out, "\n"), first.err)
	}
	doc, err := os.ReadFile(truth)
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Events int `json:"events"`
	}
	if err := json.Unmarshal(doc, &found); err != nil || found.Events != 50 {
		t.Errorf("the truth counts %d events (%v)", found.Events, err)
	}
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if r := s.run(t, append(args, "--to", file)...); r.code != exitOK || r.out != "" {
		t.Fatalf("to a file: exit %d: %s%s", r.code, r.out, r.err)
	}
	again, err := os.ReadFile(file)
	if err != nil || string(again) != first.out {
		t.Errorf("the same seed gave other lines (%v)", err)
	}
	if r := s.run(t, "events", "generate", "--count", "5", "--late", "6"); r.code != exitUsage {
		t.Errorf("more late events than events: exit %d", r.code)
	}
}

func TestEventsSend(t *testing.T) {
	s := newShell(t, "")
	var lines atomic.Int64
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		lines.Add(int64(len(strings.Split(string(body), "\n"))))
		w.WriteHeader(http.StatusAccepted)
	}))
	defer door.Close()
	file := filepath.Join(t.TempDir(), "events")
	if r := s.run(t, "events", "generate", "--count", "25", "--to", file); r.code != exitOK {
		t.Fatal(r.err)
	}
	var report struct{ Acknowledged, Distinct int64 }
	check := func(args ...string) {
		t.Helper()
		lines.Store(0)
		r := s.run(t, append([]string{"events", "send", "--file", file, "--batch", "10", "--output", "json"}, args...)...)
		if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != exitOK || report.Acknowledged != 25 || report.Distinct != 25 || lines.Load() != 25 {
			t.Errorf("%v: exit %d, %d lines came, %+v (%v): %s", args, r.code, lines.Load(), report, err, r.err)
		}
	}
	check("--url", door.URL)
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "door"}, Endpoints: []jobs.Endpoint{{URL: door.URL}}})
	check("--job", "door")
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "other", Kind: "command"}})
	s.run(t, "events", "send", "--file", file, "--job", "other").want(t, exitFailed, "", "it is of kind command")
	s.run(t, "events", "send", "--file", file, "--job", "nowhere").want(t, exitFailed, "", "job list")
	s.run(t, "events", "send", "--file", file, "--url", "127.0.0.1:31000").want(t, exitUsage, "", "write it like http://")
	if r := s.run(t, "events", "send", "--file", file); r.code != exitUsage {
		t.Errorf("neither url nor job: exit %d", r.code)
	}
}

func TestSchemaWithoutServers(t *testing.T) {
	s := newShell(t, "")
	if r := s.run(t, "schema", "show", "--keyspace", "k1", "--replication", "dc1:3"); r.code != exitOK ||
		!strings.Contains(r.out, "CREATE TABLE IF NOT EXISTS k1.event (id uuid, ad_id uuid, campaign uuid, ts bigint, type text, PRIMARY KEY (id));") ||
		!strings.Contains(r.out, "{'class': 'NetworkTopologyStrategy', 'dc1': 3}") {
		t.Errorf("show: exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, args := range [][]string{{"show", "--keyspace", "K-1"}, {"show", "--replication", "x"}, {"apply"}} {
		if r := s.run(t, append([]string{"schema"}, args...)...); r.code != exitUsage {
			t.Errorf("%v: exit %d: %s", args, r.code, r.err)
		}
	}
	for _, server := range []string{"--cassandra=127.0.0.1:1", "--s3=http://k:s@127.0.0.1:1"} {
		if r := s.run(t, "schema", "apply", server); r.code != exitUnreachable || !strings.Contains(r.err, "tidemill stack up") {
			t.Errorf("%s: exit %d: %s", server, r.code, r.err)
		}
	}
}

func TestSchemaApply(t *testing.T) {
	addresses := stacktest.Shared(t)
	s := newShell(t, "")
	apply := []string{"schema", "apply", "--kafka", addresses.Kafka[0], "--topic", "schema_test", "--partitions", "2", "--bucket", "schema-test",
		"--s3", strings.Replace(addresses.S3.Endpoint, "http://", "http://"+addresses.S3.AccessKey+":"+addresses.S3.SecretKey+"@", 1) + "?region=" + addresses.S3.Region}
	if r := s.run(t, apply...); r.code != exitOK {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	r := s.run(t, append(apply, "--output", "json")...)
	var list []made
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || r.code != exitOK || len(list) != 3 {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, m := range list {
		if m.Made {
			t.Errorf("%s %s was made again", m.Kind, m.Name)
		}
	}
}
