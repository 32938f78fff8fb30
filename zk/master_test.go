package zk

import (
	"context"
	"fmt"
	"testing"

	gozk "github.com/go-zookeeper/zk"
)

func TestMasterAddress(t *testing.T) {
	tests := []struct {
		info, want string
		byName     bool
	}{
		{info: `{"address":{"hostname":"m1.example","ip":"10.0.0.1","port":5050},"id":"x","pid":"master@10.0.0.9:5051"}`, want: "10.0.0.1:5050"},
		{info: `{"address":{"hostname":"m1.example","ip":"10.0.0.1","port":5050}}`, want: "m1.example:5050", byName: true},
		{info: `{"address":{"ip":"10.0.0.1","port":5050}}`, want: "10.0.0.1:5050", byName: true},
		{info: `{"address":{"hostname":"m1.example","port":5050}}`, want: "m1.example:5050"},
		{info: `{"address":{"ip":"fe80::1","port":5050}}`, want: "[fe80::1]:5050"},
		{info: `{"pid":"master@10.0.0.9:5051"}`, want: "10.0.0.9:5051"},
		{info: `{"pid":"master"}`, want: ""},
		{info: `{"address":{"ip":"10.0.0.1"}}`, want: ""},
		{info: `{`, want: ""},
	}
	for _, tt := range tests {
		got, err := masterAddress([]byte(tt.info), tt.byName)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: got %q, %v, want %q", tt.info, got, err, tt.want)
		}
	}
}

func TestLeadingMasterIsFollowed(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	root := newRoot()
	d, err := DetectMaster(bounded(t), Address{Servers: servers(t), Path: root + "/mesos"}, false, options(t, root).Log)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if master, _ := d.Leader(); master != "" {
		t.Errorf("%s leads before there is one", master)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Await(ctx); err == nil {
		t.Error("Await outlives its context")
	}

	// A client makes the folder, and plays the masters, each an ephemeral znode as theirs are.
	o := options(t, root+"/mesos", c.server)
	masters := join(t, o)
	if err := masters.ensure(bounded(t), root+"/mesos/log_replicas", nil); err != nil {
		t.Fatal(err)
	}
	first, second := register(t, masters, root, 5050), register(t, masters, root, 5051)
	if got, err := d.Await(bounded(t)); err != nil || got != "127.0.0.1:5050" {
		t.Fatalf("got %q, %v", got, err)
	}
	for _, step := range []struct{ gone, want string }{{first, "127.0.0.1:5051"}, {second, ""}} {
		_, changed := d.Leader()
		if err := masters.conn.Delete(step.gone, -1); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-bounded(t).Done():
			t.Fatal("the change was not told")
		}
		if got, _ := d.Leader(); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
	register(t, masters, root, 5052)
	if got, err := d.Await(bounded(t)); err != nil || got != "127.0.0.1:5052" {
		t.Errorf("got %q, %v", got, err)
	}
}

func register(t *testing.T, c *Client, root string, port int) string {
	t.Helper()
	info := fmt.Sprintf(`{"address":{"hostname":"localhost","ip":"127.0.0.1","port":%d},"pid":"master@127.0.0.1:%[1]d"}`, port)
	path, err := c.conn.Create(root+"/mesos/json.info_", []byte(info), gozk.FlagEphemeral|gozk.FlagSequence, c.acl)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
