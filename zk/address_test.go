package zk

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseAddress(t *testing.T) {
	tests := []struct {
		text string
		want Address
		fail string // part of the error
	}{
		{text: "zk://a:2181/mesos", want: Address{Servers: []string{"a:2181"}, Path: "/mesos"}},
		{text: "zk://a,b:2182, c/x/y/", want: Address{Servers: []string{"a:2181", "b:2182", "c:2181"}, Path: "/x/y"}},
		{text: "zk://user:pass@a/mesos", want: Address{Servers: []string{"a:2181"}, Path: "/mesos", Auth: "user:pass"}},
		{text: "zk://user:p@ss/w:rd@a/mesos", want: Address{Servers: []string{"a:2181"}, Path: "/mesos", Auth: "user:p@ss/w:rd"}},
		{text: "zk://a", want: Address{Servers: []string{"a:2181"}, Path: "/"}},
		{text: "zk://[::1]:2182,[::1],::1/p", want: Address{Servers: []string{"[::1]:2182", "[::1]:2181", "[::1]:2181"}, Path: "/p"}},
		{text: "a:2181/mesos", fail: "zk://"},
		{text: "zk://", fail: "empty"},
		{text: "zk://a,,b/p", fail: "empty"},
		{text: "zk://a:/p", fail: "no host:port"},
		{text: "zk://user@a/p", fail: "user:password"},
		{text: "zk://a:2181x/p", fail: "no host:port"},
		{text: "zk://a:65536/p", fail: "no host:port"},
		{text: "zk://a:0/p", fail: "no host:port"},
		{text: "zk://a:b:c/p", fail: "no host:port"},
		{text: "zk://a/p//q", fail: `part ""`},
		{text: "zk://a/p/../q", fail: `part ".."`},
	}
	for _, tt := range tests {
		got, err := ParseAddress(tt.text)
		if tt.fail != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("%s: got %v, want an error with %q", tt.text, err, tt.fail)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.text, err, diff)
		}
	}
}

func TestAddressKeepsItsPasswordToItself(t *testing.T) {
	a, err := ParseAddress("zk://user:secret@a/mesos")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := a.String(), "zk://user:***@a:2181/mesos"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := ParseAddress("zk://user:secret@a:b:c/mesos"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want an error without the password", err)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"zk://a:2181/mesos", "zk://u:p@a,b/x", "zk://[::1]/", "zk://@", "zk://a//", "zk://["} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		for _, server := range a.Servers {
			if host, port, err := net.SplitHostPort(server); err != nil || host == "" || port == "" {
				t.Errorf("%q: server %q", text, server)
			}
		}
		if a.Path[0] != '/' || len(a.Path) > 1 && strings.HasSuffix(a.Path, "/") {
			t.Errorf("%q: path %q", text, a.Path)
		}
		a.Auth = ""
		again, err := ParseAddress(a.String())
		if diff := cmp.Diff(a, again); err != nil || diff != "" {
			t.Errorf("%q is read back otherwise: %v\n%s", a, err, diff)
		}
	})
}
