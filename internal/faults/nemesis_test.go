package faults

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func servers(names ...string) (list []*server) {
	for _, name := range names {
		list = append(list, &server{Host: Host{Name: name}})
	}
	return list
}

func TestWays(t *testing.T) {
	tests := []struct {
		name    string
		these   []*server
		others  []*server
		oneWay  bool
		against []Way
	}{
		{"both ways", servers("a"), servers("b"), false, []Way{{"a", "b"}, {"b", "a"}}},
		{"one way: the first are not heard", servers("a"), servers("b", "c"), true, []Way{{"a", "b"}, {"a", "c"}}},
		{"nobody", nil, servers("b"), false, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.against, ways(test.these, test.others, test.oneWay)); diff != "" {
				t.Error(diff)
			}
		})
	}
	all := servers("a", "b")
	if diff := cmp.Diff([]Way{{"a", "b"}}, ways(all[:1], all, true)); diff != "" {
		t.Errorf("nobody is cut off from itself:\n%s", diff)
	}
}

// A whole cluster has a crew for each choice of a scheduler, a master, an agent and two ZooKeeper servers.
func TestCrews(t *testing.T) {
	list := crews(Hosts())
	if want := schedulers * masters * agents * 3; len(list) != want {
		t.Errorf("%d crews, want %d", len(list), want)
	}
	for _, crew := range list {
		if len(crew) != 5 {
			t.Errorf("crew %q", crew)
		}
	}
}
