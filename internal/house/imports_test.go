package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "tidemill/"

// edges says which rooms a room may import; it is the architecture's picture. A room is the folder
// with all below it, unless a folder below has a line of its own; "…/*" is each folder on its own,
// and not its parent. What stands in a room may always import the rest of the same room.
var edges = []struct{ room, imports string }{
	// The vocabulary: nothing of ours but the schedule.
	{"jobs", "jobs/schedule"},
	{"jobs/schedule", ""},
	{"jobs/event", ""},
	// The kinds: none knows another, nor who runs it.
	{"jobs/*", "jobs jobs/event jobs/archive/line internal/cassandra internal/kafka internal/s3 internal/dirty"},
	{"jobs/archive/line", ""},
	// The core, and the rooms around it: they see kinds through the registry only.
	{"scheduler", "jobs jobs/schedule scheduler/match"},
	{"scheduler/match", "jobs"},
	{"executor", "jobs"},
	{"api", "jobs jobs/schedule internal/rest internal/jobfile"},
	// Adapters: they implement the ports of those above.
	{"zk", "jobs scheduler"},
	{"internal/bolt", "jobs scheduler"},
	{"internal/mesos", "jobs scheduler executor"},
	// Technologies of the data.
	{"internal/cassandra", "jobs jobs/event"},
	{"internal/dirty", "jobs jobs/event internal/cassandra"},
	{"internal/reportview", "jobs jobs/event internal/cassandra"},
	{"internal/history", "jobs internal/cassandra"},
	{"internal/kafka", "jobs"},
	{"internal/s3", "jobs"},
	{"internal/events", "jobs/event"},
	// What users and programs speak to the API in.
	{"internal/rest", "jobs"},
	{"internal/client", "jobs internal/rest"},
	{"internal/jobfile", "jobs"},
	{"internal/config", "jobs internal/jobfile"},
	// Servers on this machine; they know nothing of Tidemill.
	{"internal/lifeline", ""},
	{"internal/mesoslocal", "internal/lifeline"},
	{"internal/stack", "deploy/poms"},
	{"internal/golden", ""},
	{"deploy/*", ""},
	{"examples", ""},
	// Proofs.
	{"internal/house", ""},
	{"internal/storetest", "scheduler"},
	{"internal/measure", ""},
	{"internal/sim", "jobs jobs/schedule scheduler"},
	{"internal/e2e", ""},
	{"internal/netns", ""},
	{"internal/faults", "jobs jobs/schedule internal/client internal/netns internal/stack"},
	{"internal/demo", "jobs jobs/event jobs/archive/line deploy/demo internal/cassandra internal/client internal/events " +
		"internal/jobfile internal/kafka internal/lifeline internal/mesoslocal internal/s3 internal/stack"},
	// Only main wires everything.
	{"cmd/tidemill", "*"},
}

// supports are packages for tests: only tests, and one another, may import them.
var supports = []string{
	"api/apitest", "internal/cassandra/cassandratest", "internal/golden", "internal/stack/stacktest", "internal/storetest", "jobs/kindtest",
}

// pure rooms decide and compute; what is worldly acts, or asks the world. The files of the core are
// held to it one by one, in TestTheCoreAsksNobody.
var (
	pure    = []string{"jobs", "jobs/schedule", "jobs/event", "scheduler/match"}
	worldly = []string{"net", "os", "syscall", "log", "math/rand", "crypto/rand", "unsafe"}
)

// source is a package as `go list` tells it.
type source struct {
	ImportPath, Dir, Name, Doc         string
	Imports                            []string
	GoFiles, TestGoFiles, XTestGoFiles []string
}

func (s source) room() string { return strings.TrimPrefix(s.ImportPath, module) }

// packages lists the module.
func packages(t *testing.T) []source {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,Name,Doc,Imports,GoFiles,TestGoFiles,XTestGoFiles", "tidemill/...")
	var errs bytes.Buffer
	list.Stderr = &errs
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errs.String())
	}
	var all []source
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var s source
		err := decoder.Decode(&s)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
}

// roomOf finds the line for a package: its own, else the nearest above it.
func roomOf(pkg string) (room, imports string, ok bool) {
	for at := pkg; at != "."; at = path.Dir(at) {
		for _, e := range edges {
			if e.room == at || e.room == path.Dir(at)+"/*" && path.Dir(at) != "." && !listed(at) {
				return at, e.imports, true
			}
		}
	}
	return "", "", false
}

func listed(room string) bool {
	for _, e := range edges {
		if e.room == room {
			return true
		}
	}
	return false
}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		room, allowed, ok := roomOf(p.room())
		if !ok {
			t.Errorf("%s has no line in the table of edges", p.room())
			continue
		}
		for _, imported := range p.Imports {
			target, ours := strings.CutPrefix(imported, module)
			if !ours || slices.Contains(supports, p.room()) {
				continue
			}
			into, _, _ := roomOf(target)
			switch {
			case slices.Contains(supports, target):
				t.Errorf("%s imports %s, which is for tests", p.room(), target)
			case into == room || allowed == "*":
			case !slices.Contains(strings.Fields(allowed), into):
				t.Errorf("%s imports %s; its room may import: %s", p.room(), target, allowed)
			}
		}
	}
}

func TestPureRoomsImportNothingOfTheWorld(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, p.room()) {
			continue
		}
		for _, imported := range p.Imports {
			first, _, _ := strings.Cut(imported, "/")
			if strings.Contains(first, ".") {
				t.Errorf("%s imports %s: only the standard library is allowed", p.room(), imported)
			}
			for _, w := range worldly {
				if imported == w || strings.HasPrefix(imported, w+"/") {
					t.Errorf("%s imports %s: it is pure", p.room(), imported)
				}
			}
		}
	}
}

// An edge that nothing uses is a door left open.
func TestEveryEdgeIsUsed(t *testing.T) {
	used := map[string]bool{}
	for _, p := range packages(t) {
		room, _, _ := roomOf(p.room())
		line := room
		if !listed(room) {
			line = path.Dir(room) + "/*"
		}
		used[line] = true
		for _, imported := range p.Imports {
			if target, ours := strings.CutPrefix(imported, module); ours {
				into, _, _ := roomOf(target)
				used[line+" "+into] = true
			}
		}
	}
	for _, e := range edges {
		if !used[e.room] {
			t.Errorf("the table has a line for %s, which is not there", e.room)
		}
		for target := range strings.FieldsSeq(e.imports) {
			if target != "*" && !used[e.room+" "+target] {
				t.Errorf("the table lets %s import %s, and it does not", e.room, target)
			}
		}
	}
}
