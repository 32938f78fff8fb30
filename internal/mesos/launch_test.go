package mesos

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/jobs"
	"tidemill/scheduler"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

func specWithEverything() scheduler.ExecutorSpec {
	return scheduler.ExecutorSpec{
		ID: "tidemill-0a1b2c", Name: "tidemill shared", Command: "./tidemill", Arguments: []string{"executor", "--shared"},
		Artifact: "http://127.0.0.1:8080/artifacts/tidemill", User: "mill",
		Env:       map[string]string{"ZONE": "UTC", "A": "1", "M": "", "B": "2"},
		Resources: jobs.Resources{CPUs: 0.1, Mem: 64, Disk: 10}, Grace: 20 * time.Second,
	}
}

// golden compares a JSON document with its file.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("%s (-file +got; -rewrite if it is meant, but living executors are refused then):\n%s", file, diff)
	}
}

func TestExecutorInfoIsStable(t *testing.T) {
	spec := specWithEverything()
	first, err := executorInfo(&spec, "mill").MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "executor_info.json", first)
	for range 50 {
		spec := specWithEverything()
		again, err := executorInfo(&spec, "mill").MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Fatalf("another time another info:\n%s\n%s", first, again)
		}
	}
}

func TestExecutorWithoutArtifact(t *testing.T) {
	info := executorInfo(&scheduler.ExecutorSpec{ID: "e", Command: "/usr/bin/tidemill"}, "*")
	if info.Command.GetValue() != "/usr/bin/tidemill" || len(info.Command.URIs) != 0 || info.Command.GetShell() {
		t.Errorf("command %v", info.Command)
	}
	if diff := cmp.Diff([]string{"/usr/bin/tidemill"}, info.Command.Arguments); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
}

func resource(name string, v float64, change ...func(*mesos.Resource)) mesos.Resource {
	role := "*"
	r := scalar(name, v, "mill")
	r.Role = &role
	for _, c := range change {
		c(&r)
	}
	return r
}

func portsOf(ranges ...uint64) mesos.Resource {
	r := mesos.Resource{Name: ports, Type: mesos.RANGES.Enum(), Ranges: &mesos.Value_Ranges{}, AllocationInfo: allocation("mill")}
	for i := 0; i < len(ranges); i += 2 {
		r.Ranges.Range = append(r.Ranges.Range, mesos.Value_Range{Begin: ranges[i], End: ranges[i+1]})
	}
	return r
}

func forRole(r *mesos.Resource) { role := "mill"; r.Role = &role }

func refined(r *mesos.Resource) {
	role := "mill"
	r.Role = nil
	r.Reservations = []mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: &role}}
}

func volume(r *mesos.Resource) { r.Disk = &mesos.Resource_DiskInfo{} }

func offerWith(id string, resources ...mesos.Resource) mesos.Offer {
	role := "mill"
	return mesos.Offer{
		ID: mesos.OfferID{Value: id}, AgentID: mesos.AgentID{Value: "S1"}, Hostname: "agent-a",
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: &role}, Resources: resources,
	}
}

func TestOfferSums(t *testing.T) {
	o := offerWith("O1",
		resource(cpus, 1.5), resource(cpus, 0.5, forRole), resource(mem, 1024), resource(disk, 100), resource(disk, 900, volume),
		resource(cpus, 8, func(r *mesos.Resource) { r.Revocable = &mesos.Resource_RevocableInfo{} }),
		portsOf(31005, 31009, 31000, 31001))
	ip, zone := "127.0.0.1", "z1"
	o.URL = &mesos.URL{Scheme: "http", Address: mesos.Address{IP: &ip, Port: 5051}}
	o.Domain = &mesos.DomainInfo{FaultDomain: &mesos.DomainInfo_FaultDomain{
		Region: mesos.DomainInfo_FaultDomain_RegionInfo{Name: "r1"}, Zone: mesos.DomainInfo_FaultDomain_ZoneInfo{Name: zone}}}
	o.Attributes = []mesos.Attribute{
		{Name: "rack", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "a"}},
		{Name: "num", Type: mesos.SCALAR, Scalar: &mesos.Value_Scalar{Value: 3}},
		{Name: "range", Type: mesos.RANGES, Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 1, End: 5}, {Begin: 7, End: 7}}}},
		{Name: "set", Type: mesos.SET, Set: &mesos.Value_Set{Item: []string{"x", "y"}}},
	}
	o.ExecutorIDs = []mesos.ExecutorID{{Value: "e1"}}
	want := jobs.Offer{
		ID: "O1", AgentID: "S1", Hostname: "agent-a", Address: "127.0.0.1:5051", Region: "r1", Zone: "z1", Role: "mill",
		Resources:  jobs.Resources{CPUs: 2, Mem: 1024, Disk: 100, Ports: 7},
		PortRanges: []jobs.PortRange{{Begin: 31000, End: 31001}, {Begin: 31005, End: 31009}},
		Reserved:   []jobs.Reservation{{Resource: cpus, Amount: 0.5, As: `{"name":"cpus","type":"SCALAR","role":"mill","reservations":null}`}},
		Attributes: map[string]string{"rack": "a", "num": "3", "range": "[1-5,7-7]", "set": "{x,y}"},
		Executors:  []string{"e1"},
	}
	if diff := cmp.Diff(want, offerOf(&o, false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// text writes resources as "cpus:0.5(mill)", for tables.
func text(all []mesos.Resource) []string {
	var out []string
	for _, r := range all {
		how := "*"
		if reserved(&r) {
			how = "reserved"
		}
		amount := attributeText(&mesos.Attribute{Type: r.GetType(), Scalar: r.Scalar, Ranges: r.Ranges})
		out = append(out, r.Name+":"+amount+" "+how+" for "+r.GetAllocationInfo().GetRole())
	}
	return out
}

func TestLaunchPicksResources(t *testing.T) {
	executor := func(id string) scheduler.ExecutorSpec {
		return scheduler.ExecutorSpec{ID: id, Command: "x", Resources: jobs.Resources{CPUs: 0.1, Mem: 32}}
	}
	task := func(id, executorID string, r jobs.Resources, p ...uint64) scheduler.Launch {
		return scheduler.Launch{Task: jobs.TaskID(id), Agent: "S1", Executor: executor(executorID), Resources: r, Ports: p}
	}
	tests := []struct {
		name     string
		offers   []mesos.Offer
		launches []scheduler.Launch
		want     [][]string // per task
	}{
		{
			name:     "one offer, two tasks of one executor",
			offers:   []mesos.Offer{offerWith("O1", resource(cpus, 1), resource(mem, 100))},
			launches: []scheduler.Launch{task("a", "e", jobs.Resources{CPUs: 0.5, Mem: 32}), task("b", "e", jobs.Resources{CPUs: 0.4, Mem: 36})},
			want:     [][]string{{"cpus:0.5 * for mill", "mem:32 * for mill"}, {"cpus:0.4 * for mill", "mem:36 * for mill"}},
		},
		{
			name: "reserved first, what is refined keeps its reservation, then the rest",
			offers: []mesos.Offer{offerWith("O1", resource(cpus, 1), resource(cpus, 0.25, forRole), resource(mem, 64),
				resource(mem, 64, refined))},
			launches: []scheduler.Launch{task("a", "e", jobs.Resources{CPUs: 0.5, Mem: 80})},
			want: [][]string{{"cpus:0.25 reserved for mill", "cpus:0.25 * for mill",
				"mem:64 reserved for mill", "mem:16 * for mill"}},
		},
		{
			name:     "two offers of one agent",
			offers:   []mesos.Offer{offerWith("O1", resource(cpus, 0.5)), offerWith("O2", resource(cpus, 0.7))},
			launches: []scheduler.Launch{task("a", "e", jobs.Resources{CPUs: 1})},
			want:     [][]string{{"cpus:0.4 * for mill", "cpus:0.6 * for mill"}},
		},
		{
			name:     "exact ports, out of several ranges",
			offers:   []mesos.Offer{offerWith("O1", portsOf(31000, 31009, 31020, 31029))},
			launches: []scheduler.Launch{task("a", "e", jobs.Resources{Ports: 3}, 31021, 31003, 31002), task("b", "e", jobs.Resources{Ports: 1}, 31004)},
			want:     [][]string{{"ports:[31002-31003,31021-31021] * for mill"}, {"ports:[31004-31004] * for mill"}},
		},
		{
			name: "an executor that lives there is not paid again",
			offers: []mesos.Offer{func() mesos.Offer {
				o := offerWith("O1", resource(cpus, 1))
				o.ExecutorIDs = []mesos.ExecutorID{{Value: "e"}}
				return o
			}()},
			launches: []scheduler.Launch{task("a", "e", jobs.Resources{CPUs: 1})},
			want:     [][]string{{"cpus:1 * for mill"}},
		},
		{
			name:     "more than offered is asked for all the same: Mesos says what is short",
			offers:   []mesos.Offer{offerWith("O1", resource(cpus, 0.5, forRole), portsOf(31000, 31000))},
			launches: []scheduler.Launch{task("a", "e", jobs.Resources{CPUs: 2}, 31000, 31007)},
			want: [][]string{{"cpus:0.5 reserved for mill", "cpus:1.5 * for mill",
				"ports:[31000-31000] * for mill", "ports:[31007-31007] * for mill"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBook()
			b.add(tt.offers)
			var ids []string
			for _, o := range tt.offers {
				ids = append(ids, o.ID.Value)
			}
			call, answered, err := encodeCall(scheduler.Accept{Offers: ids, Launches: tt.launches}, b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ids, answered); diff != "" {
				t.Errorf("answered (-want +got):\n%s", diff)
			}
			var got [][]string
			for _, info := range call.Accept.Operations[0].Launch.TaskInfos {
				got = append(got, text(info.Resources))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("resources (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExecutorOutOfAReservation: it and its task take what is reserved, told
// apart by all that Mesos compares.
func TestExecutorOutOfAReservation(t *testing.T) {
	labelled := func(r *mesos.Resource) {
		refined(r)
		r.Reservations[0].Labels = &mesos.Labels{Labels: []mesos.Label{{Key: "pool"}}}
	}
	o := offerWith("O1", resource(cpus, 1, forRole), resource(mem, 64), resource(mem, 64, refined), resource(mem, 512, labelled))
	b := newBook()
	b.add([]mesos.Offer{o})
	spec := scheduler.ExecutorSpec{ID: "e", Command: "x", Role: "mill", Resources: jobs.Resources{CPUs: 0.25, Mem: 128}, Reserved: map[string]string{}}
	for _, r := range offerOf(&o, false).Reserved {
		if r.Resource == cpus || r.Amount == 512 {
			spec.Reserved[r.Resource] = r.As
		}
	}
	infos := taskInfos(scheduler.Accept{Offers: []string{"O1"}, Launches: []scheduler.Launch{
		{Task: "a", Executor: spec, Resources: jobs.Resources{CPUs: 0.75, Mem: 512}},
	}}, b)
	want := []string{"cpus:0.25 reserved for mill", "mem:128 reserved for mill"}
	if diff := cmp.Diff(want, text(infos[0].Executor.Resources)); diff != "" {
		t.Errorf("executor's resources (-want +got):\n%s", diff)
	}
	if got := infos[0].Executor.Resources[1].Reservations[0].Labels; got == nil || got.Labels[0].Key != "pool" {
		t.Errorf("the reservation's labels are %v", got)
	}
	want = []string{"cpus:0.75 reserved for mill", "mem:64 reserved for mill", "mem:384 reserved for mill", "mem:64 * for mill"}
	if diff := cmp.Diff(want, text(infos[0].Resources)); diff != "" {
		t.Errorf("task's resources (-want +got):\n%s", diff)
	}
}

func TestAcceptOnTheWire(t *testing.T) {
	b := newBook()
	b.add([]mesos.Offer{offerWith("O1", resource(cpus, 2), resource(mem, 1024), portsOf(31000, 31099))})
	call, _, err := encodeCall(scheduler.Accept{
		Offers: []string{"O1"}, Refuse: 1500 * time.Millisecond,
		Launches: []scheduler.Launch{{
			Task: "job.1.20260101T000000Z.0.1.0.1", Name: "job", Agent: "S1", Executor: specWithEverything(),
			Resources: jobs.Resources{CPUs: 0.5, Mem: 128, Ports: 1}, Ports: []uint64{31007}, Data: []byte("{}"),
			Labels: map[string]string{"run": "r", "job": "j"}, KillGrace: 5 * time.Second,
		}},
	}, b)
	if err != nil {
		t.Fatal(err)
	}
	body, err := JSON.encode(call)
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "accept.json", body)
}
