package zk

import (
	"path"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What ZooKeeper takes for the name of a znode, a strict part of it.
var plainName = regexp.MustCompile(`^[!-~]+$`)

func TestKeysAreNamesOfOneZnodeAndBack(t *testing.T) {
	p := layout{"/root"}
	rapid.Check(t, func(r *rapid.T) {
		key := rapid.OneOf(rapid.StringN(1, 40, -1), rapid.SampledFrom([]string{".", "..", "/", "...", "%2E", "a/../b"})).Draw(r, "key")
		record := p.record(key)
		name := path.Base(record)
		if !plainName.MatchString(name) || name == "." || name == ".." {
			r.Fatalf("%q becomes %q", key, name)
		}
		if strings.Count(record, "/") != 4 {
			r.Fatalf("%q lies at %s", key, record)
		}
		if back, err := unescape(name); err != nil || back != key {
			r.Fatalf("%q came back as %q, %v", key, back, err)
		}
	})
}

func TestSequences(t *testing.T) {
	names := []string{"n-B-0000000010", "log_replicas", "n-A-0000000009", "short", "n-C-00000x0001"}
	got := inOrder(names)
	if len(got) != 2 || got[0] != "n-A-0000000009" || got[1] != "n-B-0000000010" {
		t.Errorf("got %v", got)
	}
}
