package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidemill/internal/config"
	"tidemill/jobs"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tidemill.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Flags stand above the file, and the file above the defaults.
func TestOptions(t *testing.T) {
	file := write(t, `listen: 127.0.0.1:9000
zk: zk-1:2181/tidemill
mesos_tls: { ca: a.pem, cert: c.pem, key: k.pem }
framework: { user: mill }
sandbox: { keep_bytes: 1048576 }
history: { keep: 5, keyspace: past, cassandra: other, ttl: 0s }
connections:
  cassandra:
    default: { hosts: [a], username: u, password: p }
    other: { hosts: [b] }
`)
	got, err := config.Flags{Config: file, MesosCA: "b.pem", Listen: "127.0.0.1:9001", Cassandra: []string{"c:9042"}, FailoverTimeout: time.Hour,
		S3: "http://key:secret@127.0.0.1:7070?region=eu"}.Options("token")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Options{
		MesosTLS: config.MesosTLS{CA: "b.pem", Cert: "c.pem", Key: "k.pem"},
		Listen:   "127.0.0.1:9001", TokenFile: "token", ZK: "zk-1:2181/tidemill",
		Framework: config.Framework{Name: "tidemill", Role: "*", User: "mill", FailoverTimeout: jobs.Duration(time.Hour)},
		Connections: jobs.Connections{
			Cassandra: map[string]jobs.CassandraConnection{
				"default": {Hosts: []string{"c:9042"}, Username: "u", Password: "p"}, "other": {Hosts: []string{"b"}},
			},
			S3: map[string]jobs.S3Connection{"default": {Endpoint: "http://127.0.0.1:7070", Region: "eu", AccessKey: "key", SecretKey: "secret"}},
		},
		History: config.History{Keep: 5, Keyspace: "past", Cassandra: "other", Backlog: 10_000},
		Sandbox: jobs.Sandbox{LogBytes: 64 << 20, KeepTasks: 2000, KeepBytes: 1 << 20},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !got.SecureMesos() || config.Default().SecureMesos() || !(config.Options{Master: "https://m:5050"}).SecureMesos() {
		t.Error("Mesos is reached by https where a file or a master says so, and by http elsewhere")
	}
	for address, want := range map[string]string{
		"zk://me:a:b@c/d@zk-1:2181/mesos": "zk://me:********@zk-1:2181/mesos", "me:pw@zk-1/x": "me:********@zk-1/x", "zk-1:2181/x": "zk-1:2181/x", "https://m:5050": "https://m:5050",
	} {
		if shown := (config.Options{ZK: address, Master: address}).Masked(); shown.ZK != want || shown.Master != want {
			t.Errorf("%s is shown as %q and %q, want %q", address, shown.ZK, shown.Master, want)
		}
	}
	if got.Masked().Connections.Cassandra["default"].Password == "p" || got.Connections.Cassandra["default"].Password != "p" {
		t.Error("masking shows the secret, or loses it")
	}
}

func TestOptionsRefused(t *testing.T) {
	tests := []struct {
		name, file, want string
		flags            config.Flags
	}{
		{name: "unknown field", file: "a: 1\nlistne: x\n", want: `:2: listne: unknown field; is it "listen" that you mean?`},
		{name: "every error at once", file: "listen: 1\nframework: []\n", want: ":2: framework: expected a mapping, found a list"},
		{name: "no broker", file: "connections: {kafka: {default: {}}}\n", want: "connections.kafka.default.brokers: names no broker"},
		{name: "no host", flags: config.Flags{CassandraDC: "dc1"}, want: "connections.cassandra.default.hosts: names no host"},
		{name: "no server", flags: config.Flags{Kafka: []string{"a:9092", "b:x"}}, want: `connections.kafka.default.brokers[1]: "b:x" is neither a host nor host:port`},
		{name: "three parts", flags: config.Flags{Cassandra: []string{"::1", "a:b:c"}}, want: `connections.cassandra.default.hosts[1]: "a:b:c" is neither`},
		{name: "a URL", flags: config.Flags{Cassandra: []string{"[::1]:9042", "a", "http://a"}}, want: `connections.cassandra.default.hosts[2]: "http://a" is neither`},
		{name: "a role twice", flags: config.Flags{Role: "a,b,a"}, want: `framework.role: "a" is named twice`},
		{name: "a secret of nobody", flags: config.Flags{SecretFile: "/secret"}, want: "framework.principal: is missing"},
		{name: "no base URL", flags: config.Flags{Advertise: "mill-1:8470"}, want: `advertise: "mill-1:8470" is no base URL`},
		{name: "no artifact", flags: config.Flags{ArtifactURL: "mill-1:8470"}, want: `artifact_url: "mill-1:8470" is neither`},
		{name: "no room for logs", file: "sandbox: {log_bytes: 10}\n", want: "sandbox.log_bytes: 10 is not within 65536 to"},
		{name: "no history", file: "history: {keep: 0, backlog: 0, ttl: 1ms}\n", want: "history.keep: 0 is not within 1 to"},
		{name: "history nowhere", flags: config.Flags{HistoryKeyspace: "past"}, want: `history.cassandra: there is no connection "default"`},
		{name: "bad S3", flags: config.Flags{S3: "key:secret@host"}, want: "http://KEY:SECRET@host:port"},
		{name: "no file", flags: config.Flags{Config: "/nowhere.yaml"}, want: "/nowhere.yaml"},
	}
	for _, tt := range tests {
		if tt.file != "" {
			tt.flags.Config = write(t, tt.file)
		}
		_, err := tt.flags.Options("")
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: the error shows the secret: %v", tt.name, err)
		}
	}
}

func TestToken(t *testing.T) {
	for text, want := range map[string]string{"abc\n": "abc", "  abc": "abc", "": "", "two words": "", "two\nlines": ""} {
		got, err := config.Token(write(t, text))
		if got != want && err == nil || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--token-file") {
			t.Errorf("%q: %v: it does not say what to do", text, err)
		}
	}
	if got, err := config.Token(""); got != "" || err != nil {
		t.Errorf("no file: %q, %v", got, err)
	}
}

func TestSecret(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "secret")
	for file, want := range map[string]string{"": "", write(t, "two words\n"): "two words", write(t, " \n"): "", write(t, strings.Repeat("x", 5000)): "", missing: ""} {
		got, err := config.Secret(file)
		if got != want || (err == nil) != (want != "" || file == "") {
			t.Errorf("%s: %q, %v", file, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--secret-file") {
			t.Errorf("%s: %v: it does not say what to do", file, err)
		}
	}
}
