package chronos_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tidemill/api/chronos"
	"tidemill/jobs"
)

// inContainer translates a job that has this container.
func inContainer(t *testing.T, doc, more string, stored *jobs.JobView) (jobs.Job, error) {
	t.Helper()
	source, err := chronos.Decode([]byte(`{"name":"a","command":"render","schedule":"R/2030-01-01T00:00:00Z/P1D","container":` + doc + more + `}`))
	if err != nil {
		t.Fatal(err)
	}
	j, _, err := chronos.Translation{}.Job(source, stored)
	if err == nil {
		j, _, err = kinds(t).Check(j)
	}
	return j, err
}

func containerOf(t *testing.T, j jobs.Job) *jobs.Container {
	t.Helper()
	var s struct {
		Container *jobs.Container `json:"container"`
	}
	if err := json.Unmarshal(j.Spec, &s); err != nil {
		t.Fatal(err)
	}
	return s.Container
}

func TestContainers(t *testing.T) {
	const full = `"networkInfos":[],"volumes":[],"forcePullImage":false,"parameters":[]}`
	for sent, want := range map[string]struct {
		stored jobs.Container
		shown  string // "" for what was sent
	}{
		`{"image":"debian"}`: {jobs.Container{Type: "docker", Image: "debian", Network: "host"}, `{"type":"DOCKER","image":"debian","network":"HOST",` + full},
		`{"type":"docker","image":"debian","network":"host","volumes":null}`: {
			jobs.Container{Type: "docker", Image: "debian", Network: "host"}, `{"type":"DOCKER","image":"debian","network":"HOST",` + full},
		`{"type":"DOCKER","image":"a:7","network":"BRIDGE","networkInfos":[{"name":"","portMappings":[{"hostPort":0,"containerPort":8080}]}],` +
			`"volumes":[{"hostPath":"/srv/fonts","containerPath":"/fonts","mode":"RO"},{"containerPath":"/tmp","mode":"RW"}],"forcePullImage":true,"parameters":[{"key":"cap-drop","value":"ALL"}]}`: {
			stored: jobs.Container{Type: "docker", Image: "a:7", Network: "bridge", Ports: []int{8080}, ForcePull: true,
				Volumes:    []jobs.Volume{{Container: "/fonts", Host: "/srv/fonts", Mode: "ro"}, {Container: "/tmp", Mode: "rw"}},
				Parameters: []jobs.Parameter{{Key: "cap-drop", Value: "ALL"}}}},
		`{"type":"DOCKER","image":"a","network":"USER","networkName":"blue","networkInfos":[{"name":"blue"}],"volumes":[],"forcePullImage":false,"parameters":[]}`: {
			stored: jobs.Container{Type: "docker", Image: "a", Network: "blue"}},
		`{"type":"MESOS","image":"a","networkInfos":[{"name":"cni","labels":[],"portMappings":[{"containerPort":"53","protocol":"tcp"}]}]}`: {
			jobs.Container{Type: "mesos", Image: "a", Network: "cni", Ports: []int{53}},
			`{"type":"MESOS","image":"a","network":"USER","networkName":"cni","networkInfos":[{"name":"cni","portMappings":[{"hostPort":0,"containerPort":53}]}],"volumes":[],"forcePullImage":false,"parameters":[]}`},
	} {
		j, err := inContainer(t, sent, "", nil)
		if err != nil {
			t.Errorf("%s: %v", sent, err)
			continue
		}
		stored := containerOf(t, j)
		if diff := cmp.Diff(&want.stored, stored, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sent, diff)
		}
		shown := chronos.FromView(jobs.JobView{Job: j})
		if want.shown == "" {
			want.shown = sent
		}
		if diff := cmp.Diff(want.shown, string(shown.Container)); diff != "" {
			t.Errorf("%s is shown so (-want +got):\n%s", sent, diff)
		}
		again, err := inContainer(t, string(shown.Container), "", &jobs.JobView{Job: j})
		if diff := cmp.Diff(j, again); err != nil || diff != "" {
			t.Errorf("%s sent again: %v\n%s", sent, err, diff)
		}
	}
}

func TestContainersThatAreRefused(t *testing.T) {
	for doc, want := range map[string]string{
		`{}`:                             "container.image",
		`"debian"`:                       "container: cannot unmarshal string",
		`{"image":"a","type":"RKT"}`:     "container.type",
		`{"image":"a","network":"USER"}`: "container.networkName: network USER needs the name of one",
		`{"image":"a","network":"blue"}`: `container.network: "blue" is not HOST, BRIDGE or USER`,
		`{"image":"a","networkName":"x","network":"USER","networkInfos":[{"name":"y"}]}`:                          "are two networks",
		`{"image":"a","networkInfos":[{"name":"x"},{"name":"y"}]}`:                                                "container.networkInfos: 2 networks",
		`{"image":"a","network":"USER","networkInfos":[{"name":"x","protocol":"IPv6"}]}`:                          "protocol and labels",
		`{"image":"a","network":"BRIDGE","networkInfos":[{"portMappings":[{"hostPort":80,"containerPort":80}]}]}`: "hostPort and protocol",
		`{"image":"a","volumes":[{"containerPath":"/a","external":{"name":"v","provider":"dvdi"}}]}`:              "container.volumes[0].external",
		`{"image":"a","volumes":[{"containerPath":"a"}]}`:                                                         "container.volumes[0].container",
		`{"image":"a","type":"MESOS","parameters":[{"key":"cap-drop","value":"ALL"}]}`:                            "container.parameters",
		`{"image":"a","volumes":[{"containerPath":"/a","hostPath":"../../etc"}]}`:                                 "container.volumes[0].host",
	} {
		if _, err := inContainer(t, doc, "", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", doc, err, want)
		}
	}
}

// The image says what is run where the job does not, and an update keeps what
// Chronos has no word for, but not a container that is no longer there.
func TestContainerOfAnUpdate(t *testing.T) {
	j, err := inContainer(t, `{"image":"a"}`, `,"command":"","shell":false`, nil)
	if err != nil || string(j.Spec) != `{"container":{"type":"docker","image":"a","network":"host"}}` {
		t.Errorf("without a command: %s, %v", j.Spec, err)
	}
	j.Spec = json.RawMessage(`{"container":{"image":"a","privileged":true},"idempotent":true}`)
	next, err := inContainer(t, `{"image":"b"}`, "", &jobs.JobView{Job: j})
	if box := containerOf(t, next); err != nil || box == nil || !box.Privileged || box.Image != "b" || !strings.Contains(string(next.Spec), "idempotent") {
		t.Errorf("with another image: %s, %v", next.Spec, err)
	}
	next, err = inContainer(t, `null`, "", &jobs.JobView{Job: j})
	if err != nil || containerOf(t, next) != nil {
		t.Errorf("without a container: %s, %v", next.Spec, err)
	}
}
