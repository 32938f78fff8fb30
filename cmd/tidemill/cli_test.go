package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/api"
	"tidemill/api/apitest"
	"tidemill/jobs"
)

// shell runs command lines in this process against a scheduler in memory.
type shell struct {
	*apitest.Scheduler
	url   string
	stdin string
}

func newShell(t *testing.T, token string) *shell {
	t.Helper()
	for _, name := range []string{"TIDEMILL_API", "TIDEMILL_TOKEN_FILE", "TIDEMILL_CONFIG", "TIDEMILL_ZK", "TIDEMILL_KAFKA", "TIDEMILL_CASSANDRA", "TIDEMILL_S3", "TIDEMILL_MASTER"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	known, err := kinds()
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{Scheduler: &apitest.Scheduler{}}
	server, err := api.New(api.Options{Scheduler: s.Scheduler, Kinds: known, Token: token, Log: zerolog.Nop(),
		Leader: func() (string, bool, bool) { return "", true, true }})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	s.url = listening.URL
	return s
}

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

func (s *shell) run(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), append(args, "--api", s.url), console{In: strings.NewReader(s.stdin), Out: &out, Err: &errs})
	return result{code: code, out: out.String(), err: errs.String()}
}

func (r result) want(t *testing.T, code int, out, err string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.out, out) || !strings.Contains(r.err, err) {
		t.Errorf("exit code %d, want %d; want %q in:\n%s\nand %q in:\n%s", r.code, code, out, r.out, err, r.err)
	}
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const twoJobs = `name: first
kind: noop
schedule: { cron: "10 * * * *", zone: Europe/Stockholm }
---
name: second
kind: noop
after: [first]
`

func TestUsage(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "job", "lst").want(t, exitUsage, "", `did you mean "list"?`)
	s.run(t, "job", "list", "--colour").want(t, exitUsage, "", `unknown flag --colour; see "tidemill job list --help"`)
	s.run(t, "jab").want(t, exitUsage, "", `see "tidemill --help"`)
	s.run(t, "job", "run", "a", "--from", "2020-01-01").want(t, exitUsage, "", "write a time like 2026-01-31T12:00:00Z")
	s.run(t, "job", "list", "-o", "xml").want(t, exitUsage, "", "table")
	s.run(t, "local", "--dir", "/proc/nowhere", "--resources", "cpus").want(t, exitUsage, "", "write name:value, as in cpus:2")
	s.run(t, "mesos", "--resources", "cpus:2", "--resources", "mem:much").want(t, exitUsage, "", `parse resources "mem:much"`)
	s.run(t, "mesos", "--masters", "2").want(t, exitUsage, "", "give --zk")
	s.run(t, "local", "--dir", t.TempDir(), "--listen", "127.0.0.1:99999").want(t, exitUsage, "", `"99999" is no port`)
	s.run(t, "local", "--dir", t.TempDir(), "--stack", "--kafka", "k:1", "--cassandra", "c", "--s3", "http://a:b@s:1").want(t, exitUsage, "", "no server is asked for")
	s.run(t, "job", "show").want(t, exitUsage, "", "<name>")
	s.run(t, "job", "apply", "-f", "/nowhere").want(t, exitUsage, "", "/nowhere")
	s.run(t, "job", "list", "--limit", "0").want(t, exitOK, "NAME", "")
	s.run(t, "job", "list", "--limit", "9999").want(t, exitUsage, "", "query.limit")
	s.run(t, "--help").want(t, exitOK, "job validate", "")
}

func TestUnreachable(t *testing.T) {
	s := newShell(t, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	if err := l.Close(); err != nil { // now nothing listens there
		t.Fatal(err)
	}
	s.run(t, "job", "list").want(t, exitUnreachable, "", `start one with "tidemill local"`)
	s.run(t, "job", "run", "a", "--wait").want(t, exitUnreachable, "", `start one with "tidemill local"`)
	s.url = "127.0.0.1"
	s.run(t, "job", "list").want(t, exitUsage, "", "write it like http://")
}

func TestNoLeader(t *testing.T) {
	s := newShell(t, "")
	s.Fail(&jobs.Error{Code: jobs.Unavailable, Message: "the store is away", Hint: "it is tried again"})
	s.run(t, "job", "list", "--patience", "0s").want(t, exitUnreachable, "", "the store is away (it is tried again)")
}

func TestToken(t *testing.T) {
	s := newShell(t, "s3cret")
	s.run(t, "job", "list").want(t, exitFailed, "", "--token-file")
	s.run(t, "job", "list", "--token-file", file(t, "token", "s3cret\n")).want(t, exitOK, "NAME", "")
	s.run(t, "job", "list", "--token-file", file(t, "token", "wrong")).want(t, exitFailed, "", "the API asks for a token")
	s.run(t, "job", "list", "--token-file", file(t, "token", "")).want(t, exitFailed, "", "it is empty (name another file with --token-file")
}

func TestValidateAndApply(t *testing.T) {
	s := newShell(t, "")
	good, bad := file(t, "good.yaml", twoJobs), file(t, "bad.yaml", "name: a b\nkind: nop\nretri: 1\n")
	s.run(t, "job", "validate", "-f", good).want(t, exitOK, "second", "")
	s.run(t, "job", "validate", "-f", bad).want(t, exitUsage, "", bad+`:3: retri: unknown field; is it "retry" that you mean?`)
	s.run(t, "job", "apply", "-f", good, "-f", bad).want(t, exitUsage, "", "3 errors\n")
	if _, total, err := s.Jobs(t.Context(), jobs.JobQuery{Limit: 1}); total != 0 || err != nil {
		t.Errorf("%d jobs were applied beside a wrong one (%v)", total, err)
	}
	s.run(t, "job", "apply", "-f", good).want(t, exitOK, "created", "")
	s.run(t, "job", "apply", "-f", filepath.Dir(good)).want(t, exitOK, "unchanged", "")
	changed := file(t, "changed.yaml", strings.Replace(twoJobs, "10 *", "20 *", 1))
	s.run(t, "job", "apply", "-f", changed).want(t, exitOK, "replaced", "")
	s.stdin = "name: third\nkind: noop\nafter: [unheard]\n"
	s.run(t, "job", "validate", "-f", "-").want(t, exitOK, "third", "for the scheduler to know: unheard")
	s.run(t, "job", "apply", "-f", "-").want(t, exitUsage, "", `stdin:3: after[0]: no job is named "unheard"`)
	s.stdin = twoJobs + "---\nname: fourth\nkind: noop\nafter:\n- first\n- unheard\n"
	s.run(t, "job", "apply", "-f", "-").want(t, exitUsage, "", `stdin:13: after[1]: no job is named "unheard"`)
}

// What is shown as YAML can be applied again, and changes nothing.
func TestShowIsAppliedAgain(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "job", "apply", "-f", file(t, "a.yaml", twoJobs)).want(t, exitOK, "", "")
	shown := s.run(t, "job", "show", "first", "-o", "yaml")
	shown.want(t, exitOK, "schedule: {cron: 10 * * * *, zone: Europe/Stockholm", "")
	s.stdin = shown.out
	s.run(t, "job", "apply", "-f", "-").want(t, exitOK, "first", "")
	if again := s.run(t, "job", "show", "first", "-o", "yaml"); again.out != shown.out {
		t.Error(cmp.Diff(shown.out, again.out))
	}
}

func TestJobs(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "job", "apply", "-f", file(t, "a.yaml", twoJobs)).want(t, exitOK, "", "")
	s.run(t, "job", "list", "--search", "SEC").want(t, exitOK, "after first", "")
	s.run(t, "job", "list", "--limit", "1").want(t, exitOK, "first", "1 more; go on with --offset 1")
	var listed []jobs.JobView
	if err := json.Unmarshal([]byte(s.run(t, "job", "list", "-o", "json").out), &listed); err != nil || len(listed) != 2 {
		t.Errorf("%d jobs as JSON (%v), want 2", len(listed), err)
	}
	s.run(t, "job", "show", "none").want(t, exitFailed, "", `no job has that name ("tidemill job list" shows those there are)`)
	s.run(t, "job", "pause", "first", "second").want(t, exitOK, "", "second paused")
	s.run(t, "job", "show", "first").want(t, exitOK, "paused", "")
	s.run(t, "job", "resume", "first").want(t, exitOK, "", "first resumed")
	s.run(t, "job", "delete", "first").want(t, exitOK, "", "first deleted")
	s.run(t, "job", "delete", "first").want(t, exitFailed, "", "no job has that name")
}

// A command's help begins with what is its own.
func TestHelp(t *testing.T) {
	s := newShell(t, "")
	r := s.run(t, "job", "run", "--help")
	own, common := strings.Index(r.out, "--children"), strings.Index(r.out, "Flags of every command:")
	if r.code != exitOK || own < 0 || common < own || strings.Index(r.out, "--api=URL") < common {
		t.Errorf("exit code %d, its own flags at %d, those of every command at %d:\n%s", r.code, own, common, r.out)
	}
}

func TestRunWait(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "job", "apply", "-f", file(t, "a.yaml", twoJobs)).want(t, exitOK, "", "")
	s.run(t, "job", "run", "none", "--wait").want(t, exitFailed, "", "no job has that name")
	s.Finish = func(v *jobs.RunView) { v.State = jobs.RunSucceeded }
	s.run(t, "job", "run", "first", "--wait", "--arg", "a,b", "--arg=-c").want(t, exitOK, "succeeded", "first.1.r-")
	page, err := s.Runs(t.Context(), jobs.RunQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a,b", "-c"}, page.Runs[0].Arguments); diff != "" {
		t.Error(diff)
	}
	s.Finish = func(v *jobs.RunView) {
		code := 7
		v.State, v.Reason = jobs.RunFailed, "split 0 failed 3 times"
		v.Tasks = []jobs.TaskView{{Task: jobs.Task{ID: jobs.NewTaskID(v.ID, 1, 0, 1), Stage: 1, Attempt: 1, State: jobs.AttemptFailed, ExitCode: &code, Host: "here"}}}
	}
	key := jobs.RequestKey("mine")
	task := jobs.NewTaskID(jobs.NewRunID("first", 1, key, 0), 1, 0, 1)
	s.WriteLog(task, "stderr", strings.Repeat("x", 5000)+"\nno such table\n")
	s.End(task)
	failed := s.run(t, "job", "run", "first", "--wait", "--request-id", "mine")
	failed.want(t, 7, "failed", "split 0 failed 3 times")
	failed.want(t, 7, "", "x\nno such table\n---\n")
	if strings.Count(failed.err, "x") > 4<<10 {
		t.Error("more than the end of stderr is shown")
	}
}

// With its children a run has ended when they have, and their children.
func TestRunWaitsForChildren(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "job", "apply", "-f", file(t, "a.yaml", twoJobs)).want(t, exitOK, "", "")
	child := func(name jobs.Name, state jobs.RunState) jobs.ChildRun {
		return jobs.ChildRun{Job: name, Run: jobs.NewRunID(name, 1, "r-1", 0), State: state}
	}
	nine := 9
	grandchild := child("third", jobs.RunFailed)
	end := func(state jobs.RunState) {
		s.PutRun(jobs.RunView{Run: jobs.Run{ID: grandchild.Run, Job: "third", Trigger: jobs.ByParents, State: state, Reason: "because"},
			Tasks: []jobs.TaskView{{Task: jobs.Task{ID: jobs.NewTaskID(grandchild.Run, 1, 0, 1), State: jobs.AttemptFailed, ExitCode: &nine, Host: "here"}}}})
	}
	second := child("second", jobs.RunSucceeded)
	s.PutRun(jobs.RunView{Run: jobs.Run{ID: second.Run, Job: "second", Trigger: jobs.ByParents, State: second.State}, Children: []jobs.ChildRun{grandchild}})
	s.Finish = func(v *jobs.RunView) {
		v.State = jobs.RunSucceeded
		v.Children = []jobs.ChildRun{child("second", jobs.RunQueued), {Job: "fourth", Reason: "it waits for runs of [b]"}, grandchild}
	}
	end(jobs.RunFailed)
	r := s.run(t, "job", "run", "first", "--children", "--wait")
	r.want(t, nine, "second        second.1.r-1.0  succeeded", "third.1.r-1.0: failed: because")
	r.want(t, nine, "it waits for runs of [b]", "run third.1.r-1.0 failed: because")
	if n := strings.Count(r.err, "third.1.r-1.0: failed"); n != 1 {
		t.Errorf("a run that two come after is waited for %d times", n)
	}
	end(jobs.RunSkipped) // as a policy of its job says
	s.run(t, "job", "run", "first", "--children", "--wait", "--request-id", "again").want(t, exitOK, "skipped    because", "")
}

func TestRuns(t *testing.T) {
	s := newShell(t, "")
	const id, task = jobs.RunID("first.1.r-1.0"), jobs.TaskID("first.1.r-1.0.1.0.1")
	s.PutRun(jobs.RunView{Run: jobs.Run{ID: id, Job: "first", State: jobs.RunRunning}, Splits: jobs.SplitCounts{Total: 4, Done: 1, Live: 1, Local: 1, Placed: 2},
		Tasks:    []jobs.TaskView{{Task: jobs.Task{ID: task, Stage: 1, Attempt: 1, State: jobs.AttemptRunning, Host: "cassandra-1"}, Placement: "offer O1, level replica"}},
		Children: []jobs.ChildRun{{Job: "second", Run: "second.1.r-1.0", State: jobs.RunSkipped, Reason: "overlap: another is under way"}},
		Waiting:  []jobs.WaitingSplit{{Stage: 1, Split: 2, Reasons: []jobs.Refusal{{Message: "cpus short by 0.5"}}}}})
	s.WriteLog(task, "stdout", "hello\n")
	s.WriteLog(task, "stderr", "ouch\n")
	s.run(t, "run", "list", "--job", "nope").want(t, exitFailed, "", "job nope: no job has that name")
	s.run(t, "run", "list", "--live").want(t, exitOK, "1/4     50 %   -        -     cpus short by 0.5", "")
	s.run(t, "run", "list", "--state", "lost").want(t, exitUsage, "", "query.state")
	shown := s.run(t, "run", "show", string(id))
	shown.want(t, exitOK, "offer O1, level replica", "")
	shown.want(t, exitOK, "cpus short by 0.5", "")
	shown.want(t, exitOK, "second.1.r-1.0  skipped  overlap: another is under way", "")
	s.run(t, "run", "logs", string(id)).want(t, exitOK, "hello\n", "")
	s.run(t, "run", "logs", string(task), "--stderr").want(t, exitOK, "ouch\n", "")
	s.run(t, "run", "logs", "none").want(t, exitFailed, "", "no run has that id")
	s.End(task)
	s.run(t, "run", "logs", "-f", string(id)).want(t, exitOK, "hello\n", "")
	s.run(t, "run", "kill", string(id), "--reason", "enough").want(t, exitOK, "", "is being killed")
	s.run(t, "run", "show", string(id)).want(t, exitOK, "killed by hand: enough", "")
	s.run(t, "run", "kill", string(id)).want(t, exitFailed, "", "it has ended already")
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "first", Kind: "noop"}})
	if whole := s.run(t, "run", "rerun", string(id)); strings.Contains(whole.out, "1 split") {
		t.Errorf("a whole rerun keeps splits:\n%s", whole.out)
	}
	s.run(t, "run", "rerun", "--failed", string(id)).want(t, exitOK, "1 split of stage 1, from "+string(id), "")
}

func TestTaskWord(t *testing.T) {
	seven, nought := 7, 0
	for _, c := range []struct {
		task jobs.TaskView
		want string
	}{
		{jobs.TaskView{Task: jobs.Task{ExitCode: &seven, Message: "exit code 7: oops"}}, "exit code 7: oops"},
		{jobs.TaskView{Task: jobs.Task{ExitCode: &seven, Message: "out of memory"}}, "exit code 7: out of memory"},
		{jobs.TaskView{Task: jobs.Task{ExitCode: &nought, Message: "done"}}, "done"},
	} {
		if got := taskWord(c.task); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestConfigShow(t *testing.T) {
	s := newShell(t, "")
	path := file(t, "tidemill.yaml", "listen: 127.0.0.1:9000\nframework: {role: tide}\nconnections:\n  cassandra: {default: {hosts: [a], username: u, password: p4ss}}\n  kafka: {other: {brokers: [k:9092]}}\n")
	t.Setenv("TIDEMILL_KAFKA", "b:1,b:2")
	shown := s.run(t, "config", "show", "--config", path, "--s3", "http://key:s3cret@127.0.0.1:7070?region=eu", "--listen", "127.0.0.1:9001", "-o", "json")
	shown.want(t, exitOK, `"listen": "127.0.0.1:9001"`, "")
	for _, want := range []string{`"role": "tide"`, `"name": "tidemill"`, `"b:2"`, `"k:9092"`, `"access_key": "key"`, `"username": "u"`, "********"} {
		shown.want(t, exitOK, want, "")
	}
	if strings.Contains(shown.out, "p4ss") || strings.Contains(shown.out, "s3cret") {
		t.Errorf("a secret is shown:\n%s", shown.out)
	}
	s.run(t, "config", "show", "--config", file(t, "bad.yaml", "listen: x\nlistne: y\n")).want(t, exitUsage, "", `:2: listne: unknown field; is it "listen" that you mean?`)
	s.run(t, "config", "show", "--s3", "key:s3cret").want(t, exitUsage, "", "http://KEY:SECRET@host:port")
}

// TestSchedulerRefusesAtOnce: what can never work is said before anything is waited for.
func TestSchedulerRefusesAtOnce(t *testing.T) {
	s := newShell(t, "")
	for hint, flags := range map[string][]string{
		"not given: --zk":              {"--master", "m-1"},
		"zk://host1:2181":              {"--master", "m-1", "--zk", "zk://"},
		"is no host:port":              {"--master", "m-1:5050,,m-2:5050", "--zk", "zk-1"},
		"a host is empty":              {"--master", "zk:///mesos", "--zk", "zk-1"},
		"--advertise http://HOST:PORT": {"--master", "m-1", "--zk", "zk-1", "--listen", "0.0.0.0:8470"},
	} {
		s.run(t, append([]string{"scheduler"}, flags...)...).want(t, exitUsage, "", hint)
	}
}

func TestDoctor(t *testing.T) {
	s := newShell(t, "")
	s.SetStatus(jobs.Status{Leading: true, Subscribed: true, Master: "m:5050", Jobs: 3})
	t.Setenv("PATH", t.TempDir())
	healthy := s.run(t, "doctor", "--dir", t.TempDir())
	healthy.want(t, exitOK, "warn  java", "")
	healthy.want(t, exitOK, "make setup", "")
	healthy.want(t, exitOK, s.url+", master m:5050, 3 jobs", "")
	s.run(t, "doctor", "--kafka", strings.TrimPrefix(s.url, "http://")).want(t, exitOK, "kafka default", "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	s.run(t, "doctor", "--master", secure.Listener.Addr().String()).want(t, exitOK, "ok    master", "")
	s.run(t, "doctor", "--master", secure.URL).want(t, exitFailed, "unknown authority", "1 check failed")
	s.run(t, "doctor", "--master", secure.URL, "--mesos-ca", file(t, "ca.pem", "no certificate")).want(t, exitUsage, "", "ca.pem holds no certificate")
	s.run(t, "doctor", "--master", "zk://me:p@ss/word@"+addr+"/mesos").want(t, exitFailed, "dial tcp "+addr, "1 check failed")
	s.run(t, "doctor", "--cassandra", addr).want(t, exitFailed, "tidemill stack up", "1 check failed")
}

func TestVersion(t *testing.T) {
	s := newShell(t, "")
	s.run(t, "version").want(t, exitOK, "tidemill", "")
	s.run(t, "version", "-o", "yaml").want(t, exitOK, "platform: linux/", "")
}

// The page on the command line names every command, by itself or by its group.
func TestCommandsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	parser, err := kong.New(&commandLine{})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		path := strings.Fields(leaf.FullPath())[1:] // without the program's name
		group := path[0]
		if full := strings.Join(path, " "); !strings.Contains(string(text), "`"+full) && !strings.Contains(string(text), "`"+group+"`") {
			t.Errorf("docs/cli.md does not name %q", full)
		}
	}
}

func TestEndpoints(t *testing.T) {
	s := newShell(t, "")
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "count", Kind: "noop"}})
	s.PutJob(jobs.JobView{Job: jobs.Job{Name: "web", Kind: "service"}, Instances: &jobs.Instances{Wanted: 2}, Endpoints: []jobs.Endpoint{
		{Task: "web.1", Host: "a", Ports: []uint64{31000, 31001}, Names: map[string]uint64{"http": 31000}, Health: jobs.Healthy},
	}})
	s.run(t, "job", "endpoints", "web").want(t, exitOK, "a     http=31000,31001  healthy  web.1", "")
	s.run(t, "job", "endpoints", "count").want(t, exitUsage, "", "job count: it is no service, and its tasks have no ports (kind service")
}

func TestAgents(t *testing.T) {
	s := newShell(t, "")
	why := jobs.Refusal{Code: "agent_avoided", Message: "it fails over and over", Until: apitest.Created()}
	s.SetAgents(jobs.AgentView{
		ID: "S1", Host: "agent-a", Attributes: map[string]string{"rack": "a", "cassandra": "dc1"}, Largest: jobs.Resources{CPUs: 2, Mem: 1024}, Avoided: &why,
	})
	s.run(t, "agent", "list").want(t, exitOK, "cassandra:dc1 rack:a", "")
	s.run(t, "agent", "list").want(t, exitOK, "until 2026-01-31T12:00:00Z: it fails over and over", "")
	s.run(t, "agent", "release", "S2").want(t, exitFailed, "", "no such agent")
	if out := s.run(t, "agent", "release", "S1", "-o", "json").out; strings.Contains(out, "avoided") {
		t.Errorf("it is avoided still: %s", out)
	}
}
