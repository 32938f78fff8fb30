package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// deployed is the text of a file below deploy.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parsed reads YAML into a T.
func parsed[T any](t *testing.T, name string) T {
	t.Helper()
	var v T
	if err := yaml.Unmarshal([]byte(deployed(t, name)), &v); err != nil {
		t.Fatalf("deploy/%s: %v", name, err)
	}
	return v
}

// holdCommand holds a command line of a file of deploy, and its environment, against the program's grammar.
func holdCommand(t *testing.T, name, line string, environment []string) {
	t.Helper()
	parser, err := kong.New(&commandLine{})
	if err != nil {
		t.Fatal(err)
	}
	if fault := misnamed(parser.Model.Node, line); fault != "" {
		t.Errorf("deploy/%s: %q: %s", name, line, fault)
	}
	var known []string
	for _, flag := range slices.Concat(parser.Model.Flags, child(parser.Model.Node, "scheduler").Flags) {
		known = append(known, flag.Envs...)
	}
	for _, variable := range environment {
		if !slices.Contains(known, variable) {
			t.Errorf("deploy/%s: nothing reads %s", name, variable)
		}
	}
}

type composition struct {
	Services map[string]struct {
		Image       string
		Command     []string
		Environment map[string]string
		Secrets     []string
		Build       struct{ Dockerfile, Context string }
		NetworkMode string `yaml:"network_mode"`
		Volumes     []string
		DependsOn   any `yaml:"depends_on"`
	}
	Secrets map[string]struct{ File string }
	Volumes map[string]any
}

func TestComposition(t *testing.T) {
	const name = "compose/compose.yaml"
	c := parsed[composition](t, name)
	mills := 0
	for service, s := range c.Services {
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: the image %q has no tag of its own", service, s.Image)
		}
		if other, ok := strings.CutPrefix(s.NetworkMode, "service:"); ok && c.Services[other].Image == "" {
			t.Errorf("%s is beside %s, which is no service", service, other)
		}
		for _, volume := range s.Volumes {
			if source, _, _ := strings.Cut(volume, ":"); !strings.HasPrefix(source, ".") {
				if _, ok := c.Volumes[source]; !ok {
					t.Errorf("%s: the volume %s is not declared", service, source)
				}
			}
		}
		if !strings.HasPrefix(s.Image, "tidemill:") {
			continue
		}
		mills++
		holdCommand(t, name, strings.Join(s.Command, " "), slices.Collect(maps.Keys(s.Environment)))
		if want := "--advertise=http://" + service + ":8470"; !slices.Contains(s.Command, want) {
			t.Errorf("%s is started with %q, want %s", service, s.Command, want)
		}
		if secret := filepath.Base(s.Environment["TIDEMILL_TOKEN_FILE"]); !slices.Contains(s.Secrets, secret) || c.Secrets[secret].File == "" {
			t.Errorf("%s: the token file is no secret of its", service)
		}
		if _, err := os.Stat(filepath.Join("../../deploy/compose", s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", service, err)
		}
	}
	if mills != 3 {
		t.Errorf("%d schedulers, want 3", mills)
	}
}

// The servers of the composition are of the versions that the tests run against.
func TestComposedServersAreTheTestedOnes(t *testing.T) {
	c := parsed[composition](t, "compose/compose.yaml")
	version := regexp.MustCompile(`<version>(\d+\.\d+\.\d+)</version>`)
	for service, pom := range map[string]string{"zookeeper": "zookeeper", "kafka": "kafka", "cassandra-1": "cassandra"} {
		found := version.FindStringSubmatch(deployed(t, "poms/"+pom+"/pom.xml"))
		if found == nil {
			t.Fatalf("the pom of %s names no version", pom)
		}
		if image := c.Services[service].Image; !strings.HasSuffix(image, ":"+found[1]) {
			t.Errorf("%s is %s, and the tests run against %s", service, image, found[1])
		}
	}
}

func TestMarathonApp(t *testing.T) {
	const name = "marathon/tidemill.json"
	var app struct {
		Instances       int
		Cmd             string
		Env             map[string]string
		RequirePorts    bool
		PortDefinitions []struct{ Port int }
		HealthChecks    []struct {
			Protocol, Path string
			PortIndex      int
		}
		UpgradeStrategy struct{ MinimumHealthCapacity float64 }
	}
	if err := json.Unmarshal([]byte(deployed(t, name)), &app); err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(app.Cmd, "tidemill ")
	holdCommand(t, name, line, slices.Collect(maps.Keys(app.Env)))
	// Rolling needs room for one to be away, and two to elect from.
	if keep := app.UpgradeStrategy.MinimumHealthCapacity; app.Instances != 3 || keep <= 1./3 || keep > 2./3 {
		t.Errorf("%d instances, of which %v stay while it is upgraded", app.Instances, keep)
	}
	if len(app.PortDefinitions) != 1 || len(app.HealthChecks) != 1 || app.HealthChecks[0].PortIndex != 0 || app.HealthChecks[0].Path != "/healthz" {
		t.Fatalf("ports %v, health checks %v: want one of each, at /healthz", app.PortDefinitions, app.HealthChecks)
	}
	if port := fmt.Sprint(":", app.PortDefinitions[0].Port); !app.RequirePorts || !strings.HasSuffix(app.Env["TIDEMILL_ARTIFACT_URL"], port) {
		t.Errorf("agents fetch from %s, which need not be the port %s", app.Env["TIDEMILL_ARTIFACT_URL"], port)
	}
}

func TestSystemdUnit(t *testing.T) {
	const name = "systemd/tidemill-scheduler.service"
	section, unit := "", map[string]string{}
	for line := range strings.Lines(deployed(t, name)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
		}
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			unit[section+"."+key] = value
		}
	}
	for _, key := range []string{
		"Unit.Description", "Unit.After", "Service.User", "Service.EnvironmentFile", "Service.ExecStart",
		"Service.Restart", "Service.TimeoutStopSec", "Service.NoNewPrivileges", "Install.WantedBy",
	} {
		if unit[key] == "" {
			t.Errorf("the unit has no %s", key)
		}
	}
	if want := fmt.Sprint(exitUsage, exitRemoved); unit["Service.RestartPreventExitStatus"] != want {
		t.Errorf("it is started again after one of the exits %s: a wrong configuration, a removed framework", want)
	}
	const example = "systemd/tidemill.env.example"
	var variables []string
	for line := range strings.Lines(deployed(t, example)) {
		if variable, _, ok := strings.Cut(strings.TrimPrefix(line, "#"), "="); ok && strings.HasPrefix(variable, "TIDEMILL_") {
			variables = append(variables, variable)
		}
	}
	_, line, _ := strings.Cut(unit["Service.ExecStart"], "tidemill ")
	holdCommand(t, name, line, nil)
	holdCommand(t, example, line, variables)
	if len(variables) < 5 {
		t.Errorf("the example sets %q only", variables)
	}
}

// Systemd itself has the last word, where it is: on a copy that starts a program and is of a user
// which this machine has.
func TestSystemdVerifiesTheUnit(t *testing.T) {
	verifier, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze on this machine")
	}
	program, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/usr/local/bin/tidemill", program, "User=tidemill", "User=root", "Group=tidemill", "Group=root").
		Replace(deployed(t, "systemd/tidemill-scheduler.service"))
	path := filepath.Join(t.TempDir(), "tidemill-scheduler.service")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), verifier, "verify", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), filepath.Base(path)) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The image is what the Makefile builds: no command of its own that could drift.
func TestDockerfileBuildsAsTheMakefileDoes(t *testing.T) {
	var built, from []string
	user, checked := "", ""
	for line := range strings.Lines(strings.ReplaceAll(deployed(t, "docker/Dockerfile"), "\\\n", "")) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch instruction {
		case "RUN":
			built = append(built, rest)
		case "FROM":
			from = append(from, rest)
		case "USER":
			user = rest
		case "HEALTHCHECK":
			checked = rest
		}
	}
	if want := []string{"go mod download", "make build"}; !slices.Equal(built, want) {
		t.Errorf("it runs %q, want %q", built, want)
	}
	if len(from) != 2 || user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("stages %q as user %q: want two stages, and another user than root", from, user)
	}
	if !strings.Contains(checked, ":8470/healthz") {
		t.Errorf("the health check is %q", checked)
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if needs := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod)); !strings.HasPrefix(from[0], "golang:"+needs[1]+"-") {
		t.Errorf("it builds with %s, and go.mod needs %s", from[0], needs[1])
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(makefile), "-o bin/tidemill ./cmd/tidemill") || !strings.Contains(deployed(t, "docker/Dockerfile"), "/src/bin/tidemill ") {
		t.Error("it copies another file than the Makefile builds")
	}
}

type (
	alerts struct {
		Groups []struct{ Rules []alert }
	}
	alert struct {
		Alert, Expr, For string
		Labels           map[string]string
		Annotations      map[string]string
	}
	board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
)

// Every alert says how bad it is and what is wrong, and has its paragraph for operators.
func TestAlertsAreExplained(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules(t) {
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", rule.Alert, severity)
		}
		if rule.Annotations["summary"] == "" || !strings.Contains(string(manual), "`"+rule.Alert+"`") {
			t.Errorf("%s has no summary, or docs/operations.md does not explain it", rule.Alert)
		}
		if rule.For != "" {
			if _, err := time.ParseDuration(rule.For); err != nil {
				t.Errorf("%s: %v", rule.Alert, err)
			}
		}
	}
	for _, named := range regexp.MustCompile("`(Tidemill[A-Z][A-Za-z]+)`").FindAllStringSubmatch(string(manual), -1) {
		if !slices.ContainsFunc(rules(t), func(r alert) bool { return r.Alert == named[1] }) {
			t.Errorf("docs/operations.md explains %s, which is no alert", named[1])
		}
	}
}

func rules(t *testing.T) []alert {
	t.Helper()
	var list []alert
	for _, group := range parsed[alerts](t, "prometheus/alerts.yaml").Groups {
		list = append(list, group.Rules...)
	}
	if len(list) == 0 {
		t.Fatal("no alerts")
	}
	return list
}

// TestWatchedMetricsExist holds what alerts, the board and the manual name against what a scheduler that leads shows.
func TestWatchedMetricsExist(t *testing.T) {
	shown := scrape(t)
	named := regexp.MustCompile(`\b(?:tidemill|process|go)_[a-z0-9_]+`)
	expect := func(where, text string) {
		found := named.FindAllString(text, -1)
		if len(found) == 0 && !strings.HasPrefix(text, "up{") {
			t.Errorf("%s: %q asks for no metric of ours", where, text)
		}
		for _, name := range found {
			if !shown[name] {
				t.Errorf("%s: no scheduler shows %s", where, name)
			}
		}
	}
	for _, rule := range rules(t) {
		expect(rule.Alert, rule.Expr)
	}
	var b board
	if err := json.Unmarshal([]byte(deployed(t, "grafana/tidemill.json")), &b); err != nil {
		t.Fatal(err)
	}
	for _, panel := range b.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			expect("the panel "+panel.Title, target.Expr)
		}
	}
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	expect("docs/operations.md", string(manual))
	for name := range shown {
		if strings.HasPrefix(name, "tidemill_scheduler_") && !strings.Contains(string(manual), "`"+name+"`") {
			t.Errorf("docs/operations.md does not say what %s means", name)
		}
	}
}

// scrape is the names of all series that a scheduler shows which leads.
func scrape(t *testing.T) map[string]bool {
	t.Helper()
	local := startLocal(t, buildProgram(t), filepath.Join(t.TempDir(), "state"))
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(local.greeting)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s, %v", answer.Status, err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, " "); ok && name != "#" {
			name, _, _ = strings.Cut(name, "{")
			names[name] = true
		}
	}
	local.interrupt(t)
	return names
}
