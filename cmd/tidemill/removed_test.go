package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tidemill/jobs"
)

// remove is what an operator does who ends a framework at the master.
func (s *site) remove(framework string) {
	s.t.Helper()
	answer, err := http.PostForm("http://"+s.master.Addr()+"/teardown", url.Values{"frameworkId": {framework}})
	if err != nil {
		s.t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("tear down %s: %s", framework, answer.Status)
	}
}

// TestARemovedFrameworkEndsTheScheduler: an id that is gone for good is no
// matter of trying again.
func TestARemovedFrameworkEndsTheScheduler(t *testing.T) {
	s := newSite(t)
	m := s.startTidemill("tidemill", nil)
	id := m.framework("")
	s.remove(id)
	err := <-m.ended
	if code := exitCode(err); code != exitRemoved {
		t.Errorf("exit code %d of %v", code, err)
	}
	for _, want := range []string{id, "has been removed", "tidemill framework reset --force"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// TestARemovedFrameworkIsRegisteredAnew, where that was asked for: the jobs stay.
func TestARemovedFrameworkIsRegisteredAnew(t *testing.T) {
	s := newSite(t)
	m := s.startTidemill("tidemill", func(of *service) { of.registerAnew = true })
	first := m.framework("")
	job := jobs.Job{Name: "kept", Kind: "command", Spec: []byte(`{"command":"true"}`)}
	if _, err := m.Apply(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	s.remove(first)
	second := m.framework(first)
	s.remove(second)
	if third := m.framework(second); third == first {
		t.Errorf("framework %s is registered again", first)
	}
	if _, err := m.Job(t.Context(), "kept"); err != nil {
		t.Error(err)
	}
}
