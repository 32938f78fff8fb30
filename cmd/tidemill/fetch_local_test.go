package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tidemill/jobs"
)

// TestDownloadsOnALocalMesos: a command finds what the agent has fetched, plain and
// unpacked, where it runs; one whose file is nowhere says so and does not begin.
func TestDownloadsOnALocalMesos(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	a := tar.NewWriter(z)
	const script = "#!/bin/sh\necho it says $(cat etc/conf)\n"
	if err := a.WriteHeader(&tar.Header{Name: "app/bin/run", Mode: 0o755, Size: int64(len(script))}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(a, script)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	files := http.NewServeMux()
	files.HandleFunc("GET /app-7.tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed.Bytes()) })
	files.HandleFunc("GET /conf", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	server := httptest.NewServer(files)
	defer server.Close()

	s := newSite(t)
	s.startAgent("cpus:8;mem:8192;disk:8192")
	m := s.startTidemill("tidemill", nil)
	me, err := currentUser()
	if err != nil {
		t.Fatal(err)
	}
	start := func(name, file string) jobs.RunID {
		t.Helper()
		job := jobs.Job{Name: jobs.Name(name), Kind: "command", Resources: jobs.Resources{CPUs: 0.1, Mem: 32}}
		job.Spec = fmt.Appendf(nil, `{"command":"./app/bin/run; ls -d a* e*","user":%q,"fetch":[{"uri":"%s/app-7.tgz","cache":true},{"uri":"%[2]s/%s","file":"etc/conf"}]}`, me, server.URL, file)
		if _, err := m.Apply(t.Context(), []jobs.Job{job}); err != nil {
			t.Fatal(err)
		}
		r, err := m.StartRun(t.Context(), jobs.RunRequest{Job: job.Name, RequestID: "1"})
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	good, bad := start("good", "conf"), start("bad", "nowhere")
	m.await("the success of what has its files", func(ctx context.Context) bool {
		v, err := m.RunView(ctx, good)
		if err == nil && v.State == jobs.RunFailed {
			t.Fatal(m.describe())
		}
		return err == nil && v.State == jobs.RunSucceeded
	})
	v, err := m.RunView(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Log(t.Context(), v.Tasks[0].ID, "stdout", 0, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	if want := "it says hello\napp\napp-7.tgz\netc\n"; string(out.Data) != want {
		t.Errorf("it wrote %q, want %q", out.Data, want)
	}
	m.await("the word on the missing file", func(ctx context.Context) bool {
		v, err := m.RunView(ctx, bad)
		return err == nil && len(v.Tasks) > 0 && v.Tasks[0].State == jobs.AttemptNotStarted && strings.Contains(v.Tasks[0].Message, "Failed to fetch all URIs")
	})
	if err := m.KillRun(t.Context(), bad, "the test is over"); err != nil {
		t.Error(err)
	}
}
