package stacktest_test

import (
	"net"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidemill/internal/stack"
	"tidemill/internal/stack/stacktest"
)

// verdict records how a test would end, in place of ending this one.
type verdict struct {
	testing.TB
	skipped, failed bool
}

func (v *verdict) Helper() {}

func (v *verdict) Skip(...any) {
	v.skipped = true
	runtime.Goexit()
}

func (v *verdict) Fatal(...any) {
	v.failed = true
	runtime.Goexit()
}

// ask calls Shared as a test of its own would, and says how that test would end.
func ask(t *testing.T) (addresses stack.Addresses, v *verdict) {
	v = &verdict{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		addresses = stacktest.Shared(v)
	}()
	<-done
	return addresses, v
}

func TestSharedNeedsARunOfItsOwn(t *testing.T) {
	for _, test := range []struct {
		name            string
		env             map[string]string
		want            stack.Addresses
		skipped, failed bool
	}{
		{name: "plain go test", skipped: true},
		{name: "in CI", env: map[string]string{"CI": "true"}, failed: true},
		{name: "a user's own servers", env: map[string]string{"TIDEMILL_ZK": "127.0.0.1:2181"}, skipped: true},
		{
			name: "under stack run",
			env:  map[string]string{"CI": "true", "TIDEMILL_TEST_RUN": "1", "TIDEMILL_TEST_ZK": "127.1.2.1:2181"},
			want: stack.Addresses{ZooKeeper: "127.1.2.1:2181"},
		},
		{
			name:   "bad address",
			env:    map[string]string{"TIDEMILL_TEST_RUN": "1", "TIDEMILL_TEST_S3": "http://127.1.2.1"},
			failed: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range []string{"CI", stack.RunVariable, "TIDEMILL_TEST_ZK", "TIDEMILL_TEST_KAFKA", "TIDEMILL_TEST_CASSANDRA", "TIDEMILL_TEST_S3"} {
				t.Setenv(name, test.env[name])
			}
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			got, v := ask(t)
			if v.skipped != test.skipped || v.failed != test.failed {
				t.Errorf("skipped %t, failed %t; want %t, %t", v.skipped, v.failed, test.skipped, test.failed)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOwnServersEndWithTheTest(t *testing.T) {
	var address string
	t.Run("test with servers", func(t *testing.T) {
		s := stacktest.Own(t, stack.Options{S3: true})
		address = s.Server("s3").Address()
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	})
	if address == "" {
		t.Skip("was skipped itself")
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Errorf("the server at %s outlived its test", address)
	}
}
