package match

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tidemill/jobs"
)

var start = time.Unix(1_700_000_000, 0)

func offer(host string, cpus float64, attributes ...string) jobs.Offer {
	o := jobs.Offer{
		ID: "O-" + host, AgentID: "A-" + host, Hostname: host, Address: host + ":5051",
		Resources: jobs.Resources{CPUs: cpus, Mem: 1000, Ports: 4}, PortRanges: []jobs.PortRange{{Begin: 31000, End: 31001}, {Begin: 31005, End: 31006}},
		Attributes: map[string]string{},
	}
	for _, a := range attributes {
		name, value, _ := strings.Cut(a, ":")
		o.Attributes[name] = value
	}
	return o
}

// TestLevelsOpenOneAfterTheOther: the wait is split evenly over the steps.
func TestLevelsOpenOneAfterTheOther(t *testing.T) {
	task := Task{Hosts: []string{"h1"}, Racks: []string{"r1"}, DC: "dc1", Since: start, Wait: 3 * time.Second, Need: jobs.Resources{CPUs: 1}}
	for _, c := range []struct {
		at    time.Duration
		offer jobs.Offer
		want  jobs.Locality // "": not placed
	}{
		{0, offer("h1", 1), jobs.LocalReplica},
		{0, offer("h2", 1, "rack:r1"), ""},
		{time.Second, offer("h2", 1, "rack:r1"), jobs.LocalRack},
		{time.Second, offer("h3", 1, "cassandra:dc1"), ""},
		{2 * time.Second, offer("h3", 1, "cassandra:dc1"), jobs.LocalDC},
		{2 * time.Second, offer("h4", 1), ""},
		{3 * time.Second, offer("h4", 1), jobs.LocalAny},
		{3 * time.Second, offer("h1", 1), jobs.LocalReplica},
	} {
		r := NewRound(start.Add(c.at), []jobs.Offer{c.offer})
		p, ok := r.Place(&task)
		if ok != (c.want != "") || p.Level != c.want {
			t.Errorf("after %s, %s: placed %t at %q, want %q", c.at, c.offer.Hostname, ok, p.Level, c.want)
		}
		if !ok {
			widens := r.Widens(&task)
			if want := start.Add(c.at.Truncate(time.Second) + time.Second); !widens.Equal(want) {
				t.Errorf("after %s it widens at %s, want %s", c.at, widens, want)
			}
			if why := fmt.Sprint(r.Explain(&task)); !strings.Contains(why, "locality") || !strings.Contains(why, "1.0 s more") {
				t.Errorf("after %s the reason is %s", c.at, why)
			}
		}
	}
}

func TestNearCassandraPrefersItsAgents(t *testing.T) {
	task := Task{Near: jobs.NearCassandra, Since: start, Wait: 3 * time.Second, Need: jobs.Resources{CPUs: 1}}
	offers := []jobs.Offer{offer("far", 8, "cassandra:false"), offer("beside", 1, "cassandra:dc1")}
	r := NewRound(start, offers)
	if p, ok := r.Place(&task); !ok || p.Offer != 1 || p.Level != jobs.LocalReplica {
		t.Errorf("placed %+v, %t", p, ok)
	}
	if p, ok := r.Place(&task); ok {
		t.Errorf("a second one was placed at %+v without waiting", p)
	}
	if p, ok := NewRound(start.Add(3*time.Second), offers[:1]).Place(&task); !ok || p.Level != jobs.LocalAny {
		t.Errorf("after its wait: %+v, %t", p, ok)
	}
}

func TestExecutorsShareIsTakenOnce(t *testing.T) {
	task := Task{Need: jobs.Resources{CPUs: 0.4}, Executor: Executor{Shared: true, Resources: jobs.Resources{CPUs: 0.2}}}
	r := NewRound(start, []jobs.Offer{offer("h", 1)})
	first, _ := r.Place(&task)
	second, ok := r.Place(&task)
	if !first.Cold || second.Cold || !ok {
		t.Errorf("first %+v, second %+v, %t", first, second, ok)
	}
	own := Task{Need: jobs.Resources{CPUs: 0.4}, Executor: Executor{Resources: jobs.Resources{CPUs: 0.2}}}
	r = NewRound(start, []jobs.Offer{offer("h", 1)})
	r.Place(&own)
	if p, ok := r.Place(&own); ok {
		t.Errorf("a second executor of its own was placed at %+v on what was left", p)
	}
}

func TestAvoidedAgentIsTakenAtLast(t *testing.T) {
	task := Task{Need: jobs.Resources{CPUs: 1}, Avoid: "A-h", Since: start, Wait: time.Second}
	if p, ok := NewRound(start, []jobs.Offer{offer("h", 1)}).Place(&task); ok {
		t.Errorf("placed at %+v", p)
	}
	if p, ok := NewRound(start, []jobs.Offer{offer("h", 1), offer("other", 1)}).Place(&task); !ok || p.Offer != 1 {
		t.Errorf("placed at %+v, %t, want the other agent", p, ok)
	}
	if _, ok := NewRound(start.Add(time.Second), []jobs.Offer{offer("h", 1)}).Place(&task); !ok {
		t.Error("it waits for ever")
	}
}

func TestRefusalsAreCountedAndNamed(t *testing.T) {
	task := Task{
		Need: jobs.Resources{CPUs: 1.5}, Constraints: Compile([]jobs.Constraint{{Field: "rack", Operator: "EQUALS", Value: "a"}}),
	}
	r := NewRound(start, []jobs.Offer{offer("h1", 1, "rack:a"), offer("h2", 1.2, "rack:a"), offer("h3", 8, "rack:b"), offer("h4", 8)})
	if p, ok := r.Place(&task); ok {
		t.Fatalf("placed at %+v", p)
	}
	got := ""
	for _, f := range r.Explain(&task) {
		got += fmt.Sprintf("%s x%d: %s\n", f.Code, f.Count, f.Message)
	}
	for _, want := range []string{"resources x2: cpus short by", "constraint x1: constraint rack EQUALS a (the agent has b)", "(the agent has nothing)"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not among\n%s", want, got)
		}
	}
}

// TestNothingIsGivenTwice: whatever is drawn, no offer gives more than it
// holds, no port goes to two tasks, and constraints hold.
func TestNothingIsGivenTwice(t *testing.T) {
	rackA := Compile([]jobs.Constraint{{Field: "rack", Operator: "EQUALS", Value: "a"}})
	rapid.Check(t, func(t *rapid.T) {
		var offers []jobs.Offer
		for i := range rapid.IntRange(1, 5).Draw(t, "offers") {
			o := offer(fmt.Sprint("h", i), float64(rapid.IntRange(0, 30).Draw(t, "cpus"))/10, "rack:"+rapid.SampledFrom([]string{"a", "b"}).Draw(t, "rack"))
			offers = append(offers, o)
		}
		r := NewRound(start.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "waited"))*time.Second), offers)
		used := make([]jobs.Resources, len(offers))
		ports := map[string]bool{}
		warm := map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "tasks") {
			task := Task{
				Need:      jobs.Resources{CPUs: float64(rapid.IntRange(1, 8).Draw(t, "need")) / 10, Ports: rapid.IntRange(0, 2).Draw(t, "ports")},
				PastPorts: rapid.IntRange(0, 9).Draw(t, "past"), Since: start, Wait: 3 * time.Second, Executor: Executor{Resources: jobs.Resources{CPUs: 0.1}},
			}
			if rapid.Bool().Draw(t, "shared") {
				task.Executor.Shared = true
			}
			if rapid.Bool().Draw(t, "hosts") {
				task.Hosts = []string{"h0", "h3"}
			}
			if rapid.Bool().Draw(t, "constrained") {
				task.Constraints = rackA
			}
			p, ok := r.Place(&task)
			if !ok {
				continue
			}
			o := offers[p.Offer]
			if task.Constraints != nil && o.Attributes["rack"] != "a" {
				t.Fatalf("a task for rack a is on %s", o.Attributes["rack"])
			}
			need := task.Need
			if key := fmt.Sprint(p.Offer); !task.Executor.Shared || !warm[key] {
				need, warm[key] = need.Add(task.Executor.Resources), true
			}
			used[p.Offer] = used[p.Offer].Add(need)
			if !used[p.Offer].Fits(o.Resources) {
				t.Fatalf("offer %s holds %v and gave %v", o.ID, o.Resources, used[p.Offer])
			}
			if len(p.Ports) != task.Need.Ports {
				t.Fatalf("%d ports for %d", len(p.Ports), task.Need.Ports)
			}
			for _, port := range p.Ports {
				key := fmt.Sprint(p.Offer, ":", port)
				if ports[key] || (port != 31000 && port != 31001 && port != 31005 && port != 31006) {
					t.Fatalf("port %s was given twice, or never offered", key)
				}
				ports[key] = true
			}
		}
	})
}

// The ports of an agent are given one after the other, from where a task asks for.
func TestPortsThatAreHeldByOthersArePassedOver(t *testing.T) {
	for past, want := range [][]uint64{{31000, 31001, 31005}, {31001, 31005, 31006}, {31005, 31006, 31000}, {31006, 31000, 31001}, {31000, 31001, 31005}} {
		r := NewRound(start, []jobs.Offer{offer("h", 2)})
		p, ok := r.Place(&Task{Need: jobs.Resources{CPUs: 1, Ports: 3}, PastPorts: past})
		if diff := cmp.Diff(want, p.Ports); !ok || diff != "" {
			t.Errorf("past %d (-want +got):\n%s", past, diff)
		}
		rest, ok := r.Place(&Task{Need: jobs.Resources{CPUs: 1, Ports: 1}, PastPorts: past})
		if !ok || slices.Contains(want, rest.Ports[0]) {
			t.Errorf("past %d: then %v is given, %t", past, rest.Ports, ok)
		}
	}
}

// TestNearPlacesAreLeftToThoseWithFewer: a task with two replicas to run
// beside takes the one that the other task does not need.
func TestNearPlacesAreLeftToThoseWithFewer(t *testing.T) {
	either := Task{Hosts: []string{"a", "b"}, Since: start, Wait: time.Second, Need: jobs.Resources{CPUs: 1}}
	only, nowhere, any := either, either, either
	only.Hosts, nowhere.Hosts, any.Since = []string{"a"}, []string{"c"}, start.Add(-time.Minute)
	r := NewRound(start, []jobs.Offer{offer("a", 1), offer("b", 1), offer("d", 9)})
	if counts := []int{r.Near(&any), r.Near(&only), r.Near(&either), r.Near(&nowhere)}; !slices.IsSorted(counts) || counts[1] != 1 || counts[2] != 2 {
		t.Errorf("near places: %v, want 0, 1, 2, and all there are", counts)
	}
	if p, ok := r.Place(&either); !ok || p.Offer != 1 {
		t.Errorf("the one with a choice is at %+v, %t, want b", p, ok)
	}
	if p, ok := r.Place(&only); !ok || p.Offer != 0 {
		t.Errorf("the one without is at %+v, %t, want a", p, ok)
	}
}
