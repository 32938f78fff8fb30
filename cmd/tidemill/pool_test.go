package main

import (
	"strings"
	"testing"
)

func TestPools(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "pool", "set", "readers", "--slots", "4", "--description", "full scans").want(t, exitOK, "readers  4", "")
	s.run(t, "pool", "list").want(t, exitOK, "full scans", "")
	s.stdin = "- { name: writers, slots: 2 }\n- { name: readers, slots: 8 }\n"
	s.run(t, "pool", "set", "-f", "-").want(t, exitOK, "readers  8", "")
	s.run(t, "pool", "list", "-o", "json").want(t, exitOK, `"slots": 2`, "")
	s.stdin = "- { name: writers, slots: 3 }\n- { name: other, slotz: 8 }\n"
	s.run(t, "pool", "set", "-f", "-").want(t, exitUsage, "", `unknown field; is it "slots" that you mean?`)
	if list := s.run(t, "pool", "list"); strings.Contains(list.out, "3") {
		t.Errorf("a file with a fault was set in part:\n%s", list.out)
	}
	s.run(t, "pool", "set", "readers").want(t, exitUsage, "", "pool readers: slots: 0 is not within 1 to 1000000")
	s.run(t, "pool", "set").want(t, exitUsage, "", "name a pool and its --slots")
	s.run(t, "pool", "set", "readers", "-f", "-").want(t, exitUsage, "", "name a pool and its --slots")
	s.run(t, "pool", "delete", "readers").want(t, exitOK, "", "readers deleted")
	s.run(t, "pool", "delete", "readers").want(t, exitFailed, "", "no pool has that name")
}

func TestHold(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "framework", "hold").want(t, exitUsage, "", "--reason")
	s.run(t, "framework", "hold", "--reason", "new disks").want(t, exitOK, "new disks", "")
	status, err := s.Status(t.Context())
	if err != nil || status.Hold == nil || status.Hold.Reason != "new disks" {
		t.Errorf("the status says %+v, %v", status.Hold, err)
	}
	s.run(t, "framework", "release").want(t, exitOK, "", "no longer held")
}
