package executor

import (
	"errors"
	"fmt"
	"testing"

	"tidemill/jobs"
)

func TestExplain(t *testing.T) {
	stop := &jobs.Stop{Reason: "killed"}
	for _, c := range []struct {
		stop *jobs.Stop
		err  error
		ok   bool
		told string
		want string
	}{
		{nil, nil, true, "12 rows", "12 rows"},
		{nil, errors.New("no such table"), false, "", "no such table"},
		{nil, errors.New("exit code 1: oops"), false, "oops", "exit code 1: oops"},
		{stop, nil, false, "", "killed"},
		{stop, *stop, false, "", "killed"},
		{stop, fmt.Errorf("%w: it did not end in time", *stop), false, "", "killed: it did not end in time"},
		{stop, errors.New("broken pipe"), false, "at row 7", "killed: broken pipe: at row 7"},
		{stop, nil, true, "done in time", "done in time"},
	} {
		out := jobs.Outcome{OK: c.ok}
		out.Message = c.told
		if got := explain(&attempt{stop: c.stop}, report{err: c.err}, out); got != c.want {
			t.Errorf("stopped %v, error %v, ok %t: %q, want %q", c.stop, c.err, c.ok, got, c.want)
		}
	}
}
