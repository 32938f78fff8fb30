package cassandra

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/gocql/gocql"

	"tidemill/jobs"
)

func TestTransient(t *testing.T) {
	cases := []struct {
		err  error
		want bool
	}{
		{nil, false},
		{gocql.ErrNoConnections, true},
		{gocql.ErrTimeoutNoResponse, true},
		{&gocql.RequestErrUnavailable{}, true},
		{&gocql.RequestErrWriteTimeout{}, true},
		{&gocql.RequestErrReadFailure{}, true},
		{gocql.ErrNotFound, false},
		{io.EOF, true},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{connectError(jobs.CassandraConnection{}, errors.New("dial")), true},
		{missingSchema("k", "no table"), false},
		{errors.New("syntax"), false},
	}
	for _, c := range cases {
		for _, err := range []error{c.err, fmt.Errorf("write: %w", c.err)} {
			if got := Transient(err); got != c.want {
				t.Errorf("%v: %v, want %v", err, got, c.want)
			}
		}
	}
}

func TestPort(t *testing.T) {
	for want, hosts := range map[int][]string{DefaultPort: {"a", "b"}, 9999: {"a", "b:9999"}} {
		if got := port(hosts); got != want {
			t.Errorf("%v: %d", hosts, got)
		}
	}
}
